"""Which factors tasks keep: the weights that each adapts on its support, by the kind of task that it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.episodes import Sampler
from metatc2.errors import InputError
from metatc2.learners import TC2
from metatc2.ops.module_state import evaluation_mode


@dataclass(frozen=True)
class TaskChoices:
    """Weights of factors after adaptation.

    Args:
        weights: 2σ(m) of every task, ``(tasks, K)``, in 0..2; 1 leaves a factor as it is.
        kinds: of the tasks, int64 ``(tasks,)``.
        episodes: the episode that each task was in, int64 ``(tasks,)``.
        names: of the kinds.
    """

    weights: Tensor
    kinds: Tensor
    episodes: Tensor
    names: tuple[str, ...]

    def by_kind(self) -> Tensor:
        """Mean weights of the tasks of each kind, ``(kinds, K)``.

        >>> toy = TaskChoices(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0, 1, 1]), torch.arange(3), ("a", "b"))
        >>> toy.by_kind().tolist()
        [[0.0], [1.5]]
        """
        return torch.stack([self.weights[self.kinds == kind].mean(0) for kind in range(len(self.names))])

    def of_tasks(self, those: Tensor) -> TaskChoices:
        """Some of the tasks.

        Args:
            those: bool ``(tasks,)``.
        """
        return TaskChoices(self.weights[those], self.kinds[those], self.episodes[those], self.names)

    def recognized(self) -> float:
        """Share of tasks whose kind the nearest mean of the *other* episodes' tasks tells from the weights alone.

        Where weights say nothing about a kind, it is one over the number of kinds on average.

        >>> toy = TaskChoices(torch.tensor([[0.0], [2.0], [0.1], [1.9]]), torch.tensor([0, 1, 0, 1]),
        ...                   torch.tensor([0, 0, 1, 1]), ("a", "b"))
        >>> toy.recognized()
        1.0
        """
        right = 0
        for episode in self.episodes.unique().tolist():
            inside = self.episodes == episode
            known = self.of_tasks(~inside).by_kind()
            distances = (self.weights[inside][:, None] - known).square().sum(-1)
            # A kind that no other episode has has no mean, so no task is taken for it.
            right += int((distances.nan_to_num(torch.inf).argmin(1) == self.kinds[inside]).sum())
        return right / len(self.kinds)


def task_choices(learner: TC2, sampler: Sampler, episodes: int) -> TaskChoices:
    """Let tasks of fresh episodes adapt their weights, in eval mode; the learner is left as it was.

    Args:
        learner: its calibrator has one weight a factor for all samples of a task (``weights="task"``), or more. Of linear
            weights those of each factor on itself are taken; what differs between samples is left out.
        sampler: its episodes have an identity: it labels the result, and the learner is not told.
        episodes: how many.

    Raises:
        InputError: if there is no episode, or episodes do not say what their tasks are.
    """
    if episodes < 1:
        raise InputError(f"task choices: episodes must be at least 1, got {episodes}")
    weights, kinds = [], []
    names: tuple[str, ...] = ()
    for _ in range(episodes):
        episode = sampler.sample()
        if episode.identity is None:
            raise InputError(
                "task choices: these episodes do not say what their tasks are; use a sampler whose tasks differ "
                "(episode.tasks_differ_by = views, domain or factor)"
            )
        support = episode.support.images.shape[1]
        with evaluation_mode(learner):
            branches = learner.branches(learner.seen(episode))
            target = None if branches.target is None else branches.target[:, :support]
            told = branches.told.of_samples(slice(support))
            adapted = learner.adapt(branches.online[:, :support].detach(), target, told)
        own = 2 * adapted["gates"].detach().sigmoid()
        if learner.calibrator.weights == "linear":
            own = own + adapted["mixing"].detach().diagonal(dim1=-2, dim2=-1)
        weights.append(own)
        kinds.append(episode.identity.kinds)
        names = episode.identity.names
    places = torch.arange(episodes).repeat_interleave(torch.tensor([len(each) for each in kinds]))
    return TaskChoices(torch.cat(weights).cpu(), torch.cat(kinds).cpu(), places, names)
