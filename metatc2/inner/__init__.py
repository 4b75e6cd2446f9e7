"""The differentiable inner loop: any torchopt transformation, and a choice of how to differentiate through it."""

from metatc2.inner.adjoints import Adjoint, FirstOrder, Truncated, Unroll
from metatc2.inner.descent import Descent, Given, InnerLoopDiverged, InnerLoss, Params, Rates
from metatc2.inner.evolution import EvolutionStrategies
from metatc2.inner.implicit import Implicit
from metatc2.inner.loop import InnerLoop
from metatc2.inner.picklable import picklable
from metatc2.inner.recompute import Recompute
from metatc2.inner.transforms import INNER_OPTIMIZERS, clip_norm, inner_optimizer

__all__ = [
    "INNER_OPTIMIZERS",
    "Adjoint",
    "Descent",
    "EvolutionStrategies",
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
    "clip_norm",
    "inner_optimizer",
    "picklable",
]
