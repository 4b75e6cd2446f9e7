"""What the study of all systems runs: data, arms, points, and the columns of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cells import Cell
from csv_results import FOLDER, Results
from photographs_points import SIZE
from photographs_points import TARGETS as PHOTOGRAPHS

STEPS, UMM_STEPS, SPLIT = 300, 30, "blocks.1"
DRAWS = 20  # of labels, in fusion
# Runs whose encoders are fused are made anew, in the number format that every processor is fast in.
FUSED = ("trainer.precision=32-true",)
SCRIPTS = ("greek", "cyrillic", "georgian", "armenian")


@dataclass(frozen=True)
class Data:
    """What is learned from, and what encoders are asked.

    Args:
        task: task file.
        settings: keys of all arms.
        targets: what is told of it, by name.
        groups: means over targets: what all methods shall keep, and what views throw away.
        fused: target of the fusion.
        labels: numbers of labels a class that encoders are fused with; the last is nearly all that there are.
        pretexts: objectives that are fused beside the systems.
        still: keys of the pretext rotation, where the views' own turns would be its answers.
    """

    task: str
    settings: tuple[str, ...]
    targets: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    fused: str
    labels: tuple[int, ...]
    pretexts: tuple[str, ...]
    still: tuple[str, ...] = ()


SETS: dict[str, Data] = {
    "letters": Data(
        "glyphs",
        ("episode.batch=64",),
        (*SCRIPTS, "digits"),
        {"other scripts": SCRIPTS, "digits": ("digits",)},
        "digits",
        (1, 10, 50),
        ("rotation", "jigsaw", "relative-position"),
    ),
    "objects": Data(
        "shapes",
        ("data.image_size=28", "episode.batch=64"),
        ("shape", "texture", "hue", "orientation"),
        {"shape and texture": ("shape", "texture"), "hue and orientation": ("hue", "orientation")},
        "shapes:hue:test",
        (1, 10, 50),
        ("rotation", "jigsaw", "colorization"),
        ("views.rotation=0",),
    ),
    "photographs": Data(
        "cifar10",
        (
            "data.split=train",
            f"data.image_size={SIZE}",
            "episode.batch=128",
            "trainer.optimizer=adamw",
            "trainer.weight_decay=1e-4",
            "trainer.lr=0.004",
            "views.rotation=30",
        ),
        tuple(PHOTOGRAPHS),
        {
            "usual targets": ("cifar10", "caltech101", "pacs", "unseen style"),
            "what views throw away": ("rotation", "hue", "style"),
        },
        "npz:{data}/cifar10.npz",
        (1, 10, 50),
        ("rotation", "jigsaw", "colorization"),
    ),
}
SYSTEMS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "TC²": ("calibration.name=tc2", "calibration.weights=linear"),
    "conditioned": ("condition.name=concatenate",),
    "TC², conditioned": ("calibration.name=tc2", "calibration.weights=linear", "condition.name=concatenate"),
}
LONGER = "plain, twice the steps"
# As long as the six encoders that are fused together.
AS_SIX = "plain, six times the steps"
# Colors are what it is asked, so its views keep them.
COLORS = ("views.jitter=0", "views.grayscale=0")
PRETEXTS = ("rotation", "jigsaw", "relative-position", "colorization")
ARMS: dict[str, tuple[str, ...]] = {
    **SYSTEMS,
    LONGER: (f"trainer.steps={2 * STEPS}",),
    AS_SIX: (f"trainer.steps={6 * STEPS}",),
    **{name: (f"objective.name={name}", *(COLORS if name == "colorization" else ())) for name in PRETEXTS},
}
_NAMES = tuple(dict.fromkeys(target for data in SETS.values() for target in data.targets))
AT = ("data", "arm", "seed")
RESULTS = Results(
    FOLDER / "together.csv",
    {
        **dict.fromkeys(("control", "data", "arm"), str),
        "seed": int,
        "identity": str,
        "diverged": bool,
        **dict.fromkeys(("seconds", "umm_seconds"), float),
        **{f"{when}.{target}": float for when in ("accuracy", "after_umm") for target in _NAMES},
        # Of fusion.
        "labels": int,
        **dict.fromkeys(("method", "setting"), str),
        "fused": float,
    },
)


@dataclass(frozen=True)
class Point:
    """Where in the study a cell stands."""

    data: str
    arm: str
    seed: int

    def cell(self, folder: Path, archives: Path, more: tuple[str, ...] = ()) -> Cell:
        """Its run, with more settings if there are any."""
        known = SETS[self.data]
        learned = (f"data.source=npz:{archives / 'learn.npz'}",) if self.data == "photographs" else ()
        settings = (
            *learned,
            *known.settings,
            "encoder.name=conv4",
            "encoder.width=32",
            "episode.tasks=4",
            f"trainer.steps={STEPS}",
            "calibration.name=none",
            f"trainer.seed={self.seed}",
        )
        if self.arm not in PRETEXTS:
            settings = (*settings, "objective.temperature=0.2")
        if self.arm == "rotation":
            settings = (*settings, *known.still)
        own = [key.partition("=")[0] for key in ARMS[self.arm]]
        settings = (*(s for s in settings if s.partition("=")[0] not in own), *ARMS[self.arm])
        name = f"{self.data}-{self.arm.replace(', ', '-').replace(' ', '-').replace('²', '2')}-s{self.seed}"
        return Cell(folder / name, known.task, (*settings, *more), ())


def points(seeds: int, data: Sequence[str]) -> list[Point]:
    """Seed by seed."""
    return [
        Point(name, arm, seed)
        for seed in range(seeds)
        for name in data
        for arm in (*SYSTEMS, LONGER, *SETS[name].pretexts)
    ]
