"""iMAML: MAML whose meta-gradient depends on where a task's adaptation ends, not on how it went there."""

from __future__ import annotations

import dataclasses
from typing import Unpack

from pydantic import Field
from torch import nn

from metatc2.errors import InputError
from metatc2.inner import InnerLoop
from metatc2.inner.adjoints.implicit import Implicit, Solver
from metatc2.io.options import Count, Factor
from metatc2.learners.maml import MAML, AdaptOptions
from metatc2.learners.options import AdaptArguments
from metatc2.learners.registry import register_learner


class IMAMLOptions(AdaptOptions):
    """Options of iMAML."""

    inner_steps: int = Field(10, ge=0, le=10**5, description="steps of the inner loop in training")
    strength: Factor = Field(
        2.0, gt=0, description="of the proximal term to the meta-learned parameters, λ in the paper"
    )
    iterations: Count = Field(5, ge=1, description="steps of the solver of the linear system, at most")


@register_learner(
    "imaml",
    summary="MAML differentiated at the end of adaptation, not along the way",
    source="Rajeswaran et al. 2019, arXiv 1909.04630",
    options=IMAMLOptions,
)
class iMAML(MAML):
    """Implicit MAML (Rajeswaran et al. 2019, arXiv 1909.04630, algorithm 1).

    A task's parameters minimise ``support loss + strength / 2 · |θ' − θ|²`` (equation 3), and the meta-gradient is that of this
    minimum (equation 6): memory does not grow with the number of inner steps. Take enough to come near it (the paper: 16).

    Args:
        network: as in `MAML`.
        inner: how a task is learned; its adjoint is replaced by `Implicit`.
        strength: of the proximal term to the meta-learned parameters, λ in the paper, > 0. Without it they have no gradient.
        solver: of the linear system, see `Implicit`.
        iterations: of the solver, at most (the paper: 5).
        scale: of the solver ``"neumann"``; by default half of 1 / `strength`, which suits curvatures up to 3 · `strength`.
        warn_above: see `Implicit`; a network is hardly ever trained to its minimum, so less is asked than there.
        arguments: of `MAML`; ``vmap_chunk`` has to be 1.

    Raises:
        InputError: if `strength` is not positive, or `vmap_chunk` is not 1.

    >>> import torch, torchopt
    >>> learner = iMAML(nn.Linear(2, 3), InnerLoop(torchopt.sgd(0.1), steps=16))
    >>> learner.inner.adjoint.proximal, learner.inner.adjoint.solver
    (2.0, 'cg')
    """

    def __init__(
        self,
        network: nn.Module,
        inner: InnerLoop,
        *,
        strength: float = 2.0,
        solver: Solver = "cg",
        iterations: int = 5,
        scale: float | None = None,
        warn_above: float = 0.5,
        **arguments: Unpack[AdaptArguments],
    ) -> None:
        if not strength > 0:
            raise InputError(
                f"iMAML: strength must be > 0, got {strength}; at 0 the initial parameters get no gradient"
            )
        if arguments.get("vmap_chunk", 1) != 1:
            raise InputError("iMAML: implicit differentiation does not work under vmap; set vmap_chunk to 1")
        adjoint = Implicit(solver, strength, iterations, scale=scale or 0.5 / strength, warn_above=warn_above)
        super().__init__(network, dataclasses.replace(inner, adjoint=adjoint), **arguments)
