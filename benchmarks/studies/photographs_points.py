"""What the study of photographs runs: targets, arms, designs, and the points of each of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cells import Cell

SIZE = 32
STEPS = 500
LONGER = 3125  # 10 epochs
WIDTHS = {"conv4": 32, "resnet18": 16}
SEARCH_SEED = 100

#: Target, protocol, and what it is for.
TARGETS: dict[str, tuple[str, str]] = {
    "cifar10": ("knn", "its own classes, 20 neighbors"),
    "caltech101": ("few-shot", "85 other classes, 5-way 5-shot"),
    "pacs": ("few-shot", "5 other classes in 4 styles, 5-way 5-shot"),
    "unseen style": ("few-shot", "the same classes, labels from three styles and queries from the fourth"),
    "rotation": ("probe", "turned by 0, 90, 180 or 270 degrees"),
    "hue": ("probe", "hue shifted by 0, 1/4, 1/2 or 3/4 turn"),
    "style": ("probe", "photo, art, cartoon or sketch"),
}
USUAL = ("cifar10", "caltech101", "pacs", "unseen style")
THROWN_AWAY = ("rotation", "hue", "style")
GROUPS = {"usual": USUAL, "thrown away": THROWN_AWAY}


@dataclass(frozen=True)
class Arm:
    """What is compared.

    Args:
        settings: keys that make it.
        tasks: how tasks differ: ``"nothing"`` or ``"views"``.
        told: whether it is given what each task is.
    """

    settings: tuple[str, ...]
    tasks: str = "nothing"
    told: bool = False


ISOTROPY = "regularizer.name=isotropy"
#: Searched on held-out training images beside the weight that is the regularizers' own, 0.03.
WEIGHTS = ("0.1", "0.3", "1")
CALIBRATED = ("calibration.name=tc2", "calibration.weights=linear")
ARMS: dict[str, Arm] = {
    "plain": Arm(("calibration.name=none",)),
    "plain + isotropy": Arm(("calibration.name=none", ISOTROPY)),
    "plain + SIGReg": Arm(("calibration.name=none", "regularizer.name=sigreg")),
    "plain + VISReg": Arm(("calibration.name=none", "regularizer.name=visreg")),
    **{
        f"plain + {name}, weight {weight}": Arm(
            ("calibration.name=none", f"regularizer.name={key}", f"regularizer.weight={weight}")
        )
        for name, key in (("isotropy", "isotropy"), ("SIGReg", "sigreg"), ("VISReg", "visreg"))
        for weight in WEIGHTS
    },
    "tasks": Arm(("calibration.name=tasks",)),
    "tasks + isotropy": Arm(("calibration.name=tasks", ISOTROPY)),
    "TC²": Arm(CALIBRATED),
    "TC² + isotropy": Arm((*CALIBRATED, ISOTROPY)),
    "views: plain": Arm(("calibration.name=none",), "views"),
    "views: tasks": Arm(("calibration.name=tasks",), "views"),
    "views: tasks + isotropy": Arm(("calibration.name=tasks", ISOTROPY), "views"),
    "views: TC²": Arm(CALIBRATED, "views"),
    "views: TC² + isotropy": Arm((*CALIBRATED, ISOTROPY), "views"),
    "views: told the recipe (FiLM)": Arm(("calibration.name=tasks", "head.told=film-conditions"), "views", told=True),
}
#: Where training is dearer: plain recipes, the control of TC², and TC² in both kinds of tasks.
SHORT = (
    "plain",
    "plain + isotropy",
    "plain + VISReg, weight 0.3",
    "tasks + isotropy",
    "TC² + isotropy",
    "views: TC² + isotropy",
)
PARTS = ("controls", "search", "weights", "main", "objectives", "resnet", "longer")
SEARCH = tuple((lr, temperature) for lr in ("0.002", "0.004") for temperature in ("0.2", "0.5"))
OBJECTIVES = {"simclr": (), "byol": ("objective.momentum=0.95",), "barlow": ()}
#: Objective, encoder and steps of each design.
DESIGNS = {
    "SimCLR": ("simclr", "conv4", STEPS),
    "BYOL": ("byol", "conv4", STEPS),
    "Barlow Twins": ("barlow", "conv4", STEPS),
    "SimCLR, ResNet-18": ("simclr", "resnet18", STEPS),
    "SimCLR, 10 epochs": ("simclr", "conv4", LONGER),
}
# The main effect of TC² is over both regularizers; each of them alone stands beside.
PAIRS = {
    "tasks that differ by nothing": (("TC²", "tasks"), ("TC² + isotropy", "tasks + isotropy")),
    "tasks that differ by views": (
        ("views: TC²", "views: tasks"),
        ("views: TC² + isotropy", "views: tasks + isotropy"),
    ),
}


#: What names a point in a row.
AT = ("objective", "arm", "seed", "lr", "temperature", "encoder", "steps")


@dataclass(frozen=True)
class Point:
    """Where in the study a cell stands."""

    objective: str
    arm: str
    seed: int
    lr: str = "0.002"
    temperature: str = "0.2"
    encoder: str = "conv4"
    steps: int = STEPS

    def cell(self, folder: Path, data: Path) -> Cell:
        """Its run."""
        words = [self.objective, self.arm, f"lr{self.lr}", f"t{self.temperature}", f"s{self.seed}"]
        if (self.encoder, self.steps) != ("conv4", STEPS):
            words[2:2] = [self.encoder, str(self.steps)]
        name = "-".join(words)
        for old, new in ((" ", "-"), (":", ""), ("²", "2"), ("+", "and"), ("(", ""), (")", ""), (",", "")):
            name = name.replace(old, new)
        arm = ARMS[self.arm]
        options = (f"objective.temperature={self.temperature}",) if self.objective == "simclr" else ()
        settings = (
            f"data.source=npz:{data / 'learn.npz'}",
            "data.split=train",
            f"data.image_size={SIZE}",
            f"encoder.name={self.encoder}",
            f"encoder.width={WIDTHS[self.encoder]}",
            "episode.batch=128",
            "episode.tasks=4",
            f"episode.tasks_differ_by={arm.tasks}",
            f"trainer.steps={self.steps}",
            "trainer.optimizer=adamw",
            "trainer.weight_decay=1e-4",
            "trainer.checkpoint_every=250",
            f"objective.name={self.objective}",
            *options,
            *OBJECTIVES[self.objective],
            f"trainer.lr={self.lr}",
            f"trainer.seed={self.seed}",
            *arm.settings,
        )
        return Cell(folder / name, "cifar10", settings, ())


def points(part: str, seeds: int, recipe: tuple[str, str], tuned: Sequence[str] = ()) -> list[Point]:
    """What a part of the study asks for, seed by seed; `tuned` are arms with the best weight of their regularizer."""
    if part == "controls":
        return []
    if part == "search":
        return [Point("simclr", "plain", SEARCH_SEED, lr, temperature) for lr, temperature in SEARCH]
    if part == "weights":
        return [Point("simclr", arm, SEARCH_SEED, *recipe) for arm in ARMS if arm.startswith("plain +")]
    every = range(seeds)
    if part == "resnet":
        return [Point("simclr", arm, seed, *recipe, encoder="resnet18") for seed in every for arm in SHORT]
    if part == "longer":
        return [Point("simclr", arm, seed, *recipe, steps=LONGER) for seed in every for arm in SHORT]
    objectives = ("simclr",) if part == "main" else tuple(name for name in OBJECTIVES if name != "simclr")
    factorial = tuple(arm for design in PAIRS.values() for pair in design for arm in pair)
    # Regularizers at the weight that is their own, and at the best of those that were searched.
    main = tuple(arm for arm in ARMS if ", weight " not in arm or arm in tuned)
    # Beside the design the strongest that has no tasks.
    arms = main if part == "main" else (*factorial, *SHORT[:3])
    return [Point(o, arm, seed, *recipe) for seed in every for o in objectives for arm in arms]
