"""Our second derivative of batch normalization against torch's and against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metatc2.ops import batch_norm, channels_last

from ..covering import covered

SHAPES = [(3, 3, 2, 2), (6, 3), (3, 3, 4)]


def inputs(shape: tuple[int, ...], last: bool) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, generator=g) * 2 + 1
    x = channels_last(x) if last else x
    weight, bias = (torch.randn(3, dtype=torch.float64, generator=g) for _ in range(2))
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


@pytest.mark.parametrize(("shape", "last"), covered(SHAPES, (True, False), strength=1))
def test_derivatives_by_finite_differences(shape: tuple[int, ...], last: bool) -> None:
    x, weight, bias = inputs(shape, last)
    assert torch.autograd.gradcheck(batch_norm, (x, weight, bias))
    assert torch.autograd.gradgradcheck(batch_norm, (x, weight, bias))
    assert torch.autograd.gradgradcheck(lambda x: batch_norm(x, None, None), (x,))


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_torch_in_value_and_both_derivatives(shape: tuple[int, ...]) -> None:
    x, weight, bias = inputs(shape, last=False)

    def both(y: Tensor) -> list[Tensor]:
        first = torch.autograd.grad((y**3).sum(), (x, weight, bias), create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), (x, weight, bias))
        return [y, *first, *second]

    ours = both(batch_norm(x, weight, bias, 1e-5))
    theirs = both(F.batch_norm(x, None, None, weight, bias, True, 0.1, 1e-5))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_second_derivative_when_only_the_weight_is_asked_for() -> None:
    x, weight, bias = inputs((4, 3, 5, 5), last=False)
    x = x.detach()

    def value(norm: object) -> Tensor:
        y = norm(x, weight, bias)  # type: ignore[operator]
        (first,) = torch.autograd.grad((y**3).sum(), weight, create_graph=True)
        return torch.autograd.grad((first**2).sum(), weight)[0]

    torch.testing.assert_close(value(batch_norm), value(lambda x, w, b: F.batch_norm(x, None, None, w, b, True)))


def test_third_derivative_by_finite_differences() -> None:
    x, weight, bias = inputs((6, 3), last=False)

    def first(x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad((batch_norm(x, weight, bias) ** 3).sum(), (x, weight), create_graph=True))

    def second(x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
        total = sum((g**2).sum() for g in first(x, weight, bias))
        return list(torch.autograd.grad(total, (x, weight), create_graph=True))

    assert torch.autograd.gradcheck(second, (x, weight, bias))
    frozen = weight.detach()
    assert torch.autograd.gradcheck(
        lambda x: torch.autograd.grad(
            torch.autograd.grad((batch_norm(x, frozen, None) ** 3).sum(), x, create_graph=True)[0].square().sum(),
            x,
            create_graph=True,
        )[0],
        (x,),
    )


def test_gradient_of_a_gradient_counts_what_flows_through_it_once() -> None:
    # The gradient that comes in is a function of x here, and the derivative keeps a graph of its own: the norm of a gradient
    # inside an inner loop (UMM).
    def slope_of_slope(norm: Callable[[Tensor], Tensor], *, graph: bool) -> Tensor:
        x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
        (slope,) = torch.autograd.grad(norm(x).sin().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x, create_graph=graph)[0].detach()

    def torchs(x: Tensor) -> Tensor:
        return (x - x.mean(0)) * (x.var(0, correction=0) + 1e-5).rsqrt()

    wanted = slope_of_slope(torchs, graph=True)
    for graph in (False, True):
        assert torch.allclose(slope_of_slope(lambda x: batch_norm(x, None, None), graph=graph), wanted)


def test_mixed_precision_is_that_of_torch_and_has_every_derivative() -> None:
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight, bias = torch.ones(3), torch.zeros(3)
    assert torch.equal(batch_norm(x, weight, bias), F.batch_norm(x, None, None, weight, bias, True))

    def thrice(x: Tensor, weight: Tensor) -> list[Tensor]:
        found = [(batch_norm(x, weight, None).float() ** 3).sum()]
        for _ in range(3):
            found.append(torch.autograd.grad(found[-1], weight, create_graph=True)[0].square().sum())
        return found[1:]

    for half, full in zip(thrice(x, weight.requires_grad_()), thrice(x.float(), weight), strict=True):
        torch.testing.assert_close(half, full, rtol=0.02, atol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_layout_is_channels_last_even_for_one_channel(channels: int) -> None:
    images = torch.rand(2, channels, 6, 4, requires_grad=True)
    laid = channels_last(images)
    assert torch.equal(laid, images)
    assert laid.stride() == (24 * channels, 1, 4 * channels, channels)
    laid.sum().backward()
    assert torch.equal(images.grad, torch.ones_like(images))  # type: ignore[arg-type]
    weight = torch.randn(8, channels, 3, 3).contiguous(memory_format=torch.channels_last)
    assert F.conv2d(laid, weight).is_contiguous(memory_format=torch.channels_last)


def test_layout_leaves_other_shapes_alone() -> None:
    vectors = torch.rand(3, 5)
    assert channels_last(vectors) is vectors
