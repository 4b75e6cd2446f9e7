"""Agreement of transformations: two images under the same descriptors are changed alike."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from metatc2.augment.descriptor import DESCRIPTOR
from metatc2.errors import InputError
from metatc2.objectives.auxiliary.base import Auxiliary, regressor
from metatc2.objectives.auxiliary.registry import register_auxiliary
from metatc2.ops.numbers import Positive, PositiveCount, real, whole


@register_auxiliary("stl")
class TransformationAgreement(Auxiliary):
    """A code of the change between an image's first two views, alike for images whose views were made alike.

    After self-supervised transformation learning (Yu et al. 2024, arXiv 2501.08712); our reading. A head makes a code of
    ``[z_1; z_2]``; the codes of images with the same descriptors are positives in the normalized-temperature cross-entropy over
    all images of the episode. Nothing but equality is known of the descriptors. The sampler must give images in groups of the
    same descriptors: ``episode.share_descriptors = 2``.

    Args:
        dim: width of the encoder's output.
        hidden: width of the head's layers.
        out: width of the code.
        temperature: τ of the cross-entropy.

    Raises:
        InputError: if a number is out of range. In use: see `Auxiliary`, and if no two images have the same descriptors.

    >>> descriptors = torch.rand(1, 4, 2, 19).repeat_interleave(2, 1)       # images in pairs
    >>> TransformationAgreement(16, hidden=32)(torch.randn(1, 8, 2, 16), descriptors).shape
    torch.Size([])
    """

    shared_descriptors = True

    def __init__(
        self, dim: int, hidden: PositiveCount = 512, out: PositiveCount = 128, temperature: Positive = 0.2
    ) -> None:
        super().__init__()
        self.temperature = real(temperature, "stl: temperature", above=0)
        self.head = regressor(2 * dim, whole(hidden, "stl: hidden", 1), whole(out, "stl: out", 1))

    def loss(self, z: Tensor, descriptors: Tensor) -> Tensor:
        """Mean over all images that share their descriptors with another."""
        alike = same_descriptors(descriptors)
        itself = torch.eye(len(alike), dtype=torch.bool, device=alike.device)
        positive = alike & ~itself
        if not bool(positive.any()):
            raise InputError(
                "TransformationAgreement compares images with the same descriptors, and no two of this episode have them; set "
                "episode.share_descriptors = 2"
            )
        codes = normalize(self.head(z[:, :, :2].flatten(0, 1).flatten(1)), dim=1)
        similarity = codes @ codes.T / self.temperature
        log_share = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
        paired = positive.any(1)
        each = (log_share * positive).sum(1)[paired] / positive.sum(1)[paired]
        return -each.mean()


def same_descriptors(descriptors: Tensor) -> Tensor:
    """Which images have the same descriptors in all views, bool ``(images, images)``.

    What the jitter took from the channel means is measured on each image and does not count.

    Args:
        descriptors: ``(tasks, samples, views, P)``.

    >>> same_descriptors(torch.tensor([1.0, 2.0, 1.0])[None, :, None, None].expand(1, 3, 2, 19))[0].tolist()
    [True, False, True]
    """
    drawn = descriptors.clone()
    drawn[..., DESCRIPTOR["color_diff"]] = 0
    rows = drawn.flatten(0, 1).flatten(1)
    _, group = rows.unique(dim=0, return_inverse=True)
    same: Tensor = group[:, None] == group[None]
    return same
