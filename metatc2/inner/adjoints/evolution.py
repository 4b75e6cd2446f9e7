"""`EvolutionStrategies`: the derivative of the inner loop estimated from runs of it, without differentiating anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torchopt.diff.zero_order import zero_order

from metatc2.errors import InputError
from metatc2.inner.adjoints.base import Adjoint
from metatc2.inner.adjoints.registry import register_adjoint
from metatc2.inner.adjoints.vjp import Free, Tensors, attach, detached, examine, inner
from metatc2.inner.solver import Descent, Given, Params, descend
from metatc2.ops.numbers import Positive, PositiveCount


@register_adjoint("evolution")
@dataclass(frozen=True)
class EvolutionStrategies(Adjoint):
    """Estimate the derivative of the inner loop from pairs of disturbed runs (antithetic sampling).

    With θ all numbers that require a gradient (the start and what is given) and a gradient v for the adapted parameters U(θ),

        gradient for θ  ≈  1 / (2 · samples · sigma) · Σᵢ ⟨v, U(θ + sigma · εᵢ) − U(θ − sigma · εᵢ)⟩ εᵢ,     εᵢ ~ N(0, 1)

    (Salimans et al. 2017, arXiv 1703.03864, section 2; in meta-learning ES-MAML, Song et al. 2020, arXiv 1910.01215). Only
    the inner loop is estimated; what comes after it is differentiated as usual. Nothing in the loop needs a derivative
    that is right beyond the inner gradient, and memory does not grow with the number of steps; the backward pass runs the
    loop ``2 · samples + 1`` times.

    The estimate is that for U smoothed over a width of `sigma`, and its variance grows with the number of parameters: for
    d numbers its error is about ``√((d + 1) / samples)`` times as long as the gradient itself. It is meant for few parameters,
    or for loops that have no useful derivative.

    Args:
        samples: pairs of runs.
        sigma: standard deviation of the disturbance, in the units of the parameters.
        generator: the directions are drawn from it, anew for each loop; by default from torch's own, as dropout does.

    Raises:
        InputError: if `samples` or `sigma` is not positive; in use, if the loss depends on tensors that require a gradient
            and are not given to it, if ``rates`` are learned, or under ``vmap``.
        InnerLoopDiverged: if the inner loss is not finite, in the backward pass also that of a disturbed run.

    >>> import torchopt
    >>> from metatc2.inner import InnerLoop
    >>> adjoint = EvolutionStrategies(samples=500, generator=torch.Generator().manual_seed(0))
    >>> loop = InnerLoop(torchopt.sgd(lr=0.25), steps=1, adjoint=adjoint)
    >>> start = torch.tensor(2.0, requires_grad=True)
    >>> adapted = loop(lambda p: p["w"] ** 2, {"w": start})["w"]      # w - 0.25 * 2w = w / 2
    >>> adapted.item(), round(torch.autograd.grad(adapted, start)[0].item(), 1)
    (1.0, 0.5)
    """

    samples: PositiveCount = 64
    sigma: Positive = 0.05
    generator: torch.Generator | None = field(default=None, repr=False)
    differentiates_update: ClassVar[bool] = False
    given_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.samples < 1 or not self.sigma > 0:
            raise InputError(
                f"EvolutionStrategies: samples must be ≥ 1 and sigma > 0, got {self.samples} and {self.sigma}"
            )

    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """See `Adjoint.path`; one element, the last iterate."""
        if not torch.is_grad_enabled() or not descent.steps:
            return descend(descent, params, given, graph=lambda k: False)[-1:]
        examine("EvolutionStrategies", descent, params, given)
        free = Free((params, *given))

        def run(tensors: Tensors) -> Params:
            start, *rest = free.filled(tensors)
            with torch.no_grad():
                return descend(descent, start, rest, graph=lambda k: False)[-1]

        if any(t.is_complex() for t in free.tensors):
            raise InputError("EvolutionStrategies: complex numbers are not supported; use Unroll or Recompute")
        fixed: Tensors = detached(free.tensors)
        # A seed for this loop: a second backward pass through it gives the same gradient.
        device = self.generator.device if self.generator is not None else "cpu"
        seed = int(torch.randint(2**62, (), generator=self.generator, device=device))

        def vjp(gradients: Tensors) -> Tensors:
            def value(vector: Tensor) -> Tensor:
                return inner(gradients, tuple(run(cut(vector, fixed)).values()))

            return cut(self._estimate(value, torch.cat([t.flatten() for t in fixed]), seed), fixed)

        return (attach(run(fixed), free.tensors, vjp),)

    def _estimate(self, value: Callable[[Tensor], Tensor], at: Tensor, seed: int) -> Tensor:
        """Gradient of `value` at a vector, by torchopt."""
        # torchopt's method "forward" subtracts the sample before from each sample, in place of the undisturbed value.
        generator = torch.Generator().manual_seed(seed)

        def noise(shape: torch.Size) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=at.dtype).to(at.device)

        smoothed = zero_order(noise, method="antithetic", argnums=0, num_samples=self.samples, sigma=self.sigma)(value)
        with torch.enable_grad():
            leaf = at.clone().requires_grad_()
            return torch.autograd.grad(smoothed(leaf), leaf)[0]


def cut(vector: Tensor, like: Tensors) -> Tensors:
    """Pieces of a vector, of the shapes and types of `like`."""
    pieces = vector.split([t.numel() for t in like])
    return tuple(piece.view(t.shape).to(t.dtype) for piece, t in zip(pieces, like, strict=True))
