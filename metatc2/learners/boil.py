"""BOIL: MAML in which the body adapts and the head does not."""

from __future__ import annotations

from typing import Unpack

from pydantic import Field

from metatc2.errors import InputError
from metatc2.inner import InnerLoop
from metatc2.io.options import Factor
from metatc2.learners._heads import head_only
from metatc2.learners.maml import MAML
from metatc2.learners.options import InnerArguments, WithAdjoint
from metatc2.learners.registry import register_learner
from metatc2.models.heads import Classifier


class BOILOptions(WithAdjoint):
    """Options of BOIL."""

    inner_lr: Factor = Field(0.1, gt=0, description="learning rate of the inner loop")


@register_learner(
    "boil",
    summary="MAML in which only the body adapts",
    source="Oh et al. 2021, arXiv 2008.08882",
    options=BOILOptions,
)
class BOIL(MAML):
    """Body only update in the inner loop (Oh et al. 2021, arXiv 2008.08882): representations change, the head stays.

    Args:
        network: encoder and linear head.
        inner: how a task is learned.
        arguments: of `MAML`, without `adapt`.

    Raises:
        InputError: if the head has one shared row: it would never tell one class from another.

    >>> import torch, torchopt
    >>> learner = BOIL(Classifier(torch.nn.Linear(2, 8), dim=8, way=2), InnerLoop(torchopt.sgd(0.5), steps=1))
    >>> learner.adapted
    ('network.encoder.weight', 'network.encoder.bias')
    """

    def __init__(self, network: Classifier, inner: InnerLoop, **arguments: Unpack[InnerArguments]) -> None:
        head_only("BOIL", network, arguments)
        if network.shared:
            raise InputError(
                "BOIL: a head with one shared row does not adapt here, so all classes would score alike; use shared=False"
            )
        super().__init__(network, inner, adapt=lambda name: not name.startswith("head."), **arguments)
