"""Image retrieval on cached features: mean average precision and recall at k, by cosine similarity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from metatc2.errors import InputError
from metatc2.models.inputs import feature_sides, labels_of
from metatc2.ops.numbers import wholes
from metatc2.ops.rows import unit_rows
from metatc2.transfer.protocols.base import Measured, Protocol, Subject
from metatc2.transfer.protocols.registry import register_protocol

# Similarities held at once, of which about four arrays live.
_CHUNK_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """What queries found.

    Args:
        average_precision: float64 ``(Q',)``, of each query that has something to find.
        recall: by k, float64 ``(Q',)``: 1 where one of the k nearest has the query's class, else 0.
        answerable: bool ``(Q,)``: which queries have an image of their class in the gallery; the others do not count.
    """

    average_precision: Tensor
    recall: Mapping[int, Tensor]
    answerable: Tensor

    @property
    def mean_average_precision(self) -> float:
        """Mean over the queries that count, in [0, 1]."""
        return float(self.average_precision.mean())


def retrieval(
    queries: Tensor,
    query_labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    *,
    ks: Sequence[int] = (1, 5, 10),
) -> RetrievalResult:
    """Rank the gallery by cosine for each query; without one, each query ranks all other queries (leave one out).

    A zero row has no direction: its cosine to every other row is 0. Average precision is the mean, over the relevant images,
    of the precision at their rank, over the whole ranking. Equal similarities count as one rank, so the order of the gallery
    does not matter (as in scikit-learn). Recall at k is that of metric learning (Song et al. 2016, arXiv 1511.06452): whether
    any of the k nearest is relevant; ties go by position.

    Args:
        queries: float ``(Q, D)``.
        query_labels: int64 ``(Q,)``.
        gallery: float ``(G, D)``.
        gallery_labels: int64 ``(G,)``.
        ks: for recall.

    Raises:
        InputError: if shapes do not fit, a k is below 1 or beyond the gallery, features are not finite, or no query has an
            image of its class to find.

    >>> result = retrieval(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]), torch.tensor([0, 0, 1, 1]), ks=(1,))
    >>> result.mean_average_precision, float(result.recall[1].mean())
    (1.0, 1.0)
    """
    alone = gallery is None
    if gallery is None or gallery_labels is None:
        if gallery is not None or gallery_labels is not None:
            raise InputError("retrieval: gallery and gallery_labels must be given together, or neither")
        gallery, gallery_labels = queries, query_labels
    queries, gallery = feature_sides({"retrieval queries": queries, "retrieval gallery": gallery})
    query_labels = labels_of(query_labels, "retrieval query_labels", len(queries))
    gallery_labels = labels_of(gallery_labels, "retrieval gallery_labels", len(gallery))
    ks = wholes(ks, "retrieval: ks", 1)
    _check(queries, gallery, ks, alone)
    query_rows = unit_rows(queries)
    against = query_rows if alone else unit_rows(gallery)
    chunk = max(1, _CHUNK_BYTES // (8 * len(against)))
    precisions, firsts, counts = [], [], []
    for at in range(0, len(query_rows), chunk):
        similarity = query_rows[at : at + chunk] @ against.T
        rows = torch.arange(len(similarity), device=similarity.device)
        relevant = query_labels[at : at + chunk].unsqueeze(1) == gallery_labels
        if alone:
            # The query itself goes to the end, where it is not relevant.
            similarity = similarity.index_put((rows, rows + at), similarity.new_tensor(-torch.inf))
            relevant = relevant.index_put((rows, rows + at), relevant.new_tensor(False))
        falling, order = similarity.sort(dim=1, descending=True, stable=True)
        hit = relevant.gather(1, order)
        precisions.append(_average_precision(falling, hit))
        firsts.append(hit.int().argmax(1))
        counts.append(hit.sum(1))
    answerable = torch.cat(counts) > 0
    if not bool(answerable.any()):
        raise InputError(
            "retrieval: no query has an image of its class to find; give a gallery with the queries' classes"
        )
    first = torch.cat(firsts)[answerable]
    return RetrievalResult(
        average_precision=torch.cat(precisions)[answerable].cpu(),
        recall={k: (first < k).double().cpu() for k in ks},
        answerable=answerable.cpu(),
    )


def _average_precision(falling: Tensor, hit: Tensor) -> Tensor:
    """float64 ``(q,)`` from similarities in falling order and what is relevant there."""
    # Equal similarities are read off at the last of them.
    last = torch.ones_like(hit)
    last[:, :-1] = falling[:, 1:] != falling[:, :-1]
    place = torch.arange(hit.shape[1], device=hit.device).expand(hit.shape)
    end = torch.where(last, place, hit.shape[1]).flip(1).cummin(1).values.flip(1)
    hits = hit.cumsum(1)
    precision = hits.gather(1, end).double() / (end + 1)
    return (precision * hit).sum(1) / hits[:, -1].clamp_min(1)


def _check(queries: Tensor, gallery: Tensor, ks: Sequence[int], alone: bool) -> None:
    if queries.shape[1] != gallery.shape[1]:
        raise InputError(
            "retrieval: queries and gallery must be (Q, D) and (G, D), "
            f"got {tuple(queries.shape)} and {tuple(gallery.shape)}"
        )
    most = len(gallery) - alone
    if max(ks) > most:
        raise InputError(
            f"retrieval: ks must be from 1 to {most}, the images to rank, got {list(ks)}; name smaller ones"
        )


@register_protocol("retrieval")
@dataclass(frozen=True, kw_only=True)
class Retrieval(Protocol):
    """Each image ranks all others: mean average precision and recall at each k, for each encoder; see `retrieval`.

    Args:
        ks: ranks that recall is taken at; clamped to the images to rank.

    Raises:
        InputError: if a k is out of range.
    """

    facts = ("way", "query", "head", "bank")

    ks: Sequence[Annotated[int, Field(ge=1)]] = (1, 5, 10)

    def run(self, subject: Subject) -> Iterator[Measured]:
        """See `Protocol.run`."""
        rows = subject.target.store.rows(subject.target.split)
        labels = subject.labels(rows)
        ks = sorted({min(k, len(rows) - 1) for k in self.ks}) if len(rows) > 1 else list(self.ks)
        for name in subject.names:
            result = retrieval(subject.table.at(name, rows), labels, ks=ks)
            alone = len(result.answerable) - int(result.answerable.sum())
            note = f"images that are alone in their class left out as queries: {alone}" if alone else ""
            facts = {
                "way": len(torch.unique(labels)),
                "query": len(rows) - alone,
                "head": "cosine",
                "bank": f"all other images of {subject.target.split}",
            }
            yield Measured(name, result.average_precision, rows, facts, metric="mean average precision", note=note)
            for k, recall in result.recall.items():
                yield Measured(name, recall.double(), rows, facts, metric=f"recall@{k}", note=note)
