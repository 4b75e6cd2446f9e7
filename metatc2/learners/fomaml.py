"""FOMAML: MAML whose inner gradients are constants."""

from __future__ import annotations

import dataclasses
from typing import Unpack

from torch import nn

from metatc2.inner import FirstOrder, InnerLoop
from metatc2.learners.maml import MAML, AdaptOptions
from metatc2.learners.options import AdaptArguments
from metatc2.learners.registry import register_learner


@register_learner(
    "fomaml",
    summary="first-order MAML: inner gradients are constants",
    source="Finn et al. 2017, section 5.2",
    options=AdaptOptions,
)
class FOMAML(MAML):
    """First-order MAML (Finn et al. 2017, arXiv 1703.03400, section 5.2).

    Args:
        network: as in `MAML`.
        inner: how a task is learned; its adjoint is replaced by `FirstOrder`.
        arguments: of `MAML`.

    >>> import torchopt
    >>> FOMAML(nn.Linear(2, 3), InnerLoop(torchopt.sgd(0.1), steps=2)).inner.adjoint
    FirstOrder()
    """

    def __init__(self, network: nn.Module, inner: InnerLoop, **arguments: Unpack[AdaptArguments]) -> None:
        super().__init__(network, inner, **arguments)
        first_order = FirstOrder()
        self.train_inner = dataclasses.replace(self.train_inner, adjoint=first_order)
        self.test_inner = dataclasses.replace(self.test_inner, adjoint=first_order)
