"""Episodes from tensors: what learners make of them is what they make of sampled ones, and errors say what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metatc2.data import ImageStore
from metatc2.episodes import Episode, LabeledTasks
from metatc2.errors import InputError
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.learners import MAML, ProtoNet


def tensors(tasks: int = 2, way: int = 3, shot: int = 2, query: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x, qx = (torch.rand(tasks, way * n, 1, 8, 8, generator=g) for n in (shot, query))
    y, qy = (torch.arange(way).repeat(tasks, n) for n in (shot, query))
    return x, y, qx, qy


def network(out: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, out))


def test_it_is_the_episode_that_a_sampler_makes() -> None:
    g = torch.Generator().manual_seed(1)
    store = ImageStore(
        "toy", torch.randint(0, 256, (30, 1, 8, 8), generator=g).to(torch.uint8), torch.arange(3).repeat(10)
    )
    drawn = LabeledTasks(store, way=3, shot=2, query=3, tasks=2, split="all").sample()
    (x, y), (qx, qy) = drawn.support.labeled(), drawn.query.labeled()
    made = Episode.of(x, y, qx, qy)
    assert made.support.images.shape == drawn.support.images.shape
    learner = ProtoNet(network(5))
    assert torch.equal(learner(made).loss, learner(drawn).loss)
    order = torch.randperm(x.shape[1], generator=g)  # samples need not lie class by class
    again = Episode.of(x[:, order], y[:, order], qx, qy)
    assert torch.allclose(learner(again).loss, learner(drawn).loss)


def test_one_task_is_the_only_task_of_an_episode() -> None:
    x, y, qx, qy = tensors(tasks=1)
    learner = MAML(network(3), InnerLoop(inner_optimizer("sgd", 0.1), 2))
    one, many = Episode.of(x[0], y[0], qx[0], qy[0]), Episode.of(x, y, qx, qy)
    assert torch.equal(learner(one).loss, learner(many).loss)


def test_targets_of_a_regression() -> None:
    x = torch.linspace(-1, 1, 6).view(2, 3, 1)
    made = Episode.of(x, x.squeeze(2).sin(), x, x.squeeze(2).sin())
    assert made.support.images.shape == (2, 3, 1, 1)
    assert made.support.labels is not None
    assert made.support.labels.dtype == torch.float32
    assert Episode.of(x, x.expand(2, 3, 4), x, x.expand(2, 3, 4)).query.labels is not None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"x": (torch.rand(2, 6, 1, 8, 8) * 255).to(torch.uint8)}, r"x must be floating point.*x\.float\(\) / 255"),
        ({"x": [[1.0]]}, "x must be a tensor, got list"),
        ({"y": torch.zeros(2, 5, dtype=torch.int64)}, r"got \(2, 6, 1, 8, 8\) and \(2, 5\)"),
        ({"y": torch.zeros(2, 6)}, "of one kind, classes or targets"),
        ({"y": torch.zeros(2, 6, dtype=torch.bool)}, "y must be classes"),
        ({"y": torch.ones(2, 6, dtype=torch.int64)}, r"from 0 to way - 1, got \[1\]"),
        ({"y": torch.tensor([[0, 2, 4] * 2] * 2)}, r"task 0 .*got \[0, 2, 4\].*return_inverse=True"),
        ({"qy": torch.full((2, 12), 7)}, "qy of task 0 has classes that its y has not"),
        ({"qx": torch.rand(2, 12, 3, 8, 8)}, "samples of one shape"),
        ({"qx": torch.rand(3, 12, 1, 8, 8), "qy": torch.zeros(3, 12, dtype=torch.int64)}, "of the same tasks"),
        ({"x": torch.full((2, 6, 1, 8, 8), torch.nan)}, "x has values that are not finite"),
        ({"x": torch.rand(2, 6)}, r"x must be \(tasks, samples, \.\.\.\)"),
        ({"x": torch.rand(2, 6, 0)}, "none empty"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(changed: dict[str, Any], said: str) -> None:
    given = dict(zip(("x", "y", "qx", "qy"), tensors(), strict=True)) | changed
    with pytest.raises(InputError, match=said) as error:
        Episode.of(**given)
    assert len(str(error.value)) < 300


def test_a_batch_of_two_views_is_cut_in_its_order() -> None:
    first, second = torch.rand(2, 15, 1, 4, 4).unbind(0)
    made = Episode.of_views(first, second, tasks=3)
    assert made.support.images.shape == (3, 2, 2, 1, 4, 4)
    assert made.query.images.shape == (3, 3, 2, 1, 4, 4)
    assert made.support.labels is None
    assert torch.equal(made.images.flatten(0, 1)[:, 0], first)
    assert torch.equal(made.images.flatten(0, 1)[:, 1], second)


@pytest.mark.parametrize(
    ("first", "tasks", "said"),
    [
        (
            torch.zeros(8, 1, 4, 4, dtype=torch.uint8),
            2,
            "first must be floating point, images in .0, 1., got torch.uint8",
        ),
        (None, 2, "got NoneType"),
        (torch.rand(6, 1, 4, 4), 2, r"got \(6, 1, 4, 4\) and \(8, 1, 4, 4\)"),
        (torch.rand(8, 1, 4, 4), 3, "8 images do not make 3 tasks"),
        (torch.rand(8, 1, 4, 4), 8, "8 images do not make 8 tasks of two or more"),
        (torch.rand(8, 1, 4, 4), True, "do not make True tasks"),
        (torch.full((8, 1, 4, 4), float("nan")), 2, "first has values that are not finite"),
    ],
)
def test_two_views_that_do_not_fit(first: Any, tasks: int, said: str) -> None:
    with pytest.raises(InputError, match=rf"Episode\.of_views: .*{said}"):
        Episode.of_views(first, torch.rand(8, 1, 4, 4), tasks=tasks)
