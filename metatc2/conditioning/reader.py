"""LooC++: read the heads along with the trunk."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from metatc2.conditioning.heads import Layer, TaskHeads
from metatc2.errors import InputError, nearest


class TrunkAndHeads(nn.Module):
    """An encoder that returns the trunk's features beside what each head makes of them (LooC++, arXiv 2008.05659).

    The heads are read with the running averages of their norms: at test time one image stands alone. The layer before the
    norm would need no statistics, but it is linear in the trunk's features, so that a linear probe would learn nothing more
    from it. The paper concatenates the embedding spaces; by default this reads the layer before them, of which less has been
    given up for the objective.

    Args:
        encoder: images → ``(N, dim)``.
        heads: trained on it.
        layer: see `TaskHeads.read`; ``"output"`` is the paper's.

    Raises:
        InputError: if the layer is unknown.

    >>> reader = TrunkAndHeads(nn.Flatten(), TaskHeads(784, 32, 16, kinds=3))
    >>> reader(torch.rand(5, 1, 28, 28)).shape                              # 784 + 3 · 32
    torch.Size([5, 880])
    """

    def __init__(self, encoder: nn.Module, heads: TaskHeads, layer: Layer = "hidden") -> None:
        super().__init__()
        if layer not in get_args(Layer):
            raise InputError(f"TrunkAndHeads: unknown layer {layer!r}; {nearest(layer, get_args(Layer))}")
        self.encoder, self.heads, self.layer = encoder, heads, layer

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, dim + kinds · width)``."""
        features = self.encoder(images)
        return torch.cat([features, self.heads.read(features, self.layer)], dim=1)
