"""Conv-4, the small network of few-shot learning."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function

from metatc2.errors import InputError
from metatc2.models.normalize import Normalize
from metatc2.models.registry import register_encoder
from metatc2.ops import conv_norm_pool, in_transform
from metatc2.ops.synchronized_norm import only_synchronized

CONV4_SMALLEST = 16  # pixels: four poolings leave one


class Conv4(nn.Module):
    """The field's Conv-4 (Vinyals et al. 2016, Snell et al. 2017) with global average pooling at its end.

    Four blocks of 3×3 convolution, batch normalization, ReLU and 2×2 max-pooling.

    Args:
        channels: 1 or 3.
        width: channels of every block, and the width of the features.

    Raises:
        InputError: when images are smaller than 16 pixels.

    >>> Conv4(channels=1, width=32)(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 32])
    """

    def __init__(self, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        self.dim = width
        self.normalize = Normalize()
        self.blocks = nn.Sequential(*(_conv4_block(channels if i == 0 else width, width) for i in range(4)))

    def stages(self) -> dict[str, nn.Module]:
        """See `metatc2.models.stages.consecutive_stages`: the blocks, normalization and average in the outer two."""
        first, *inner, last = self.blocks
        chain = [
            nn.Sequential(self.normalize, first),
            *inner,
            nn.Sequential(last, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        ]
        return {f"blocks.{i}": stage for i, stage in enumerate(chain)}

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, dim)``."""
        _check_conv4_size(min(images.shape[-2:]))
        x = self.normalize(images)
        first, *others = self.blocks
        x = _first_block(first, x) if _as_built(first) and _unobserved(first, x) else first(x)
        for block in others:
            x = block(x)
        return torch.flatten(x.mean((-2, -1)), 1)


def _conv4_block(channels: int, width: int) -> nn.Sequential:
    # Pooling before ReLU is the same function with the same gradient as after it, at a quarter of the work.
    # No bias: the batch normalization would subtract it again, and its gradient would be exactly zero.
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.MaxPool2d(2), nn.ReLU()
    )


def _as_built(block: Any) -> bool:
    """Whether a block computes what `conv_norm_pool` does: a user may exchange a part of it, or change its settings."""
    parts: list[Any] = list(block) if isinstance(block, nn.Sequential) else []
    if [type(part) for part in parts] != [nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ReLU]:
        return False
    convolution, norm, pool, _ = parts
    padded = (convolution.kernel_size, convolution.padding, convolution.padding_mode) == ((3, 3), (1, 1), "zeros")
    dense = (convolution.stride, convolution.dilation, convolution.groups) == ((1, 1), (1, 1), 1)
    usual = norm.affine and norm.track_running_stats and norm.momentum is not None
    halved = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode) == (2, 2, 0, 1, False)
    return padded and dense and convolution.bias is None and usual and halved and not pool.return_indices


def _unobserved(block: Any, images: Tensor) -> bool:
    """Whether only what `block` returns matters, with its normalization in training, on a CPU in full precision.

    Otherwise its operations are looked into, replaced, or differentiated for the input.
    """
    return (
        block[1].training  # its own mode: a layer in eval mode is frozen, whatever is around it
        and images.device.type == "cpu"
        and images.dtype == next(block.parameters()).dtype
        and not torch.is_autocast_enabled("cpu")
        and images.shape[-1] % 2 == images.shape[-2] % 2 == 0
        and not (images.requires_grad and torch.is_grad_enabled())
        and not any(_altered(part) for part in block.modules())
        and not in_transform()
        # Policies of batch normalization, and whoever else replaces torch's functions, are to see them all.
        and (not has_torch_function((images,)) or only_synchronized(images))
        and not torch.compiler.is_compiling()
    )


def _altered(part: nn.Module) -> bool:
    """Whether hooks are attached to a module, or its forward was replaced.

    PyTorch has no public question for hooks; its own `nn.TransformerEncoderLayer` looks at the same dictionaries.
    """
    hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
    return any(hooks) or "forward" in part.__dict__


def _first_block(block: Any, images: Tensor) -> Tensor:
    """What `block` returns, running statistics included, without its large maps."""
    convolution, norm, _, activation = block
    out, mean, variance = conv_norm_pool(images, convolution.weight, norm.weight, norm.bias, norm.eps)
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance, norm.momentum)
        norm.num_batches_tracked.add_(1)
    result: Tensor = activation(out)
    return result


def _check_conv4_size(image_size: int) -> None:
    if image_size < CONV4_SMALLEST:
        raise InputError(
            f"conv4 needs images of at least {CONV4_SMALLEST} pixels, found {image_size}; set data.image_size"
        )


@register_encoder("conv4")
def build(*, channels: int, image_size: int, width: int | None = None) -> Conv4:
    """See `build_encoder`."""
    _check_conv4_size(image_size)
    return Conv4(channels, width or 64)
