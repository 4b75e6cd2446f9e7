"""Transductive heads against easyfsl and the papers' equations, one episode after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from metatc2.transfer import HEADS, Episodes, few_shot, sample_episodes
from metatc2.transfer.heads.transductive import BDCSPN, SoftKMeans


def data(way: int = 5, shot: int = 3, episodes: int = 15) -> tuple[Tensor, Episodes]:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 10
    features = torch.randn(10, 12, generator=g)[labels] + 0.9 * torch.randn(300, 12, generator=g) + 0.3
    return features.double(), sample_episodes(labels, way=way, shot=shot, query=6, episodes=episodes, generator=g)


class AsEasyfsl(BDCSPN):
    scale = 1.0
    shifted = False


@pytest.mark.parametrize(("way", "shot"), [(5, 3), (5, 1), (2, 5)])
def test_bd_cspn_equals_easyfsl(way: int, shot: int) -> None:
    methods = pytest.importorskip("easyfsl.methods")
    features, episodes = data(way, shot)
    found = AsEasyfsl(features).scores(episodes.support, episodes.query.flatten(1))
    for e in range(len(episodes)):
        oracle = methods.BDCSPN()
        oracle.process_support_set(features[episodes.support[e].flatten()], torch.arange(way).repeat_interleave(shot))
        torch.testing.assert_close(found[e], oracle(features[episodes.query[e].flatten()]), rtol=0, atol=1e-6)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def bd_cspn(support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Section 3.2 of the paper with ε = 10; support (way, shot, D), query (q, D)."""
    way = len(support)
    query = query + support.reshape(-1, support.shape[2]).mean(0) - query.mean(0)
    basic = [s.mean(0) for s in support]
    pseudo = [int(np.argmax([unit(x) @ unit(p) for p in basic])) for x in query]
    rectified = []
    for c in range(way):
        members = [*support[c], *(x for x, label in zip(query, pseudo, strict=True) if label == c)]
        weights = np.array([np.exp(10 * unit(x) @ unit(basic[c])) for x in members])
        rectified.append(sum(w * x for w, x in zip(weights / weights.sum(), members, strict=True)))
    return np.array([[unit(x) @ unit(p) for p in rectified] for x in query])


def soft_k_means(support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Equation 3 of the paper; −|q − p|² for each class."""
    means = support.mean(1)
    distance = ((query[:, None] - means) ** 2).sum(2)
    share = np.exp(-distance) / np.exp(-distance).sum(1, keepdims=True)
    refined = [
        (support[c].sum(0) + (share[:, c, None] * query).sum(0)) / (support.shape[1] + share[:, c].sum())
        for c in range(len(support))
    ]
    return -((query[:, None] - np.array(refined)) ** 2).sum(2)


@pytest.mark.parametrize("shot", [1, 4])
@pytest.mark.parametrize(("head", "oracle"), [(BDCSPN, bd_cspn), (SoftKMeans, soft_k_means)])
def test_scores_equal_the_paper(head: type, oracle: object, shot: int) -> None:
    features, episodes = data(shot=shot)
    found = head(features).scores(episodes.support, episodes.query.flatten(1)).numpy()
    for e in range(len(episodes)):
        exact = features.numpy()
        expected = oracle(exact[episodes.support[e]], exact[episodes.query[e].flatten()])  # type: ignore[operator]
        # Up to what the classes share: soft k-means leaves |q|² out and scores by half the distance.
        if head is SoftKMeans:
            expected = expected / 2
        for scores in (found[e], expected):
            scores -= scores.mean(1, keepdims=True)
        np.testing.assert_allclose(found[e], expected, atol=1e-6)


def test_queries_help_and_the_heads_say_so() -> None:
    features, episodes = data(shot=1, episodes=200)
    for name, plain in (("bd-cspn", "cosine"), ("soft-k-means", "euclidean")):
        assert HEADS[name].transductive  # type: ignore[attr-defined]
        assert not getattr(HEADS[plain], "transductive", False)
        assert few_shot(features, episodes, name).mean() > few_shot(features, episodes, plain).mean() + 0.01


@pytest.mark.parametrize("head", ["bd-cspn", "soft-k-means"])
def test_single_precision_chunks_and_collapse(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features, episodes = data()
    whole = few_shot(features, episodes, head)
    assert torch.equal(few_shot(features.float(), episodes, head), whole)
    for value in (0.0, 3.0):
        found = few_shot(torch.full((300, 8), value), episodes, head)
        assert torch.equal(found, torch.full_like(found, 0.2))
    monkeypatch.setitem(few_shot.__globals__, "_CHUNK_BYTES", 1)
    assert torch.equal(few_shot(features, episodes, head), whole)


def test_prototypes_equal_easyfsl() -> None:
    methods = pytest.importorskip("easyfsl.methods")
    features, episodes = data(5, 3)
    ours = few_shot(features, episodes, "euclidean")
    asked = torch.arange(5).repeat_interleave(episodes.query.shape[2])
    for e in range(len(episodes)):
        oracle = methods.PrototypicalNetworks()
        oracle.process_support_set(features[episodes.support[e].flatten()], torch.arange(5).repeat_interleave(3))
        scores = oracle(features[episodes.query[e].flatten()])
        # Its scores are distances under a minus sign; ours leave out what all classes share.
        squared = -scores.square() + features[episodes.query[e].flatten()].square().sum(1, keepdim=True)
        own = features[episodes.query[e].flatten()] @ (means := features[episodes.support[e]].mean(1)).T
        torch.testing.assert_close(2 * own - means.square().sum(1), squared, rtol=1e-4, atol=1e-3)
        assert float(ours[e]) == pytest.approx(float((scores.argmax(1) == asked).double().mean()), abs=1e-12)
