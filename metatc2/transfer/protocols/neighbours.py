"""k-NN: the vote of the nearest images of a bank."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from metatc2.transfer.knn import knn, knn_split
from metatc2.transfer.protocols.base import Measured, Subject


def neighbours(subject: Subject) -> Iterator[Measured]:
    """One row for each k and encoder."""
    target, options = subject.target, subject.options
    bank, asked, how = knn_split(target.store, target.split)
    bank_labels, labels = subject.labels(bank), subject.labels(asked)
    classes = torch.unique(bank_labels)
    facts = {
        "protocol": "knn",
        "way": len(classes),
        "shot": 0,
        "query": len(asked),
        "episodes": 0,
        "head": "knn",
        "classes_excluded": len(classes) - int(torch.isin(classes, labels).sum()),
        "bank": how,
        "temperature": options.temperature,
    }
    # Two k that are clamped to the same number are one measurement.
    clamped: dict[int, int] = {}
    for k in options.ks:
        clamped.setdefault(min(k, len(bank)), k)
    for k, k_asked in clamped.items():
        note = f"k = {k} instead of {k_asked}, the bank has no more images" if k < k_asked else ""
        own = {"k": k, "k_asked": k_asked, "note": note}
        for name in subject.names:
            found = knn(
                subject.table.at(name, bank),
                bank_labels,
                subject.table.at(name, asked),
                labels,
                k=k,
                temperature=options.temperature,
            )
            yield Measured({**facts, **own, "features": name}, found, torch.cat([bank, asked]))
