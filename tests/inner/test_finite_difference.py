"""`FiniteDifference` against the exact adjoint, for the start and for what is given, and its limits."""

from __future__ import annotations

import pytest
import torch
import torchopt
from torch import Tensor

from metatc2.errors import InputError
from metatc2.inner import FiniteDifference, InnerLoop, Params, Unroll, inner_optimizer


def loss(p: Params, x: Tensor) -> Tensor:
    return ((x @ p["w"]).tanh() + p["b"]).square().mean()


def inputs() -> tuple[Params, Tensor]:
    g = torch.Generator().manual_seed(0)
    w, b, x = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in ((3, 2), (2,), (5, 3)))
    return {"w": w.requires_grad_(), "b": b.requires_grad_()}, x.requires_grad_()


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_agrees_with_the_exact_gradient(optimizer: str) -> None:
    gradients = []
    for adjoint in (Unroll(), FiniteDifference()):
        params, x = inputs()
        adapted = InnerLoop(inner_optimizer(optimizer, 0.1), 3, adjoint)(loss, params, x)
        outer = adapted["w"].sin().sum() + adapted["b"].square().sum()
        gradients.append(torch.autograd.grad(outer, [*params.values(), x]))
    for exact, ours in zip(*gradients, strict=True):
        assert torch.allclose(exact, ours, rtol=1e-6, atol=1e-8)


def test_random_numbers_of_the_loss_are_drawn_once() -> None:
    gradients = []
    for adjoint in (Unroll(), FiniteDifference()):
        params, x = inputs()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            adapted = InnerLoop(inner_optimizer("sgd", 0.1), 2, adjoint)(
                lambda p, x: loss(p, torch.nn.functional.dropout(x, 0.5)), params, x
            )
            torch.manual_seed(1)  # wherever the backward pass finds the generator
            gradients.append(torch.autograd.grad(adapted["w"].sin().sum(), [params["w"], x]))
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-8)


def test_without_a_graph_it_is_the_plain_loop() -> None:
    params, x = inputs()
    with torch.no_grad():
        one, two = (InnerLoop(torchopt.sgd(0.1), 2, a)(loss, params, x) for a in (Unroll(), FiniteDifference()))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not any(p.requires_grad for p in two.values())


def test_a_second_derivative_of_the_result_is_an_error() -> None:
    params, x = inputs()
    adapted = InnerLoop(torchopt.sgd(0.1), 1, FiniteDifference())(loss, params, x)
    (once,) = torch.autograd.grad(adapted["w"].square().sum(), x, create_graph=True)
    with pytest.raises(InputError, match="cannot be differentiated again"):
        torch.autograd.grad(once.sum(), params["w"])
