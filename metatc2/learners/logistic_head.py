"""A logistic head that is trained to its optimum on each task, and differentiated there."""

from __future__ import annotations

import dataclasses
from typing import Self, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.inner import Implicit, InnerLoop, Params
from metatc2.io.options import Factor
from metatc2.learners._heads import HeadOptions, head_loop, head_scores, logistic_loss, zero_head
from metatc2.learners.base import full_precision
from metatc2.learners.meta_learner import LabeledLearner, Predictor
from metatc2.learners.options import LearnerArguments, LearnerOptions, Tasks
from metatc2.learners.registry import register_learner


class LogisticOptions(HeadOptions):
    """Options of a logistic head at its optimum."""

    l2: Factor = Field(0.02, gt=0, description="regularization of the head; without it there may be no minimum")
    scale: Factor = Field(1.0, description="factor on the scores at the start")


@register_learner(
    "logistic",
    summary="a logistic head at its optimum, differentiated there",
    source="Lee et al. 2019, arXiv 1904.03758",
    options=LogisticOptions,
)
class LogisticHead(LabeledLearner):
    """L2-regularized logistic regression on the support, differentiated implicitly.

    Of the convex-head family of MetaOptNet (Lee et al. 2019, arXiv 1904.03758, section 3). The head is a minimum of a strictly
    convex loss, so its derivative is that of the minimum, however it was found. Features are normalized; a factor on the
    scores of queries is meta-learned, as there.

    Args:
        encoder: inputs → ``(N, d)``.
        inner: how the minimum is sought, its adjoint replaced by `Implicit`; by default 100 steps of Nesterov's method.
        l2: regularization, > 0: without it there may be no minimum.
        scale: factor on the scores at the start.
        test_steps: steps of `predict` and of a loss in eval mode; by default those of `inner`.
        arguments: of `LabeledLearner`; ``vmap_chunk`` has to be 1.

    Raises:
        InputError: if `l2` is not positive, or `vmap_chunk` is not 1.

    >>> learner = LogisticHead(nn.Flatten())
    >>> x = torch.tensor([[-1.0, 0.1], [1.0, 0.1]])
    >>> learner.predict(x, torch.tensor([0, 1]), x).argmax(1).tolist()
    [0, 1]
    """

    def __init__(
        self,
        encoder: nn.Module,
        inner: InnerLoop | None = None,
        *,
        l2: float = 0.02,
        scale: float = 1.0,
        test_steps: int | None = None,
        **arguments: Unpack[LearnerArguments],
    ) -> None:
        if not l2 > 0:
            raise InputError(f"LogisticHead: l2 must be > 0, got {l2}; without it the head may have no minimum")
        if arguments.get("vmap_chunk", 1) != 1:
            raise InputError("LogisticHead: implicit differentiation does not work under vmap; set vmap_chunk to 1")
        super().__init__(encoder, **arguments)
        self.inner = dataclasses.replace(inner or head_loop(l2), adjoint=Implicit())
        self.test_inner = self.inner if test_steps is None else dataclasses.replace(self.inner, steps=test_steps)
        self.l2 = l2
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    @classmethod
    def from_options(cls, encoder: nn.Module, options: LearnerOptions, tasks: Tasks) -> Self:
        """See `LabeledLearner.from_options`."""
        assert isinstance(options, LogisticOptions)  # as it is registered
        return cls(
            encoder,
            options.loop(),
            l2=options.l2,
            scale=options.scale,
            test_steps=options.test_steps,
            norm=options.norm,
            vmap_chunk=options.vmap_chunk,
        )

    def fit(self, theta: Params, x: Tensor, y: Tensor, way: int) -> Predictor:
        """See `LabeledLearner.fit`."""
        features = self.vectors(theta, x)
        inner = self.inner if self.training else self.test_inner

        def loss(head: Params, features: Tensor) -> Tensor:
            return logistic_loss(head, features, y, self.l2)

        # Features of an encoder that is frozen as a whole leave the adjoint nothing to differentiate.
        with torch.set_grad_enabled(torch.is_grad_enabled() and features.requires_grad), full_precision(features):
            head = inner(loss, zero_head(features, way), features)
        scale = theta.get("scale", self.scale)
        return lambda query: scale * head_scores(head, self.vectors(theta, query, x))
