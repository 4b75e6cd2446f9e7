"""An encoder for every kind of task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metatc2.errors import InputError


class SeparateEncoders(nn.Module):
    """Encoders side by side; called with images alone, it concatenates their features.

    Args:
        encoders: images → ``(N, d)``, one a kind.

    Raises:
        InputError: if there is none.

    >>> both = SeparateEncoders([nn.Flatten(), nn.Flatten()])
    >>> both(torch.rand(3, 1, 4, 4)).shape
    torch.Size([3, 32])
    >>> both.routed(torch.rand(5, 3, 2, 1, 4, 4), torch.tensor([0, 1, 1, 0, 1])).shape
    torch.Size([5, 3, 2, 16])
    """

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        if not encoders:
            raise InputError("SeparateEncoders: there is no encoder; give one for every kind of task")
        self.encoders = nn.ModuleList(encoders)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, Σ d)``."""
        return torch.cat([encoder(images) for encoder in self.encoders], dim=1)

    def routed(self, images: Tensor, kinds: Tensor) -> Tensor:
        """Features of each task by the encoder of its kind, which runs once on all its tasks together.

        Args:
            images: ``(tasks, samples, views, C, H, W)``.
            kinds: ``(tasks,)``, int64.

        Returns:
            ``(tasks, samples, views, d)``.

        Raises:
            InputError: if a kind has no encoder, or they differ in width.
        """
        present = kinds.unique().tolist()
        if present[0] < 0 or present[-1] >= len(self.encoders):
            raise InputError(
                f"SeparateEncoders: there are {len(self.encoders)} encoders and tasks of the kinds {present}; "
                "give one encoder for every kind"
            )
        places, parts = [], []
        for kind in present:
            place = (kinds == kind).nonzero().squeeze(1)
            own = images[place]
            features = self.encoders[kind](own.flatten(0, 2))
            places.append(place)
            parts.append(features.unflatten(0, own.shape[:3]))
        if len(widths := {part.shape[-1] for part in parts}) > 1:
            raise InputError(f"SeparateEncoders: encoders must be of one width to be trained, found {sorted(widths)}")
        return torch.cat(parts)[torch.cat(places).argsort()]
