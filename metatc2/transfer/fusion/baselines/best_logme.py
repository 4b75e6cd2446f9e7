"""The encoder with the highest LogME, alone."""

from __future__ import annotations

import torch

from metatc2.transfer.estimates import log_me
from metatc2.transfer.fusion.baselines.base import Baseline, one_encoder
from metatc2.transfer.fusion.baselines.registry import register_baseline
from metatc2.transfer.fusion.labeled import Fitted, LabeledSet


@register_baseline("best-by-logme")
class BestByLogME(Baseline):
    """The encoder with the highest LogME (You et al. 2021, arXiv 2102.11005) on the labels given: chosen without training."""

    def fit(self, labeled: LabeledSet, generator: torch.Generator) -> Fitted:
        """See `Baseline.fit`."""
        # An encoder that says the same of every image has no evidence at all.
        evidence = [log_me(b, labeled.labels) if bool(b.any()) else -torch.inf for b in labeled.blocks]
        return one_encoder(labeled, max(range(labeled.encoders), key=lambda k: evidence[k]))
