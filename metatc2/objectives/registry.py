"""Objectives by name."""

from __future__ import annotations

import inspect

from metatc2.errors import InputError, nearest
from metatc2.objectives.barlow_twins import BarlowTwins
from metatc2.objectives.base import Objective
from metatc2.objectives.byol import BYOL
from metatc2.objectives.moco import MoCo
from metatc2.objectives.simclr import SimCLR
from metatc2.objectives.simsiam import SimSiam
from metatc2.objectives.vicreg import VICReg

_CLASSES: dict[str, type[Objective]] = {kind.name: kind for kind in (SimCLR, MoCo, BYOL, SimSiam, BarlowTwins, VICReg)}
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
    metatc2.errors.InputError: unknown objective 'barlow_twins'; did you mean 'barlow'? Known: barlow, byol, moco, ...
    """
    if name not in _CLASSES:
        raise InputError(f"unknown objective {name!r}; {nearest(name, _CLASSES)}")
    kind = _CLASSES[name]
    # A class without __init__ shows nn.Module's *args and **kwargs, which are no options.
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = {k: p for k, p in inspect.signature(kind).parameters.items() if p.kind not in variadic}
    for option in options:
        if option not in parameters:
            known = nearest(option, parameters) if parameters else "it takes none"
            raise InputError(f"{name} has no option {option!r}; {known}")
    # Task files hold every option as a float; whole-numbered arguments are known by their default.
    return kind(
        **{
            option: _whole(value, f"{name}: {option}") if isinstance(parameters[option].default, int) else value
            for option, value in options.items()
        }
    )


def _whole(value: float, what: str) -> int:
    if not float(value).is_integer():
        raise InputError(f"{what} must be a whole number, found {value}")
    return int(value)
