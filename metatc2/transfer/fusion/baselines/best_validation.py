"""The encoder that validates best, alone."""

from __future__ import annotations

import torch

from metatc2.transfer.fusion.baselines.base import Baseline, one_encoder
from metatc2.transfer.fusion.baselines.registry import register_baseline
from metatc2.transfer.fusion.labeled import Fitted, LabeledSet


@register_baseline("best-by-validation")
class BestByValidation(Baseline):
    """The encoder with the highest accuracy by cross-validation inside the labels given; of equals that with the lowest loss.

    What Yao et al. call pretext matching. With one label a class nothing can be validated, and it is the first encoder.
    """

    def fit(self, labeled: LabeledSet, generator: torch.Generator) -> Fitted:
        """See `Baseline.fit`."""
        if labeled.folds is None:
            return one_encoder(labeled, 0)
        every = [labeled.alone(k) for k in range(labeled.encoders)]
        return one_encoder(labeled, max(range(len(every)), key=lambda k: (every[k].accuracy, -every[k].loss)))
