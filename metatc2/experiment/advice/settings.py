"""What advice was asked for, and the configuration of every run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from metatc2.data.sources.features import KIND as FEATURES
from metatc2.errors import InputError, nearest
from metatc2.experiment.advice.arms import METHODS, Arm
from metatc2.experiment.build import TRAINING
from metatc2.experiment.config import Config, LabeledEpisode, merge, override, override_together, read_task
from metatc2.experiment.config.task_files import task_folder
from metatc2.io.source_names import path_kinds, split_name
from metatc2.io.suggest import command
from metatc2.ops.numbers import real, whole, wholes
from metatc2.transfer import parse_target

LABELS_PER_CLASS = (1, 5, 20)
MINUTES = 30.0
SEEDS = 3
DRAWS = 2
#: Images a step, of which smaller folders have fewer.
BATCH = 128
_TASKS = 4
# Small enough for hundreds of steps in the minutes given on a processor; those of docs/evidence.md on photographs.
_OF_FOLDERS = ("encoder.name=conv4", "encoder.width=32", "trainer.lr=0.002")
# What the arms differ by, and what advice decides itself.
_NOT_TO_SET = ("objective.", "calibration.", "regularizer.", "learner.", "transfer.", "condition.", "monitor.", "umm.")
_OWN = ("data.source", "data.split", "trainer.steps", "trainer.seed", "trainer.checkpoint_every")


@dataclass(frozen=True)
class Asked:
    """What was asked for; a folder that holds advice goes on only with the same.

    Args:
        source: ``SOURCE[:SPLIT]``, as it was typed.
        labels_per_class: ascending; None for `LABELS_PER_CLASS`, as far as the images go.
        minutes: for all training together; None where `steps` is given.
        steps: of every pre-training and of every training from scratch; None where `minutes` is given.
        seeds: of pre-training and of draws of labels.
        draws: of labels to test with, for each seed and number of labels.
        methods: names of `METHODS`.
        encoders: further ones, see `metatc2.experiment.load.load_pretrained`.
        assignments: keys that all runs have otherwise.
    """

    source: str
    labels_per_class: tuple[int, ...] | None
    minutes: float | None
    steps: int | None
    seeds: int
    draws: int
    methods: tuple[str, ...]
    encoders: tuple[str, ...]
    assignments: tuple[str, ...]

    @classmethod
    def checked(
        cls,
        source: str,
        labels_per_class: Sequence[int] = (),
        minutes: float | None = None,
        steps: int | None = None,
        seeds: int = SEEDS,
        draws: int = DRAWS,
        methods: Sequence[str] = (),
        encoders: Sequence[str] = (),
        assignments: Sequence[str] = (),
    ) -> Asked:
        """What was asked for, if it can be done as far as can be told without the images.

        Raises:
            InputError: if a number is out of range, a name unknown or named twice, or an option would do nothing.

        >>> Asked.checked("digits", minutes=5, labels_per_class=[5, 1, 5]).labels_per_class
        (1, 5)
        """
        if minutes is not None and steps is not None:
            raise InputError("advise: --minutes and --steps both say how long to train; give one of them")
        for name in methods:
            if name not in METHODS:
                raise InputError(f"advise: --method: unknown method {name!r}; {nearest(name, tuple(METHODS))}")
        for flag, names in (("--method", methods), ("--encoder", encoders)):
            if twice := [name for name in dict.fromkeys(names) if list(names).count(name) > 1]:
                raise InputError(f"advise: {flag}: {twice[0]} is named twice, which adds nothing; name it once")
        for word in assignments:
            key = word.partition("=")[0].strip()
            if key in _OWN or key.startswith(_NOT_TO_SET):
                raise InputError(
                    f"advise: --set {word}: {key} is what the arms differ by, or what advice decides itself; set keys of "
                    "[data], [episode], [views], [encoder], [head] or [trainer] that all arms share"
                )
        given = wholes(labels_per_class, "the labels per class of advise", 1) if labels_per_class else None
        minutes = MINUTES if minutes is None and steps is None else minutes
        return cls(
            source,
            tuple(sorted(set(given))) if given else None,
            None if minutes is None else real(minutes, "advise: minutes", above=0, most=1e6),
            None if steps is None else whole(steps, "advise: steps", 1),
            whole(seeds, "advise: seeds", 2, fix="; intervals are over seeds, and 3 or more are advised"),
            whole(draws, "advise: draws", 1),
            tuple(methods or METHODS),
            tuple(encoders),
            tuple(assignments),
        )

    def to_json(self) -> dict[str, Any]:
        """As a mapping that JSON holds."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @property
    def jobs(self) -> int:
        """In all: for each seed the three controls, further encoders, and pre-training by each method."""
        return self.seeds * (3 + len(self.encoders) + len(self.methods))

    @property
    def split(self) -> str:
        """Of the source, which is cut into parts."""
        return parse_target(self.source)[1] or "all"

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Those that are pre-trained here."""
        return tuple(METHODS[name] for name in self.methods)


def task_of(asked: Asked) -> str:
    """What `metatc2 pretrain` calls the task: that of a shipped source, images by their path, else the template for folders.

    >>> [task_of(Asked.checked(source)) for source in ("glyphs:greek", "folder:a/b", "CIFAR10")]
    ['glyphs', 'folder:a/b', 'folder']
    """
    source, _ = parse_target(asked.source)
    kind = split_name(source)[0]
    if kind in path_kinds():
        return source
    return kind if _is_shipped(kind) else "folder"


def _is_shipped(kind: str) -> bool:
    return (task_folder() / f"{kind}.toml").exists() and kind not in path_kinds()


def base_config(asked: Asked) -> Config:
    """What all arms share: the task of a shipped source, or the template for folders on this one.

    Raises:
        InputError: if the source or a key is unknown.

    >>> config = base_config(Asked.checked("glyphs:greek", assignments=["encoder.width=8"]))
    >>> config.data.source, config.data.split, config.encoder.width
    ('glyphs', 'greek:training', 8)
    """
    if Path(asked.source).is_dir():
        raise InputError(
            f"advise: {asked.source} is a folder; to learn from the images in it write folder:{asked.source}"
        )
    source, _ = parse_target(asked.source)
    kind = split_name(source)[0]
    if kind == FEATURES:
        raise InputError(
            f"advise: {asked.source} holds features and no images to pre-train on; name the images, or measure the features "
            f"with {command('transfer', source, '--out', 'DIR')}"
        )
    shipped = _is_shipped(kind)
    task = read_task(task_of(asked))
    if not shipped and kind not in path_kinds():
        task = merge(task, {"data": {"source": source}}, f"source {source!r}")
    own = [f"data.source={source}", f"data.split={asked.split}{TRAINING}", f"episode.tasks={_TASKS}"]
    own += [] if shipped else list(_OF_FOLDERS)
    return override_together(task, {"advise": own, "--set": list(asked.assignments)})


def fitted(config: Config, images: int, asked: Asked) -> Config:
    """The configuration with a batch that the training images fill, unless one was asked for.

    Raises:
        InputError: if there are too few images to learn from.
    """
    if any(word.partition("=")[0].strip() == "episode.batch" for word in asked.assignments):
        return config
    assert not isinstance(config.episode, LabeledEpisode)  # the learner cannot be set
    unit = 2 * config.episode.tasks  # a support and a query side in every task
    batch = min(BATCH, images) // unit * unit
    if batch < 4 * unit:
        raise InputError(
            f"advise: {asked.source} has {images} training images and pre-training needs at least {4 * unit}; add images, or "
            "measure encoders that were trained elsewhere with metatc2 transfer"
        )
    return override(config, [f"episode.batch={batch}"], where="advise")


def run_config(base: Config, arm: Arm, seed: int, steps: int) -> Config:
    """The configuration of one pre-training.

    Args:
        base: see `base_config`.
        arm: one that is pre-trained here.
        seed: of everything random.
        steps: how many.
    """
    every = max(1, math.ceil(steps / 5))
    trainer = [f"trainer.seed={seed}", f"trainer.steps={steps}", f"trainer.checkpoint_every={every}"]
    return override(base, [*arm.assignments, *trainer], where="advise")
