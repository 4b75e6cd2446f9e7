"""`Implicit`: differentiate the minimum that the inner loop reaches, not the way to it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor
from torchopt import linear_solve
from torchopt.diff.implicit import custom_root

from metatc2.errors import InputError, nearest
from metatc2.inner.adjoints.base import Adjoint
from metatc2.inner.adjoints.registry import register_adjoint
from metatc2.inner.adjoints.vjp import Free, Tensors, attach, detached, examine, inner, length
from metatc2.inner.solver import (
    Descent,
    Given,
    InnerLoopDiverged,
    InnerLoss,
    Params,
    descend,
    gradients_of,
)
from metatc2.ops.numbers import NotNegative, Positive, PositiveCount
from metatc2.ops.twice import differentiable_twice

Solver = Literal["cg", "neumann", "normal-cg"]
MatVec = Callable[[Tensors], Tensors]


@register_adjoint("implicit")
@dataclass(frozen=True)
class Implicit(Adjoint):
    """Differentiate the condition that the gradient is zero at the end (implicit function theorem), whatever the steps were.

    The loop minimises ``F(p) = loss(p, *given) + proximal / 2 · |p − start|²``. With the Hessian ``A`` of F at the end, a
    gradient v for the adapted parameters becomes ``proximal · A⁻¹ v`` for the start (iMAML, Rajeswaran et al. 2019,
    arXiv 1909.04630, equations 4 to 8) and ``−(∂²loss / ∂p ∂given)ᵀ A⁻¹ v`` for each given tensor that requires a gradient.
    Memory does not grow with the number of steps. The gradient is that of the minimum: it is right as far as the minimum
    was reached, and a `RuntimeWarning` says when it was not, or when the solver failed.

    Only what is *given* to the loss is differentiated. The loss has to work under `torch.func` transforms, has no second
    gradient itself, and with ``proximal = 0`` no gradient flows to the start: a minimum does not depend on it.

    Args:
        solver: of the linear system ``A u = v``. ``"cg"``: conjugate gradient, for a positive definite A (at a strict
            minimum it is). ``"normal-cg"``: conjugate gradient on ``A² u = A v``, for any invertible A, with twice the
            work a step and slower where A is ill-conditioned. ``"neumann"``: ``u = scale · Σₖ (1 − scale · A)ᵏ v``, k from 0 to
            `iterations` (Lorraine et al. 2020, arXiv 1911.02590), which converges if every eigenvalue of A is between 0 and
            ``2 / scale``.
        proximal: weight of the squared distance to the start, ≥ 0.
        iterations: of the solver, at most (Neumann: exactly); each costs one product with A.
        tolerance: conjugate gradient stops when the residual is shorter than this times v.
        ridge: added to the diagonal of A (``"normal-cg"``: of A²) in the solve alone, ≥ 0.
        scale: of ``"neumann"``.
        warn_above: warn when the gradient of F at the end is longer than this times that at the start. It must be longer
            than √ε (1 + |loss|) too, ε that of the numbers' type; infinity switches the look at the end off.

    Raises:
        InputError: if the solver is unknown or a number is out of its range; in use, if the loss depends on tensors that
            require a gradient and are not given to it, if nothing would get a gradient, if ``rates`` are learned, or
            under ``vmap``.
        InnerLoopDiverged: if the inner loss or the solution of the linear system is not finite.

    >>> import torchopt
    >>> from metatc2.inner import InnerLoop
    >>> loop = InnerLoop(torchopt.sgd(lr=0.25), steps=50, adjoint=Implicit(proximal=2.0))
    >>> start = torch.tensor(2.0, requires_grad=True)
    >>> adapted = loop(lambda p: p["w"] ** 2, {"w": start})["w"]      # least w² + (w - start)², so start / 2
    >>> round(adapted.item(), 4), round(torch.autograd.grad(adapted, start)[0].item(), 4)
    (1.0, 0.5)
    """

    solver: Solver = "cg"
    proximal: NotNegative = 0.0
    iterations: PositiveCount = 100
    tolerance: NotNegative = 1e-6
    ridge: NotNegative = 0.0
    scale: Positive = 1.0
    warn_above: NotNegative = 0.1
    differentiates_update: ClassVar[bool] = False
    given_only: ClassVar[bool] = True
    # With a proximal term to the start, which otherwise would get no gradient.
    usual: ClassVar[Mapping[str, Any]] = MappingProxyType({"proximal": 2.0})

    def __post_init__(self) -> None:
        if self.solver not in get_args(Solver):
            raise InputError(f"Implicit: unknown solver {self.solver!r}; {nearest(self.solver, get_args(Solver))}")
        for name in ("proximal", "tolerance", "ridge", "warn_above"):
            if not getattr(self, name) >= 0:
                raise InputError(f"Implicit: {name} must be ≥ 0, got {getattr(self, name)}")
        if self.iterations < 1 or not self.scale > 0:
            raise InputError(f"Implicit: iterations must be ≥ 1 and scale > 0, got {self.iterations} and {self.scale}")

    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """See `Adjoint.path`; one element, the last iterate."""
        whole = dataclasses.replace(descent, loss=self._objective(descent.loss))
        if not torch.is_grad_enabled() or not descent.steps:
            return descend(whole, params, (detached(params), *given), graph=lambda k: False)[-1:]
        start_slope, value = examine("Implicit", descent, params, given)
        free = Free((params if self.proximal else detached(params), *given))
        if not free.tensors:
            raise InputError(
                "Implicit: nothing would get a gradient, since with proximal=0 a minimum does not depend on where the loop "
                "starts; set proximal > 0, or give the loop a tensor that requires a gradient: loop(loss, params, tensor)"
                if not self.proximal
                else "Implicit: no parameter and no given tensor requires a gradient; use torch.no_grad() where none is wanted"
            )
        inputs = free.filled(detached(free.tensors))
        with torch.no_grad():
            solution = descend(whole, params, inputs, graph=lambda k: False)[-1]
        if self.warn_above < float("inf"):
            self._look(whole.loss, solution, inputs, start_slope, value)
        return (attach(solution, free.tensors, self._vjp(whole.loss, solution, free)),)

    def _objective(self, loss: InnerLoss) -> InnerLoss:
        """F, of the parameters, the start and what is given."""
        if not self.proximal:
            return lambda p, start, *given: loss(p, *given)
        return lambda p, start, *given: (
            loss(p, *given) + self.proximal / 2 * sum((p[n] - start[n]).square().sum() for n in p)
        )

    def _look(self, loss: InnerLoss, solution: Params, inputs: Any, start_slope: Tensor, value: Tensor) -> None:
        with torch.enable_grad():
            copies = {name: p.detach().requires_grad_() for name, p in solution.items()}
            slopes, _ = gradients_of(lambda p: loss(p, *inputs), copies, graph=False)
            slope = length(tuple(slopes.values()))
        noise = torch.finfo(value.dtype).eps ** 0.5 * (1 + value.abs())
        if bool((slope > self.warn_above * start_slope) & (slope > noise)):
            warnings.warn(
                f"Implicit: the inner loop stopped short of a minimum, with a gradient of length {float(slope):.2g} after "
                f"{float(start_slope):.2g} at the start, so the meta-gradient is approximate; take more steps or a better "
                "inner learning rate",
                RuntimeWarning,
            )

    def _vjp(self, objective: InnerLoss, solution: Params, free: Free) -> Callable[[Tensors], Tensors]:
        """Gradients for the solution, in its order, to gradients for the free tensors."""
        names, shapes = list(solution), [p.shape for p in solution.values()]
        # Flat, because torchopt's solvers take numbers without an axis for systems of size zero.
        end = tuple(p.flatten() for p in solution.values())

        def optimality(flat: Tensors, tensors: Tensors) -> Tensors:
            p = {name: x.view(shape) for name, x, shape in zip(names, flat, shapes, strict=True)}
            with differentiable_twice():
                slope = torch.func.grad(objective)(p, *free.filled(tensors))
            return tuple(slope[name].flatten() for name in names)

        def vjp(gradients: Tensors) -> Tensors:
            root = custom_root(optimality, argnums=1, solve=self._solve)(lambda init, tensors: end)
            # torchopt 0.7.3 calls torch.func by its old name.
            with warnings.catch_warnings(), torch.enable_grad():
                warnings.filterwarnings("ignore", "We've integrated functorch", FutureWarning)
                leaves = tuple(t.detach().requires_grad_() for t in free.tensors)
                reached: Any = root((), leaves)
                return torch.autograd.grad(reached, leaves, tuple(g.flatten() for g in gradients))

        return vjp

    def _solve(self, product: MatVec, v: Tensors) -> Tensors:
        """Solution of ``A u = v`` by torchopt, `product` being that with A."""
        ridge = self.ridge or None
        limits = {"rtol": self.tolerance, "maxiter": self.iterations}
        rule = {
            "cg": lambda: linear_solve.solve_cg(ridge=ridge, **limits),
            "normal-cg": lambda: linear_solve.solve_normal_cg(ridge=ridge, **limits),
            "neumann": lambda: linear_solve.solve_inv(ridge=ridge, ns=True, maxiter=self.iterations, alpha=self.scale),
        }[self.solver]()
        u: Tensors = detached(rule(product, v))
        curvature = (inner(u, product(u)) + self.ridge * inner(u, u)).detach()
        if not bool(curvature.isfinite()):
            raise InnerLoopDiverged(
                f"Implicit: {self.solver!r} found no finite solution of the linear system; {self._fix}"
            )
        # For a positive definite A both solvers lower u·Au / 2 − u·v from step to step, and it is 0 before the first.
        if self.solver != "normal-cg" and bool((curvature < 0) | (curvature > 2 * inner(u, v))):
            warnings.warn(
                f"Implicit: {self.solver!r} did not come closer to the solution of its linear system, so the meta-gradient "
                f"is wrong; {self._fix}",
                RuntimeWarning,
            )
        return u

    @property
    def _fix(self) -> str:
        if self.solver == "neumann":
            return "use a smaller scale, or 'normal-cg' if the Hessian has negative eigenvalues"
        return "the Hessian may not be positive definite: use 'normal-cg', a larger proximal or a ridge"
