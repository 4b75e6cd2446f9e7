"""Episodes: what flows from a sampler to a learner."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from metatc2.errors import InputError

_AXES = {"classes": "(tasks, samples)", "targets": "(tasks, samples) or (tasks, samples, D)"}


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
        return cls(*sides_of(x, y, qx, qy))

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
        both = _two_views(first, second, tasks)
        half = both.shape[1] // 2
        return cls(_unlabeled(both[:, :half]), _unlabeled(both[:, half:]))

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


def _two_views(first: Tensor, second: Tensor, tasks: int) -> Tensor:
    for name, view in (("first", first), ("second", second)):
        if not isinstance(view, Tensor) or not view.is_floating_point():
            got = view.dtype if isinstance(view, Tensor) else type(view).__name__
            raise InputError(f"Episode.of_views: {name} must be a floating-point tensor, images in [0, 1], got {got}")
        if not bool(view.isfinite().all()):
            raise InputError(f"Episode.of_views: {name} has values that are not finite; leave those images out")
    if first.shape != second.shape or first.ndim < 2:
        raise InputError(
            f"Episode.of_views: first and second must both be (images, ...), got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if type(tasks) is not int or tasks < 1 or len(first) % tasks or len(first) // tasks < 2:
        raise InputError(
            f"Episode.of_views: {len(first)} images do not make {tasks} tasks of two or more each; tasks must divide their "
            "number (drop_last=True in a DataLoader keeps it the same)"
        )
    both: Tensor = torch.stack([first, second], 1).unflatten(0, (tasks, -1))
    return both


def _unlabeled(images: Tensor) -> Samples:
    return Samples(images, None, None, torch.full(images.shape[:2], -1, device=images.device))


def sides_of(x: Tensor, y: Tensor, qx: Tensor, qy: Tensor) -> tuple[Samples, Samples]:
    """Support and query of `Episode.of`.

    Raises:
        InputError: see there.
    """
    given = {"x": x, "y": y, "qx": qx, "qy": qy}
    for name, tensor in given.items():
        if not isinstance(tensor, Tensor):
            raise InputError(
                f"Episode.of: {name} must be a tensor, got {type(tensor).__name__}; torch.as_tensor makes one"
            )
    for name in ("x", "qx"):
        if not given[name].is_floating_point():
            raise InputError(
                f"Episode.of: {name} must be floating point, images in [0, 1], got {given[name].dtype}; for bytes give "
                f"{name}.float() / 255"
            )
    if y.is_floating_point() != qy.is_floating_point():
        raise InputError(f"Episode.of: y and qy must be of one kind, classes or targets, got {y.dtype} and {qy.dtype}")
    if y.dtype == torch.bool or y.is_complex() or qy.dtype == torch.bool or qy.is_complex():
        raise InputError(
            f"Episode.of: y must be classes (int64) or targets (floating point), got {y.dtype} and {qy.dtype}"
        )
    one = y.ndim == 1
    x, y, qx, qy = (tensor.unsqueeze(0) if one else tensor for tensor in given.values())
    kind = "targets" if y.is_floating_point() else "classes"
    for name, inputs, labels in (("", x, y), ("q", qx, qy)):
        _check_side(name, inputs, labels, kind, one)
    if len(x) != len(qx) or x.shape[2:] != qx.shape[2:] or y.shape[2:] != qy.shape[2:]:
        raise InputError(
            "Episode.of: both sides must be of the same tasks and of samples of one shape, got x "
            f"{tuple(given['x'].shape)} with y {tuple(given['y'].shape)}, and qx {tuple(given['qx'].shape)} with qy "
            f"{tuple(given['qy'].shape)}"
        )
    if kind == "classes":
        _check_classes(y, qy)
    return _side(x, y), _side(qx, qy)


def _check_side(side: str, x: Tensor, y: Tensor, kind: str, one: bool) -> None:
    fits = x.ndim >= 3 and y.ndim in ((2,) if kind == "classes" else (2, 3)) and x.shape[:2] == y.shape[:2]
    if not fits or 0 in x.shape:
        axes = "" if not one else " (of one task: without the first axis)"
        shapes = (tuple(x.shape[1:]), tuple(y.shape[1:])) if one else (tuple(x.shape), tuple(y.shape))
        raise InputError(
            f"Episode.of: {side}x must be (tasks, samples, ...) and {side}y, its {kind}, {_AXES[kind]}{axes}, none empty, got "
            f"{shapes[0]} and {shapes[1]}"
        )
    for name, tensor in ((f"{side}x", x), (f"{side}y", y)):
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"Episode.of: {name} has values that are not finite; leave those samples out")


def _check_classes(y: Tensor, qy: Tensor) -> None:
    for task, (known, asked) in enumerate(zip(y, qy, strict=True)):
        classes = known.unique()
        if int(classes[0]) != 0 or int(classes[-1]) != len(classes) - 1:
            raise InputError(
                f"Episode.of: y of task {task} must count its classes from 0 to way - 1, got {classes[:10].tolist()}; "
                "torch.unique(y, return_inverse=True) numbers them"
            )
        if not bool(torch.isin(asked, classes).all()):
            raise InputError(
                f"Episode.of: qy of task {task} has classes that its y has not, got {asked.unique()[:10].tolist()} beside "
                f"{classes[:10].tolist()}; leave those queries out"
            )


def _side(x: Tensor, y: Tensor) -> Samples:
    labels = y if y.is_floating_point() else y.long()
    return Samples(x.unsqueeze(2), labels, None, torch.full(x.shape[:2], -1, device=x.device))


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
