"""A network of others as an encoder: it gets images as it was trained on, and rows of features are made of what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.models.encoding import precision_of

_POOLED = ("pooler_output", "image_embeds")
_SEQUENCE = "last_hidden_state"


class ForeignEncoder(nn.Module):
    """A network of others, on images in [0, 1].

    It takes what torchvision's, timm's and Hugging Face's networks return, see `feature_rows`.

    Args:
        body: maps normalized images to features.
        mean, std: of each channel, as the network was trained with; by default images stay in [0, 1].

    >>> encoder = ForeignEncoder(nn.Conv2d(3, 5, 1), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    >>> encoder(torch.rand(2, 3, 8, 8)).shape
    torch.Size([2, 5])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)) -> None:
        super().__init__()
        self.body = body
        precision = precision_of(body)
        self.register_buffer("mean", torch.tensor(mean, dtype=precision).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=precision).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, D)``."""
        features: Tensor = feature_rows(self.body((images - self.mean) / self.std))
        return features


def feature_rows(out: Any) -> Any:
    """Features ``(N, D)`` of what a network returned, where that is clear; else what it returned.

    Of an output of Hugging Face, an object or a mapping, ``pooler_output`` (or ``image_embeds``) is taken; where there is none
    the first token of ``last_hidden_state`` ``(N, tokens, D)``, the class token of image transformers. Maps ``(N, D, h, w)``
    are averaged over their places.

    >>> feature_rows({"last_hidden_state": torch.ones(2, 7, 3), "pooler_output": None}).shape
    torch.Size([2, 3])
    >>> feature_rows(torch.ones(2, 3, 4, 4)).shape, feature_rows(("a", "tuple"))
    (torch.Size([2, 3]), ('a', 'tuple'))
    """
    if not isinstance(out, Tensor):
        pooled = next((value for name in _POOLED if isinstance(value := _part(out, name), Tensor)), None)
        hidden = _part(out, _SEQUENCE)
        if pooled is None and isinstance(hidden, Tensor):
            pooled = hidden[:, 0] if hidden.ndim == 3 else hidden
        out = out if pooled is None else pooled
    return out.mean((2, 3)) if isinstance(out, Tensor) and out.ndim == 4 else out


def _part(out: Any, name: str) -> Any:
    return out.get(name) if isinstance(out, Mapping) else getattr(out, name, None)
