"""A learner that several processes train, or that has a part of its images in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.learners import Learner, Outcome
from metatc2.ops.ranks import ALONE, Ranks


class Division:
    """What a trainer does about processes and parts of a batch around a learner's forward.

    Args:
        learner: whole, or with other learners in it.
        ranks: that train together.
        parts: that the images of a process are cut into.

    Raises:
        InputError: if the learner cannot be trained so.
    """

    def __init__(self, learner: Learner, ranks: Ranks, parts: int) -> None:
        name = type(learner).__name__
        if learner.undivided and (parts > 1 or not ranks.alone):
            asked = f"trainer.accumulate = {parts}" if ranks.alone else f"{ranks.size} processes"
            raise InputError(
                f"{name} cannot be trained with {asked}: {learner.undivided}; train it on one device, all images at once"
            )
        if parts > 1 and not learner.gathers:
            raise InputError(
                f"trainer.accumulate = {parts} does nothing for {name}, which has one task at a time in memory; leave it out"
            )
        self.ranks, self.parts, self.gathers = ranks, parts, learner.gathers
        self._learners = [part for part in learner.modules() if isinstance(part, Learner)]

    @contextmanager
    def within(self) -> Iterator[None]:
        """Within the block learners know of the other processes and of the parts; not afterwards, when they are used alone."""
        for learner in self._learners:
            learner.ranks, learner.parts = self.ranks, self.parts
        try:
            yield
        finally:
            for learner in self._learners:
                learner.ranks, learner.parts = ALONE, 1

    def weight(self, episode: Episode) -> Tensor | None:
        """What the loss of this rank's tasks counts in the mean over ranks; None where it counts as any other.

        Args:
            episode: the tasks of this rank.
        """
        if self.ranks.alone or self.gathers:
            return None
        images = episode.support.images
        own = torch.tensor(float(len(images)), device=images.device)
        return own / self.ranks.mean(own)

    def over_all(self, outcome: Outcome, episode: Episode) -> Outcome:
        """Loss and metrics as means over the tasks of all ranks.

        Args:
            outcome: of this rank.
            episode: its tasks.
        """
        weight = self.weight(episode)
        if weight is None:
            return outcome
        told = (outcome.loss.detach(), *outcome.metrics.values())
        values = torch.stack([torch.as_tensor(value, dtype=torch.float64).to(weight.device) for value in told])
        loss, *metrics = self.ranks.mean(values * weight).unbind()
        return Outcome(loss, dict(zip(outcome.metrics, metrics, strict=True)), outcome.embeddings)
