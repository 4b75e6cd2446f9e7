"""`FeatureRows`: precomputed features in the place of an encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metatc2.data.sources.features import row_numbers
from metatc2.errors import InputError


class FeatureRows(nn.Module):
    """Features by the number that stands in the place of an image, see `metatc2.data.sources.features`.

    Args:
        features: float32 ``(N, D)``.
        labels: int64 ``(N,)``, of the same rows.

    >>> rows = FeatureRows(torch.arange(600.0).view(300, 2), torch.zeros(300, dtype=torch.int64))
    >>> rows(row_numbers(300)[[0, 299]].float() / 255).tolist()
    [[0.0, 1.0], [598.0, 599.0]]
    """

    features: Tensor
    labels: Tensor

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features)
        self.register_buffer("labels", labels)
        self.dim = int(features.shape[1])

    def forward(self, numbers: Tensor) -> Tensor:
        """``(n, 1, 2, 2)`` in [0, 1] to ``(n, D)``."""
        parts = (255 * numbers.flatten(1)).round().long()
        return self.features[(parts * parts.new_tensor([1, 1 << 8, 1 << 16, 1 << 24])).sum(1)]

    def check(self, images: object, labels: Tensor, name: str) -> None:
        """Whether a target's rows can be these.

        Args:
            images: of the target.
            labels: of the target.
            name: of the target.

        Raises:
            InputError: if it holds images, whose pixels would be taken for numbers of rows, or has other labels.
        """
        if not isinstance(images, Tensor) or not torch.equal(images, row_numbers(len(labels))):
            raise InputError(
                f"{name}: holds images, and precomputed features are measured on the rows of their own archive; leave the "
                "target out, or name another archive of the same images (features:FILE.npz)"
            )
        if not torch.equal(labels, self.labels):
            raise InputError(
                f"{name}: its {len(labels)} labels are not those of the features that are measured ({len(self.labels)}); name "
                "a target of the same images in the same order"
            )
