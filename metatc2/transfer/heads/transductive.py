"""Few-shot heads that also learn from the queries of an episode, all of them at once: transductive, and marked so.

They know that the queries are distributed over the classes of the episode, so their figures stand apart from inductive ones.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import embedding, one_hot

from metatc2.ops.rows import unit_rows


class BDCSPN:
    """Prototypes rectified by the queries (Liu et al. 2020, arXiv 1911.10713, section 3.2): cosine to the nearest wins.

    The queries are shifted so that their mean is the support's (against the bias across classes), get the class of the nearest
    mean, and each class's prototype becomes the mean of its support and these queries, weighted by ``exp(ε cos)`` to that
    mean (against the bias within a class). All queries take part.

    Attributes:
        scale: ε, 10 as in the paper.
        shifted: whether queries are classified as shifted, as in the paper; easyfsl uses ε = 1 and classifies them where
            they were.

    Args:
        features: float ``(N, D)``.

    >>> head = BDCSPN(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0]]))
    >>> head.scores(torch.tensor([[[0], [1]]]), torch.tensor([[2, 3]])).argmax(2).tolist()
    [[0, 1]]
    """

    transductive: ClassVar[bool] = True
    scale: ClassVar[float] = 10.0
    shifted: ClassVar[bool] = True

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def scores(self, support: Tensor, query: Tensor) -> Tensor:
        """See `Head`."""
        way, shot = support.shape[1:]
        shots = embedding(support.flatten(1), self.features)
        queries = embedding(query, self.features)
        moved = queries + (shots.mean(1, keepdim=True) - queries.mean(1, keepdim=True))
        prototypes = unit_rows(shots.unflatten(1, (way, shot)).mean(2)).transpose(1, 2)

        everything = torch.cat([shots, moved], dim=1)
        cosine = unit_rows(everything) @ prototypes
        known = torch.arange(way, device=support.device).repeat_interleave(shot).expand(len(support), -1)
        member = torch.cat([known, cosine[:, way * shot :].argmax(2)], dim=1)
        # A softmax among the members of each class.
        logits = (self.scale * cosine).masked_fill(one_hot(member, way) == 0, -torch.inf)
        rectified = unit_rows(logits.softmax(1).transpose(1, 2) @ everything)
        return unit_rows(moved if self.shifted else queries) @ rectified.transpose(1, 2)


class SoftKMeans:
    """Prototypes refined by a step of soft k-means on the queries (Ren et al. 2018, arXiv 1803.00676, equation 3).

    A query belongs to the classes in shares, the softmax of minus its squared distances to the means of the support, and
    these means move to include it. The nearest by Euclidean distance wins. How soft the shares are depends on the scale
    of the features, which are used as they are.

    Attributes:
        steps: refinements, 1 as in the paper.

    Args:
        features: float ``(N, D)``.

    >>> head = SoftKMeans(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0]]))
    >>> head.scores(torch.tensor([[[0], [1]]]), torch.tensor([[2, 3]])).argmax(2).tolist()
    [[0, 1]]
    """

    transductive: ClassVar[bool] = True
    steps: ClassVar[int] = 1

    def __init__(self, features: Tensor) -> None:
        # Distances do not change with the origin; rounding is least with the origin in the middle.
        self.features = features - features.mean(0)

    def scores(self, support: Tensor, query: Tensor) -> Tensor:
        """``q·p − |p|²/2``, which orders the classes as ``−|q − p|²`` does."""
        shot = support.shape[2]
        queries = embedding(query, self.features)
        means = embedding(support, self.features).mean(2)
        prototypes = means
        for _ in range(self.steps):
            # |q|² is the same for all classes, and the softmax does not see it.
            share = (2 * _proximity(queries, prototypes)).softmax(2).transpose(1, 2)
            prototypes = (shot * means + share @ queries) / (shot + share.sum(2, keepdim=True))
        return _proximity(queries, prototypes)


def _proximity(query: Tensor, prototypes: Tensor) -> Tensor:
    return query @ prototypes.transpose(1, 2) - prototypes.square().sum(2).unsqueeze(1) / 2
