"""The mean of what the encoders say alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metatc2.transfer.fusion.baselines.base import Baseline
from metatc2.transfer.fusion.baselines.registry import register_baseline
from metatc2.transfer.fusion.labeled import Fitted, LabeledSet


@register_baseline("mean-of-logits")
class MeanOfLogits(Baseline):
    """The mean over encoders of the logits of their logistic regressions."""

    def fit(self, labeled: LabeledSet, generator: torch.Generator) -> Fitted:
        """See `Baseline.fit`."""

        def logits(features: Sequence[Tensor]) -> Tensor:
            blocks = labeled.standardized(features)
            return torch.stack([labeled.alone(k).logits(block) for k, block in enumerate(blocks)]).mean(0).float()

        for k in range(labeled.encoders):
            labeled.alone(k)
        return Fitted(logits)
