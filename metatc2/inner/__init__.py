"""The differentiable inner loop: any torchopt transformation, and a choice of how to differentiate through it."""

from metatc2.inner.adjoints.base import Adjoint
from metatc2.inner.adjoints.evolution import EvolutionStrategies
from metatc2.inner.adjoints.finite_difference import FiniteDifference
from metatc2.inner.adjoints.first_order import FirstOrder
from metatc2.inner.adjoints.implicit import Implicit
from metatc2.inner.adjoints.recompute import Recompute
from metatc2.inner.adjoints.registry import (
    ADJOINTS,
    AdjointChoice,
    AdjointOptions,
    adjoint_options,
    build_adjoint,
    register_adjoint,
)
from metatc2.inner.adjoints.truncated import Truncated
from metatc2.inner.adjoints.unroll import Unroll
from metatc2.inner.loop import InnerLoop
from metatc2.inner.optimizers import INNER_OPTIMIZERS, clip_norm, inner_optimizer, register_inner_optimizer
from metatc2.inner.solver import Descent, Given, InnerLoopDiverged, InnerLoss, Params, Rates, descend
from metatc2.ops.picklable import picklable

__all__ = [
    "ADJOINTS",
    "INNER_OPTIMIZERS",
    "Adjoint",
    "AdjointChoice",
    "AdjointOptions",
    "Descent",
    "EvolutionStrategies",
    "FiniteDifference",
    "FirstOrder",
    "Given",
    "Implicit",
    "InnerLoop",
    "InnerLoopDiverged",
    "InnerLoss",
    "Params",
    "Rates",
    "Recompute",
    "Truncated",
    "Unroll",
    "adjoint_options",
    "build_adjoint",
    "clip_norm",
    "descend",
    "inner_optimizer",
    "picklable",
    "register_adjoint",
    "register_inner_optimizer",
]
