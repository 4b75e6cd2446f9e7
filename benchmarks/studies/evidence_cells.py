"""What the study of evidence runs: objectives, arms, sources with their targets, and the cell of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cells import STEPS, Cell, Evaluation
from recipes import GRID

OBJECTIVES = tuple(GRID)
# What every other arm is compared with: one calibrator for all tasks, and the isotropy of the representation asked for besides.
OURS = "shared+isotropy"
SHARED = ("calibration.name=tc2", "calibration.adapt=shared")
ISOTROPY = ("regularizer.name=isotropy",)
# The time of a step of that arm over that of a plain one in these cells, rounded up: more steps for the plain objective.
EQUAL_COMPUTE = 1.25
ARMS: dict[str, tuple[str, ...]] = {
    OURS: (*SHARED, *ISOTROPY),
    "plain": ("calibration.name=none",),
    "standardize": ("calibration.name=standardize",),
    "tasks": ("calibration.name=tasks",),
    "random projection": (*SHARED, *ISOTROPY, "calibration.control=random-projection"),
    "shuffled weights": (*SHARED, *ISOTROPY, "calibration.control=shuffle"),
    "isotropy": ("calibration.name=standardize", *ISOTROPY),
    "equal compute": ("calibration.name=none",),  # and more steps
}


def titled(arm: str) -> str:
    """An arm as tables and figures name it.

    >>> titled("shared+isotropy"), titled("plain")
    ('shared TC² + isotropy', 'plain')
    """
    return "shared TC² + isotropy" if arm == OURS else arm


@dataclass(frozen=True)
class Source:
    """Where to learn from and what to transfer to.

    Args:
        task: task file by name.
        settings: keys that differ from it.
        evaluations: targets of unseen images; the first entry, of unseen classes, is the headline, at its first way and
            one shot.
        steps: outer steps.
    """

    task: str
    settings: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    steps: int = STEPS


SCRIPTS = tuple(f"glyphs:{script}" for script in ("greek", "cyrillic", "georgian", "armenian"))
SOURCES = {
    "glyphs": Source("glyphs", (), (Evaluation(SCRIPTS, (20,)), Evaluation(("digits:all",), (5,)))),
    # Rendered objects in color, with views that change color; the recipes of the glyphs, untouched.
    "shapes": Source(
        "shapes",
        ("data.image_size=28",),
        (Evaluation(("shapes:meta-test",), (20,)), Evaluation(("shapes:shape:test",), (5,))),
    ),
    # Handwritten digits: seven to transfer to, of which three are the test's.
    "digits": Source("digits", (), (Evaluation(("digits:meta-test",), (3,)), Evaluation(SCRIPTS, (20,)))),
    # The recipes of the short runs, untouched: is what calibration gives only a faster start?
    "glyphs-long": Source("glyphs", (), (Evaluation(SCRIPTS, (20,)),), steps=4 * STEPS),
}
SHORT = tuple(name for name, source in SOURCES.items() if source.steps == STEPS)


def cell(folder: Path, source: str, objective: str, arm: str, seed: int, recipe: Sequence[str]) -> Cell:
    """One run of the study."""
    at = SOURCES[source]
    named = (f"objective.name={objective}", f"trainer.seed={seed}")
    # Views belong to the source; the rest of a recipe to the objective.
    recipe = [word for word in recipe if at.task == "glyphs" or not word.startswith("views.")]
    steps = round(at.steps * (EQUAL_COMPUTE if arm == "equal compute" else 1))
    path = folder / f"{source}-{objective}-{arm.replace(' ', '-')}-s{seed}"
    return Cell(path, at.task, (*at.settings, *recipe, *named, *ARMS[arm], f"trainer.steps={steps}"), at.evaluations)
