"""RankMe, of features without labels."""

from __future__ import annotations

from metatc2.experiment.measures.registry import Seen, register_measure
from metatc2.metrics.rank import rankme


@register_measure("rankme")
def rank_of_features(seen: Seen) -> float:
    """RankMe (Garrido et al. 2023) of images as they are; see `metatc2.metrics.rank.rankme`."""
    return rankme(seen.features)
