"""Few-shot classification by a learner that adapts to every episode."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from metatc2.data.streaming import Images
from metatc2.models.encoding import precision_of
from metatc2.models.inputs import images_of
from metatc2.ops.module_state import unchanged
from metatc2.transfer.sampling import Episodes


class Adapts(Protocol):
    """What is asked of a learner: every `metatc2.learners.LabeledLearner` is one."""

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
        learner: in the mode in which it is to be measured (``eval()``), which it keeps; a module is left as it was.
        images: uint8 ``(N, C, H, W)``, in memory or on disk; see `extract`.
        episodes: see `sample_episodes`.
        rows: what `episodes` point into, int64 rows of `images`; by default the images themselves.
        device: where the learner lies.

    Returns:
        float64 ``(E,)`` in [0, 1], on the CPU.
    """
    images = images_of(images, "adapted few-shot: images")
    module = learner if isinstance(learner, nn.Module) else None
    with nullcontext() if module is None else unchanged(module):
        return _accuracies(learner, images, episodes, rows, device)


def _accuracies(
    learner: Adapts, images: Images, episodes: Episodes, rows: Tensor | None, device: torch.device | str
) -> Tensor:
    way, shot = episodes.support.shape[1:]
    dtype = precision_of(learner) if isinstance(learner, nn.Module) else torch.float32
    y = torch.arange(way, device=device).repeat_interleave(shot)
    truth = torch.arange(way, device=device).repeat_interleave(episodes.query.shape[2])
    accuracies = []
    for support, query in zip(episodes.support, episodes.query, strict=True):
        wanted = torch.cat([support.flatten(), query.flatten()])
        batch = images[wanted if rows is None else rows[wanted]].to(device).float() / 255
        batch = batch.to(dtype)
        x, query_x = batch.split([support.numel(), query.numel()])
        scores = learner.predict(x, y, query_x, way)
        accuracies.append((scores.argmax(1) == truth).double().mean().cpu())
    return torch.stack(accuracies)


def transductive(learner: object) -> bool:
    """Whether queries see each other through batch normalization, so that a result is not inductive."""
    return bool(getattr(learner, "transductive", False))


def policy_note(learner: object) -> Sequence[str]:
    """The policy for batch normalization as a note, where it matters."""
    norm = getattr(learner, "norm", None)
    return [f"BatchNorm by {norm}"] if norm else []
