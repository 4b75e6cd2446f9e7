"""Episodes: what flows from a sampler to a learner."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from metatc2.episodes.from_tensors import labeled_sides, view_sides
from metatc2.episodes.samples import Samples
from metatc2.errors import InputError


# Not frozen: Lightning Fabric rebuilds what goes into a module, field by field.
@dataclass(eq=False)
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


# Not frozen: Lightning Fabric rebuilds what goes into a module, field by field.
@dataclass(eq=False)
class Episode:
    """Tasks with a support side, to adapt on, and a query side, to evaluate on.

    Args:
        support, query: of every task.
        identity: what the tasks are, where the sampler knows; no learner looks at it but those that are told by design.

    >>> import torch
    >>> from metatc2.episodes import Episode
    >>> x, y = torch.rand(4, 5, 1, 8, 8), torch.arange(5).expand(4, 5)  # 4 tasks, one image of each of 5 classes
    >>> episode = Episode.of(x, y, x, y)
    >>> tuple(episode.support.images.shape), tuple(episode.query.labels.shape)
    ((4, 5, 1, 1, 8, 8), (4, 5))
    """

    support: Samples
    query: Samples
    identity: TaskIdentity | None = None

    @classmethod
    def of(cls, x: Tensor, y: Tensor, qx: Tensor, qy: Tensor) -> Episode:
        """Labeled tasks from tensors that lie side by side, as few-shot libraries and loops of one's own have them.

        Args:
            x: what tasks learn from: ``(tasks, samples, ...)``, floating point, images in [0, 1] as ``(..., C, H, W)``.
            y: of `x`, ``(tasks, samples)``: classes of the task, int64 from 0; or targets of a regression, floating point
                ``(tasks, samples)`` or ``(tasks, samples, D)``. Of a single task it may be ``(samples,)``: all four then lack
                the first axis.
            qx: what tasks are evaluated on, ``(tasks, queries, ...)``.
            qy: of `qx`, as `y`.

        Raises:
            InputError: if shapes or types do not fit, or values are not finite.

        >>> x, y = torch.rand(10, 1, 28, 28), torch.arange(5).repeat(2)  # one task, 5-way 2-shot
        >>> Episode.of(x, y, torch.rand(20, 1, 28, 28), torch.arange(5).repeat(4)).images.shape
        torch.Size([1, 30, 1, 1, 28, 28])
        """
        return cls(*labeled_sides(x, y, qx, qy))

    @classmethod
    def of_views(cls, first: Tensor, second: Tensor, *, tasks: int = 4) -> Episode:
        """A batch of two views of each image, as lightly's loaders give it, cut into tasks in the order of the batch.

        Args:
            first: one view of each image, ``(images, ...)``, floating point, images in [0, 1] as ``(..., C, H, W)``.
            second: the other, in the same order.
            tasks: that share the images evenly; the first half of each, rounded down, is its support side.

        Raises:
            InputError: if the two do not fit, or do not make as many tasks of two images or more.

        >>> Episode.of_views(torch.rand(16, 3, 32, 32), torch.rand(16, 3, 32, 32), tasks=2).support.images.shape
        torch.Size([2, 4, 2, 3, 32, 32])
        """
        return cls(*view_sides(first, second, tasks))

    def to(self, device: torch.device | str) -> Episode:
        """The same episode on a device."""
        return self.map(lambda t: t.to(device))

    def map(self, f: Callable[[Tensor], Tensor]) -> Episode:
        """The same episode with `f` applied to every tensor."""
        identity = None if self.identity is None else self.identity.map(f)
        return Episode(self.support.map(f), self.query.map(f), identity)

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
