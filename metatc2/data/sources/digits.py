"""`digits`: scikit-learn's handwritten digits, 1 797 images of 8 × 8, enlarged."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import torch
from sklearn.datasets import load_digits as sklearn_digits
from torch import Tensor
from torch.nn.functional import interpolate

from metatc2.data.registry import register_source
from metatc2.data.store import ImageStore, meta_splits

SIZE = 28  # pixels, those of `glyphs`


@register_source("digits")
def load_digits(image_size: int | None = None) -> ImageStore:
    """Ten classes; four are meta-train, three meta-validation, three meta-test.

    Args:
        image_size: side in pixels, 28 by default.

    >>> load_digits().images.shape
    torch.Size([1797, 1, 28, 28])
    """
    labels = torch.from_numpy(_raw().target).clone()
    images = _enlarged(image_size or SIZE).clone()
    return ImageStore("digits", images, labels, splits=meta_splits(labels, 10, shares=(0.4, 0.3)))


@cache
def _raw() -> Any:
    """What scikit-learn has, read once: it is text, and a run loads its digits again for every target."""
    return sklearn_digits()


@lru_cache(maxsize=1)
def _enlarged(size: int) -> Tensor:
    """uint8 ``(N, 1, size, size)``, the last that were asked for: all targets of a run are of one size."""
    small = torch.from_numpy(_raw().images).float()[:, None] * (255 / 16)
    return interpolate(small, size=(size, size), mode="bicubic").round().clamp(0, 255).byte()
