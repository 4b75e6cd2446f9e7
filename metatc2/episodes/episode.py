"""Episodes: what flows from a sampler to a learner."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from metatc2.errors import InputError


@dataclass(frozen=True)
class Samples:
    """One side of an episode, all tasks stacked.

    Args:
        images: ``(tasks, samples, views, C, H, W)``, float in [0, 1]; in tasks that are not about images, inputs
            ``(tasks, samples, views, ...)``.
        labels: ``(tasks, samples)``, int64 and task-local (0 to way − 1); float targets in regression tasks; None in
            self-supervised tasks.
        descriptors: ``(tasks, samples, views, P)``: how each view was made; None where views are not drawn.
        index: ``(tasks, samples)``: row in the store; −1 where there is no store.
        answers: ``(tasks, samples, views, A)``: what an objective took from the images to ask for; None before it did, and of
            objectives that do not.
    """

    images: Tensor
    labels: Tensor | None
    descriptors: Tensor | None
    index: Tensor
    answers: Tensor | None = None

    def map(self, f: Callable[[Tensor], Tensor]) -> Samples:
        """The same samples with `f` applied to every tensor."""
        return Samples(
            f(self.images),
            None if self.labels is None else f(self.labels),
            None if self.descriptors is None else f(self.descriptors),
            f(self.index),
            None if self.answers is None else f(self.answers),
        )

    def labeled(self) -> tuple[Tensor, Tensor]:
        """Inputs ``(tasks, samples · views, ...)`` and labels ``(tasks, samples · views)``: every view is a sample.

        Raises:
            InputError: if there are no labels.
        """
        if self.labels is None:
            raise InputError(
                "this learner needs labeled episodes and got self-supervised ones; sample them with LabeledTasks"
            )
        return self.images.flatten(1, 2), self.labels.repeat_interleave(self.images.shape[2], dim=1)


@dataclass(frozen=True)
class TaskIdentity:
    """What the tasks of an episode are, for learners that are told: the controls of those that find it out themselves.

    Args:
        kinds: ``(tasks,)``, int64: the kind of each task, from 0; the same number in every episode for the same kind.
        names: of the kinds; ``kinds`` points into them.
        conditions: ``(tasks, P)``, float: each task described by numbers (which factors it keeps, how strong its views are).
    """

    kinds: Tensor
    names: tuple[str, ...]
    conditions: Tensor

    def map(self, f: Callable[[Tensor], Tensor]) -> TaskIdentity:
        """The same identities with `f` applied to every tensor."""
        return TaskIdentity(f(self.kinds), self.names, f(self.conditions))


@dataclass(frozen=True)
class Episode:
    """Tasks with a support side, to adapt on, and a query side, to evaluate on.

    Args:
        support, query: of every task.
        identity: what the tasks are, where the sampler knows; no learner looks at it but those that are told by design.
    """

    support: Samples
    query: Samples
    identity: TaskIdentity | None = None

    def to(self, device: torch.device | str) -> Episode:
        """The same episode on a device."""
        identity = None if self.identity is None else self.identity.map(lambda t: t.to(device))
        return Episode(self.support.map(lambda t: t.to(device)), self.query.map(lambda t: t.to(device)), identity)

    def part(self, tasks: slice) -> Episode:
        """Some of the tasks."""
        identity = None if self.identity is None else self.identity.map(lambda t: t[tasks])
        return Episode(self.support.map(lambda t: t[tasks]), self.query.map(lambda t: t[tasks]), identity)

    def merged(self) -> Episode:
        """The same samples as one single task, which has no identity."""
        support, query = (side.map(lambda t: t.flatten(0, 1)[None]) for side in (self.support, self.query))
        return Episode(support, query)

    @property
    def images(self) -> Tensor:
        """Images of both sides, support first: ``(tasks, samples, views, C, H, W)``."""
        return torch.cat([self.support.images, self.query.images], dim=1)

    @property
    def descriptors(self) -> Tensor | None:
        """How the views of both sides were made, ``(tasks, samples, views, P)``; None where a side does not say."""
        support, query = self.support.descriptors, self.query.descriptors
        return None if support is None or query is None else torch.cat([support, query], dim=1)

    @property
    def answers(self) -> Tensor | None:
        """What an objective took from the images of both sides, ``(tasks, samples, views, A)``; None where it took nothing."""
        support, query = self.support.answers, self.query.answers
        return None if support is None or query is None else torch.cat([support, query], dim=1)


class Sampler(Protocol):
    """What the trainer asks of a sampler.

    With ``state_dict()``, all that the next episodes depend on as tensors, numbers and strings, and ``load_state_dict(state)``
    its runs can also be resumed. With ``divide(ranks)`` each of several processes makes its own tasks of an episode alone; of
    other samplers each draws the whole episode, the same on all, and drops the tasks of others.
    """

    def sample(self) -> Episode:
        """The next episode."""
        ...


class FromIterable:
    """An iterable of episodes as a sampler; it must not end before training does.

    >>> FromIterable(["first", "second"]).sample()
    'first'
    """

    def __init__(self, episodes: Iterable[Episode]) -> None:
        self.episodes = iter(episodes)

    def sample(self) -> Episode:
        """The next episode.

        Raises:
            InputError: if there is none.
        """
        try:
            return next(self.episodes)
        except StopIteration:
            raise InputError(
                "the iterable of episodes ended before training did; give an endless one or fewer trainer steps"
            ) from None
