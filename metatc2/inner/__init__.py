"""The differentiable inner loop: any torchopt transformation, and a choice of how to differentiate through it."""

from metatc2.inner.adjoints import Adjoint, FirstOrder, Params, Unroll
from metatc2.inner.loop import InnerLoop
from metatc2.inner.transforms import INNER_OPTIMIZERS, clip_norm, inner_optimizer

__all__ = [
    "INNER_OPTIMIZERS",
    "Adjoint",
    "FirstOrder",
    "InnerLoop",
    "Params",
    "Unroll",
    "clip_norm",
    "inner_optimizer",
]
