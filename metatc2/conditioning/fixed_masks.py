"""Masks that do not learn, one for every kind of task."""

from __future__ import annotations

from torch import Tensor, nn

from metatc2.conditioning.base import ToldProjector
from metatc2.episodes import TaskIdentity
from metatc2.errors import InputError


class FixedMasks(ToldProjector):
    """``z ⊙ m_kind`` with constant masks, then a projector for all kinds.

    Args:
        projector: ``(tasks, samples, views, d)`` → the embedding; shared.
        masks: ``(kinds, d)``, as of `split_masks` and `random_masks`.

    Raises:
        InputError: if the masks are no matrix. In use: if z has another width; see also `ToldProjector.kinds_of`.

    >>> import torch
    >>> from metatc2.conditioning import split_masks
    >>> identity = TaskIdentity(torch.tensor([1]), ("place", "color"), torch.zeros(1, 0))
    >>> FixedMasks(nn.Identity(), split_masks(4, kinds=2, shared=0.5))(torch.ones(1, 1, 1, 4), identity).flatten().tolist()
    [1.0, 1.0, 0.0, 1.0]
    """

    masks: Tensor

    def __init__(self, projector: nn.Module, masks: Tensor) -> None:
        if masks.ndim != 2:
            raise InputError(f"FixedMasks: masks must be (kinds, d), found {tuple(masks.shape)}")
        super().__init__(len(masks))
        self.projector = projector
        self.register_buffer("masks", masks.clone())

    def forward(self, z: Tensor, identity: TaskIdentity) -> Tensor:
        """``(tasks, samples, views, d)`` to the projector's ``(tasks, samples, views, D)``."""
        kinds = self.kinds_of(z, identity)
        if z.shape[-1] != self.masks.shape[1]:
            raise InputError(
                f"FixedMasks: the masks are for {self.masks.shape[1]} dimensions and z has {z.shape[-1]}; make them "
                "for the encoder's width"
            )
        result: Tensor = self.projector(z * self.masks[kinds][:, None, None].to(z.dtype))
        return result

    def penalty(self) -> Tensor:
        """Zero."""
        return self.masks.new_zeros(())
