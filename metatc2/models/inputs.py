"""Where features, labels and images enter a protocol: NumPy arrays become tensors, features a precision to compute in."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from metatc2.data.streaming import Images, StreamedImages
from metatc2.errors import InputError
from metatc2.models.encoding import is_dense, layout_of
from metatc2.ops.rows import for_computing


def feature_sides(sides: dict[str, Any]) -> list[Tensor]:
    """Features as finite ``(n, D)`` tensors in one precision, see `for_computing`.

    Args:
        sides: by what errors call them; tensors or NumPy arrays ``(n, D)``, n and D at least 1, all of one width.

    Raises:
        InputError: if one is no such array, is complex, or holds NaN or infinity.

    >>> import numpy as np
    >>> [side.dtype for side in feature_sides({"bank": np.ones((2, 3), np.float16), "queries": torch.ones(1, 3)})]
    [torch.float32, torch.float32]
    """
    tensors = {name: _tensor(side, name, "float (N, D)") for name, side in sides.items()}
    for name, side in tensors.items():
        if side.ndim != 2 or not side.numel() or side.is_complex() or side.dtype == torch.bool:
            raise InputError(
                f"{name} must be real features (N, D), neither of them 0, got {side.dtype} {tuple(side.shape)}; "
                "flatten all axes but the first"
            )
        finite(side, name)
    try:
        return for_computing(*tensors.values())
    except InputError as error:
        raise InputError(f"{', '.join(tensors)}: {error}") from error


def labels_of(labels: Any, name: str, count: int | None = None) -> Tensor:
    """Labels as int64 ``(n,)``.

    Args:
        labels: whole numbers, a tensor or a NumPy array.
        name: what errors call them.
        count: how many there must be.

    Raises:
        InputError: if the shape is another, or they are no whole numbers.

    >>> labels_of(torch.tensor([0, 2], dtype=torch.uint8), "labels").dtype
    torch.int64
    """
    tensor = _tensor(labels, name, "int64 (N,)")
    if tensor.ndim != 1 or (count is not None and len(tensor) != count):
        many = "" if count is None else f" with one label a row of the features (N, D), {count} of them"
        raise InputError(f"{name} must be int64 (N,){many}, got {tensor.dtype} {tuple(tensor.shape)}")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise InputError(
            f"{name} must be whole numbers, one a class, got {tensor.dtype}; number the classes (torch.unique with "
            "return_inverse=True); targets of a regression are no classes, and no protocol here measures them"
        )
    return tensor.long()


def images_of(images: Any, name: str) -> Images:
    """Images as uint8 ``(N, C, H, W)``.

    Args:
        images: a tensor or images on disk, ``(N, C, H, W)``; or a NumPy array, which may also be ``(N, H, W)`` or, with 1 or
            3 channels at the end, ``(N, H, W, C)``.
        name: what errors call them.

    Raises:
        InputError: if they are no such images: of another type, in [0, 1] or standardized.

    >>> import numpy as np
    >>> images_of(np.zeros((2, 8, 8, 3), np.uint8), "images").shape
    torch.Size([2, 3, 8, 8])
    """
    if isinstance(images, StreamedImages):
        tensor: Images = images
    else:
        tensor = _tensor(images, name, "uint8 (N, C, H, W)")
        if isinstance(images, np.ndarray):
            tensor = tensor.unsqueeze(1) if tensor.ndim == 3 else tensor
            if tensor.ndim == 4 and tensor.shape[1] not in (1, 3) and tensor.shape[3] in (1, 3):
                tensor = tensor.permute(0, 3, 1, 2)
    if tensor.dtype != torch.uint8 or tensor.ndim != 4 or 0 in tensor.shape:
        raise InputError(
            f"{name} must be uint8 (N, C, H, W), none of them 0, got {tensor.dtype} {tuple(tensor.shape)}{_fix(tensor)}"
        )
    return tensor


def _fix(images: Images) -> str:
    if images.ndim == 3:
        return "; one image or gray images need their other axis: images.unsqueeze(0) or images.unsqueeze(1)"
    if images.dtype != torch.uint8 and isinstance(images, Tensor) and images.numel():
        low, high = float(images.min()), float(images.max())
        if low >= 0 and high <= 1:
            return " in [0, 1]; convert them: (255 * images).round().to(torch.uint8)"
        if low >= 0 and high <= 255:
            return f" in [{low:g}, {high:g}]; convert them: images.round().to(torch.uint8)"
        return f" in [{low:g}, {high:g}]; give the pixels as they were before any standardization, 0 to 255"
    return ""


def finite(features: Tensor, name: str) -> Tensor:
    """`features` as they are, if every value is finite.

    Raises:
        InputError: if one is NaN or infinite: a nearest neighbor of NaN would silently be some class.
    """
    bad = ~features.isfinite().all(1)
    if bad.any():
        raise InputError(
            f"{name}: {int(bad.sum())} of {len(features)} images have features that are NaN or infinite "
            f"(first at row {int(bad.nonzero()[0])}); its weights are probably not finite, load an earlier checkpoint"
            + ("; or it overflows in half precision, so give it in float32" if features.dtype == torch.float16 else "")
        )
    return features


def _tensor(value: Any, name: str, wanted: str) -> Tensor:
    if isinstance(value, Tensor):
        if not is_dense(value):
            raise InputError(
                f"{name} must be a dense tensor, {wanted}, got {layout_of(value)}; convert it with to_dense()"
            )
        # What was computed in inference mode cannot take part in every computation; a copy can.
        return value.detach().clone() if value.is_inference() else value.detach()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        try:
            return torch.from_numpy(np.ascontiguousarray(value))
        except TypeError as error:
            raise InputError(f"{name} must be {wanted}, got {value.dtype} {value.shape}; {error}") from error
    got = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    raise InputError(f"{name} must be a tensor or a NumPy array, {wanted}, got {got}")
