"""Few-shot accuracy of a learner on the tasks of any sampler."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.episodes import Sampler
from metatc2.errors import InputError
from metatc2.learners.sides import sides
from metatc2.transfer.adapted_episodes import Adapts


def few_shot_accuracy(
    learner: Adapts, sampler: Sampler, episodes: int, *, device: torch.device | str = "cpu"
) -> Tensor:
    """Accuracy on each of some tasks: the learner learns from a task's support and classifies its queries in one call.

    The protocol of ``metatc2 transfer``, for tasks that come from a sampler and not from a store; `mean_interval` of what
    comes back is the number to report. A few-shot *episode* is one task here, whatever number of them the sampler stacks.

    Args:
        learner: in the mode in which it is to be measured (``eval()``).
        sampler: of labeled episodes.
        episodes: how many tasks to measure it on; those left over in the last draw are not.
        device: where the learner lies.

    Returns:
        float64 ``(episodes,)`` in [0, 1], on the CPU.

    Raises:
        InputError: if `episodes` is not positive, or the tasks are not labeled or not task-local.

    >>> from metatc2.episodes import Episode, FromIterable, Samples
    >>> from metatc2.learners.maml import MAML
    >>> import torchopt
    >>> from metatc2.inner import InnerLoop
    >>> labels = torch.tensor([[0, 1]])
    >>> side = Samples(torch.eye(2)[None, :, None], labels, None, labels)
    >>> learner = MAML(torch.nn.Linear(2, 2), InnerLoop(torchopt.sgd(1.0), steps=9)).eval()
    >>> few_shot_accuracy(learner, FromIterable([Episode(side, side)]), 1)
    tensor([1.], dtype=torch.float64)
    """
    if episodes < 1:
        raise InputError(f"few_shot_accuracy: episodes must be at least 1, got {episodes}")
    accuracies: list[Tensor] = []
    while len(accuracies) < episodes:
        x, y, query_x, query_y, way = sides(sampler.sample().to(device))
        if not way:
            raise InputError(
                "few_shot_accuracy: the tasks are regression tasks and have no accuracy; give labeled ones"
            )
        for own in zip(x, y, query_x, query_y, strict=True):
            scores = learner.predict(own[0], own[1], own[2], way)
            accuracies.append((scores.argmax(1) == own[3]).double().mean().cpu())
    return torch.stack(accuracies[:episodes])
