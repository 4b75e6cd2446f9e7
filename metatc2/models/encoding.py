"""A user's encoder: what can be asked of it, in its own precision, and what may come out."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from metatc2.errors import InputError
from metatc2.ops import channels_last
from metatc2.ops.module_state import copied, unchanged
from metatc2.ops.replacing import refuse_uninitialized

# Parts of an output of Hugging Face's networks, which `metatc2.models.ForeignEncoder` takes features from.
_OF_HUGGING_FACE = {"last_hidden_state", "pooler_output", "image_embeds"}


class ForwardFailed(InputError, RuntimeError):
    """The encoder itself raised an error; that one is the cause."""


def check_encoder(encoder: Any, name: str) -> None:
    """Nothing, if `encoder` is a module whose weights are there.

    Raises:
        InputError: if not: another type, lazy layers that have seen no image, weights on the meta device.
    """
    if not isinstance(encoder, nn.Module):
        raise InputError(f"{name} must be an nn.Module, got {type(encoder).__name__}")
    for tensor_name, tensor in chain(encoder.named_parameters(), encoder.named_buffers()):
        if is_lazy(tensor):
            raise InputError(
                f"{name} has a lazy layer without weights ({tensor_name}); pass it one batch of images, and train it or load "
                "its weights, before it is measured"
            )
        if tensor.is_meta:
            raise InputError(f"{name} lies on the meta device ({tensor_name}), without weights; load them first")


def own_copy(module: nn.Module, name: str) -> nn.Module:
    """A deep copy of a module without its `DataParallel` wrapping, each part in the mode that it is in.

    Raises:
        InputError: if a part cannot be copied.
    """
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        module = module.module
    try:
        made: nn.Module = copied(module)
        return made
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise InputError(f"{name} cannot be copied, which fine-tuning needs: {_first_line(error)}") from error


def place_of(encoder: nn.Module, device: torch.device | str | None, fallback: torch.device) -> torch.device:
    """Where to run: `device`, else where the encoder's first tensor lies, else `fallback`."""
    first = next(chain(encoder.parameters(), encoder.buffers()), None)
    return torch.device(device) if device is not None else first.device if first is not None else fallback


def precision_of(module: nn.Module) -> torch.dtype:
    """That of its first floating-point tensor; single where it has none.

    >>> precision_of(nn.Linear(2, 2).bfloat16())
    torch.bfloat16
    """
    tensors = chain(module.parameters(), module.buffers())
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)


def encode(encoder: nn.Module, images: Tensor, name: str) -> Tensor:
    """Features in single precision of images, which the encoder gets in the precision of its own weights.

    Args:
        encoder: see `check_encoder`.
        images: float ``(n, C, H, W)`` in [0, 1], on the encoder's device.
        name: what errors call it.

    Returns:
        float32 ``(n, D)`` on the images' device.

    Raises:
        InputError: if it returns something else, or an error comes out of it.

    >>> encode(nn.Sequential(nn.Flatten(), nn.Linear(4, 2).double()), torch.ones(3, 1, 2, 2), "the encoder").dtype
    torch.float32
    """
    # Convolutions and poolings run about twice as fast on a CPU in this layout.
    inputs = channels_last(images.to(precision_of(encoder)))
    try:
        out = encoder(inputs)
    except (InputError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, NotImplementedError) as error:
        last = inputs.shape[1] not in (1, 3) and inputs.shape[-1] in (1, 3)
        raise ForwardFailed(
            f"{name} cannot take images {tuple(inputs.shape)}, {inputs.dtype} on {inputs.device}: {_first_line(error)}"
            + ("; their channels seem to be the last axis; images.permute(0, 3, 1, 2)" if last else "")
        ) from error
    return rows_from(out, len(images), name).float()


def rows_from(out: Any, count: int, name: str) -> Tensor:
    """`out`, if it is floating point ``(count, D)``.

    Raises:
        InputError: if not, with what came and how to make rows of it.

    >>> rows_from((torch.ones(2, 3), torch.ones(2, 5)), 2, "the encoder")
    Traceback (most recent call last):
    metatc2.errors.InputError: the encoder must map (2, C, H, W) to a tensor (2, D), got a tuple of 2: (2, 3), (2, 5); wrap it
    in a module whose forward returns the one tensor that is meant
    """
    if isinstance(out, Tensor) and not is_dense(out):
        raise InputError(f"{name} must return a dense tensor, got {layout_of(out)}; call to_dense() in its forward")
    if isinstance(out, Tensor) and out.ndim == 2 and len(out) == count and out.shape[1]:
        if out.is_floating_point():
            return out
        raise InputError(f"{name} must return floating point features, got {out.dtype}; convert them in its forward")
    if isinstance(out, Tensor):
        fix = "end it with a pooling or nn.Flatten()" if out.ndim != 2 else "return one row of features an image"
        fix = "return one row of features an image" if out.ndim == 0 or len(out) != count else fix
    elif any(hasattr(out, name) for name in _OF_HUGGING_FACE) or (
        isinstance(out, Mapping) and set(out) & _OF_HUGGING_FACE
    ):
        fix = (
            "wrap it: metatc2.models.ForeignEncoder(network, mean, std), with the mean and std that it was trained with"
        )
    elif isinstance(out, Mapping | tuple | list):
        fix = "wrap it in a module whose forward returns the one tensor that is meant"
    else:
        fix = "return a tensor"
    raise InputError(f"{name} must map ({count}, C, H, W) to a tensor ({count}, D), got {described(out)}; {fix}")


def is_dense(tensor: Tensor) -> bool:
    """Whether a tensor has an element for each index, in memory of its own.

    >>> is_dense(torch.eye(2)), is_dense(torch.eye(2).to_sparse())
    (True, False)
    """
    return tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_quantized


def layout_of(tensor: Tensor) -> str:
    """How a tensor is stored, for an error."""
    return "a nested tensor" if tensor.is_nested else f"{tensor.dtype} {tensor.layout}"


def described(out: Any) -> str:
    """A value in a few words, for an error.

    >>> described({"pooled": torch.ones(2, 3), "loss": None})
    'a dict of pooled: (2, 3), loss: NoneType'
    """
    if isinstance(out, Tensor):
        return str(tuple(out.shape))
    if isinstance(out, Mapping):
        inside = ", ".join(f"{key}: {_short(value)}" for key, value in list(out.items())[:6])
        return f"a {type(out).__name__} of {inside or 'nothing'}"
    if isinstance(out, tuple | list):
        return f"a {type(out).__name__} of {len(out)}: {', '.join(map(_short, out[:6]))}"
    return type(out).__name__


def _short(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@torch.no_grad()
def feature_dim(module: nn.Module, channels: int, image_size: int) -> int:
    """Width of the features of any encoder: its attribute `dim`, or what comes out for two black images.

    The module is left as it was: its mode, its buffers, its gradients.

    Args:
        module: maps ``(N, C, H, W)`` to ``(N, D)``.
        channels: 1 or 3.
        image_size: side of the images in pixels.

    Raises:
        InputError: if what comes out is not ``(N, D)``.

    >>> feature_dim(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), channels=1, image_size=28)
    10
    """
    dim = getattr(module, "dim", None)
    if isinstance(dim, int):
        return dim
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    images = torch.zeros(2, channels, image_size, image_size, device=like.device, dtype=like.dtype)
    refuse_uninitialized(module, "an encoder")
    with unchanged(module):  # one may write to its buffers even in eval mode
        features = module.eval()(images)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise InputError(
            f"an encoder must map images (N, C, H, W) to features (N, D); {type(module).__name__} gave {got} for "
            f"N = 2; pool and flatten its output"
        )
    return int(features.shape[1])
