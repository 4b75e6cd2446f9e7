"""The first block in one go against torch's three operations."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metatc2.errors import InputError
from metatc2.ops import conv_norm_pool

# The module: in the package the name is its function's.
module = import_module("metatc2.ops.conv_norm_pool")


def inputs(channels: int, n: int = 5, side: tuple[int, int] = (8, 12), width: int = 6) -> list[Tensor]:
    g = torch.Generator().manual_seed(channels)
    shapes = [(n, channels, *side), (width, channels, 3, 3), (width,), (width,)]
    found = [torch.randn(shape, dtype=torch.float64, generator=g) for shape in shapes]
    found[2][::2] = -found[2][::2].abs()  # where it is negative, the largest after is the smallest before
    found[2][1::2] = found[2][1::2].abs()
    return [found[0] + 3, *(t.requires_grad_() for t in found[1:])]


def three(images: Tensor, kernel: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    maps = F.conv2d(images, kernel, padding=1)
    return F.max_pool2d(F.batch_norm(maps, None, None, weight, bias, True, 0.0, eps), 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_torch_in_value_and_both_derivatives(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 50)  # 120 rows: two whole parts and the rest
    images, *params = inputs(channels)

    def both(y: Tensor) -> list[Tensor]:
        first = torch.autograd.grad((y**3).sum(), params, create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), params)
        return [y, *first, *second]

    for a, b in zip(both(conv_norm_pool(images, *params)[0]), both(three(images, *params)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_statistics_are_those_of_the_convolution() -> None:
    images, kernel, weight, bias = inputs(3)
    _, mean, variance = conv_norm_pool(images, kernel, weight, bias)
    maps = F.conv2d(images, kernel, padding=1)
    torch.testing.assert_close(mean, maps.mean((0, 2, 3)))
    torch.testing.assert_close(variance, maps.var((0, 2, 3)))


def test_of_equal_values_the_same_one_gets_the_gradient_as_in_torch() -> None:
    # Small whole numbers: values are equal within most windows, and exactly so in both.
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 2, (4, 1, 8, 8), generator=g).double()
    kernel = torch.randint(-1, 2, (6, 1, 3, 3), generator=g).double()
    parts = F.unfold(images, 4, stride=2, padding=1).transpose(1, 2).flatten(0, 1)
    placed = module._placed(kernel).requires_grad_()
    out = module._WindowMax.apply(parts, placed)
    maps = F.conv2d(images, kernel, padding=1).requires_grad_()
    pooled = F.max_pool2d(maps, 2)
    two_largest = F.unfold(maps.detach().flatten(0, 1)[:, None], 2, stride=2).topk(2, 1).values
    assert (two_largest[:, 0] == two_largest[:, 1]).float().mean() > 0.3
    torch.testing.assert_close(out.view(4, 4, 4, 6).permute(0, 3, 1, 2), pooled)
    direction = torch.randn(pooled.shape, dtype=torch.float64, generator=g)
    (ours,) = torch.autograd.grad((out.view(4, 4, 4, 6).permute(0, 3, 1, 2) * direction).sum(), placed)
    (to_maps,) = torch.autograd.grad((pooled * direction).sum(), maps)
    for place, (down, right) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        own = to_maps[:, :, down::2, right::2].permute(0, 2, 3, 1).flatten(0, 2)
        torch.testing.assert_close(ours[place], parts.T @ own)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ((2, 1, 7, 8), r"even sides and a kernel \(D, C, 3, 3\), got"),
        ((2, 1, 8, 7), r"even sides and a kernel \(D, C, 3, 3\), got"),
        ((2, 8, 8), r"even sides and a kernel \(D, C, 3, 3\), got"),
        ((2, 3, 8, 8), "images have 3 channels and the encoder takes 1; make it with channels=3"),
    ],
)
def test_bad_input_is_an_error(images: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        conv_norm_pool(torch.zeros(images), torch.zeros(4, 1, 3, 3), torch.ones(4), torch.zeros(4))
