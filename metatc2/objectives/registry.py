"""Objectives by name."""

from __future__ import annotations

from metatc2.objectives.barlow_twins import BarlowTwins
from metatc2.objectives.base import Objective
from metatc2.objectives.byol import BYOL
from metatc2.objectives.moco import MoCo
from metatc2.objectives.named import build
from metatc2.objectives.sigreg import LeJEPA
from metatc2.objectives.simclr import SimCLR
from metatc2.objectives.simsiam import SimSiam
from metatc2.objectives.vicreg import VICReg
from metatc2.objectives.visreg import VISReg

_CLASSES: dict[str, type[Objective]] = {
    kind.name: kind for kind in (SimCLR, MoCo, BYOL, SimSiam, BarlowTwins, VICReg, LeJEPA, VISReg)
}
OBJECTIVES: tuple[str, ...] = tuple(_CLASSES)


def build_objective(name: str, **options: float) -> Objective:
    """An objective by name.

    Args:
        name: one of `OBJECTIVES`.
        options: arguments of its class, all numbers.

    Raises:
        InputError: if the name or an option is unknown, or a value is out of range.

    >>> build_objective("simclr", temperature=0.2).temperature
    0.2
    >>> build_objective("barlow_twins")
    Traceback (most recent call last):
    metatc2.errors.InputError: unknown objective 'barlow_twins'; did you mean 'barlow'? Known: barlow, byol, lejepa, ...
    """
    return build("objective", _CLASSES, name, options)
