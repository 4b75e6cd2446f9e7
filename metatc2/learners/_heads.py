"""What heads without an inner loop over the encoder share: class means, and logistic regression on features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
import torchopt
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize

from metatc2.errors import InputError
from metatc2.inner import FirstOrder, InnerLoop, Params, inner_optimizer, picklable
from metatc2.io.options import Factor, InnerOptimizerName
from metatc2.learners.base import full_precision
from metatc2.learners.options import LearnerOptions
from metatc2.models.heads import Classifier


def members(y: Tensor, way: int, like: Tensor) -> Tensor:
    """``(n, way)`` with 1 where a sample is of the class, in the number format of `like`.

    Raises:
        InputError: if `y` are targets of a regression.

    >>> members(torch.tensor([1, 0]), 2, torch.zeros(1)).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    _refuse_regression(way)
    return (y[:, None] == torch.arange(way, device=y.device)).to(like.dtype)


def class_means(features: Tensor, y: Tensor, way: int) -> Tensor:
    """Mean of the features ``(n, d)`` of each class: ``(way, d)``.

    >>> class_means(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]), 2).tolist()
    [[2.0], [5.0]]
    """
    own = members(y, way, features)
    return own.T @ features / own.sum(0)[:, None]


def wide(features: Tensor) -> Tensor:
    """In float32 what mixed precision left in less: three digits are too few to solve a system or to find a minimum.

    >>> wide(torch.ones(1, dtype=torch.bfloat16)).dtype, wide(torch.ones(1, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return features.float() if features.dtype in (torch.bfloat16, torch.float16) else features


def head_loop(l2: float) -> InnerLoop:
    """How `logistic_loss` is minimised unless another way is chosen: 100 steps of Nesterov's method.

    Its curvature lies between l2 and 1 + l2, so the rate is ``1 / (1 + l2)``, and with ``q = l2 / (1 + l2)`` momentum is
    ``(1 − √q) / (1 + √q)`` (Nesterov 2004, section 2.2): 0.75 where l2 is 0.02. Below 0.003 it stays at 0.9, and more steps are
    needed.
    """
    root = (l2 / (1 + l2)) ** 0.5
    momentum = min(0.9, (1 - root) / (1 + root))
    return InnerLoop(picklable(torchopt.sgd, 1 / (1 + l2), momentum=momentum, nesterov=True), 100, FirstOrder())


class HeadOptions(LearnerOptions):
    """Options of a learner whose head is trained to a minimum on each task."""

    l2: Factor = Field(0.02, ge=0, description="regularization of the head")
    inner_optimizer: InnerOptimizerName | None = Field(
        None, description="optimizer of the head; unset: Nesterov's method"
    )
    inner_lr: Factor | None = Field(None, gt=0, description="learning rate of the head; unset: what l2 allows")
    inner_steps: int = Field(100, ge=0, le=10**5, description="steps of the inner loop in training")
    test_steps: int | None = Field(
        None, ge=0, le=10**5, description="steps of the inner loop at test time; unset: as in training"
    )
    inner_clip: Factor = Field(0.0, ge=0, description="largest gradient norm in the inner loop; 0 is off")

    def loop(self) -> InnerLoop:
        """How the head is trained: by `head_loop` where nothing but the steps is chosen."""
        if self.inner_optimizer is None and self.inner_lr is None and not self.inner_clip:
            return dataclasses.replace(head_loop(self.l2), steps=self.inner_steps)
        lr = 1.0 if self.inner_lr is None else self.inner_lr
        rule = inner_optimizer(self.inner_optimizer or "nesterov", lr, clip=self.inner_clip)
        return InnerLoop(rule, self.inner_steps, FirstOrder())


def zero_head(features: Tensor, way: int) -> Params:
    """A linear head on features ``(n, d)`` before any learning.

    Raises:
        InputError: if there are no classes.
    """
    _refuse_regression(way)
    like = wide(features)
    return {"weight": like.new_zeros(way, like.shape[1]), "bias": like.new_zeros(way)}


def head_scores(head: Params, features: Tensor) -> Tensor:
    """Scores ``(n, way)`` of a linear head on the directions of the features."""
    with full_precision(features):
        return linear(normalize(wide(features), dim=-1), head["weight"], head["bias"])


def logistic_loss(head: Params, features: Tensor, y: Tensor, l2: float) -> Tensor:
    """Multinomial logistic regression: mean cross-entropy and ``l2 / 2`` times the squared weights, convex in the head."""
    decay = head["weight"].square().sum() + head["bias"].square().sum()
    return cross_entropy(head_scores(head, features), y) + l2 / 2 * decay


def _refuse_regression(way: int) -> None:
    if way < 1:
        raise InputError(
            "this learner needs class labels (int64) and got float targets; for regression use MAML or a variant"
        )


def head_only(learner: str, network: nn.Module, arguments: Mapping[str, Any]) -> None:
    """What learners ask for that tell the head from the body.

    Raises:
        InputError: if the network is no `Classifier`, or `adapt` is given, which is theirs to choose.
    """
    if not isinstance(network, Classifier):
        raise InputError(f"{learner}: network must be a Classifier(encoder, dim, way), got {type(network).__name__}")
    if "adapt" in arguments:
        raise InputError(
            f"{learner}: what adapts is what makes it {learner}; use MAML(..., adapt=...) for another choice"
        )
