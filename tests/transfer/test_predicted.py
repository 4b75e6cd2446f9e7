"""Predictions and scores on request: those that the accuracies are of."""

from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from metatc2.transfer import HEADS, few_shot, knn, sample_episodes


def test_votes_are_those_of_scikit_learn() -> None:
    g = torch.Generator().manual_seed(0)
    bank, queries = (torch.nn.functional.normalize(torch.randn(n, 5, generator=g)) for n in (60, 25))
    labels, truth = (torch.tensor([2, 7, 9])[torch.randint(0, 3, (n,), generator=g)] for n in (60, 25))
    made = knn(bank, labels, queries, truth, k=7, temperature=0.2, detailed=True)
    oracle = KNeighborsClassifier(7, weights=lambda d: torch.from_numpy(1 - d**2 / 2).div(0.2).exp().numpy())
    oracle.fit(bank.numpy(), labels.numpy())
    assert made.predictions.tolist() == oracle.predict(queries.numpy()).tolist()
    assert made.classes.tolist() == oracle.classes_.tolist()
    assert torch.allclose(made.scores, torch.from_numpy(oracle.predict_proba(queries.numpy())).double(), atol=1e-4)
    assert torch.equal(made.correct, knn(bank, labels, queries, truth, k=7, temperature=0.2))
    assert float(made.accuracy) == pytest.approx(float((made.predictions == truth).double().mean()))


@pytest.mark.parametrize("head", list(HEADS))
def test_predictions_of_episodes_are_what_is_counted(head: str) -> None:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(6).repeat_interleave(12)
    features = torch.randn(72, 8, generator=g) + 1.5 * torch.randn(6, 8, generator=g)[labels]
    episodes = sample_episodes(labels, way=4, shot=2, query=5, episodes=30, generator=g)
    made = few_shot(features, episodes, head, detailed=True)
    assert made.scores.shape == (30, 20, 4)
    assert torch.equal(made.predictions, made.scores.argmax(2))
    assert torch.equal(made.accuracy, few_shot(features, episodes, head))
    # Each query's own label is the class of its row in the store.
    own = labels[episodes.query.flatten(1)]
    assert torch.equal(made.classes.gather(1, made.predictions) == own, made.correct.bool())
    assert 0.4 < float(made.accuracy.mean()) < 1
