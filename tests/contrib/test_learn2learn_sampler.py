"""Task sets of the real learn2learn as episodes: what is drawn, where it goes, and that a run can be resumed."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metatc2.contrib.learn2learn import TasksetSampler, require_learn2learn
from metatc2.errors import InputError
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.learners import MAML
from metatc2.models.heads import Classifier
from metatc2.training import Trainer, TrainerOptions

CLASSES, SAMPLES = 8, 6


def taskset(way: int = 3, samples: int = 5, *, remap: bool = True, num_tasks: int = -1, old: bool = False) -> Any:
    """Images that say who they are: pixel 0 is the class, pixel 1 the sample."""
    l2l = require_learn2learn()
    labels = torch.arange(CLASSES).repeat(SAMPLES)  # classes mixed, so order must be found out
    images = torch.zeros(len(labels), 1, 4, 4)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = labels.float(), torch.arange(SAMPLES).repeat_interleave(CLASSES).float()
    data = l2l.data.MetaDataset(torch.utils.data.TensorDataset(images, labels))
    t = l2l.data.transforms
    transforms = [t.NWays(data, way), t.KShots(data, samples), t.LoadData(data)] + [t.RemapLabels(data)] * remap
    return (l2l.data.TaskDataset if old else l2l.data.Taskset)(data, transforms, num_tasks=num_tasks)


def told(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[..., 0, 0, 0].long(), images[..., 0, 0, 1].long()


class Fixed:
    """A task set of given tasks."""

    def __init__(self, *tasks: Any) -> None:
        self.tasks = iter(tasks)

    def sample(self) -> Any:
        return next(self.tasks)


def episodes(sampler: TasksetSampler, number: int) -> list[Tensor]:
    return [sampler.sample().images for _ in range(number)]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.filterwarnings("ignore:TaskDataset is deprecated")
@pytest.mark.parametrize("old", [False, True])
def test_an_episode_keeps_classes_together_and_sides_apart(old: bool) -> None:
    sampler = TasksetSampler(taskset(old=old), shot=2, query=3, tasks=6)
    episode = sampler.sample()
    assert episode.support.images.shape == (6, 6, 1, 1, 4, 4)
    assert episode.query.images.shape == (6, 9, 1, 1, 4, 4)
    assert (episode.support.index == -1).all()
    assert episode.query.index.shape == (6, 9)
    for task in range(6):
        both: dict[int, list[int]] = {}
        owner: dict[int, int] = {}
        for side in (episode.support, episode.query):
            assert side.labels is not None
            classes, samples = told(side.images[task].squeeze(1).squeeze(1).unsqueeze(1))
            for c, s, label in zip(classes.flatten(), samples.flatten(), side.labels[task], strict=True):
                assert owner.setdefault(int(label), int(c)) == int(c)  # one class a label, on both sides
                both.setdefault(int(c), []).append(int(s))
        assert sorted(owner) == [0, 1, 2]
        assert all(len(s) == 5 == len(set(s)) for s in both.values())  # no sample on both sides
        assert Counter(episode.support.labels[task].tolist()) == {0: 2, 1: 2, 2: 2}
        assert Counter(episode.query.labels[task].tolist()) == {0: 3, 1: 3, 2: 3}


def test_the_first_of_each_class_are_support_whatever_the_order() -> None:
    data = torch.arange(9).view(9, 1, 1, 1)
    labels = torch.tensor([1, 0, 1, 0, 0, 1, 0, 1, 0])
    episode = TasksetSampler(Fixed((data, labels)), shot=1, query=2, tasks=1).sample()
    assert episode.support.images.flatten().tolist() == [1, 0]
    assert episode.query.images.flatten().tolist() == [3, 4, 2, 5]  # samples 6, 7 and 8 are more than asked
    assert episode.support.labels is not None
    assert episode.support.labels.tolist() == [[0, 1]]
    assert episode.query.labels is not None
    assert episode.query.labels.tolist() == [[0, 0, 1, 1]]


def test_values_stay_as_they_are_in_the_default_dtype() -> None:
    for data in (torch.tensor([0, 200, 7, 255], dtype=torch.uint8), torch.tensor([0.0, 200, 7, 255]).double()):
        found = TasksetSampler(Fixed((data[:, None], torch.tensor([0, 0, 1, 1]))), shot=1, query=1, tasks=1).sample()
        assert found.images.dtype == torch.float32
        assert found.images.flatten().tolist() == [0, 7, 200, 255]


@pytest.mark.slow
def test_every_class_and_sample_is_drawn_about_equally_often(seed_offset: int) -> None:
    sampler = TasksetSampler(taskset(way=4, samples=3), shot=1, query=2, tasks=50, seed=seed_offset)
    classes, samples = told(torch.stack([e.squeeze(3) for e in episodes(sampler, 12)]))
    drawn = Counter(zip(classes.flatten().tolist(), samples.flatten().tolist(), strict=True))
    expected = 600 * 12 / (CLASSES * SAMPLES)
    assert len(drawn) == CLASSES * SAMPLES
    assert all(abs(n - expected) < 5 * expected**0.5 for n in drawn.values())


def test_the_seed_decides_and_nobody_else() -> None:
    def drawn(seed: int, disturb: int) -> list[Tensor]:
        sampler = TasksetSampler(taskset(), shot=1, query=1, seed=seed)
        random.seed(disturb)
        np.random.seed(disturb)  # noqa: NPY002
        with torch.random.fork_rng():
            torch.manual_seed(disturb)
            return episodes(sampler, 3)

    assert same(drawn(0, 1), drawn(0, 2))
    assert not same(drawn(0, 1), drawn(1, 1))


def test_the_draws_of_others_are_not_disturbed() -> None:
    class Greedy(Fixed):
        def sample(self) -> Any:
            random.gauss(0, 1)
            np.random.normal()  # noqa: NPY002
            torch.rand(3)
            return super().sample()

    task = (torch.zeros(4, 1), torch.tensor([0, 0, 1, 1]))
    found = []
    for draws in (0, 1):
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002
        with torch.random.fork_rng():
            torch.manual_seed(3)
            for _ in range(draws):
                TasksetSampler(Greedy(task), shot=1, query=1, tasks=1).sample()
            found.append((random.random(), random.gauss(0, 1), np.random.random(), torch.rand(1).item()))  # noqa: NPY002
    assert found[0] == found[1]


@pytest.mark.parametrize("num_tasks", [-1, 5])
def test_a_saved_state_goes_on_in_another_process(num_tasks: int) -> None:
    sampler = TasksetSampler(taskset(num_tasks=num_tasks), shot=1, query=2, tasks=3, seed=4)
    episodes(sampler, 2)
    state = sampler.state_dict()
    expected = episodes(sampler, 4)
    # Of a set with a number of tasks a new process has drawn none; they must be the same under the same numbers.
    later = TasksetSampler(taskset(num_tasks=num_tasks), shot=1, query=2, tasks=3, seed=4)
    later.load_state_dict(state)
    assert same(episodes(later, 4), expected)
    assert later.drawn == 18


def test_a_task_set_with_a_number_of_tasks_repeats_them(seed_offset: int) -> None:
    sampler = TasksetSampler(taskset(num_tasks=4), shot=1, query=2, tasks=1, seed=seed_offset)
    seen = Counter(e.numpy().tobytes() for e in episodes(sampler, 60))
    assert len(seen) == 4
    assert min(seen.values()) >= 5


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh()), dim=8, way=3)


@pytest.mark.filterwarnings("ignore::metatc2.training.own_run.NotForCommands")
def test_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    def trainer(folder: str) -> Trainer:
        learner = MAML(network(), InnerLoop(inner_optimizer("sgd", 0.1), steps=2))
        sampler = TasksetSampler(taskset(num_tasks=7), shot=2, query=3, tasks=2)
        options = TrainerOptions(steps=6, lr=0.01, checkpoint_every=3, accelerator="cpu")
        return Trainer(learner, sampler, options, run=tmp_path / folder)

    whole = trainer("whole")
    whole.fit()
    trainer("cut").fit(until=3)
    resumed = trainer("cut")
    assert resumed.resume() == 3
    resumed.fit()
    for name, p in whole.learner.state_dict().items():
        assert torch.equal(p, resumed.learner.state_dict()[name]), name


@pytest.mark.slow
def test_the_trainer_learns_from_learn2learns_tasks(seed_offset: int) -> None:
    # Classes are told apart by one pixel, which MAML's features learn to see.
    learner = MAML(network(seed_offset), InnerLoop(inner_optimizer("sgd", 0.3), steps=3))
    sampler = TasksetSampler(taskset(), shot=2, query=3, tasks=8, seed=seed_offset)
    options = TrainerOptions(steps=120, lr=0.03, log_every=1, accelerator="cpu")
    history = Trainer(learner, sampler, options).fit()
    accuracy = [record["accuracy"] for record in history]
    assert sum(accuracy[-10:]) / 10 > sum(accuracy[:10]) / 10 + 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"way": 9}, r"task 0 of letters cannot be drawn .*8 classes of 6 to 6 samples; ask NWays"),
        ({"samples": 7}, r"task 0 of letters cannot be drawn .*8 classes of 6 to 6 samples; .* KShots"),
        ({"samples": 4}, r"task 0 of letters has 4 samples of class 0, fewer than shot 2 \+ query 3 = 5; raise KShots"),
        ({"remap": False, "way": 8}, None),
        (
            {"remap": False, "way": 3},
            r"task \d of letters: labels must be task-local, .* got torch.int64 .* RemapLabels",
        ),
    ],
)
def test_what_a_task_set_cannot_give_names_the_task(options: dict[str, Any], message: str | None) -> None:
    sampler = TasksetSampler(taskset(**{"samples": 5, **options}), shot=2, query=3, tasks=5, name="letters")
    if message is None:
        sampler.sample()  # all classes: their own labels are local already
        return
    with pytest.raises(InputError, match=message):
        sampler.sample()


def test_a_task_with_fewer_classes_than_the_others() -> None:
    three, two = (torch.zeros(6, 1), torch.arange(6) % 3), (torch.zeros(6, 1), torch.arange(6) % 2)
    with pytest.raises(InputError, match="task 1 of the task set has 2 classes, not 3"):
        TasksetSampler(Fixed(three, two), shot=1, query=1, tasks=2).sample()
    with pytest.raises(InputError, match="task 0 of the task set has 3 classes, not 4; .* NWays"):
        TasksetSampler(Fixed(three), shot=1, query=1, tasks=2, way=4).sample()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (torch.arange(4), "must be a pair of tensors .* got Tensor; put LoadData"),
        ((torch.zeros(4, 1), [0, 0, 1, 1]), "must be a pair of tensors .* got 2 items"),
        ((torch.zeros(4, 1), torch.tensor([0.0, 0, 1, 1])), "task-local, .* got torch.float32"),
        ((torch.zeros(4, 1), torch.tensor([0, 1])), r"one for each of the 4 samples, got torch.int64 \(2,\)"),
        ((torch.zeros(4, 1), torch.tensor([1, 1, 2, 2])), r"values \[1, 2\]; put RemapLabels"),
    ],
)
def test_what_is_not_a_task_is_named(task: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"task 0 of the task set.*{message}"):
        TasksetSampler(Fixed(task), shot=1, query=1).sample()


def test_images_of_two_sizes() -> None:
    small, large = ((torch.zeros(4, 1, n, n), torch.tensor([0, 0, 1, 1])) for n in (8, 9))
    with pytest.raises(InputError, match=r"task 1 of .* \(1, 9, 9\), others of the episode \(1, 8, 8\)"):
        TasksetSampler(Fixed(small, large), shot=1, query=1, tasks=2).sample()


def test_arguments_are_checked() -> None:
    for name in ("shot", "query", "tasks"):
        with pytest.raises(InputError, match=f"{name} must be at least 1, got 0"):
            TasksetSampler(Fixed(), **{"shot": 1, "query": 1, name: 0})
    with pytest.raises(InputError, match="way must be at least 2, got 1"):
        TasksetSampler(Fixed(), shot=1, query=1, way=1)
    with pytest.raises(InputError, match="list has no sample"):
        TasksetSampler([], shot=1, query=1)  # type: ignore[arg-type]
