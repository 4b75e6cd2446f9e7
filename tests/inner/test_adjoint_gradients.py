"""Every adjoint × problem × inner optimizer in float64, against central differences of the function it claims to differentiate.

`frozen` says which function that is: the updates of that many first steps, and the optimizer's state after them, are
constants. None of them for the exact adjoints, all for `FirstOrder`, all but the last k for `Truncated(k)`. The loop that is
measured is written out here and shares no code with the package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torchopt import pytree

from metatc2.inner import Adjoint, FirstOrder, InnerLoop, Recompute, Truncated, Unroll
from metatc2.inner.adjoints.evolution import EvolutionStrategies
from metatc2.inner.adjoints.implicit import Implicit

from ..covering import covered

STEPS = 4
Tree = Any  # (parameters, what is given, factors of the updates of each step or None)


@dataclass(frozen=True)
class Problem:
    params: dict[str, Tensor]
    given: tuple[Any, ...]
    inner: Callable[..., Tensor]
    outer: Callable[..., Tensor]


@cache
def problem(name: str) -> Problem:
    g = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    x, y = draw(6, 3), draw(6, 2)
    if name == "least-squares":  # the weight of each sample and the strength of the decay are given
        hyper = {"decay": torch.tensor(-2.0, dtype=torch.float64), "weight": draw(6)}
        return Problem(
            {"w": draw(3, 2), "b": draw(2)},
            (hyper,),
            lambda p, h: (
                (h["weight"].sigmoid() * (x @ p["w"] + p["b"] - y).square().sum(1)).mean()
                + h["decay"].exp() * p["w"].square().sum()
            ),
            lambda p, h: (x.sin() @ p["w"] - y + p["b"]).tanh().square().mean() + 0.1 * h["decay"] * p["b"].sum(),
        )
    if name == "logistic":  # features and the strength of the decay are given
        labels = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
        return Problem(
            {"w": draw(3), "b": draw()},
            (draw(5, 3), torch.tensor(-1.5, dtype=torch.float64)),
            lambda p, z, decay: (
                binary_cross_entropy_with_logits(z @ p["w"] + p["b"], labels) + decay.exp() * p["w"].square().sum()
            ),
            lambda p, z, decay: binary_cross_entropy_with_logits(z.cos() @ p["w"] - p["b"], labels),
        )
    if name == "tanh-network":
        classes = torch.tensor([0, 1, 1, 0])
        return Problem(
            {"a": draw(3, 3), "c": draw(3), "d": draw(3, 2)},
            (draw(4, 3),),
            lambda p, z: cross_entropy((z @ p["a"] + p["c"]).tanh() @ p["d"], classes),
            lambda p, z: cross_entropy((z.sin() @ p["a"] - p["c"]).tanh() @ p["d"], 1 - classes),
        )
    # The features are normalized by their own spread, and the spread of the predictions enters the loss.
    return Problem(
        {"u": draw(3), "gain": draw(1)},
        (draw(4, 3),),
        lambda p, z: (p["gain"] * (z / z.std(0)) @ p["u"] - y[:4, 0]).square().mean() + (z @ p["u"]).var(),
        lambda p, z: (p["u"] * p["gain"].cos()).square().sum() + (z @ p["u"]).sin().mean(),
    )


PROBLEMS = ["least-squares", "logistic", "tanh-network", "own-scale"]
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "momentum": lambda: torchopt.sgd(0.1, momentum=0.9),
    "adam": lambda: torchopt.adam(0.05, eps_root=1e-8),
    "rmsprop": lambda: torchopt.rmsprop(0.02),
}


@pytest.fixture(autouse=True)
def _default_float64() -> Iterator[None]:
    """The loop by hand calls torchopt's Adam as it is, which corrects for bias in torch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def loop_by_hand(
    inner: Callable[..., Tensor], optimizer: Any, tree: Tree, first: int = 0, state: Any = None
) -> tuple[dict[str, Tensor], list[Any], list[Any]]:
    """Parameters after steps `first` to STEPS; the updates without factors, and the state before each step."""
    params, given, factors = tree
    state = optimizer.init(params) if state is None else state
    updates, states = [], [state]
    for k in range(first, STEPS):
        leaves = {n: p.detach().requires_grad_() for n, p in params.items()}
        slopes = torch.autograd.grad(inner(leaves, *given), list(leaves.values()))
        update, state = optimizer.update(dict(zip(leaves, slopes, strict=True)), state, params=leaves, inplace=False)
        updates.append(update)
        states.append(state)
        params = {n: p + update[n] * (1.0 if factors is None else factors[k][n]) for n, p in params.items()}
    return params, updates, states


def with_frozen(frozen: int, inner: Callable[..., Tensor], optimizer: Any, base: Tree) -> Callable[[Tree], Any]:
    """The adapted parameters as a function of the tree, the first `frozen` updates being those at `base`."""
    _, updates, states = loop_by_hand(inner, optimizer, base)

    def adapted(tree: Tree) -> dict[str, Tensor]:
        params, given, factors = tree
        for k in range(frozen):
            params = {n: p + updates[k][n] * (1.0 if factors is None else factors[k][n]) for n, p in params.items()}
        return loop_by_hand(inner, optimizer, (params, given, factors), frozen, states[frozen])[0]

    return adapted


def central_differences(function: Callable[[Tree], Tensor], tree: Tree, h: float = 1e-6) -> list[Tensor]:
    leaves, form = pytree.tree_flatten(tree)
    result = []
    for i, leaf in enumerate(leaves):
        slope = torch.zeros(leaf.numel(), dtype=leaf.dtype)
        for j in range(leaf.numel()):
            shift = torch.zeros(leaf.numel(), dtype=leaf.dtype)
            shift[j] = h
            ends = [
                function(pytree.tree_unflatten(form, [*leaves[:i], leaf + s * shift.view_as(leaf), *leaves[i + 1 :]]))
                for s in (1, -1)
            ]
            slope[j] = (ends[0] - ends[1]) / (2 * h)
        result.append(slope.view_as(leaf))
    return result


def factors(params: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    g = torch.Generator().manual_seed(8)
    return [{n: 0.5 + torch.rand(p.shape, generator=g, dtype=p.dtype) for n, p in params.items()} for _ in range(STEPS)]


@cache
def measured(name: str, optimizer: str, frozen: int, rates: bool = False) -> list[Tensor]:
    p = problem(name)
    tree = (p.params, p.given, factors(p.params) if rates else None)
    adapted = with_frozen(frozen, p.inner, OPTIMIZERS[optimizer](), tree)
    return central_differences(lambda t: p.outer(adapted(t), *t[1]), tree)


def by_adjoint(
    adjoint: Adjoint, p: Problem, optimizer: Any, rates: bool = False, steps: int = STEPS
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Adapted parameters and gradients for all leaves of the tree."""
    tree = (p.params, p.given, factors(p.params) if rates else None)
    params, given, by_step = pytree.tree_map(lambda t: t.clone().requires_grad_(), tree)
    loop = InnerLoop(optimizer, steps, adjoint)
    adapted = loop(p.inner, params, *given, rates=by_step.__getitem__ if rates else None)
    leaves = pytree.tree_leaves((params, given, by_step))
    found = torch.autograd.grad(p.outer(adapted, *given), leaves, allow_unused=True)
    return adapted, [torch.zeros_like(t) if g is None else g for t, g in zip(leaves, found, strict=True)]


def assert_near(got: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Each tensor within `tolerance` of its largest entry; entries that should be zero, of the largest of all.

    And whatever its size, within what differences of numbers near 1 over 2e-6 are rounded by.
    """
    largest = max(float(e.abs().max()) for e in expected)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        allowed = 1e-9 + tolerance * max(float(b.abs().max()), 1e-3 * largest)
        assert float((a - b).abs().max()) <= allowed, f"leaf {i}: {a} against {b}"


CASES = [
    (Unroll(), 0),
    (Recompute(), 0),
    (Truncated(STEPS), 0),
    (Truncated(3), STEPS - 3),
    (Truncated(1), STEPS - 1),
    (FirstOrder(), STEPS),
]


@pytest.mark.parametrize(("case", "name", "optimizer"), covered(CASES, PROBLEMS, OPTIMIZERS), ids=str)
def test_gradient_equals_central_differences(case: tuple[Adjoint, int], name: str, optimizer: str) -> None:
    adjoint, frozen = case
    _, got = by_adjoint(adjoint, problem(name), OPTIMIZERS[optimizer]())
    assert_near(got, measured(name, optimizer, frozen), 3e-7)


@pytest.mark.parametrize(("case", "optimizer"), covered(CASES, OPTIMIZERS, strength=1), ids=str)
def test_gradient_with_learned_rates_equals_central_differences(case: tuple[Adjoint, int], optimizer: str) -> None:
    """The factors of frozen updates still get their gradient: only the updates themselves are constants."""
    adjoint, frozen = case
    _, got = by_adjoint(adjoint, problem("logistic"), OPTIMIZERS[optimizer](), rates=True)
    expected = measured("logistic", optimizer, frozen, rates=True)
    assert len(got) == 4 + 2 * STEPS
    assert_near(got, expected, 3e-7)


@pytest.mark.parametrize(("name", "optimizer"), covered(PROBLEMS, OPTIMIZERS, strength=1))
def test_adjoints_agree_where_they_mean_the_same(name: str, optimizer: str) -> None:
    def run(adjoint: Adjoint) -> tuple[dict[str, Tensor], list[Tensor]]:
        return by_adjoint(adjoint, problem(name), OPTIMIZERS[optimizer](), rates=True)

    end, exact = run(Unroll())
    for adjoint in (Recompute(), Truncated(STEPS), Truncated(STEPS + 3)):
        other, got = run(adjoint)
        torch.testing.assert_close(other, end, rtol=0, atol=0)
        torch.testing.assert_close(got, exact, rtol=1e-13, atol=1e-15)
    for one, two in zip(run(Truncated(0)), run(FirstOrder()), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    # They would agree as well if none did anything: the approximations have to differ.
    assert max(float((a - b).abs().max()) for a, b in zip(exact, run(FirstOrder())[1], strict=True)) > 1e-3


# -- Implicit: the function is where the minimum lies, found by Newton's method to rounding -------------------------------

PULL = 0.7
LONG = {"momentum": 160, "adam": 400, "rmsprop": 160}
SETTLING: dict[str, Callable[[], Any]] = {  # steps that shrink, so that also Adam and RMSProp come to rest
    "momentum": lambda: torchopt.sgd(0.1, momentum=0.7),
    "adam": lambda: torchopt.adam(lambda count: 0.3 * 0.97**count, betas=(0.9, 0.9), eps_root=1e-8),
    "rmsprop": lambda: torchopt.rmsprop(lambda count: 0.2 * 0.9**count, alpha=0.8),
}
SOLVERS = {
    "cg": Implicit("cg", proximal=PULL, tolerance=1e-12),
    "normal-cg": Implicit("normal-cg", proximal=PULL, tolerance=1e-12),
    "neumann": Implicit("neumann", proximal=PULL, iterations=400, scale=0.3),
}


def minimum(p: Problem, tree: Tree, near: dict[str, Tensor], iterations: int = 4) -> dict[str, Tensor]:
    """The parameters at which loss + PULL / 2 · |p − start|² is least, by Newton's method from `near`."""
    start, given, _ = tree
    sizes = [t.numel() for t in start.values()]

    def named(flat: Tensor) -> dict[str, Tensor]:
        pieces = flat.split(sizes)
        return {n: piece.view(t.shape) for (n, t), piece in zip(start.items(), pieces, strict=True)}

    def objective(flat: Tensor) -> Tensor:
        q = named(flat)
        return p.inner(q, *given) + sum(PULL / 2 * (q[n] - start[n]).square().sum() for n in q)

    flat = torch.cat([near[n].flatten() for n in start])
    for _ in range(iterations):
        flat = flat - torch.linalg.solve(
            torch.func.jacrev(torch.func.grad(objective))(flat), torch.func.grad(objective)(flat)
        )
    return named(flat)


@cache
def measured_minimum(name: str) -> tuple[dict[str, Tensor], list[Tensor]]:
    p = problem(name)
    tree = (p.params, p.given, None)
    with torch.no_grad():
        near = InnerLoop(SETTLING["momentum"](), LONG["momentum"], SOLVERS["cg"])(p.inner, p.params, *p.given)
    end = minimum(p, tree, near)
    # Of a shift by 1e-6 the first iteration leaves about 1e-12, the second nothing.
    return end, central_differences(lambda t: p.outer(minimum(p, t, end, 2), *t[1]), tree)


@pytest.mark.parametrize(("solver", "name", "optimizer"), covered(SOLVERS, PROBLEMS, SETTLING, strength=1))
def test_implicit_gradient_equals_central_differences_of_the_minimum(solver: str, name: str, optimizer: str) -> None:
    adapted, got = by_adjoint(SOLVERS[solver], problem(name), SETTLING[optimizer](), steps=LONG[optimizer])
    end, expected = measured_minimum(name)
    torch.testing.assert_close(adapted, end, rtol=0, atol=1e-8)
    assert_near(got, expected, 1e-6)


# -- Evolution strategies: right within the spread that the sampling must have ---------------------------------------------


# One of all: `test_one_pair_is_the_equation_of_the_paper` is exact.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        pytest.param(name, optimizer, marks=() if (name, optimizer) == ("pair", "momentum") else pytest.mark.slow)
        for name in ("linear", "curve", "pair")
        for optimizer in OPTIMIZERS
    ],
)
def test_evolution_strategies_are_right_within_their_standard_error(
    name: str, optimizer: str, seed_offset: int
) -> None:
    p = small_problem(name)
    samples = 300
    adjoint = EvolutionStrategies(samples, sigma=0.01, generator=torch.Generator().manual_seed(seed_offset + 2))
    adapted, got = by_adjoint(adjoint, p, OPTIMIZERS[optimizer](), steps=2)
    exact_end, exact = by_adjoint(Unroll(), p, OPTIMIZERS[optimizer](), steps=2)
    torch.testing.assert_close(adapted, exact_end, rtol=0, atol=0)
    # For a linear function with gradient g an antithetic sample (g · ε) ε has the variance |g|² + gᵢ² in entry i. What the
    # outer loss takes from the given tensors by itself is exact, so the estimated part is what is left.
    a, b = (torch.cat([t.flatten() for t in side]) - direct(p, exact_end) for side in (got, exact))
    error = ((b.square().sum() + b.square()) / samples).sqrt()
    assert b.abs().max() > 0.05
    assert ((a - b).abs() < 4.3 * error).all()


def small_problem(name: str) -> Problem:
    t = lambda *values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    if name == "linear":
        return Problem(
            {"w": t(1.0, -0.5)},
            (t(0.3),),
            lambda p, c: (p["w"] - c).square().sum() + p["w"].prod(),
            lambda p, c: (p["w"] * t(1.0, 2.0)).sum(),
        )
    if name == "curve":
        return Problem(
            {"w": t(0.8)},
            ({"x": t(0.5, 1.5)},),
            lambda p, g: ((p["w"] * g["x"]).tanh() - 0.2).square().sum(),
            lambda p, g: (p["w"] * g["x"]).sin().sum(),
        )
    return Problem(
        {"a": t(0.4), "b": t(-0.6, 0.9)},
        (t(1.2, -0.7),),
        lambda p, x: (p["a"] + (p["b"] * x).sum() - 1).square().sum() + 0.1 * p["b"].square().sum(),
        lambda p, x: (p["a"] * p["b"]).sum() + x.square().sum(),
    )


def direct(p: Problem, end: dict[str, Tensor]) -> Tensor:
    """Gradient of the outer loss for the tree where the adapted parameters are constants."""
    tree = pytree.tree_map(lambda t: t.clone().requires_grad_(), (p.params, p.given))
    leaves = pytree.tree_leaves(tree)
    constant = {n: q.detach().requires_grad_() for n, q in end.items()}
    found = torch.autograd.grad(p.outer(constant, *tree[1]), leaves, allow_unused=True)
    return torch.cat([(torch.zeros_like(t) if g is None else g).flatten() for t, g in zip(leaves, found, strict=True)])
