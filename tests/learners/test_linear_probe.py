"""The linear probe: a classifier of all classes in training, and scikit-learn's head on a frozen encoder at test time."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torchopt
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from metatc2.data.store import ImageStore
from metatc2.episodes import Episode, LabeledTasks
from metatc2.errors import InputError
from metatc2.inner import InnerLoop
from metatc2.learners import LinearProbe
from metatc2.models.conv4 import Conv4

from .episodes import images, vectors


def store(classes: int = 6, each: int = 8, seed: int = 0) -> ImageStore:
    """Classes of different brightness, in an order in which rows and classes have nothing to do with each other."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(each)[torch.randperm(classes * each, generator=g)]
    noise = torch.randint(0, 60, (len(labels), 1, 16, 16), generator=g)
    return ImageStore("toy", (noise + 30 * labels[:, None, None, None]).to(torch.uint8), labels)


def probe(labels: Tensor, seed: int = 0, **options: Any) -> LinearProbe:
    torch.manual_seed(seed)
    return LinearProbe(Conv4(1, 4), 4, labels, **options)


def episode_of(data: ImageStore, **numbers: int) -> Episode:
    return LabeledTasks(data, **{"way": 3, "shot": 2, "query": 3, "tasks": 2, **numbers}).sample()


def first(episode: Episode) -> tuple[Tensor, Tensor, Tensor]:
    (x, y), (query_x, _) = episode.support.labeled(), episode.query.labeled()
    return x[0], y[0], query_x[0]


def test_training_is_classification_of_the_rows_of_the_store() -> None:
    """Pictures and classes are looked up in the store, not in the episode; gradients and running statistics included."""
    data = store()
    learner, episode = probe(data.labels).train(), episode_of(data)
    encoder, layer = copy.deepcopy(learner.network).train(), copy.deepcopy(learner.classifier)
    rows = torch.cat([episode.support.index.flatten(), episode.query.index.flatten()])
    scores = layer(encoder(data.images[rows].float() / 255))
    expected = -scores.log_softmax(1)[torch.arange(len(rows)), data.labels[rows]].mean()
    outcome = learner(episode)
    torch.testing.assert_close(outcome.loss, expected)
    assert float(outcome.metrics["accuracy"]) == pytest.approx(
        float((scores.argmax(1) == data.labels[rows]).float().mean())
    )
    expected.backward()
    outcome.loss.backward()
    theirs = {**dict(encoder.named_parameters(prefix="network")), **dict(layer.named_parameters(prefix="classifier"))}
    for name, p in learner.named_parameters():
        torch.testing.assert_close(p.grad, theirs[name].grad, rtol=1e-4, atol=1e-6)
    for (name, b), (_, other) in zip(learner.network.named_buffers(), encoder.named_buffers(), strict=True):
        torch.testing.assert_close(b, other, msg=name)


def test_task_local_labels_mean_nothing_in_training() -> None:
    data = store()
    learner, episode = probe(data.labels).eval(), episode_of(data)
    turned = Episode(*(side.map(lambda t: t) for side in (episode.support, episode.query)))
    assert turned.support.labels is not None
    turned.support.labels.copy_(2 - turned.support.labels)
    torch.testing.assert_close(learner(turned).loss, learner(episode).loss, rtol=0, atol=0)
    moved = probe((data.labels + 1) % 6).eval()
    assert abs(float((moved(episode).loss - learner(episode).loss).detach())) > 1e-4


def test_training_learns_all_classes(seed_offset: int) -> None:
    data = store(seed=seed_offset)
    learner = probe(data.labels, seed=seed_offset).train()
    tasks = LabeledTasks(data, way=4, shot=2, query=2, tasks=3, seed=seed_offset)
    optimizer = torch.optim.Adam(learner.parameters(), 3e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        outcome = learner(tasks.sample())
        outcome.loss.backward()
        optimizer.step()
        losses.append(float(outcome.loss.detach()))
    assert np.mean(losses[:3]) > 1.3
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])


def test_prediction_is_scikit_learns_on_a_frozen_encoder() -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4))
    learner = LinearProbe(encoder, 4, torch.arange(9), l2=0.05).double()
    x, y, query_x = first(vectors(tasks=1, shot=4))
    support, queries = (normalize(learner.network(t), dim=-1).detach().numpy() for t in (x, query_x))
    support, queries = (np.hstack([t, np.ones((len(t), 1))]) for t in (support, queries))
    theirs = LogisticRegression(C=1 / (0.05 * len(support)), fit_intercept=False, tol=1e-12, max_iter=10000)
    expected = theirs.fit(support, y.numpy()).decision_function(queries)
    np.testing.assert_allclose(learner.predict(x, y, query_x).numpy(), expected, atol=1e-5)
    turn = torch.tensor([2, 0, 1])
    torch.testing.assert_close(learner.predict(x, turn[y], query_x)[:, turn], learner.predict(x, y, query_x))


OTHERS = [
    pytest.param(rule, marks=pytest.mark.slow) for rule in (torchopt.rmsprop(0.005), torchopt.sgd(0.5, momentum=0.5))
]


@pytest.mark.parametrize("optimizer", [torchopt.adam(0.05), *OTHERS])
def test_any_optimizer_for_the_head(optimizer: Any) -> None:
    torch.manual_seed(0)
    encoder = nn.Linear(5, 4)
    x, y, query_x = first(vectors(tasks=1))
    expected = LinearProbe(encoder, 4, torch.arange(9), l2=0.5).double().predict(x, y, query_x)
    learner = LinearProbe(encoder, 4, torch.arange(9), InnerLoop(optimizer, 1), test_steps=200, l2=0.5).double()
    torch.testing.assert_close(learner.predict(x, y, query_x), expected, atol=2e-2, rtol=0)


@pytest.mark.parametrize("norm", ["batch", "support", "frozen"])
def test_prediction_changes_nothing_and_takes_the_policy(norm: Any) -> None:
    learner = probe(torch.arange(9), norm=norm).double().train()
    x, y, query_x = first(images(tasks=1, query=1))
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    scores = learner.predict(x, y, query_x)
    alone = torch.cat([learner.predict(x, y, one[None]) for one in query_x])
    assert torch.allclose(alone, scores, rtol=1e-8) == (norm != "batch")
    assert all(torch.equal(value, before[key]) for key, value in learner.state_dict().items())
    assert not scores.requires_grad


def test_frozen_weights_stay() -> None:
    data = store()
    learner = probe(data.labels)
    learner.network.get_parameter("blocks.0.0.weight").requires_grad_(False)
    learner(episode_of(data)).loss.backward()
    assert learner.network.get_parameter("blocks.0.0.weight").grad is None
    assert learner.network.get_parameter("blocks.1.0.weight").grad is not None


def test_classes_are_not_saved_with_the_learner() -> None:
    """So that weights load where the store has other rows, as long as it has as many classes."""
    state = probe(store().labels).state_dict()
    assert not [name for name in state if "class_of" in name]
    probe(torch.arange(6)).load_state_dict(state)


def test_head_stays_in_float32_under_mixed_precision() -> None:
    learner = LinearProbe(nn.Identity(), 5, torch.arange(3))
    x, y, query_x = (t.float() if t.is_floating_point() else t for t in first(vectors(tasks=1)))
    expected = learner.predict(x, y, query_x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(learner.predict(x, y, query_x), expected)


def test_what_users_get_wrong() -> None:
    data = store()
    with pytest.raises(InputError, match=r"these episodes have none \(index −1\); sample them with LabeledTasks"):
        probe(data.labels)(images())
    with pytest.raises(InputError, match=r"has row \d+ and class_of knows 5 rows; pass the labels of the store"):
        probe(data.labels[:5])(episode_of(data))
    with pytest.raises(InputError, match="LinearProbe: l2 must be ≥ 0, got -1"):
        probe(data.labels, l2=-1.0)
    x, y, query_x = first(images(tasks=1))
    with pytest.raises(InputError, match="needs class labels"):
        probe(data.labels).double().predict(x, y.double(), query_x)
    assert cross_entropy(probe(data.labels).double().predict(x, y, x), y) < np.log(3)
