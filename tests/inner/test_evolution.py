"""`EvolutionStrategies`: the equation of Salimans et al. restated, its error, its randomness, what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchopt
from scipy.optimize import brentq
from torch import Tensor

from metatc2.errors import InputError
from metatc2.inner import InnerLoop, InnerLoopDiverged, Unroll
from metatc2.inner.adjoints.evolution import EvolutionStrategies

DOUBLE = torch.float64
TARGET = torch.tensor([1.0, -2.0, 0.5], dtype=DOUBLE)


def strategies(samples: int = 64, sigma: float = 0.05, seed: int = 0) -> EvolutionStrategies:
    return EvolutionStrategies(samples, sigma, torch.Generator().manual_seed(seed))


def quartic(p: dict[str, Tensor], scale: Tensor) -> Tensor:
    return ((p["w"] - TARGET).square() * scale).sum() + 0.1 * p["w"].pow(4).sum()


def leaves() -> tuple[Tensor, Tensor]:
    start = torch.tensor([0.2, -0.4, 0.9], dtype=DOUBLE, requires_grad=True)
    return start, torch.tensor(0.7, dtype=DOUBLE, requires_grad=True)


V = torch.tensor([0.5, -1.0, 2.0], dtype=DOUBLE)


def test_one_pair_is_the_equation_of_the_paper() -> None:
    """(⟨v, U(θ + σε)⟩ − ⟨v, U(θ − σε)⟩) / 2σ · ε with the one ε that solves it: the estimate is a multiple of ε."""
    start, scale = leaves()
    sigma = 0.3  # wide, so that the loop is far from linear
    loop = InnerLoop(torchopt.sgd(0.1), 3, strategies(1, sigma))
    estimate = torch.cat(
        [g.flatten() for g in torch.autograd.grad(loop(quartic, {"w": start}, scale)["w"], [start, scale], V)]
    )

    def value(theta: Tensor) -> float:
        with torch.no_grad():
            return float(InnerLoop(torchopt.sgd(0.1), 3)(quartic, {"w": theta[:3]}, theta[3])["w"] @ V)

    theta = torch.cat([start.detach(), scale.detach()[None]])
    # |ε| is not known, so it is found by the sign of the equation's residual along the estimate's direction.
    direction = estimate / estimate.norm()

    def residual(length: float) -> float:
        difference = (value(theta + sigma * length * direction) - value(theta - sigma * length * direction)) / (
            2 * sigma
        )
        return float(difference * length - estimate.norm())

    length = brentq(residual, 1e-3, 6.0, xtol=1e-12)
    # The draw is from a standard normal distribution in four dimensions: its length is near 2.
    assert 0.5 < length < 4.0
    assert abs(residual(length)) < 1e-9


@pytest.mark.slow
def test_error_shrinks_with_samples_and_is_as_large_as_the_docstring_says(seed_offset: int) -> None:
    start, scale = leaves()
    exact = torch.cat([g.flatten() for g in _gradient(InnerLoop(torchopt.sgd(0.1), 3, Unroll()), start, scale)])
    for samples in (4, 24):
        squares = []
        for seed in range(seed_offset, seed_offset + 40):
            loop = InnerLoop(torchopt.sgd(0.1), 3, strategies(samples, 1e-3, seed))
            got = torch.cat([g.flatten() for g in _gradient(loop, start, scale)])
            squares.append(float((got - exact).square().sum() / exact.square().sum()))
        mean = sum(squares) / len(squares)
        assert mean == pytest.approx((4 + 1) / samples, rel=0.4)


@pytest.mark.slow
def test_many_samples_come_near_the_exact_gradient(seed_offset: int) -> None:
    start, scale = leaves()
    exact = _gradient(InnerLoop(torchopt.sgd(0.1), 2, Unroll()), start, scale)
    got = _gradient(InnerLoop(torchopt.sgd(0.1), 2, strategies(1500, 1e-3, seed_offset)), start, scale)
    size = torch.cat([g.flatten() for g in exact]).norm()
    for a, b in zip(got, exact, strict=True):
        assert float((a - b).abs().max()) < 0.15 * float(size)  # four standard errors are at most 0.146


def _gradient(loop: InnerLoop, start: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loop(quartic, {"w": start}, scale)["w"], [start, scale], V)


def test_randomness_comes_from_the_generator_and_is_drawn_anew_for_each_loop() -> None:
    start, scale = leaves()

    def two(seed: int) -> list[tuple[Tensor, ...]]:
        loop = InnerLoop(torchopt.sgd(0.1), 2, strategies(3, seed=seed))
        return [_gradient(loop, start, scale) for _ in range(2)]

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = two(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first[0], second[0])
    torch.testing.assert_close(two(1), [first, second], rtol=0, atol=0)
    assert not torch.equal(two(2)[0][0], first[0])

    loop = InnerLoop(torchopt.sgd(0.1), 2, EvolutionStrategies(3))
    torch.manual_seed(7)
    one = _gradient(loop, start, scale)
    torch.manual_seed(7)
    torch.testing.assert_close(_gradient(loop, start, scale), one, rtol=0, atol=0)


def test_two_backward_passes_agree_and_there_is_no_second_derivative() -> None:
    start, scale = leaves()
    adapted = InnerLoop(torchopt.sgd(0.1), 2, strategies(3))(quartic, {"w": start}, scale)["w"]
    one = torch.autograd.grad(adapted, start, V, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(adapted, start, V, retain_graph=True)[0], one, rtol=0, atol=0)
    gradient = torch.autograd.grad(adapted.square().sum(), start, create_graph=True)[0]
    with pytest.raises(InputError, match="cannot be differentiated again"):
        torch.autograd.grad(gradient.sum(), start)


@pytest.mark.slow
def test_an_optimizer_and_a_loss_without_a_useful_derivative(seed_offset: int) -> None:
    """Updates that are signs of the gradient: unrolled, the derivative is the identity; smoothed, the steps pull together."""

    def update(updates: Any, state: Any, *, params: Any = None, inplace: bool = False) -> tuple[Any, Any]:
        return {n: -0.5 * g.sign() for n, g in updates.items()}, state

    signs = torchopt.base.GradientTransformation(lambda params: torchopt.base.EmptyState(), update)
    start = torch.tensor([0.0], dtype=DOUBLE, requires_grad=True)
    adapted = InnerLoop(signs, 1, strategies(4000, 0.3, seed_offset))(
        lambda p: p["w"].square().sum() / 2, {"w": start}
    )["w"]
    gradient = torch.autograd.grad(adapted, start)[0].item()
    # d/dθ E[θ + σε − sign(θ + σε) / 2] at 0 is 1 − φ(0) / σ.
    assert gradient == pytest.approx(1 - (1 / (2 * torch.pi)) ** 0.5 / 0.3, abs=0.05)


def test_single_precision_and_scalars_keep_their_type() -> None:
    start = torch.tensor(0.3, requires_grad=True)
    other = torch.ones(2, 2, dtype=DOUBLE, requires_grad=True)
    loop = InnerLoop(torchopt.sgd(0.1), 1, strategies(2))
    adapted = loop(lambda p, m: (p["w"] * m.float()).square().sum(), {"w": start}, {"m": other}["m"])["w"]
    gradients = torch.autograd.grad(adapted, [start, other])
    assert [(g.dtype, g.shape) for g in gradients] == [(torch.float32, start.shape), (DOUBLE, other.shape)]


def test_without_gradients_without_steps_and_with_nothing_that_asks() -> None:
    start, scale = leaves()
    exact = InnerLoop(torchopt.sgd(0.1), 2)(quartic, {"w": start}, scale)["w"]
    loop = InnerLoop(torchopt.sgd(0.1), 2, strategies())
    with torch.no_grad():
        adapted = loop(quartic, {"w": start}, scale)["w"]
    assert not adapted.requires_grad
    torch.testing.assert_close(adapted, exact.detach())
    plain = loop(quartic, {"w": start.detach()}, scale.detach())["w"]
    assert not plain.requires_grad
    assert InnerLoop(torchopt.sgd(0.1), 0, strategies())(quartic, {"w": start}, scale)["w"] is start


def test_what_would_lose_a_gradient_is_refused() -> None:
    start, scale = leaves()
    loop = InnerLoop(torchopt.sgd(0.1), 2, strategies())
    with pytest.raises(InputError, match=r"EvolutionStrategies: .* pass the tensor as a given argument"):
        loop(lambda p: quartic(p, scale), {"w": start})
    factor = torch.ones(3, dtype=DOUBLE, requires_grad=True)
    with pytest.raises(InputError, match="learned rates would get no gradient"):
        loop(quartic, {"w": start}, scale, rates=lambda k: {"w": factor})
    with pytest.raises(InputError, match="EvolutionStrategies does not work under vmap"):
        torch.func.vmap(lambda w: loop(quartic, {"w": w}, scale)["w"])(start.expand(2, 3))


def test_constant_rates_are_part_of_every_run() -> None:
    """The same runs, disturbed alike, by an optimizer that has the factors in its updates."""
    start, scale = leaves()
    factor = torch.tensor([0.0, 1.0, 2.0], dtype=DOUBLE)

    def update(updates: Any, state: Any, *, params: Any = None, inplace: bool = False) -> tuple[Any, Any]:
        return {n: -0.1 * factor * g for n, g in updates.items()}, state

    inside = torchopt.base.GradientTransformation(lambda params: torchopt.base.EmptyState(), update)
    by_rates = InnerLoop(torchopt.sgd(0.1), 2, strategies(4))(
        quartic, {"w": start}, scale, rates=lambda k: {"w": factor}
    )
    expected = InnerLoop(inside, 2, strategies(4))(quartic, {"w": start}, scale)["w"]
    torch.testing.assert_close(by_rates["w"], expected)
    found = [torch.autograd.grad(adapted, [start, scale], V) for adapted in (by_rates["w"], expected)]
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11)


def test_a_run_that_diverges_is_named() -> None:
    start, scale = leaves()
    with pytest.raises(InnerLoopDiverged, match="NaN or infinite at step"):
        InnerLoop(torchopt.sgd(50.0), 20, strategies())(quartic, {"w": start}, scale)
    # The undisturbed run ends well, disturbed ones do not: the logarithm is of a negative number.
    adapted = InnerLoop(torchopt.sgd(0.01), 1, strategies(20, 5.0))(lambda p: -p["w"].log().sum(), {"w": start.abs()})[
        "w"
    ]
    with pytest.raises(InnerLoopDiverged, match="NaN or infinite"):
        adapted.sum().backward()


@pytest.mark.parametrize("options", [{"samples": 0}, {"sigma": 0.0}, {"sigma": float("nan")}])
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="samples must be ≥ 1 and sigma > 0"):
        EvolutionStrategies(**options)
