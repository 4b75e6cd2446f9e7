"""Retrieval: each image of a target ranks all the others."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from metatc2.transfer.protocols.base import Measured, Subject
from metatc2.transfer.retrieval import retrieval

_KS = (1, 5, 10)


def ranked(subject: Subject) -> Iterator[Measured]:
    """Mean average precision and recall at 1, 5 and 10 for each encoder, leaving one out."""
    rows = subject.target.store.rows(subject.target.split)
    labels = subject.labels(rows)
    ks = sorted({min(k, len(rows) - 1) for k in _KS}) if len(rows) > 1 else list(_KS)
    for name in subject.names:
        found = retrieval(subject.table.at(name, rows), labels, ks=ks)
        alone = len(found.answerable) - int(found.answerable.sum())
        facts = {
            "protocol": "retrieval",
            "way": len(torch.unique(labels)),
            "shot": 0,
            "query": len(rows) - alone,
            "episodes": 0,
            "head": "cosine",
            "bank": f"all other images of {subject.target.split}",
            "features": name,
            "note": f"images that are alone in their class left out as queries: {alone}" if alone else "",
        }
        yield Measured({**facts, "metric": "mean average precision"}, found.average_precision, rows)
        for k, recall in found.recall.items():
            yield Measured({**facts, "metric": f"recall@{k}"}, recall.double(), rows)
