"""What heads without an inner loop over the encoder share: class means, and logistic regression on features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, normalize

from metatc2.inner import Params


def members(y: Tensor, way: int, like: Tensor) -> Tensor:
    """``(n, way)`` with 1 where a sample is of the class, in the number format of `like`.

    >>> members(torch.tensor([1, 0]), 2, torch.zeros(1)).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return (y[:, None] == torch.arange(way, device=y.device)).to(like.dtype)


def class_means(features: Tensor, y: Tensor, way: int) -> Tensor:
    """Mean of the features ``(n, d)`` of each class: ``(way, d)``.

    >>> class_means(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]), 2).tolist()
    [[2.0], [5.0]]
    """
    own = members(y, way, features)
    return own.T @ features / own.sum(0)[:, None]


def zero_head(features: Tensor, way: int) -> Params:
    """A linear head on features ``(n, d)`` before any learning."""
    return {"weight": features.new_zeros(way, features.shape[1]), "bias": features.new_zeros(way)}


def head_scores(head: Params, features: Tensor) -> Tensor:
    """Scores ``(n, way)`` of a linear head on the directions of the features."""
    return linear(normalize(features, dim=-1), head["weight"], head["bias"])


def logistic_loss(head: Params, features: Tensor, y: Tensor, l2: float) -> Tensor:
    """Multinomial logistic regression: mean cross-entropy and ``l2 / 2`` times the squared weights, convex in the head."""
    decay = head["weight"].square().sum() + head["bias"].square().sum()
    return cross_entropy(head_scores(head, features), y) + l2 / 2 * decay
