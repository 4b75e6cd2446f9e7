"""The sections of the configuration, and what each may be; models that import torch are made when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metatc2.experiment.config.calibration import (
    EncoderTC2Config,
    NoCalibration,
    SharedTC2Config,
    Standardized,
    TasksOnly,
    TaskTC2Config,
    Uncalibrated,
)
from metatc2.experiment.config.choices import LEARNER, SSL, Choice, Closed, Listed, Registered
from metatc2.experiment.config.data import DataConfig
from metatc2.experiment.config.episode import (
    DomainEpisode,
    FactorEpisode,
    LabeledEpisode,
    SplitEpisode,
    ViewsEpisode,
)
from metatc2.experiment.config.learner import PythonConfig, SelfSupervisedConfig
from metatc2.experiment.config.monitor import CodingRateMonitor, NoMonitor, OnlineMonitor
from metatc2.experiment.config.networks import EncoderConfig, HeadConfig
from metatc2.experiment.config.regularizer import NoRegularizer
from metatc2.experiment.config.training import TrainerConfig
from metatc2.experiment.config.transfer import TransferConfig
from metatc2.experiment.config.umm import NoUMM, UMMConfig
from metatc2.experiment.config.views import ViewsConfig
from metatc2.experiment.config.views_told import NoAuxiliary, NoCondition
from metatc2.io.options import Options
from metatc2.io.registries import AUXILIARY, CONDITIONS, LEARNERS, OBJECTIVES, PROTOCOLS, REGULARIZERS

#: The key of the names of the protocols that are to be run.
PROTOCOL_NAMES = "transfer.protocols"


def _objective(name: str) -> type[Options]:
    from metatc2.objectives import objective_options

    return objective_options(name)


def _regularizer(name: str) -> type[Options]:
    from metatc2.objectives.regularizers import regularizer_options

    return regularizer_options(name)


def _condition(name: str) -> type[Options]:
    from metatc2.conditioning.views import condition_options

    return condition_options(name)


def _auxiliary(name: str) -> type[Options]:
    from metatc2.objectives.auxiliary import auxiliary_options

    return auxiliary_options(name)


def _learner(name: str) -> type[Options]:
    from metatc2.learners import learner_options

    return learner_options(name)


def _protocol(name: str) -> type[Options]:
    from metatc2.transfer.protocols.options import protocol_options

    return protocol_options(name)


def _always(kind: type[Options]) -> Closed:
    return Closed((kind,), (kind,))


class Sections(Mapping[str, Choice]):
    """The sections that are always there, and one for each protocol that is registered, ``transfer.NAME``.

    Args:
        always: choices by section.
    """

    def __init__(self, always: Mapping[str, Choice]) -> None:
        self._always = always

    def __getitem__(self, name: str) -> Choice:
        if name in self._always:
            return self._always[name]
        outer, _, protocol = name.partition(".")
        if outer != TransferConfig.section or protocol not in PROTOCOLS:
            raise KeyError(name)
        return Listed(PROTOCOL_NAMES, protocol, _protocol, TransferConfig.model_fields["protocols"].default)

    def __iter__(self) -> Iterator[str]:
        yield from self._always
        yield from (f"{TransferConfig.section}.{name}" for name in PROTOCOLS)

    def __len__(self) -> int:
        return len(self._always) + len(PROTOCOLS)


def split_key(key: str) -> tuple[str, str, str]:
    """The section of a key, its name there, and what follows where that is chosen by a name and has options of its own.

    >>> split_key("episode.tasks"), split_key("learner.adjoint.last_steps")
    (('episode', 'tasks', ''), ('learner', 'adjoint', 'last_steps'))
    >>> split_key("transfer.few-shot.ways"), split_key("transfer.targets")
    (('transfer.few-shot', 'ways', ''), ('transfer', 'targets', ''))
    """
    section, _, rest = key.partition(".")
    field, dot, part = rest.partition(".")
    if dot and f"{section}.{field}" in CHOICES:
        section = f"{section}.{field}"
        field, _, part = part.partition(".")
    return section, field, part


_MONITORS = (NoMonitor, CodingRateMonitor, OnlineMonitor)

#: In the order in which sections are written.
CHOICES: Mapping[str, Choice] = Sections(
    {
        "data": _always(DataConfig),
        "episode": Closed((SplitEpisode, ViewsEpisode, DomainEpisode, FactorEpisode), (LabeledEpisode,)),
        "views": _always(ViewsConfig),
        "encoder": _always(EncoderConfig),
        "head": Closed((HeadConfig,)),
        "objective": Registered("objective.name", OBJECTIVES, _objective, "simclr"),
        "condition": Registered("condition.name", CONDITIONS, _condition, "none", (NoCondition,), silent=True),
        "auxiliary": Registered("auxiliary.name", AUXILIARY, _auxiliary, "none", (NoAuxiliary,), silent=True),
        "calibration": Closed(
            (NoCalibration, Standardized, TasksOnly, TaskTC2Config, SharedTC2Config),
            (Uncalibrated, EncoderTC2Config),
        ),
        "regularizer": Registered("regularizer.name", REGULARIZERS, _regularizer, "none", (NoRegularizer,)),
        "learner": Registered(LEARNER, LEARNERS, _learner, SSL, (SelfSupervisedConfig, PythonConfig), always=True),
        "umm": Closed((NoUMM, UMMConfig), silent=True),
        "trainer": _always(TrainerConfig),
        "monitor": Closed(_MONITORS, _MONITORS, silent=True),
        "transfer": _always(TransferConfig),
    }
)
