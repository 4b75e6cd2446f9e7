"""Few-shot classification on cached features, vectorized over episodes.

A head is built on the features of a target and scores a chunk of episodes, given as rows. A further head is one more
class and one more entry of `HEADS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, overload

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from metatc2.errors import InputError, nearest
from metatc2.models.inputs import feature_sides
from metatc2.ops.rows import unit_rows
from metatc2.transfer.heads.convex import Logistic, Ridge
from metatc2.transfer.heads.transductive import BDCSPN, SoftKMeans
from metatc2.transfer.predicted import Predicted
from metatc2.transfer.sampling import Episodes

# Feature rows gathered at once: few enough to stay in a core's cache, enough to amortize the calls.
_CHUNK_BYTES = 2**22


class Head(Protocol):
    """A classifier that only the support of an episode teaches."""

    def __init__(self, features: Tensor) -> None:
        """Prepare the features ``(N, D)`` once for all episodes, each row by itself."""

    def scores(self, support: Tensor, query: Tensor) -> Tensor:
        """Scores ``(e, q, way)`` for support rows ``(e, way, shot)`` and query rows ``(e, q)``; the largest wins."""


class Euclidean:
    """The nearest mean of the support features (Snell et al. 2017, arXiv 1703.05175, equations 1 and 2)."""

    def __init__(self, features: Tensor) -> None:
        # Distances do not change with the origin; rounding is least with the origin in the middle.
        self.features = features - features.mean(0)
        self.asked = _GatheredRows(self.features)

    def scores(self, support: Tensor, query: Tensor) -> Tensor:
        """``q·p − |p|²/2``, which orders the classes as ``−|q − p|²`` does."""
        return _proximity(self.asked(query), _means(self.features, support))


class Cosine:
    """The mean of the support features with the largest cosine to the query.

    A zero vector has no direction: a prototype that is zero has the cosine 0 to every query, as a query that is zero has to
    every prototype.
    """

    def __init__(self, features: Tensor) -> None:
        self.features = features
        directions = unit_rows(features)
        self.directionless = ~features.any(1)
        # On the sphere, cosine = 1 − |q − p|²/2, so the origin may be moved here too. It must be where features crowd
        # around one direction and all cosines are 0.9999 (an untrained encoder).
        self.origin = directions.mean(0)
        self.asked = _GatheredRows(directions - self.origin)

    def scores(self, support: Tensor, query: Tensor) -> Tensor:
        """``cos(q, p)`` up to a term that the classes share."""
        prototypes = unit_rows(_means(self.features, support))
        # The distance to a zero prototype lacks the 1 that the others have for their length.
        short = 0.5 * (~prototypes.any(2, keepdim=True)).to(prototypes)
        scores = _proximity(self.asked(query), prototypes - self.origin, short)
        return scores.masked_fill_(self.directionless[query].unsqueeze(2), 0)


HEADS: Mapping[str, type[Head]] = {
    "cosine": Cosine,
    "euclidean": Euclidean,
    "logistic": Logistic,
    "ridge": Ridge,
    "bd-cspn": BDCSPN,
    "soft-k-means": SoftKMeans,
}


@overload
def few_shot(
    features: Tensor,
    episodes: Episodes,
    head: str = ...,
    *,
    center: Tensor | None = ...,
    detailed: Literal[False] = ...,
) -> Tensor: ...
@overload
def few_shot(
    features: Tensor, episodes: Episodes, head: str = ..., *, center: Tensor | None = ..., detailed: Literal[True]
) -> Predicted: ...
def few_shot(
    features: Tensor,
    episodes: Episodes,
    head: str = "cosine",
    *,
    center: Tensor | None = None,
    detailed: bool = False,
) -> Tensor | Predicted:
    """Accuracy of each episode under a head of `HEADS`.

    Each query is classified by itself (inductive), but for heads with ``transductive = True``, which see all of an episode.

    Args:
        features: float ``(N, D)``, the rows that `episodes` point into.
        episodes: see `sample_episodes`.
        head: ``"cosine"`` (nearest prototype by angle), ``"euclidean"`` (nearest prototype by distance), ``"logistic"``,
            ``"ridge"``, or one of the transductive ``"bd-cspn"`` and ``"soft-k-means"``.
        center: ``(D,)`` subtracted from all features first, e.g. the mean of the pre-training features. It must not
            come from the target if the result is to be inductive.
        detailed: return prediction and scores of every query.

    Returns:
        float64 ``(E,)`` in [0, 1], on the CPU; or all of it, queries class by class as in `Episodes.query`.

    Raises:
        InputError: if the head is unknown, shapes do not fit or features are not finite.

    >>> features = torch.eye(2).repeat_interleave(3, 0)
    >>> rows = torch.arange(6).view(1, 2, 3)
    >>> few_shot(features, Episodes(torch.tensor([[0, 1]]), rows[..., :1], rows[..., 1:])).tolist()
    [1.0]
    """
    if head not in HEADS:
        raise InputError(f"few-shot: unknown head {head!r}; {nearest(head, HEADS)}")
    (features,) = feature_sides({"few-shot features": features})
    top = max(int(episodes.support.max()), int(episodes.query.max()))
    if top >= len(features):
        raise InputError(
            f"few-shot: features must be (N, D) with a row for each index up to {top}, got {tuple(features.shape)}; "
            "draw the episodes from the labels of these features"
        )
    if center is not None and center.shape != features.shape[1:]:
        raise InputError(
            f"few-shot: center must have shape {tuple(features.shape[1:])}, got {tuple(center.shape)}; "
            "use the mean over the rows of a feature matrix"
        )
    if center is not None:
        row, features = feature_sides({"few-shot center": center.unsqueeze(0), "few-shot features": features})
        (features,) = feature_sides({"few-shot features less the center": features - row.to(features)})
    classifier = HEADS[head](features)

    ways, queries = episodes.query.shape[1:]
    truth = torch.arange(ways, device=features.device).repeat_interleave(queries)
    rows = ways * (queries + episodes.support.shape[2])
    chunk = max(1, _CHUNK_BYTES // (rows * features.shape[1] * features.element_size()))
    parts: list[Tensor] = []
    scored: list[Tensor] = []
    with torch.no_grad():
        for support, query in zip(
            torch.split(episodes.support, chunk), torch.split(episodes.query, chunk), strict=True
        ):
            scores = classifier.scores(support.to(features.device), query.flatten(1).to(features.device))
            if detailed:
                scored.append(scores.cpu().clone())  # a head may write over its memory
            else:
                parts.append((scores.argmax(2) == truth).double().mean(1).cpu())
    if not detailed:
        return torch.cat(parts)
    every = torch.cat(scored)
    predictions = every.argmax(2)
    return Predicted(predictions, every, (predictions == truth.cpu()).double(), episodes.classes.cpu())


class _GatheredRows:
    """Rows of a matrix, into memory that the next call writes over: fresh pages cost as much as the rows themselves."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        self.memory = features.new_empty(0)

    def __call__(self, rows: Tensor) -> Tensor:
        size = rows.numel() * self.features.shape[1]
        if self.memory.numel() < size:
            self.memory = self.features.new_empty(size)
        out = self.memory[:size].view(rows.numel(), -1)
        return torch.index_select(self.features, 0, rows.flatten(), out=out).view(*rows.shape, -1)


def _means(features: Tensor, support: Tensor) -> Tensor:
    """``(e, way, D)``: means over the last axis of rows ``(e, way, shot)``."""
    return embedding_bag(support.flatten(0, 1), features, mode="mean").view(*support.shape[:2], -1)


def _proximity(query: Tensor, prototypes: Tensor, less: Tensor | float = 0.0) -> Tensor:
    """``q·p − |p|²/2 − less``: ``(e, q, way)`` from ``(e, q, D)`` and ``(e, way, D)``."""
    # In this order, and with the subtraction inside, the product takes half the time.
    half = prototypes.square().sum(2, keepdim=True) / 2 + less
    return torch.baddbmm(half, prototypes, query.transpose(1, 2), beta=-1).transpose(1, 2).contiguous()
