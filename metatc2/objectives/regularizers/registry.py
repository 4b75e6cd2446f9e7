"""Regularizers by name."""

from __future__ import annotations

from metatc2.objectives.named import build
from metatc2.objectives.regularizers.base import Regularizer
from metatc2.objectives.regularizers.isotropy import Isotropy
from metatc2.objectives.regularizers.sigreg import SIGReg
from metatc2.objectives.regularizers.visreg import ScaleShape

_CLASSES: dict[str, type[Regularizer]] = {kind.name: kind for kind in (Isotropy, SIGReg, ScaleShape)}
REGULARIZERS: tuple[str, ...] = tuple(_CLASSES)


def build_regularizer(name: str, **options: float) -> Regularizer:
    """A regularizer by name.

    Args:
        name: one of `REGULARIZERS`.
        options: arguments of its class, all numbers.

    Raises:
        InputError: if the name or an option is unknown, or a value is out of range.

    >>> build_regularizer("sigreg", slices=64).slices
    64
    >>> build_regularizer("sigregs")
    Traceback (most recent call last):
    metatc2.errors.InputError: unknown regularizer 'sigregs'; did you mean 'sigreg'? Known: isotropy, sigreg, visreg
    """
    return build("regularizer", _CLASSES, name, options)
