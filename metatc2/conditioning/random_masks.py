"""Random masks: the control of those that are learned."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.conditioning.fixed_masks import FixedMasks
from metatc2.conditioning.registry import ToldSettings, register_projector
from metatc2.errors import InputError


def random_masks(dim: int, kinds: int, kept: float = 0.5, *, generator: torch.Generator | None = None) -> Tensor:
    """Masks ``(kinds, dim)`` of 0 and 1, each of which keeps the same number of dimensions, drawn without replacement.

    Args:
        dim: d, width of the representation.
        kinds: how many masks.
        kept: share of the dimensions that a mask keeps.
        generator: they are drawn from it.

    Raises:
        InputError: if the share is not in (0, 1], or keeps no dimension.

    >>> random_masks(8, kinds=3).sum(1).tolist()
    [4.0, 4.0, 4.0]
    """
    if not 0 < kept <= 1 or round(kept * dim) < 1:
        raise InputError(f"random_masks: kept must be above 0, at most 1 and keep a dimension of {dim}, found {kept}")
    order = torch.rand(kinds, dim, generator=generator).argsort(dim=1)
    return torch.zeros(kinds, dim).scatter(1, order[:, : round(kept * dim)], 1.0)


@register_projector("random-masks")
def build(settings: ToldSettings) -> FixedMasks:
    """See `build_told`."""
    s = settings
    return FixedMasks(s.projector, random_masks(s.dim, s.kinds, s.kept, generator=s.generator))
