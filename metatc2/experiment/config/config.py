"""The configuration of a run: one model a TOML section."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from metatc2.experiment.config.calibration import CalibrationConfig
from metatc2.experiment.config.choices import CHOICES
from metatc2.experiment.config.data import DataConfig
from metatc2.experiment.config.episode import EpisodeConfig
from metatc2.experiment.config.learner import SelfSupervisedConfig
from metatc2.experiment.config.networks import EncoderConfig, HeadConfig
from metatc2.experiment.config.regularizer import NoRegularizer
from metatc2.experiment.config.training import TrainerConfig
from metatc2.experiment.config.transfer import TransferConfig
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


def _usual(section: str) -> Any:
    return field(default_factory=lambda: CHOICES[section].default())


@dataclass(frozen=True)
class Config:
    """Everything a run depends on. Sections without a use for the learner stand at their defaults, and are not written.

    Raises:
        InputError: if the description is not one line, or a section is of a kind that does not go with the others.

    >>> Config().episode
    SplitEpisode(tasks_differ_by='nothing', tasks=4, batch=256, support=0.5, assign='random')
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
    learner: SelfSupervisedConfig | LearnerOptions = _usual("learner")
    trainer: TrainerConfig = _usual("trainer")
    transfer: TransferConfig = _usual("transfer")
    #: What was given, and where: what does not act here may act after another value was given.
    layers: tuple[Layer, ...] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_description(self.description)
        for name, choice in CHOICES.items():
            section, member = getattr(self, name), choice.pick(self.value)
            if member is not None and type(section) is not member.kind:
                if section.model_fields_set - {"name"}:
                    there, asked = type(section).__name__, member.kind.__name__
                    text = f"[{name}] is a {there}, and what was chosen besides asks for a {asked}"
                    raise WrongOption(name, text)
                object.__setattr__(self, name, member.kind())

    def value(self, key: str) -> object:
        """The value of a key, the name of what is chosen by one; None where the section has no such key.

        >>> Config().value("calibration.name"), Config().value("calibration.adapt")
        ('none', None)
        """
        section, _, name = key.partition(".")
        value = getattr(getattr(self, section), name, None)
        return value.name if isinstance(value, Options) else value  # type: ignore[attr-defined]

    @property
    def sections(self) -> dict[str, Options]:
        """The sections that act, by name, in the order in which they are written.

        >>> list(Config().sections)[:3]
        ['data', 'episode', 'views']
        """
        acting = {name: getattr(self, name) for name, choice in CHOICES.items() if choice.pick(self.value) is not None}
        return {name: section for name, section in acting.items() if CHOICES[name].written(section)}

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
