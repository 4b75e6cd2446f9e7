"""The configuration of a run: one model a TOML section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from metatc2.experiment.config.calibration import CalibrationConfig
from metatc2.experiment.config.data import DataConfig
from metatc2.experiment.config.episode import EpisodeConfig
from metatc2.experiment.config.learner import PythonConfig, SelfSupervisedConfig
from metatc2.experiment.config.monitor import CodingRateMonitor, NoMonitor, OnlineMonitor
from metatc2.experiment.config.networks import EncoderConfig, HeadConfig
from metatc2.experiment.config.regularizer import NoRegularizer
from metatc2.experiment.config.sections import CHOICES, split_key
from metatc2.experiment.config.training import TrainerConfig
from metatc2.experiment.config.transfer import TransferConfig
from metatc2.experiment.config.umm import NoUMM, UMMConfig
from metatc2.experiment.config.views import ViewsConfig
from metatc2.experiment.config.views_told import NoAuxiliary, NoCondition
from metatc2.io.options import Options, shown
from metatc2.io.options.base import LONGEST_TEXT, WrongOption

if TYPE_CHECKING:
    from metatc2.conditioning.views.registry import ConditionOptions
    from metatc2.experiment.config.layers import Layer
    from metatc2.learners.options import LearnerOptions
    from metatc2.objectives.auxiliary import AuxiliaryOptions
    from metatc2.objectives.registry import ObjectiveOptions
    from metatc2.objectives.regularizers.registry import RegularizerOptions
    from metatc2.transfer.protocols.options import ProtocolOptions


def _usual(section: str) -> Any:
    return field(default_factory=lambda: CHOICES[section].default())


@dataclass(frozen=True)
class Config:
    """Everything a run depends on. Sections without a use for the learner stand at their defaults, and are not written.

    Raises:
        InputError: if the description is not one line, or a section is of a kind that does not go with the others.

    >>> Config().episode
    SplitEpisode(tasks_differ_by='nothing', tasks=4, batch=256, support=0.5, assign='random', share_descriptors=None)
    """

    description: str = ""
    data: DataConfig = _usual("data")
    episode: EpisodeConfig = _usual("episode")
    views: ViewsConfig = _usual("views")
    encoder: EncoderConfig = _usual("encoder")
    head: HeadConfig = _usual("head")
    objective: ObjectiveOptions = _usual("objective")
    condition: NoCondition | ConditionOptions = _usual("condition")
    auxiliary: NoAuxiliary | AuxiliaryOptions = _usual("auxiliary")
    calibration: CalibrationConfig = _usual("calibration")
    regularizer: NoRegularizer | RegularizerOptions = _usual("regularizer")
    learner: SelfSupervisedConfig | PythonConfig | LearnerOptions = _usual("learner")
    umm: NoUMM | UMMConfig = _usual("umm")
    trainer: TrainerConfig = _usual("trainer")
    monitor: NoMonitor | CodingRateMonitor | OnlineMonitor = _usual("monitor")
    transfer: TransferConfig = _usual("transfer")
    #: Options of the protocols that are to be run, by name; those that are not given stand at their defaults.
    protocols: Mapping[str, ProtocolOptions] = field(default_factory=dict, hash=False)
    #: What was given, and where: what does not act here may act after another value was given.
    layers: tuple[Layer, ...] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_description(self.description)
        protocols = dict(self.protocols)
        object.__setattr__(self, "protocols", protocols)
        for name in protocols:
            if name not in self.transfer.protocols:
                raise WrongOption(f"transfer.{name}", f"protocols has options of {name!r}, and transfer.protocols not")
        for name, choice in CHOICES.items():
            section, member = self.section(name), choice.pick(self.value)
            if member is not None and type(section) is not member.kind:
                if section is not None and section.model_fields_set - {"name"}:
                    there, asked = type(section).__name__, member.kind.__name__
                    text = f"[{name}] is a {there}, and what was chosen besides asks for a {asked}"
                    raise WrongOption(name, text)
                outer, _, protocol = name.partition(".")
                if protocol:
                    protocols[protocol] = member.kind()  # type: ignore[assignment]  # of such a section it is
                else:
                    object.__setattr__(self, outer, member.kind())

    def value(self, key: str) -> object:
        """The value of a key, the name of what is chosen by one; None where the section has no such key.

        >>> Config().value("calibration.name"), Config().value("calibration.adapt")
        ('none', None)
        """
        section, name, _ = split_key(key)
        value = getattr(self.section(section), name, None)
        return value.name if isinstance(value, Options) else value  # type: ignore[attr-defined]

    def section(self, name: str) -> Options | None:
        """A section by name; None where it is that of a protocol that is not to be run.

        >>> Config().section("transfer.few-shot").shots, Config().section("transfer.knn")
        ((1, 5), None)
        """
        outer, _, protocol = name.partition(".")
        return self.protocols.get(protocol) if protocol else getattr(self, outer)

    @property
    def sections(self) -> dict[str, Options]:
        """The sections that act, by name, in the order in which they are written.

        >>> list(Config().sections)[:3]
        ['data', 'episode', 'views']
        """
        there = {name: self.section(name) for name, choice in CHOICES.items() if choice.pick(self.value) is not None}
        return {
            name: section for name, section in there.items() if section is not None and CHOICES[name].written(section)
        }

    def with_layers(self, layers: tuple[Layer, ...]) -> Self:
        """The same, with what it was made from; for `resolve` alone."""
        object.__setattr__(self, "layers", layers)
        return self


def _check_description(text: object) -> None:
    if not isinstance(text, str):
        raise WrongOption("description", f"description must be text, found {shown(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise WrongOption("description", f"description must be text, found {shown(text)}") from None
    if "\0" in text:
        raise WrongOption("description", f"description must be text, found {shown(text)}")
    if len(text) > LONGEST_TEXT:
        raise WrongOption(
            "description", f"description can have at most {LONGEST_TEXT} characters, found {len(text)}: {shown(text)}"
        )
    if len(text.splitlines()) > 1:
        raise WrongOption("description", f"description must be one line, found {shown(text)}")
