"""Weights that tasks choose: against weights that are known, and against what the learner adapts in an episode by itself."""

from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import NearestCentroid
from torch import nn

from metatc2.augment import Views
from metatc2.calibration import TaskCalibrator
from metatc2.data.store import ImageStore
from metatc2.diagnostics import TaskChoices, task_choices
from metatc2.episodes import FactorTasks, SplitBatch
from metatc2.errors import InputError
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.learners import TC2
from metatc2.models.heads import Projector
from metatc2.objectives import SimCLR


def learner() -> TC2:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TC2(
            nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 6), nn.BatchNorm1d(6)),
            SimCLR(),
            projector=Projector(6, 8, 4),
            calibrator=TaskCalibrator(6, 4, generator=generator, weights="task"),
            inner=InnerLoop(inner_optimizer("sgd", 1.0), steps=2),
        )


def tasks(seed: int = 3) -> FactorTasks:
    return FactorTasks("one-more", tasks=3, batch=24, image_size=8, seed=seed)


def test_weights_are_those_that_each_task_adapts_on_its_support() -> None:
    model = learner()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = task_choices(model, tasks(), 2)
    assert found.weights.shape == (6, 4)
    assert found.episodes.tolist() == [0, 0, 0, 1, 1, 1]
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    # Task by task, by hand: two steps down the gradient of the task's own loss, at the learned rates.
    model.eval()
    episode = tasks().sample()
    assert episode.identity is not None
    assert found.kinds[:3].tolist() == episode.identity.kinds.tolist()
    z = model.encoder(episode.images.flatten(0, 2)).unflatten(0, episode.images.shape[:3]).detach()
    support = z[:, : episode.support.images.shape[1]]
    start = torch.zeros(3, 4, requires_grad=True)

    def losses(gates: torch.Tensor) -> torch.Tensor:
        codes = support @ model.calibrator.factors().mT
        features = (codes * 2 * gates.sigmoid()[:, None, None]) @ model.calibrator.factors()
        return model.objective.per_task(model.embed(features, None))

    (gradient,) = torch.autograd.grad(losses(start).sum(), [start])
    unit = gradient.square().mean().sqrt()
    gates = start
    for _ in range(2):
        (gradient,) = torch.autograd.grad(losses(gates).sum(), [gates])
        gates = gates - gradient / unit
    assert torch.allclose(found.weights[:3], 2 * gates.sigmoid(), atol=1e-5)


def test_recognition_is_that_of_nearest_centroids_without_the_episode() -> None:
    generator = torch.Generator().manual_seed(0)
    kinds, episodes = torch.arange(60) % 4, torch.arange(60) // 6
    weights = torch.randn(60, 5, generator=generator) + torch.randn(4, 5, generator=generator)[kinds]
    found = TaskChoices(weights, kinds, episodes, ("a", "b", "c", "d"))
    right = 0
    for episode in range(10):
        own = (episodes == episode).numpy()
        known = NearestCentroid().fit(weights[~own], kinds[~own])
        right += int((known.predict(weights[own]) == kinds[own].numpy()).sum())
    assert 0.3 < found.recognized() < 1
    assert found.recognized() == pytest.approx(right / 60)


def test_a_kind_of_one_episode_alone_is_not_recognized() -> None:
    found = TaskChoices(torch.tensor([[0.0], [5.0], [0.0]]), torch.tensor([0, 1, 0]), torch.arange(3), ("a", "b"))
    assert found.recognized() == pytest.approx(2 / 3)


def test_episodes_that_do_not_say_what_tasks_are() -> None:
    store = ImageStore("noise", torch.zeros(32, 3, 8, 8, dtype=torch.uint8), torch.zeros(32, dtype=torch.int64))
    with pytest.raises(InputError, match="do not say what their tasks are"):
        task_choices(learner(), SplitBatch(store, Views.none(), tasks=2, batch=16), 1)
    with pytest.raises(InputError, match="at least 1, got 0"):
        task_choices(learner(), tasks(), 0)
