"""Few-shot classification by a learner that adapts to every episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from metatc2.data.streaming import Images
from metatc2.transfer.sampling import Episodes


class Adapts(Protocol):
    """What is asked of a learner: every `metatc2.learners.LabelledLearner` is one."""

    def predict(self, x: Tensor, y: Tensor, query_x: Tensor, way: int | None = None) -> Tensor:
        """Scores ``(Q, way)`` of queries after learning from the support."""
        ...


def adapted_few_shot(
    learner: Adapts,
    images: Images,
    episodes: Episodes,
    *,
    rows: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Accuracy of each episode: the learner learns from its support and classifies its queries, all of them in one call.

    Args:
        learner: in the mode in which it is to be judged (``eval()``).
        images: uint8 ``(N, C, H, W)``, in memory or on disk.
        episodes: see `sample_episodes`.
        rows: what `episodes` point into, int64 rows of `images`; by default the images themselves.
        device: where the learner lies.

    Returns:
        float64 ``(E,)`` in [0, 1], on the CPU.
    """
    way, shot = episodes.support.shape[1:]
    y = torch.arange(way, device=device).repeat_interleave(shot)
    truth = torch.arange(way, device=device).repeat_interleave(episodes.query.shape[2])
    found = []
    for support, query in zip(episodes.support, episodes.query, strict=True):
        wanted = torch.cat([support.flatten(), query.flatten()])
        found_images = images[wanted if rows is None else rows[wanted]].to(device).float() / 255
        x, query_x = found_images.split([support.numel(), query.numel()])
        scores = learner.predict(x, y, query_x, way)
        found.append((scores.argmax(1) == truth).double().mean().cpu())
    return torch.stack(found)


def transductive(learner: object) -> bool:
    """Whether queries see each other through batch normalisation, so that a result is not inductive."""
    return bool(getattr(learner, "transductive", False))


def policy_note(learner: object) -> Sequence[str]:
    """The policy for batch normalisation as a note, where it matters."""
    norm = getattr(learner, "norm", None)
    return [f"BatchNorm by {norm}"] if norm else []
