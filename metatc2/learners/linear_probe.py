"""The baseline: ordinary classification of all training classes, then a new linear head on each task."""

from __future__ import annotations

import dataclasses
from typing import Self, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError
from metatc2.inner import InnerLoop, Params
from metatc2.learners._heads import HeadOptions, head_loop, head_scores, logistic_loss, zero_head
from metatc2.learners.base import Outcome, full_precision
from metatc2.learners.meta_learner import LabeledLearner, Predictor
from metatc2.learners.options import LearnerArguments, LearnerOptions, Tasks
from metatc2.learners.registry import register_learner


@register_learner(
    "linear-probe",
    summary="classify all training classes, then train a head alone (the baseline)",
    source="Chen et al. 2019, arXiv 1904.04232",
    options=HeadOptions,
)
class LinearProbe(LabeledLearner):
    """Pre-train by classifying, then train a head alone (Chen et al. 2019, arXiv 1904.04232, "Baseline").

    In training the tasks of an episode are one batch, and the loss is the cross-entropy over all classes of the store. At
    test time the encoder is frozen and a logistic head is trained on the support. A calibrated encoder takes the batch for one
    task in training, without an inner loop.

    Args:
        encoder: inputs → ``(N, d)``.
        dim: d.
        class_of: class of every row of the store, ``(rows,)``.
        inner: how the head is trained at test time; by default 100 steps of Nesterov's method.
        l2: regularization of that head, ≥ 0.
        test_steps: steps of that head; by default those of `inner`.
        arguments: of `LabeledLearner`.

    Raises:
        InputError: if `l2` is negative.

    >>> learner = LinearProbe(nn.Flatten(), dim=2, class_of=torch.arange(6))
    >>> x = torch.tensor([[-1.0, 0.1], [1.0, 0.1]])
    >>> learner.predict(x, torch.tensor([0, 1]), x).argmax(1).tolist()
    [0, 1]
    """

    def __init__(
        self,
        encoder: nn.Module,
        dim: int,
        class_of: Tensor,
        inner: InnerLoop | None = None,
        *,
        l2: float = 0.02,
        test_steps: int | None = None,
        **arguments: Unpack[LearnerArguments],
    ) -> None:
        if not l2 >= 0:
            raise InputError(f"LinearProbe: l2 must be ≥ 0, got {l2}")
        super().__init__(encoder, **arguments)
        self.register_buffer("class_of", class_of, persistent=False)
        self.classifier = nn.Linear(dim, int(class_of.max()) + 1)
        self.inner, self.l2 = inner or head_loop(l2), l2
        if test_steps is not None:
            self.inner = dataclasses.replace(self.inner, steps=test_steps)

    @classmethod
    def from_options(cls, encoder: nn.Module, options: LearnerOptions, tasks: Tasks) -> Self:
        """See `LabeledLearner.from_options`.

        Raises:
            InputError: if the class of every row is not known.
        """
        assert isinstance(options, HeadOptions)  # as it is registered
        if tasks.class_of is None:
            raise InputError("learner 'linear-probe' needs the class of every row; pass Tasks(class_of=store.labels)")
        return cls(
            encoder,
            tasks.dim,
            tasks.class_of,
            options.loop(),
            l2=options.l2,
            test_steps=options.test_steps,
            norm=options.norm,
            vmap_chunk=options.vmap_chunk,
        )

    def forward(self, episode: Episode) -> Outcome:
        """Cross-entropy over all classes.

        Raises:
            InputError: if episodes do not say which rows of a store they come from, or it is another store.
        """
        inputs, labels = zip(*(self._flat(side) for side in (episode.support, episode.query)), strict=True)
        batch = torch.cat(inputs)
        scores = self.classifier(self.vectors(self.theta(), batch) if self.norm == "frozen" else self.network(batch))
        truth = torch.cat(labels)
        loss = cross_entropy(scores, truth) + self.calibration()
        return Outcome(loss, {"accuracy": (scores.detach().argmax(1) == truth).float().mean()})

    def fit(self, theta: Params, x: Tensor, y: Tensor, way: int) -> Predictor:
        """See `LabeledLearner.fit`."""
        features = self.vectors(theta, x)

        def loss(head: Params, features: Tensor) -> Tensor:
            return logistic_loss(head, features, y, self.l2)

        with full_precision(features):
            head = self.inner(loss, zero_head(features, way), features)
        return lambda query: head_scores(head, self.vectors(theta, query, x))

    def _flat(self, side: Samples) -> tuple[Tensor, Tensor]:
        if bool((side.index < 0).any()):
            raise InputError(
                "LinearProbe trains on the classes of a store and these episodes have none (index −1); sample them with "
                "LabeledTasks"
            )
        class_of: Tensor = self.get_buffer("class_of")
        if (last := int(side.index.max())) >= len(class_of):
            raise InputError(
                f"LinearProbe: an episode has row {last} and class_of knows {len(class_of)} rows; pass the labels of the store "
                "that the episodes are drawn from"
            )
        return side.images.flatten(0, 2), class_of[side.index.flatten()].repeat_interleave(side.images.shape[2])
