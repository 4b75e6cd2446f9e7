"""Which parts of a self-supervised learner go together."""

from __future__ import annotations

from typing import get_args

from torch import nn

from metatc2.errors import InputError, nearest
from metatc2.learners.branches import Where
from metatc2.learners.told_heads import is_told
from metatc2.objectives import Objective
from metatc2.objectives.auxiliary import Auxiliary


def require_parts(
    learner: str,
    objective: object,
    projector: nn.Module,
    predictor: nn.Module | None,
    auxiliary: Auxiliary | None,
    *,
    where: str,
    per_task: bool,
) -> None:
    """Nothing, if a learner can be made of these.

    Args:
        learner: what it is called in errors.
        objective, projector, predictor, auxiliary, where, per_task: see `SelfSupervised`.

    Raises:
        InputError: if not; see there.
    """
    if not isinstance(objective, Objective):
        what, mend = type(objective).__name__, "wrap any loss(z1, z2) of two views, Custom(loss)"
        if isinstance(objective, type):
            what, mend = f"the class {objective.__name__}", f"make one of it, {objective.__name__}(...)"
        raise InputError(f"{learner}: objective must be one of metatc2.objectives, found {what}; {mend}")
    if objective.predictor and predictor is None:
        raise InputError(f"{type(objective).__name__} needs a predictor; pass predictor=Predictor(dim, hidden)")
    if where not in get_args(Where):
        raise InputError(f"unknown place {where!r} for z; {nearest(where, get_args(Where))}")
    if is_told(projector) and not (per_task and where == "backbone"):
        raise InputError(
            f"{type(projector).__name__} is told what each task is, so tasks must be kept apart and z be the encoder's "
            "output; use per_task=True and where='backbone'"
        )
    if auxiliary is None:
        return
    if where == "projector":
        raise InputError(
            f"{type(auxiliary).__name__} is a loss of the encoder's output, and z is the projector's; use where='backbone'"
        )
    if not objective.two_views:
        raise InputError(
            f"{type(auxiliary).__name__} compares two views of an image, and {objective.name} makes its own images of one; "
            "leave the auxiliary loss out"
        )
