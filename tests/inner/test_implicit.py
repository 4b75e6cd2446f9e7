"""`Implicit`: minima known in closed form, what is differentiated and what is refused, and every warning."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.inner import InnerLoop, InnerLoopDiverged, Unroll
from metatc2.inner.adjoints.implicit import Implicit
from metatc2.inner.adjoints.vjp import Free

from ..covering import covered

DOUBLE = torch.float64


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def loop(adjoint: Implicit, lr: float = 0.1, steps: int = 150) -> InnerLoop:
    return InnerLoop(torchopt.sgd(lr), steps, adjoint)


SOLVERS = {
    "cg": {"solver": "cg", "tolerance": 1e-13},
    "normal-cg": {"solver": "normal-cg", "tolerance": 1e-13},
    "neumann": {"solver": "neumann", "iterations": 500, "scale": 0.2},
}


@pytest.mark.parametrize("solver", SOLVERS)
def test_ridge_regression_against_its_closed_form(solver: str) -> None:
    """w = (XᵀX + l 1)⁻¹ Xᵀ y, differentiated by autograd for X, y and l."""
    x, y, l2 = (
        draw(8, 3).requires_grad_(),
        draw(8, seed=1).requires_grad_(),
        torch.tensor(0.7, dtype=DOUBLE, requires_grad=True),
    )

    def loss(p: dict[str, Tensor], d: dict[str, Tensor], l2: Tensor) -> Tensor:
        return 0.5 * (d["x"] @ p["w"] - d["y"]).square().sum() + 0.5 * l2 * p["w"].square().sum()

    closed = torch.linalg.solve(x.mT @ x + l2 * torch.eye(3, dtype=DOUBLE), x.mT @ y)
    adjoint = Implicit(**{**SOLVERS[solver], "scale": 0.08})
    found = loop(adjoint, lr=0.05, steps=400)(loss, {"w": torch.zeros(3, dtype=DOUBLE)}, {"y": y, "x": x}, l2)["w"]
    torch.testing.assert_close(found, closed)
    v = draw(3, seed=2)
    expected = torch.autograd.grad(closed @ v, [x, y, l2])
    torch.testing.assert_close(torch.autograd.grad(found @ v, [x, y, l2]), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("solver", "strength"), covered(SOLVERS, (0.5, 3.0), strength=1))
def test_meta_gradient_is_equation_6_of_imaml(solver: str, strength: float) -> None:
    """dφ/dθ = (1 + H / λ)⁻¹ with the Hessian H of the task's own loss at φ."""
    x, y = draw(7, 4), draw(7, seed=1)

    def loss(p: dict[str, Tensor]) -> Tensor:
        return (x @ p["w"] - y).tanh().square().mean()

    start = draw(4, seed=3).requires_grad_()
    phi = loop(Implicit(**SOLVERS[solver], proximal=strength))(loss, {"w": start})["w"]
    hessian = torch.func.jacrev(torch.func.grad(lambda w: loss({"w": w})))(phi.detach())
    v = draw(4, seed=4)
    expected = torch.linalg.solve(torch.eye(4, dtype=DOUBLE) + hessian / strength, v)
    torch.testing.assert_close(torch.autograd.grad(phi, start, v)[0], expected, rtol=1e-8, atol=1e-10)
    # The curvature matters here: the identity (first order) would be wrong.
    assert (expected - v).abs().max() > 0.01


def test_gradient_goes_on_to_what_made_the_start_and_the_given_tensors() -> None:
    w, z = draw(3).requires_grad_(), draw(3, seed=1).requires_grad_()

    def loss(p: dict[str, Tensor], target: Tensor) -> Tensor:
        return (p["w"] - target).square().sum()

    # Least (w − t)² + (w − s)²: halfway between start and target.
    adapted = loop(Implicit(proximal=2.0))(loss, {"w": w.sin()}, z.exp())["w"]
    torch.testing.assert_close(adapted, (w.sin() + z.exp()) / 2)
    got = torch.autograd.grad(adapted.sum(), [w, z])
    torch.testing.assert_close(got, (w.cos() / 2, z.exp() / 2))


def test_a_given_tree_may_hold_anything_and_only_what_asks_gets_a_gradient() -> None:
    learned, fixed, index = draw(2).requires_grad_(), draw(2, seed=1), torch.tensor([1, 0])

    def loss(p: dict[str, Tensor], g: dict[str, Tensor], i: Tensor) -> Tensor:
        return (p["w"] - g["a"][i] * g["b"]).square().sum() + (p["frozen"] - 1).square()

    params = {"w": torch.zeros(2, dtype=DOUBLE), "frozen": torch.zeros((), dtype=DOUBLE)}
    adapted = loop(Implicit())(loss, params, {"b": fixed, "a": learned}, index)
    assert adapted["frozen"].shape == ()
    got = torch.autograd.grad(adapted["w"].sum() + adapted["frozen"], learned)[0]
    torch.testing.assert_close(got, fixed[index])
    assert learned.grad is None
    assert not fixed.requires_grad


def test_two_backward_passes_and_no_second_derivative() -> None:
    start = draw(2).requires_grad_()
    adapted = loop(Implicit(proximal=1.0))(lambda p: p["w"].cosh().sum(), {"w": start})["w"]
    one = torch.autograd.grad(adapted.sum(), start, retain_graph=True)[0]
    two = torch.autograd.grad(adapted.sum(), start, retain_graph=True)[0]
    torch.testing.assert_close(one, two)
    for outer in (adapted.sum(), adapted.square().sum()):
        three = torch.autograd.grad(outer, start, retain_graph=True, create_graph=True)[0]
        with pytest.raises(InputError, match="cannot be differentiated again"):
            torch.autograd.grad(three.sum() + start.square().sum(), start)


def test_without_gradients_and_without_steps() -> None:
    start = draw(2).requires_grad_()

    def loss(p: dict[str, Tensor]) -> Tensor:
        return p["w"].square().sum()

    with torch.no_grad():
        adapted = loop(Implicit(proximal=2.0), steps=3)(loss, {"w": start})["w"]
    assert not adapted.requires_grad
    # Each step: w − 0.1 (2 w + 2 (w − s)); the pull is there also where nothing is differentiated.
    w = start.detach()
    for _ in range(3):
        w = w - 0.1 * (2 * w + 2 * (w - start.detach()))
    torch.testing.assert_close(adapted, w)
    assert loop(Implicit(proximal=2.0), steps=0)(loss, {"w": start})["w"] is start


def test_the_graph_does_not_grow_with_the_steps() -> None:
    def nodes(adjoint: Any, steps: int) -> int:
        start = draw(5).requires_grad_()
        adapted = InnerLoop(torchopt.sgd(0.1), steps, adjoint)(lambda p: p["w"].cosh().sum(), {"w": start})
        seen: set[Any] = set()
        queue: list[Any] = [adapted["w"].grad_fn]
        while queue:
            if (node := queue.pop()) is not None and node not in seen:
                seen.add(node)
                queue.extend(parent for parent, _ in node.next_functions)
        return len(seen)

    assert nodes(Implicit(proximal=1.0), 30) == nodes(Implicit(proximal=1.0), 60) <= 3
    assert nodes(Unroll(), 30) < nodes(Unroll(), 60)


def test_attention_is_differentiated_by_its_math_kernel() -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(4, 2, batch_first=True).double()
    x = draw(2, 3, 4)
    start = {n: p.detach().clone().requires_grad_() for n, p in module.named_parameters()}

    def loss(p: dict[str, Tensor]) -> Tensor:
        out: Tensor = torch.func.functional_call(module, p, (x, x, x), {"need_weights": False})[0]
        return out.square().mean()

    adapted = loop(Implicit(proximal=1.0))(loss, start)
    gradients = torch.autograd.grad(sum(p.sum() for p in adapted.values()), list(start.values()))
    assert all(bool(g.isfinite().all()) for g in gradients)


def test_an_indefinite_system_needs_the_normal_equations() -> None:
    """A saddle with the loop resting on it, where p = c is stationary for every c, so dp / dc = 1."""
    s = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=DOUBLE)  # eigenvalues 3 and −1
    center = torch.zeros(2, dtype=DOUBLE, requires_grad=True)

    def loss(p: dict[str, Tensor], c: Tensor) -> Tensor:
        return 0.5 * (p["w"] - c) @ s @ (p["w"] - c)

    def gradient(solver: str, v: list[float]) -> Tensor:
        adapted = loop(Implicit(solver, iterations=9), steps=1)(loss, {"w": torch.zeros(2, dtype=DOUBLE)}, center)["w"]  # type: ignore[arg-type]
        return torch.autograd.grad(adapted, center, torch.tensor(v, dtype=DOUBLE))[0]

    torch.testing.assert_close(gradient("normal-cg", [1.0, 0.3]), torch.tensor([1.0, 0.3], dtype=DOUBLE))
    with pytest.warns(RuntimeWarning, match="did not come closer .* use 'normal-cg'"):
        gradient("cg", [1.0, -0.5])
    with pytest.warns(RuntimeWarning, match="'normal-cg' if the Hessian has negative eigenvalues"):
        gradient("neumann", [1.0, -0.5])


@pytest.mark.parametrize("iterations", [1, 3])
def test_neumann_adds_as_many_terms_as_it_says(iterations: int) -> None:
    start = torch.ones(2, dtype=DOUBLE, requires_grad=True)
    adjoint = Implicit("neumann", proximal=2.0, scale=0.1, iterations=iterations)
    adapted = loop(adjoint, steps=40)(lambda p: p["w"].square().sum(), {"w": start})["w"]  # A = 4
    solution = 0.1 * sum((1 - 0.1 * 4) ** k for k in range(iterations + 1))
    expected = torch.full((2,), 2 * solution, dtype=DOUBLE)
    torch.testing.assert_close(torch.autograd.grad(adapted.sum(), start)[0], expected)


@pytest.mark.slow
def test_neumann_says_when_its_scale_is_too_large() -> None:
    start = torch.ones(2, dtype=DOUBLE, requires_grad=True)

    def gradient(scale: float, iterations: int) -> Tensor:
        adjoint = Implicit("neumann", proximal=2.0, scale=scale, iterations=iterations)
        adapted = loop(adjoint, steps=40)(lambda p: p["w"].square().sum(), {"w": start})["w"]  # A = 4
        return torch.autograd.grad(adapted.sum(), start)[0]

    torch.testing.assert_close(gradient(0.49, 500), torch.full((2,), 0.5, dtype=DOUBLE))
    with pytest.warns(RuntimeWarning, match="use a smaller scale"):
        gradient(0.51, 30)
    with pytest.raises(InnerLoopDiverged, match="no finite solution .* use a smaller scale"):
        gradient(3.0, 2000)
    # Exactly the series: scale · Σ (1 − scale · A)ᵏ for k = 0, 1, 2, times the pull.
    series = 0.1 * (1 + 0.6 + 0.36) * 2
    torch.testing.assert_close(gradient(0.1, 2), torch.full((2,), series, dtype=DOUBLE))


@pytest.mark.parametrize(
    ("solver", "expected"), [("cg", 2 / (4 + 1)), ("neumann", 2 / (4 + 1)), ("normal-cg", 2 * 4 / (16 + 1))]
)
def test_ridge_is_added_where_the_docstring_says(solver: str, expected: float) -> None:
    start = torch.ones(2, dtype=DOUBLE, requires_grad=True)
    adjoint = Implicit(solver, proximal=2.0, ridge=1.0, scale=0.2)  # type: ignore[arg-type]
    adapted = loop(adjoint)(lambda p: p["w"].square().sum(), {"w": start})["w"]  # A = 4
    torch.testing.assert_close(torch.autograd.grad(adapted.sum(), start)[0], torch.full((2,), expected, dtype=DOUBLE))


def test_a_loop_that_stops_short_is_said() -> None:
    start = torch.ones(2, requires_grad=True)

    def run(steps: int, lr: float = 0.1, **options: float) -> None:
        loop(Implicit(proximal=1.0, **options), lr, steps)(lambda p: p["w"].square().sum(), {"w": start})  # type: ignore[arg-type]

    with pytest.warns(RuntimeWarning, match="stopped short of a minimum"):
        run(2)
    with pytest.warns(RuntimeWarning, match="stopped short of a minimum"):
        run(10, lr=0.7)  # overshoots
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(60)
        run(2, warn_above=float("inf"))
        run(2, warn_above=0.6)  # (1 − 0.3)² = 0.49 of the gradient is left
    with pytest.warns(RuntimeWarning, match="stopped short"):
        run(2, warn_above=0.4)


def test_a_loop_that_starts_at_its_minimum_is_not_warned_about() -> None:
    x, y = draw(20, 4).float(), draw(20, seed=1).float()

    def loss(p: dict[str, Tensor], x: Tensor) -> Tensor:
        return (x @ p["w"] - y).square().mean()

    best = torch.linalg.lstsq(x, y).solution
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop(Implicit(), steps=5)(loss, {"w": best}, x.clone().requires_grad_())


def test_hidden_tensors_are_refused_with_what_to_do() -> None:
    w, hidden, module = draw(3).requires_grad_(), draw(3, seed=1).requires_grad_(), nn.Linear(3, 1).double()
    adjoint = Implicit(proximal=1.0)
    losses = {
        "a leaf": lambda p: (p["w"] - hidden).square().sum(),
        "what was computed from one": lambda p: (p["w"] - derived).square().sum(),
        "a module's own parameters": lambda p: module(p["w"]).square().sum(),
        "the start, past the dictionary": lambda p: (p["w"] * w).sum() + p["w"].square().sum(),
    }
    derived = hidden.exp() * 2
    for name, loss in losses.items():
        with pytest.raises(InputError, match=r"pass the tensor as a given argument"):
            loop(adjoint)(loss, {"w": w})
        with torch.no_grad():  # nothing is lost where nothing is differentiated
            assert loop(adjoint, steps=2)(loss, {"w": w})["w"].isfinite().all(), name
    # The same tensors pass when they are given, or do not ask for a gradient.
    loop(adjoint)(lambda p, t: (p["w"] - t).square().sum(), {"w": w}, derived)
    loop(adjoint)(lambda p: (p["w"] - hidden.detach()).square().sum(), {"w": w})
    loop(adjoint)(lambda p: module.requires_grad_(False)(p["w"]).square().sum(), {"w": w})


def test_what_would_get_no_gradient_is_refused() -> None:
    w = draw(2).requires_grad_()
    with pytest.raises(InputError, match="set proximal > 0, or give the loop a tensor that requires a gradient"):
        loop(Implicit())(lambda p, t: (p["w"] - t).square().sum(), {"w": w}, draw(2))
    with pytest.raises(InputError, match="no parameter and no given tensor requires a gradient"):
        loop(Implicit(proximal=1.0))(lambda p: p["w"].square().sum(), {"w": w.detach()})
    target = draw(2, seed=1).requires_grad_()
    adapted = loop(Implicit())(lambda p, t: (p["w"] - t).square().sum(), {"w": w}, target)["w"]
    at_start, at_target = torch.autograd.grad(adapted.sum(), [w, target], allow_unused=True)
    assert at_start is None
    torch.testing.assert_close(at_target, torch.ones(2, dtype=DOUBLE))


def test_learned_rates_are_refused_and_constant_ones_work() -> None:
    w, factor = draw(2).requires_grad_(), torch.full((2,), 0.5, dtype=DOUBLE, requires_grad=True)
    inner = loop(Implicit(proximal=1.0))

    def loss(p: dict[str, Tensor]) -> Tensor:
        return p["w"].square().sum()

    with pytest.raises(InputError, match="learned rates would get no gradient"):
        inner(loss, {"w": w}, rates=lambda k: {"w": factor})
    with pytest.raises(InputError, match="learned rates would get no gradient"):
        inner(loss, {"w": w}, rates=lambda k: {"w": factor if k == 7 else factor.detach()})
    adapted = inner(loss, {"w": w}, rates=lambda k: {"w": factor.detach()})["w"]
    torch.testing.assert_close(torch.autograd.grad(adapted.sum(), w)[0], torch.full((2,), 1 / 3, dtype=DOUBLE))


def test_vmap_a_diverging_loop_and_bad_losses_are_refused() -> None:
    inner = loop(Implicit(proximal=1.0))

    def one(w: Tensor) -> Tensor:
        return inner(lambda p: p["w"].square().sum(), {"w": w})["w"]

    with pytest.raises(InputError, match="Implicit does not work under vmap"):
        torch.func.vmap(one)(draw(2, 3).requires_grad_())
    w = draw(2).requires_grad_()
    with pytest.raises(InnerLoopDiverged, match="NaN or infinite at step"):
        loop(Implicit(proximal=1.0), lr=50.0)(lambda p: p["w"].pow(4).sum(), {"w": w})
    # The pull makes F a scalar that depends on the parameters whatever the loss is; the loss itself is looked at.
    with pytest.raises(InputError, match="does not depend on"):
        inner(lambda p: torch.ones((), requires_grad=True) * 2, {"w": w})
    with pytest.raises(InputError, match="must be a scalar"):
        inner(lambda p: p["w"], {"w": w})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "gc"}, "unknown solver 'gc'; did you mean 'cg'"),
        ({"proximal": -1.0}, "proximal must be ≥ 0"),
        ({"ridge": float("nan")}, "ridge must be ≥ 0"),
        ({"tolerance": -1e-3}, "tolerance must be ≥ 0"),
        ({"iterations": 0}, "iterations must be ≥ 1"),
        ({"scale": 0.0}, "scale > 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Implicit(**options)


def test_the_optimizers_own_derivative_is_not_asked_for() -> None:
    """torchopt's clipping has a wrong derivative, which a minimum does not depend on."""
    clipped = torchopt.chain(torchopt.clip_grad_norm(0.5), torchopt.sgd(0.1))
    with pytest.raises(InputError, match="derivative of this optimizer"):
        InnerLoop(clipped, 200, Unroll())
    start = draw(2).requires_grad_()
    adapted = InnerLoop(clipped, 200, Implicit(proximal=2.0))(lambda p: p["w"].square().sum(), {"w": start})["w"]
    torch.testing.assert_close(torch.autograd.grad(adapted.sum(), start)[0], torch.full((2,), 0.5, dtype=DOUBLE))


def test_free_keeps_names_and_order() -> None:
    a, b = torch.ones(1, requires_grad=True), torch.ones(2, requires_grad=True)
    free = Free(({"z": a, "b": torch.zeros(1)}, b, None))
    assert [id(t) for t in free.tensors] == [id(a), id(b)]
    params, second, nothing = free.filled((a * 3, b * 4))
    assert list(params) == ["z", "b"]
    assert (params["z"].item(), second.tolist(), nothing) == (3.0, [4.0, 4.0], None)
