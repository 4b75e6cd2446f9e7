"""All features side by side, and a network with one hidden layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metatc2.transfer.fusion.attention.base import Params
from metatc2.transfer.fusion.baselines.base import Baseline
from metatc2.transfer.fusion.baselines.registry import register_baseline
from metatc2.transfer.fusion.labeled import Fitted, LabeledSet
from metatc2.transfer.fusion.network import FitOptions, Network, fit

_HIDDEN = 256


@register_baseline("concatenation-mlp")
class ConcatenationMLP(Baseline):
    """A hidden layer of 256 with ReLU on block-wise standardized features, trained and chosen as the attentions are."""

    def fit(self, labeled: LabeledSet, generator: torch.Generator) -> Fitted:
        """See `Baseline.fit`."""
        width = sum(block.shape[1] for block in labeled.blocks)
        return fit(_MLP(width, labeled.classes), labeled, FitOptions(entropies=(0.0,)), generator)


class _MLP(Network):
    def __init__(self, width: int, classes: int) -> None:
        self.width, self.classes = width, classes

    def initial(self, generator: torch.Generator) -> Params:
        """See `Network.initial`."""
        return {
            # Rows have a mean squared length of K, not of their width.
            "hidden": torch.randn(self.width, _HIDDEN, generator=generator),
            "hidden bias": torch.zeros(_HIDDEN),
            "classifier": torch.zeros(_HIDDEN, self.classes),
            "bias": torch.zeros(self.classes),
        }

    def forward(
        self, p: Params, blocks: Sequence[Tensor], counted: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """See `Network.forward`."""
        hidden = (torch.cat(list(blocks), 1) @ p["hidden"] + p["hidden bias"][:, None]).relu()
        return hidden @ p["classifier"] + p["bias"][:, None], None
