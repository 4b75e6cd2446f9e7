"""ProtoNet and MatchingNet: the papers' equations in numpy, autograd over all tasks, and what every learner promises."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.learners import LabeledLearner, MatchingNet, ProtoNet
from metatc2.learners._heads import class_means, members
from metatc2.models.conv4 import Conv4

from ..covering import covered
from .episodes import flat_gradient, images, vectors

Make = Callable[..., LabeledLearner]
METRIC: dict[str, Make] = {
    "euclidean": partial(ProtoNet, temperature=0.7),
    "cosine": partial(ProtoNet, distance="cosine", temperature=4.0),
    "matching": partial(MatchingNet, temperature=3.0),
}


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)).double()


def conv() -> nn.Module:
    torch.manual_seed(0)
    return Conv4(1, 4).double()


def tasks_of(episode: Episode) -> list[tuple[Tensor, ...]]:
    return list(zip(*episode.support.labeled(), *episode.query.labeled(), strict=True))


def unit(a: np.ndarray) -> np.ndarray:
    return a / np.linalg.norm(a, axis=1, keepdims=True)


def restated(name: str, support: np.ndarray, y: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Scores by loops over classes and samples."""
    scores = np.zeros((len(queries), 3))
    for q, query in enumerate(queries):
        for k in range(3):
            mean = support[y == k].mean(0)
            if name == "euclidean":
                scores[q, k] = -0.7 * sum((query - mean) ** 2)
            elif name == "cosine":
                scores[q, k] = 4.0 * query @ mean / np.linalg.norm(query) / np.linalg.norm(mean)
            else:
                weights = np.exp(3.0 * unit(support) @ (query / np.linalg.norm(query)))
                scores[q, k] = np.log(weights[y == k].sum() / weights.sum())
    return scores


@pytest.mark.parametrize("name", METRIC)
def test_scores_and_loss_restated(name: str) -> None:
    learner, episode = METRIC[name](encoder()), vectors(tasks=3)
    losses = []
    for x, y, query_x, query_y in tasks_of(episode):
        support, queries = (learner.network(t).detach().numpy() for t in (x, query_x))
        expected = restated(name, support, y.numpy(), queries)
        np.testing.assert_allclose(learner.predict(x, y, query_x).numpy(), expected, rtol=1e-9)
        p = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(len(p)), query_y.numpy()]).mean())
    assert float(learner(episode).loss.detach()) == pytest.approx(np.mean(losses), rel=1e-10)


@pytest.mark.parametrize("name", METRIC)
def test_gradient_is_that_of_the_plain_mean_over_tasks(name: str) -> None:
    """By ordinary autograd through another restatement, written with masks and cdist."""
    learner, episode = METRIC[name](encoder()), vectors(tasks=3)
    losses = []
    for x, y, query_x, query_y in tasks_of(episode):
        support, queries = learner.network(x), learner.network(query_x)
        means = torch.stack([support[y == k].mean(0) for k in range(3)])
        if name == "euclidean":
            scores = -0.7 * torch.cdist(queries, means) ** 2
        elif name == "cosine":
            scores = 4.0 * torch.cosine_similarity(queries[:, None], means, dim=-1)
        else:
            attention = (3.0 * torch.cosine_similarity(queries[:, None], support, dim=-1)).softmax(-1)
            scores = torch.stack([attention[:, y == k].sum(-1) for k in range(3)], 1).log()
        losses.append(cross_entropy(scores, query_y))
    expected = torch.autograd.grad(torch.stack(losses).mean(), list(learner.parameters()))
    torch.testing.assert_close(
        flat_gradient(learner, episode), torch.cat([g.flatten() for g in expected]), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(("name", "norm"), covered(METRIC, ("batch", "support", "frozen"), strength=1))
def test_three_tasks_at_once(name: str, norm: Any) -> None:
    found = []
    for vmap_chunk in (1, 3):
        learner = METRIC[name](conv(), norm=norm, vmap_chunk=vmap_chunk)
        found.append((learner(images()).loss.detach(), flat_gradient(learner, images())))
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", METRIC)
def test_policies_differ_and_queries_see_each_other_under_batch_alone(name: str) -> None:
    x, y, query_x, _ = tasks_of(images())[0]
    alone, whole = {}, {}
    for norm in ("batch", "support", "frozen"):
        learner = METRIC[name](conv(), norm=norm)
        whole[norm] = learner.predict(x, y, query_x)
        alone[norm] = torch.cat([learner.predict(x, y, one[None]) for one in query_x])
        assert torch.allclose(alone[norm], whole[norm], rtol=1e-8) == (norm != "batch")
        assert learner.transductive == (norm == "batch")
    assert not torch.allclose(whole["support"], whole["frozen"], rtol=1e-2)


@pytest.mark.parametrize("name", METRIC)
def test_prediction_changes_nothing_and_needs_no_gradient(name: str) -> None:
    learner = METRIC[name](conv()).train()
    x, y, query_x, _ = tasks_of(images())[0]
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    scores = learner.predict(x, y, query_x)
    with torch.no_grad():
        torch.testing.assert_close(learner.predict(x, y, query_x), scores, rtol=0, atol=0)
        assert learner(images()).loss.isfinite()
    assert not scores.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in learner.state_dict().items())
    assert all(p.grad is None for p in learner.parameters())


@pytest.mark.parametrize("name", METRIC)
def test_labels_of_both_sides_count(name: str) -> None:
    learner, (x, y, query_x, query_y) = METRIC[name](encoder()), tasks_of(vectors(tasks=1))[0]
    turn = torch.tensor([2, 0, 1])
    scores = learner.predict(x, y, query_x)
    torch.testing.assert_close(learner.predict(x, turn[y], query_x)[:, turn], scores)
    assert not torch.allclose(learner.predict(x, turn[y], query_x), scores)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(learner.predict(x[order], y[order], query_x), scores)
    losses = [learner.task_loss(learner.theta(), x, y, query_x, t, 3)[0] for t in (query_y, turn[query_y])]
    assert abs(float((losses[0] - losses[1]).detach())) > 1e-3


@pytest.mark.parametrize("name", METRIC)
def test_frozen_weights_stay_and_the_others_learn_as_before(name: str) -> None:
    free, frozen = METRIC[name](encoder()), METRIC[name](encoder())
    frozen.network.get_parameter("0.weight").requires_grad_(False)
    episode = vectors()
    for learner in (free, frozen):
        learner(episode).loss.backward()
    assert frozen.network.get_parameter("0.weight").grad is None
    for name_of in ("0.bias", "2.weight"):
        torch.testing.assert_close(frozen.network.get_parameter(name_of).grad, free.network.get_parameter(name_of).grad)


def test_matching_net_scores_are_logarithms_of_probabilities() -> None:
    x, y, query_x, _ = tasks_of(vectors(tasks=1))[0]
    scores = MatchingNet(encoder()).predict(x, y, query_x)
    torch.testing.assert_close(scores.logsumexp(1), torch.zeros(len(scores), dtype=torch.float64))


def test_one_shot_protonet_is_the_nearest_neighbor() -> None:
    x, y, query_x, _ = tasks_of(vectors(tasks=1, shot=1))[0]
    learner = ProtoNet(encoder())
    apart = torch.cdist(learner.network(query_x), learner.network(x))
    assert torch.equal(learner.predict(x, y, query_x).argmax(1), y[apart.argmin(1)])


def test_class_means_of_unequal_classes() -> None:
    features, y = torch.randn(7, 3, dtype=torch.float64), torch.tensor([2, 0, 1, 2, 2, 0, 2])
    expected = torch.stack([features[y == k].mean(0) for k in range(3)])
    torch.testing.assert_close(class_means(features, y, 3), expected)


def test_what_users_get_wrong() -> None:
    for make in (ProtoNet, MatchingNet):
        for temperature in (0.0, -1.0, float("nan")):
            with pytest.raises(InputError, match=rf"{make.__name__}: temperature must be > 0"):
                make(encoder(), temperature=temperature)
    x, y, query_x, _ = tasks_of(vectors(tasks=1))[0]
    for make in (ProtoNet, MatchingNet):
        with pytest.raises(InputError, match="needs class labels .* for regression use MAML"):
            make(encoder()).predict(x, y.double(), query_x)
    with pytest.raises(InputError, match="needs class labels"):
        members(y, 0, x)
