"""Tasks of learn2learn as a sampler of episodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from metatc2.contrib.learn2learn._rng import GlobalRandomState
from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError


class DrawsTasks(Protocol):
    """What is asked of a set of tasks: learn2learn's `Taskset` and `TaskDataset` are such."""

    def sample(self) -> Any:
        """One task, ``(data (n, ...), labels (n,))``."""


class TasksetSampler:
    """Draw episodes from a learn2learn task set, several tasks stacked.

    Of each class the first `shot` samples of a task are its support and the next `query` its queries, in whatever order the
    task holds its classes; samples beyond these are left out. Values stay as the task set delivers them, in torch's
    default float dtype; our encoders expect [0, 1], see `benchmark_tasksets` for what the benchmarks deliver. There is no
    store behind the tasks, so `Samples.index` is −1.

    learn2learn draws from the global generators of `random`, numpy and torch. The sampler lends it states of its own, so
    what is drawn depends on `seed` alone and no other draws are disturbed; they are what ``state_dict()`` holds. In a
    task set with a number of tasks (``num_tasks``) each task is drawn from a state that only `seed` and its number
    determine. Not covered are generators that a data set or transform keeps to itself, and those of a GPU.

    Args:
        taskset: anything with ``.sample()`` that gives ``(data, labels)`` of one task.
        shot: support samples a class.
        query: queries a class.
        tasks: in an episode.
        way: classes a task; by default as many as the first task of an episode has.
        seed: of the states lent.
        name: of the task set, for errors.

    Raises:
        InputError: if a number is not positive or there is no ``.sample()``.

    >>> from metatc2.contrib.learn2learn import require_learn2learn
    >>> data = require_learn2learn().data
    >>> letters = data.MetaDataset(torch.utils.data.TensorDataset(torch.rand(60, 1, 28, 28), torch.arange(60) // 6))
    >>> tasks = data.Taskset(letters, [data.transforms.NWays(letters, 5), data.transforms.KShots(letters, 3),
    ...                                data.transforms.LoadData(letters), data.transforms.RemapLabels(letters)])
    >>> episode = TasksetSampler(tasks, shot=1, query=2, tasks=4).sample()
    >>> episode.support.images.shape, episode.query.images.shape
    (torch.Size([4, 5, 1, 1, 28, 28]), torch.Size([4, 10, 1, 1, 28, 28]))
    >>> episode.support.labels[0]
    tensor([0, 1, 2, 3, 4])
    """

    def __init__(
        self,
        taskset: DrawsTasks,
        *,
        shot: int,
        query: int,
        tasks: int = 4,
        way: int | None = None,
        seed: int = 0,
        name: str = "the task set",
    ) -> None:
        for what, value, least in (("shot", shot, 1), ("query", query, 1), ("tasks", tasks, 1), ("way", way, 2)):
            if value is not None and value < least:
                raise InputError(f"TasksetSampler: {what} must be at least {least}, got {value}")
        if not callable(getattr(taskset, "sample", None)):
            raise InputError(
                f"TasksetSampler: {type(taskset).__name__} has no sample(); give a learn2learn Taskset, e.g. "
                "learn2learn.data.Taskset(dataset, task_transforms)"
            )
        self.taskset, self.shot, self.query, self.tasks, self.way = taskset, shot, query, tasks, way
        self.seed, self.name = seed, name
        self.chance, self.drawn = GlobalRandomState(seed), 0

    def sample(self) -> Episode:
        """The next episode: data ``(tasks, way · shot, 1, ...)`` and ``(tasks, way · query, 1, ...)``, class by class.

        Raises:
            InputError: if a task cannot be drawn, its labels are not task-local, or it has fewer classes or samples than
                asked; the message names the task by its number since the beginning.
        """
        parts, way = [], self.way
        for _ in range(self.tasks):
            data, labels = self._draw()
            way = way or int(labels.max()) + 1
            parts.append(self._split(data, labels, way))
            if parts[-1][0].shape != parts[0][0].shape:
                raise InputError(
                    f"{self._task()} has samples of shape {tuple(data.shape[1:])}, others of the episode "
                    f"{tuple(parts[0][0].shape[1:])}; resize them to one shape"
                )
            self.drawn += 1
        assert way is not None
        support, query = (torch.stack(side) for side in zip(*parts, strict=True))
        return Episode(_samples(support, way), _samples(query, way))

    def __iter__(self) -> Iterator[Episode]:
        while True:
            yield self.sample()

    def state_dict(self) -> dict[str, Any]:
        """The random states and the number of tasks drawn so far."""
        return {"drawn": self.drawn, **self.chance.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the saved episode; seed and task set must be those of then."""
        self.drawn = int(state["drawn"])
        self.chance.load_state_dict(state)

    def _draw(self) -> tuple[Tensor, Tensor]:
        try:
            with self.chance.installed():
                task = self._sample()
        except ValueError as error:  # random.sample's, when it is asked for more than there is
            raise InputError(
                f"{self._task()} cannot be drawn ({error}){_sizes(self.taskset)}; ask NWays for at most that many classes and "
                "KShots for at most that many samples"
            ) from error
        if not (isinstance(task, (tuple, list)) and len(task) == 2 and all(isinstance(t, Tensor) for t in task)):
            got = type(task).__name__ if not isinstance(task, (tuple, list)) else f"{len(task)} items"
            raise InputError(
                f"{self._task()} must be a pair of tensors (data, labels), got {got}; put LoadData into its task_transforms "
                "and ToTensor into the data set's transform"
            )
        data, labels = task
        classes = torch.unique(labels).tolist()
        if labels.shape != (len(data),) or labels.is_floating_point() or classes != list(range(len(classes))):
            raise InputError(
                f"{self._task()}: labels must be task-local, 0 to way − 1 with one for each of the {len(data)} samples, got "
                f"{labels.dtype} {tuple(labels.shape)} with values {_short(classes)}; put RemapLabels after LoadData into "
                "its task_transforms"
            )
        return data.to(torch.get_default_dtype()), labels.long()

    def _sample(self) -> Any:
        descriptions, count = (
            getattr(self.taskset, "sampled_descriptions", None),
            getattr(self.taskset, "num_tasks", -1),
        )
        if descriptions is None or count < 1:
            return self.taskset.sample()
        # learn2learn draws such a task when it is first met and keeps it; were its state that of the moment, a resumed run
        # would meet other tasks under the same numbers.
        number = int(torch.randint(count, ()))
        if number not in descriptions:
            own = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(self.seed))) ^ number
            with GlobalRandomState(own).installed():
                descriptions[number] = self.taskset.sample_task_description()  # type: ignore[attr-defined]
        return self.taskset[number]  # type: ignore[index]

    def _split(self, data: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
        counts = torch.bincount(labels)
        if len(counts) != way:
            raise InputError(
                f"{self._task()} has {len(counts)} classes, not {way}; every task of an episode must have the same number: "
                "set NWays to it"
            )
        if int(counts.min()) < self.shot + self.query:
            raise InputError(
                f"{self._task()} has {int(counts.min())} samples of class {int(counts.argmin())}, fewer than shot "
                f"{self.shot} + query {self.query} = {self.shot + self.query}; raise KShots or lower shot or query"
            )
        rows = [(labels == c).nonzero().flatten() for c in range(way)]
        support = torch.cat([own[: self.shot] for own in rows])
        query = torch.cat([own[self.shot : self.shot + self.query] for own in rows])
        return data[support], data[query]

    def _task(self) -> str:
        return f"task {self.drawn} of {self.name}"


def _samples(data: Tensor, way: int) -> Samples:
    tasks, n = data.shape[:2]
    labels = torch.arange(way, device=data.device).repeat_interleave(n // way).expand(tasks, n)
    index = torch.full((tasks, n), -1, device=data.device)
    return Samples(data.unsqueeze(2), labels, None, index)


def _sizes(taskset: object) -> str:
    rows_of = getattr(getattr(taskset, "dataset", None), "labels_to_indices", None)
    if not rows_of:
        return ""
    sizes = [len(rows) for rows in rows_of.values()]
    return f": its data set has {len(sizes)} classes of {min(sizes)} to {max(sizes)} samples"


def _short(values: list[Any]) -> str:
    return str(values if len(values) <= 8 else [*values[:8], "..."]).replace("'", "")
