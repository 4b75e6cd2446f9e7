"""Weighted k-nearest-neighbor classification on cached features (Wu et al. 2018, arXiv 1805.01978)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, overload

import torch
from pydantic import Field
from torch import Tensor

from metatc2.data.store import ImageStore
from metatc2.errors import InputError
from metatc2.models.inputs import feature_sides, labels_of
from metatc2.ops.numbers import real, whole
from metatc2.ops.rows import unit_rows
from metatc2.transfer.predicted import Predicted
from metatc2.transfer.protocols.base import Measured, Protocol, Subject
from metatc2.transfer.protocols.registry import register_protocol
from metatc2.transfer.sampling import shuffled_within_classes

# Similarities held at once.
_CHUNK_BYTES = 2**26

# The half/half split is part of the protocol: it is the same in every run, whatever the seeds.
_SPLIT_SEED = 0


@overload
def knn(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    *,
    k: int = ...,
    temperature: float = ...,
    detailed: Literal[False] = ...,
) -> Tensor: ...
@overload
def knn(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    *,
    k: int = ...,
    temperature: float = ...,
    detailed: Literal[True],
) -> Predicted: ...
def knn(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    *,
    k: int = 200,
    temperature: float = 0.1,
    detailed: bool = False,
) -> Tensor | Predicted:
    """Whether each query gets its class: cosine similarity s, a vote of ``exp(s / T)`` from each of the k nearest.

    Args:
        bank: float ``(B, D)``, features of clean (not augmented) images; a zero row has the cosine 0 to every query.
        bank_labels: int64 ``(B,)``.
        queries: float ``(Q, D)``.
        query_labels: int64 ``(Q,)``.
        k: neighbors; clamped to B.
        temperature: T, above 0.
        detailed: return all that was voted.

    Returns:
        float64 ``(Q,)``: 1 where the vote is right, else 0, on the CPU; or all of it, with votes as shares.

    Raises:
        InputError: if shapes do not fit, `k` or `temperature` is not positive, or features are not finite.

    >>> bank = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> knn(bank, torch.tensor([3, 7]), torch.tensor([[2.0, 0.1]]), torch.tensor([3]), k=1).tolist()
    [1.0]
    >>> knn(bank, torch.tensor([3, 7]), torch.tensor([[2.0, 0.1]]), torch.tensor([3]), k=1, detailed=True).predictions
    tensor([3])
    """
    bank, queries = feature_sides({"k-NN bank": bank, "k-NN queries": queries})
    if bank.shape[1] != queries.shape[1]:
        raise InputError(
            f"k-NN: bank and queries must be (B, D) and (Q, D), got {tuple(bank.shape)} and {tuple(queries.shape)}"
        )
    bank_labels = labels_of(bank_labels, "k-NN bank_labels", len(bank))
    query_labels = labels_of(query_labels, "k-NN query_labels", len(queries))
    k, temperature = min(whole(k, "k-NN: k", 1), len(bank)), real(temperature, "k-NN: temperature", above=0)
    names, classes = torch.unique(bank_labels, return_inverse=True)
    unit, directions = unit_rows(bank), unit_rows(queries)
    chunk = max(1, _CHUNK_BYTES // (unit.element_size() * (len(bank) + 4 * k)))
    parts, shares = [], []
    for some in torch.split(directions, chunk):
        similarity, neighbors = (some @ unit.T).topk(k, dim=1)
        # Relative to the nearest: the same vote, and no overflow at a small temperature.
        weight = ((similarity - similarity[:, :1]).double() / temperature).exp()
        votes = weight.new_zeros(len(some), len(names))
        votes = votes.scatter_add(1, classes[neighbors], weight)
        parts.append(names[votes.argmax(1)])
        if detailed:
            shares.append((votes / votes.sum(1, keepdim=True)).cpu())
    predictions = torch.cat(parts)
    correct = (predictions == query_labels).double().cpu()
    return Predicted(predictions.cpu(), torch.cat(shares), correct, names.cpu()) if detailed else correct


def knn_split(store: ImageStore, split: str) -> tuple[Tensor, Tensor, str]:
    """Rows of the bank, rows of the queries, and how they were chosen.

    With official ``train`` and ``test`` splits that share classes, and `split` a whole source: train is the bank, test asks.
    Else the rows of `split` are divided by a fixed permutation, half of each class to each side, the odd one to the bank.

    Raises:
        InputError: if there is no such split, or no class has two images.

    >>> store = ImageStore("toy", torch.zeros(5, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 0, 1, 1, 1]))
    >>> bank, query, how = knn_split(store, "all")
    >>> len(bank), len(query), how
    (3, 2, 'half of each class of all')
    """
    if split in ("test", "all", "labeled") and {"train", "test"} <= set(store.splits):
        bank, queries = store.rows("train"), store.rows("test")
        # Parts of different classes (Omniglot's) are for episodes: a neighbor could never be right.
        if bool(torch.isin(store.labels[queries], store.labels[bank]).any()):
            return bank, queries, "train"
    rows = store.rows(split)
    order, place = shuffled_within_classes(store.labels[rows], torch.Generator().manual_seed(_SPLIT_SEED))
    grouped = rows[order]
    counts = torch.unique_consecutive(store.labels[grouped], return_counts=True)[1]
    to_bank = place < ((counts + 1) // 2).repeat_interleave(counts)
    if bool(to_bank.all()):
        raise InputError(
            f"k-NN on {store.name}:{split}: no class has two images ({len(rows)} images, {len(counts)} classes); "
            "name another split"
        )
    return grouped[to_bank].sort().values, grouped[~to_bank].sort().values, f"half of each class of {split}"


@register_protocol("knn")
@dataclass(frozen=True, kw_only=True)
class KNN(Protocol):
    """Weighted k-nearest-neighbor classification: one row for each k and encoder; see `knn` and `knn_split`.

    Args:
        ks: numbers of neighbors; clamped to the bank, which the row says.
        temperature: temperature of the vote.

    Raises:
        InputError: if a number is out of range.
    """

    facts = ("way", "query", "head", "classes_excluded", "bank", "k", "k_asked", "temperature")

    ks: Sequence[Annotated[int, Field(ge=1)]] = (200, 20)
    temperature: Annotated[float, Field(gt=0)] = 0.1

    def run(self, subject: Subject) -> Iterator[Measured]:
        """See `Protocol.run`."""
        bank, queries, how = knn_split(subject.target.store, subject.target.split)
        bank_labels, labels = subject.labels(bank), subject.labels(queries)
        classes = torch.unique(bank_labels)
        facts = {
            "way": len(classes),
            "query": len(queries),
            "head": "knn",
            "classes_excluded": len(classes) - int(torch.isin(classes, labels).sum()),
            "bank": how,
            "temperature": self.temperature,
        }
        # Two k that are clamped to the same number are one measurement.
        clamped: dict[int, int] = {}
        for k in self.ks:
            clamped.setdefault(min(k, len(bank)), k)
        for k, k_asked in clamped.items():
            note = f"k = {k} instead of {k_asked}, the bank has no more images" if k < k_asked else ""
            for name in subject.names:
                correct = knn(
                    subject.table.at(name, bank),
                    bank_labels,
                    subject.table.at(name, queries),
                    labels,
                    k=k,
                    temperature=self.temperature,
                )
                own = {**facts, "k": k, "k_asked": k_asked}
                yield Measured(name, correct, torch.cat([bank, queries]), own, note=note)
