"""MAML: an initialization from which a few gradient steps learn a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Self, Unpack

from pydantic import Field
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.inner import InnerLoop, InnerLoss, Params, Unroll
from metatc2.learners.meta_learner import LabeledLearner, Predictor
from metatc2.learners.options import InnerOptions, LearnerArguments, LearnerOptions, Tasks, WithAdjoint
from metatc2.learners.registry import register_learner
from metatc2.models.heads import Classifier
from metatc2.ops.functional import Predicate, select


class SharedHead(InnerOptions):
    """Options of a learner that meta-learns a linear head."""

    shared_head: bool = Field(False, description="one meta-learned row for all classes: tasks of any number of classes")


class AdaptOptions(SharedHead):
    """Options of a MAML whose inner loop is differentiated in one way alone."""

    adapt: tuple[str, ...] = Field(("*",), min_length=1, description="patterns of the parameters that adapt")


class MAMLOptions(AdaptOptions, WithAdjoint):
    """Options of MAML."""


@register_learner(
    "maml",
    summary="an initialization that learns a task in a few steps",
    source="Finn et al. 2017, arXiv 1703.03400",
    options=MAMLOptions,
)
class MAML(LabeledLearner):
    """Model-agnostic meta-learning (Finn et al. 2017, arXiv 1703.03400, algorithm 2).

    ``θ' = inner loop from θ on the support loss``; θ follows the query loss of θ' through the inner loop, as its adjoint
    says: `Unroll` is MAML, `FirstOrder` first-order MAML, `Implicit` iMAML.

    Args:
        network: inputs → scores ``(N, way)``.
        inner: how a task is learned.
        adapt: which parameters adapt: a shell pattern on the network's parameter names, several, or a predicate.
        test_steps: inner steps of `predict` and of a loss in eval mode; by default those of `inner`.
        arguments: of `LabeledLearner`.

    Raises:
        InputError: if no trainable parameter matches `adapt`.

    >>> import torch, torchopt
    >>> learner = MAML(nn.Linear(2, 3), InnerLoop(torchopt.sgd(0.1), steps=2))
    >>> x, y = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    >>> learner.predict(x, y, x[:4]).shape
    torch.Size([4, 3])
    """

    @classmethod
    def from_options(cls, encoder: nn.Module, options: LearnerOptions, tasks: Tasks) -> Self:
        """See `LabeledLearner.from_options`; encoder and head meet in a `Classifier`."""
        assert isinstance(options, InnerOptions)  # as it is registered
        network = Classifier(encoder, tasks.dim, tasks.way, shared=getattr(options, "shared_head", False))
        adjoint = options.adjoint.build() if isinstance(options, WithAdjoint) else Unroll()
        own = options.beyond(WithAdjoint)
        own.pop("shared_head", None)
        return cls(
            network,
            options.loop(adjoint),
            test_steps=options.test_steps,
            norm=options.norm,
            vmap_chunk=options.vmap_chunk,
            **own,
        )

    def __init__(
        self,
        network: nn.Module,
        inner: InnerLoop,
        *,
        adapt: str | Iterable[str] | Predicate = "*",
        test_steps: int | None = None,
        **arguments: Unpack[LearnerArguments],
    ) -> None:
        if not isinstance(inner, InnerLoop):
            raise InputError(
                f"{type(self).__name__}: inner must be an InnerLoop, got {type(inner).__name__}; write "
                "InnerLoop(optimizer, steps)"
            )
        super().__init__(network, **arguments)
        self.adapted = tuple(f"network.{name}" for name in select(network, adapt))
        self.train_inner = inner
        self.test_inner = inner if test_steps is None else dataclasses.replace(inner, steps=test_steps)

    @property
    def inner(self) -> InnerLoop:
        """The inner loop of the present mode, training or not."""
        return self.train_inner if self.training else self.test_inner

    def fit(self, theta: Params, x: Tensor, y: Tensor, way: int) -> Predictor:
        """See `LabeledLearner.fit`."""
        start, rest = self.split(theta, way)
        adapted = self.inner(self.support_loss(x, y, way), start, rest)
        return lambda query: self.scores({**rest, **adapted}, query, way, x)

    def split(self, theta: Params, way: int) -> tuple[Params, Params]:
        """The parameters that adapt, and the others; those frozen since the learner was made start where they stand."""
        if any(name not in theta for name in self.adapted):
            theta = {**{n: p for n, p in self.named_parameters() if n in self.adapted}, **theta}
        if isinstance(self.network, Classifier) and way:
            head = {name: self.network.rows(p, way) for name, p in theta.items() if name.startswith("network.head.")}
            theta = {**theta, **head}
        return {n: theta[n] for n in self.adapted}, {n: p for n, p in theta.items() if n not in self.adapted}

    def support_loss(self, x: Tensor, y: Tensor, way: int) -> InnerLoss:
        """The inner loss: of the parameters that adapt, and the others."""
        return lambda adapted, rest: self.loss_of(self.scores({**rest, **adapted}, x, way), y)

    def scores(self, theta: Params, x: Tensor, way: int, support: Tensor | None = None) -> Tensor:
        """Scores ``(N, way)`` of the network under `theta` (regression: its output, shaped like the targets)."""
        out = self.call(theta, x, support)
        if not way:
            return out.squeeze(-1)
        if out.ndim != 2 or out.shape[1] < way:
            raise InputError(
                f"{type(self).__name__}: the network must give scores (N, {way}) for a {way}-way task, got "
                f"{tuple(out.shape)}; give it an output for every class, e.g. Classifier(encoder, dim, way={way})"
            )
        return out[:, :way]
