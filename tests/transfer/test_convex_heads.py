"""Logistic and ridge heads against scikit-learn, one episode after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.linear_model import Ridge as RidgeRegression
from torch import Tensor
from torch.nn.functional import normalize

from metatc2.transfer import Episodes, few_shot, sample_episodes
from metatc2.transfer.heads.convex import Logistic, Ridge

SHAPES = [(5, 5), (5, 1), (3, 8), (2, 4)]  # 3-way 8-shot has more support images than dimensions


def data(way: int, shot: int, episodes: int = 12, width: int = 16) -> tuple[Tensor, Episodes]:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 10
    features = torch.randn(10, width, generator=g)[labels] + 1.2 * torch.randn(300, width, generator=g) + 0.5
    features = (features * (1 + labels.unsqueeze(1) % 3)).double()
    return features, sample_episodes(labels, way=way, shot=shot, query=6, episodes=episodes, generator=g)


def sides(features: Tensor, episodes: Episodes, e: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    way, shot = episodes.support.shape[1:]
    unit = normalize(features, dim=1).numpy()
    return unit[episodes.support[e].flatten()], np.repeat(np.arange(way), shot), unit[episodes.query[e].flatten()]


def centered(scores: np.ndarray | Tensor) -> np.ndarray:
    found = np.asarray(scores)
    return found - found.mean(1, keepdims=True)


@pytest.mark.parametrize(("way", "shot"), SHAPES)
def test_ridge_equals_scikit_learn(way: int, shot: int) -> None:
    features, episodes = data(way, shot)
    found = Ridge(features).scores(episodes.support, episodes.query.flatten(1))
    for e in range(len(episodes)):
        x, y, q = sides(features, episodes, e)
        expected = RidgeRegression(alpha=1.0).fit(x, np.eye(way)[y]).predict(q)
        np.testing.assert_allclose(found[e].numpy(), expected, atol=1e-6)
        np.testing.assert_array_equal(found[e].argmax(1), RidgeClassifier(alpha=1.0).fit(x, y).predict(q))


@pytest.mark.parametrize(("way", "shot"), SHAPES)
def test_logistic_equals_scikit_learn(way: int, shot: int) -> None:
    features, episodes = data(way, shot)
    found = Logistic(features).scores(episodes.support, episodes.query.flatten(1))
    for e in range(len(episodes)):
        x, y, q = sides(features, episodes, e)
        # scikit-learn has one vector for two classes: |w|²/2 against two times |w/2|²/2.
        oracle = LogisticRegression(C=2.0 if way == 2 else 1.0, tol=1e-10, max_iter=5000).fit(x, y)
        expected = oracle.decision_function(q)
        if way == 2:
            expected = np.stack([-expected / 2, expected / 2], axis=1)
        np.testing.assert_allclose(centered(found[e]), centered(expected), atol=1e-6)
        np.testing.assert_array_equal(found[e].argmax(1), oracle.predict(q))


@pytest.mark.parametrize("head", ["ridge", "logistic"])
def test_single_precision_and_chunks_give_the_same_accuracy(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features, episodes = data(5, 3)
    whole = few_shot(features, episodes, head)
    assert 0.3 < float(whole.mean()) < 0.99
    assert torch.equal(few_shot(features.float(), episodes, head), whole)
    monkeypatch.setitem(few_shot.__globals__, "_CHUNK_BYTES", 1)
    assert torch.equal(few_shot(features, episodes, head), whole)


@pytest.mark.parametrize("head", ["ridge", "logistic"])
def test_the_length_of_a_feature_does_not_matter(head: str) -> None:
    features, episodes = data(5, 3)
    scale = 0.1 + torch.rand(300, 1, generator=torch.Generator().manual_seed(1))
    assert torch.equal(few_shot(features * scale, episodes, head), few_shot(features, episodes, head))


@pytest.mark.parametrize("head", ["ridge", "logistic"])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_collapsed_features_are_chance(head: str, value: float) -> None:
    _, episodes = data(5, 3)
    found = few_shot(torch.full((300, 8), value), episodes, head)
    assert torch.equal(found, torch.full_like(found, 0.2))
