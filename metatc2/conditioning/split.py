"""Every kind of task its own dimensions, and some for all."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.conditioning.fixed_masks import FixedMasks
from metatc2.conditioning.registry import ToldSettings, register_projector
from metatc2.errors import InputError


def split_masks(dim: int, kinds: int, shared: float = 0.25) -> Tensor:
    """Masks ``(kinds, dim)``: the first dimensions belong to all kinds, the rest in equal blocks to one kind each.

    The disjoint masks of conditional similarity networks (arXiv 1603.07810, section 3), with a shared block.

    Args:
        dim: d, width of the representation.
        kinds: how many masks.
        shared: share of the dimensions that all kinds see; what does not divide by the kinds is added to it.

    Raises:
        InputError: if the share is not in [0, 1), or a kind would have no dimension of its own.

    >>> split_masks(5, kinds=2, shared=0.2).tolist()
    [[1.0, 1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0, 1.0]]
    """
    if not 0 <= shared < 1:
        raise InputError(f"split_masks: shared must be at least 0 and below 1, found {shared}")
    own = (dim - round(shared * dim)) // max(kinds, 1)
    if kinds < 1 or own < 1:
        raise InputError(
            f"split_masks: {dim} dimensions, of which a share of {shared} is for all, leave none for each of {kinds} "
            "kinds; share less, or use a wider encoder"
        )
    blocks = torch.eye(kinds).repeat_interleave(own, dim=1)
    return torch.cat([torch.ones(kinds, dim - kinds * own), blocks], dim=1)


@register_projector("split")
def build(settings: ToldSettings) -> FixedMasks:
    """See `build_told`."""
    return FixedMasks(settings.projector, split_masks(settings.dim, settings.kinds, settings.shared))
