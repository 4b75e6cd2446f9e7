"""The configuration of a run: one frozen dataclass a TOML section, every key with default, range and documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Literal, get_type_hints

from metatc2.errors import InputError
from metatc2.experiment.config.calibration import CalibrationConfig, RegularizerConfig
from metatc2.experiment.config.section import (
    LARGEST,
    WIDEST,
    AdjointName,
    InnerOptimizerName,
    Key,
    Section,
    section_keys,
)
from metatc2.experiment.config.values import Bounds, Names, convert, setting, shown
from metatc2.io.registries import AGGREGATORS, ENCODERS, LEARNERS, OBJECTIVES, PROTOCOLS, RECIPES, TOLD


@dataclass(frozen=True)
class DataConfig(Section):
    """What to learn from."""

    source: str = setting(
        "glyphs", "glyphs, digits, KIND:PATH (folder, npz, ...), a torchvision data set or what packages offer"
    )
    split: str = setting("meta-train", "which images of the source to learn from")
    image_size: int | None = setting(
        None, "side of the square images in pixels; unset: the source's own", at_least=8, at_most=4096
    )
    channels: Literal[1, 3] | None = setting(None, "1 gray, 3 color; unset: the source's own")
    value_range: tuple[float, float] | None = setting(
        None,
        "values of black and white in images of more than 8 bits, e.g. [0, 4095]; unset: the format's",
    )
    root: str | None = setting(None, "folder that holds downloaded data sets; unset: the user's cache")
    download: bool = setting(False, "whether torchvision may download the data set")
    stream: bool = setting(False, "whether image files stay on disk and are read when an episode needs them")
    workers: int = setting(0, "threads that read image files; 0 reads in the main one", at_least=0, at_most=1024)


@dataclass(frozen=True)
class EpisodeConfig(Section):
    """How a batch is cut into tasks; for learners on labeled tasks, how these are drawn."""

    tasks: int = setting(4, "tasks that a batch is cut into", at_least=1)
    batch: int = setting(256, "images a batch, all tasks together", at_least=2)
    support: float = setting(0.5, "share of a task's images that the inner loop adapts on", above=0, below=1)
    assign: Literal["random", "cluster", "domain"] = setting(
        "random", "how images are assigned to tasks that differ by nothing: random, similar or near domains together"
    )
    tasks_differ_by: Literal["nothing", "views", "domain", "factor"] = setting(
        "nothing", "what makes each task another: its views, the domain of its images, the factors that a pair shares"
    )
    recipes: Literal["drawn", "one", "all-but-one"] = setting(
        "drawn",
        "where tasks differ by views: augmentations drawn for each task, one family, or all but one",
    )
    level: Literal["same", "one-more", "contradiction", "per-sample", "per-sample-hue"] = setting(
        "one-more", "where tasks differ by a factor of `shapes`: which notions of the same they have"
    )
    kinds: int | None = setting(
        None,
        "how many domains there are, for controls that are told; other tasks that differ say it themselves",
        at_least=1,
    )
    meta_batch: int = setting(4, "labeled tasks an episode", at_least=1, at_most=4096)
    way: int = setting(5, "classes of a labeled task", at_least=2)
    way_most: int | None = setting(
        None, "other end of a range that each episode draws its number of classes from", at_least=2
    )
    shot: int = setting(1, "labeled images a class that a labeled task learns from", at_least=1)
    shot_most: int | None = setting(None, "other end of a range for the number of images a class", at_least=1)
    query: int = setting(15, "images a class that a labeled task is judged on", at_least=1)
    replacement: bool = setting(True, "whether a class may come again before all classes have been seen")
    augment: bool = setting(False, "whether images of labeled tasks are augmented by the recipe of [views]")

    def __post_init__(self) -> None:
        super().__post_init__()
        # A task needs one image on each side, support and query.
        size = max(2, (2 * self.batch + self.tasks) // (2 * self.tasks))
        if self.batch % self.tasks or self.batch < 2 * self.tasks:
            raise InputError(
                f"episode.batch = {self.batch} cannot be cut into episode.tasks = {self.tasks} equal tasks of at least "
                f"2 images; the nearest valid batch is {size * self.tasks}"
            )


@dataclass(frozen=True)
class ViewsConfig(Section):
    """How views are made: a recipe, and whatever should differ from it."""

    recipe: Annotated[str, Names(RECIPES)] = setting("glyphs", "the set of augmentations to start from")
    crop_scale: tuple[float, float] | None = setting(
        None, "smallest and largest share of the area kept by a crop", above=0, at_most=1
    )
    crop_ratio: tuple[float, float] | None = setting(
        None, "smallest and largest width / height of a crop", at_least=0.01, at_most=100
    )
    rotation: float | None = setting(None, "largest rotation, degrees", at_least=0, at_most=180)
    shear: float | None = setting(None, "largest shear, degrees", at_least=0, below=90)
    flip: float | None = setting(None, "probability of a left-right flip", at_least=0, at_most=1)
    jitter: float | None = setting(None, "probability of a color jitter", at_least=0, at_most=1)
    brightness: float | None = setting(None, "range of the brightness factor around 1", at_least=0, at_most=100)
    contrast: float | None = setting(None, "range of the contrast factor around 1", at_least=0, at_most=100)
    saturation: float | None = setting(None, "range of the saturation factor around 1", at_least=0, at_most=100)
    hue: float | None = setting(None, "range of the hue shift, in turns", at_least=0, at_most=0.5)
    grayscale: float | None = setting(None, "probability of dropping the colors", at_least=0, at_most=1)
    blur: float | None = setting(None, "probability of a Gaussian blur", at_least=0, at_most=1)
    blur_sigma: tuple[float, float] | None = setting(
        None, "smallest and largest sigma of the blur, pixels", above=0, at_most=100
    )
    solarize: float | None = setting(None, "probability of solarizing", at_least=0, at_most=1)
    solarize_threshold: float | None = setting(None, "pixels from here on are inverted", at_least=0, at_most=1)
    invert: float | None = setting(None, "probability of swapping ink and paper", at_least=0, at_most=1)


@dataclass(frozen=True)
class EncoderConfig(Section):
    """The network that is kept."""

    name: Annotated[str, Names(ENCODERS, also=("torchvision:NAME",))] = setting(
        "conv4", "the encoder; torchvision:NAME is for weights of other programs"
    )
    width: int | None = setting(None, "channels of the first stage; unset: the encoder's own", at_least=1, at_most=8192)
    one_a_kind: bool = setting(False, "an encoder for each kind of task, features concatenated: a control that is told")


@dataclass(frozen=True)
class HeadConfig(Section):
    """The projector and predictor, dropped after pre-training."""

    projector_hidden: int = setting(256, "width of the projector's hidden layers", at_least=1, at_most=WIDEST)
    projector_out: int = setting(128, "width of the projected embedding", at_least=1, at_most=WIDEST)
    told: Annotated[str, Names(TOLD)] | None = setting(
        None, "a projector that is told what each task is; unset: not told"
    )
    projector_layers: int = setting(2, "linear layers of the projector", at_least=1, at_most=64)
    predictor_hidden: int = setting(
        128, "width of the predictor's hidden layer (BYOL, SimSiam)", at_least=1, at_most=WIDEST
    )


@dataclass(frozen=True)
class ObjectiveConfig(Section):
    """The self-supervised loss; its name never stands in a task file."""

    name: Annotated[str, Names(OBJECTIVES)] = setting("simclr", "the self-supervised loss")
    options: Mapping[str, float] = setting(dict, "the objective's own settings, such as temperature")
    momentum: float = setting(0.99, "rate of the target network's moving average", at_least=0, at_most=1)


@dataclass(frozen=True)
class LearnerConfig(Section):
    """What is made of an episode; the name never stands in a task file. What is unset is the learner's own choice."""

    name: Annotated[str, Names(LEARNERS, also=("ssl",))] = setting(
        "ssl", "ssl (an objective, calibrated or not), or a learner on labeled tasks"
    )
    aggregate: Annotated[str, Names(AGGREGATORS, also=("uncertainty",))] | None = setting(
        None, "how gradients of tasks are combined, or uncertainty, which weighs their losses; unset: their mean"
    )
    inner_optimizer: InnerOptimizerName | None = setting(None, "optimizer of the inner loop")
    inner_lr: float | None = setting(None, "learning rate of the inner loop", above=0, ceiling=LARGEST)
    inner_steps: int | None = setting(None, "steps of the inner loop in training", at_least=0, at_most=10**5)
    test_steps: int | None = setting(
        None, "steps of the inner loop at test time; unset: as in training", at_least=0, at_most=10**5
    )
    inner_clip: float = setting(0.0, "largest gradient norm in the inner loop; 0 is off", at_least=0, ceiling=LARGEST)
    adjoint: AdjointName | None = setting(None, "how the inner loop is differentiated")
    last_steps: int = setting(1, "steps that the adjoint truncated differentiates", at_least=0, at_most=10**5)
    samples: int = setting(64, "perturbations of the adjoint evolution", at_least=1, at_most=10**5)
    adapt: tuple[str, ...] = setting((), "patterns of the parameters that adapt; empty: the learner's choice")
    freeze: tuple[str, ...] = setting((), "patterns of the encoder's parameters (blocks.0.*) that are not trained")
    norm: Literal["batch", "support", "frozen"] = setting(
        "batch", "what BatchNorm normalizes by; batch is transductive"
    )
    at_once: int = setting(1, "tasks in one call under vmap; 1 takes them one by one", at_least=1)
    shared_head: bool = setting(False, "one meta-learned row for all classes: tasks of any number of classes")


@dataclass(frozen=True)
class TrainerConfig(Section):
    """The outer loop."""

    steps: int = setting(600, "optimizer steps", at_least=1)
    optimizer: Literal["adamw", "sgd"] = setting("adamw", "optimizer of the encoder")
    lr: float = setting(2e-3, "peak learning rate", above=0, ceiling=LARGEST)
    weight_decay: float = setting(1e-4, "weight decay", at_least=0, ceiling=LARGEST)
    warmup: float = setting(0.05, "share of the steps in which the learning rate rises", at_least=0, at_most=1)
    clip: float = setting(1.0, "largest gradient norm; 0 is off", at_least=0, ceiling=LARGEST)
    precision: Literal["32-true", "bf16-mixed"] = setting("32-true", "number format")
    accelerator: str = setting("auto", "auto, cpu, gpu or any accelerator that Lightning Fabric knows")
    seed: int = setting(0, "seed of every random number in the run", at_least=0, below=2**63)
    checkpoint_every: int = setting(200, "steps between checkpoints", at_least=1)
    log_every: int = setting(10, "steps between lines of metrics.jsonl", at_least=1)
    threads: int | None = setting(None, "CPU threads; unset: torch's choice", at_least=1, at_most=1024)
    lengthened: tuple[int, ...] | None = setting(
        None, "lengths that the run had before --resume DIR --steps N made it longer; written there", at_least=1
    )


@dataclass(frozen=True)
class TransferConfig(Section):
    """How the transfer of the frozen encoder is measured."""

    targets: tuple[str, ...] = setting((), "SOURCE or SOURCE:SPLIT; empty: the source's own meta-test classes")
    way: tuple[int, ...] = setting((5,), "classes an episode", at_least=2)
    shot: tuple[int, ...] = setting((1, 5), "labeled images a class", at_least=1)
    query: int = setting(15, "test images a class", at_least=1)
    episodes: int = setting(600, "few-shot episodes a row", at_least=1)
    protocols: tuple[Annotated[str, Names(PROTOCOLS)], ...] = setting(("few-shot",), "protocols to run")
    heads: tuple[str, ...] = setting(("cosine", "euclidean"), "few-shot classifiers on the frozen features")
    fractions: tuple[float, ...] = setting((0.01, 0.1), "shares of the labels, semi-supervised", above=0, at_most=1)
    fine_tune_steps: int = setting(5000, "steps of each fine-tuning (VTAB-1k: 1000)", at_least=1)
    allow_seen: bool = setting(False, "allow targets with classes of the pre-training images")


@dataclass(frozen=True)
class Config:
    """Everything a run depends on.

    Raises:
        InputError: if the description is not one line (each section checks itself).

    >>> Config(episode=EpisodeConfig(tasks=2)).episode
    EpisodeConfig(tasks=2, batch=256, support=0.5, assign='random', tasks_differ_by='nothing', recipes='drawn',
    level='one-more', kinds=None, meta_batch=4, way=5, way_most=None, shot=1, shot_most=None, query=15, replacement=True,
    augment=False)
    >>> EpisodeConfig(tasks=3)
    Traceback (most recent call last):
    metatc2.errors.InputError: episode.batch = 256 cannot be cut into episode.tasks = 3 equal tasks of at least 2
    images; the nearest valid batch is 255
    """

    description: str = setting("", "one line, shown by `metatc2 tasks`")
    data: DataConfig = field(default_factory=DataConfig)
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    regularizer: RegularizerConfig = field(default_factory=RegularizerConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)

    def __post_init__(self) -> None:
        if self.description != "":
            convert(self.description, str, Bounds(), "description")
        if len(self.description.splitlines()) > 1:
            raise InputError(f"description must be one line, found {shown(self.description)}")


@cache
def sections() -> dict[str, type[Section]]:
    """The sections by name, in the order in which they are written.

    >>> list(sections())[:3]
    ['data', 'episode', 'views']
    """
    return {name: hint for name, hint in get_type_hints(Config).items() if name != "description"}


@cache
def all_keys() -> dict[str, Key]:
    """Every key by its dotted name, with what a help page says about it.

    >>> key = all_keys()["episode.tasks"]
    >>> key.default, key.expected, key.doc
    (4, 'a whole number ≥ 1', 'tasks that a batch is cut into')
    """
    return {key.name: key for section in sections().values() for key in section_keys(section)}
