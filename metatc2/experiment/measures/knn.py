"""Accuracy of the nearest neighbors."""

from __future__ import annotations

from metatc2.experiment.measures.registry import Seen, register_measure
from metatc2.transfer.protocols.knn import knn


@register_measure("knn")
def knn_probe(seen: Seen) -> float | None:
    """Share of the queries that their nearest neighbors in the bank classify; see `metatc2.transfer.knn`."""
    if seen.bank is None or seen.bank_labels is None or seen.queries is None or seen.query_labels is None:
        return None
    return float(knn(seen.bank, seen.bank_labels, seen.queries, seen.query_labels, k=seen.neighbors).mean())
