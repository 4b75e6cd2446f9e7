"""The learner on episodes that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.episodes import Divided, Episode, FromIterable
from metatc2.errors import InputError
from metatc2.learners import Learner
from metatc2.ops.module_state import copied
from metatc2.ops.random_state import seeded
from metatc2.ops.ranks import Ranks
from metatc2.training.division import Division

EPISODES = 8


class Validation:
    """Loss and metrics of the same episodes whenever it is asked.

    The learner is copied for it, so that nothing of it moves; the copy is in eval mode and has the averaged encoder, where
    there is one. Random numbers are the same every time and none of training's.

    Args:
        source: a list of episodes, all of which are taken; or a sampler or iterable, of which the first eight are.
        ranks: processes, which share the tasks of each episode.

    Raises:
        InputError: if there is no episode.
    """

    def __init__(self, source: Any, ranks: Ranks) -> None:
        self._few = EPISODES
        if isinstance(source, Sequence):
            if not source or not all(isinstance(each, Episode) for each in source):
                raise InputError("Trainer: validation must be a sampler, or a list of at least one Episode")
            self._few, source = len(source), iter(source)
        sampler = source if hasattr(source, "sample") else FromIterable(source)
        self._sampler = Divided(sampler, ranks)
        self._episodes: list[Episode] = []

    def __call__(
        self,
        learner: Learner,
        encoder: nn.Module | None,
        division: Division,
        device: torch.device,
        autocast: AbstractContextManager[None],
    ) -> dict[str, float]:
        """Means over the episodes, ``val_loss`` and ``val_`` before the name of each metric.

        Args:
            learner: as it is now.
            encoder: the averaged one, or that of the learner.
            division: over processes.
            device: where the learner is.
            autocast: precision of its forward pass.
        """
        if not self._episodes:
            self._episodes = [self._sampler.sample() for _ in range(self._few)]
        looked_at = Division(made := copied(learner), division.ranks, division.parts)
        own = made.exports().get("encoder")
        if encoder is not None and own is not None:
            own.load_state_dict(encoder.state_dict())
        made.eval()
        sums: dict[str, Tensor] = {}
        with seeded(0), looked_at.within(), autocast:
            for episode in self._episodes:
                some = episode.to(device)
                outcome = looked_at.over_all(made(some), some)
                for name, value in {"loss": outcome.loss, **outcome.metrics}.items():
                    sums[name] = (
                        sums.get(name, torch.zeros((), dtype=torch.float64)) + torch.as_tensor(value).detach().cpu()
                    )
        return {f"val_{name}": float(total) / len(self._episodes) for name, total in sums.items()}
