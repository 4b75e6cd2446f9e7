"""Few-shot heads against loops over episodes: scikit-learn's NearestCentroid, and cosines in NumPy float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from torch import Tensor

from metatc2.errors import InputError
from metatc2.transfer import Episodes, few_shot, sample_episodes
from metatc2.transfer import few_shot as function


def data(way: int = 5, shot: int = 5, episodes: int = 60, width: int = 16) -> tuple[Tensor, Episodes]:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 20
    features = torch.randn(20, width, generator=g)[labels] + 1.5 * torch.randn(400, width, generator=g)
    # Norms that differ by class: the two heads must not agree.
    features = features * (1 + labels.unsqueeze(1) % 4)
    return features, sample_episodes(labels, way=way, shot=shot, query=10, episodes=episodes, generator=g)


def euclidean_oracle(features: np.ndarray, episodes: Episodes) -> list[float]:
    found = []
    for e in range(len(episodes)):
        way, shot = episodes.support.shape[1:]
        queries = episodes.query.shape[2]
        head = NearestCentroid()
        # Each sample as x + 1 and x − 1: the same means, and scikit-learn finds no class without spread at one shot.
        support = features[episodes.support[e].flatten().numpy()]
        head.fit(np.concatenate([support + 1, support - 1]), np.tile(np.repeat(np.arange(way), shot), 2))
        predicted = head.predict(features[episodes.query[e].flatten().numpy()])
        found.append(np.mean(predicted == np.repeat(np.arange(way), queries)))
    return found


def cosine_oracle(features: np.ndarray, episodes: Episodes) -> list[float]:
    found = []
    for support, query in zip(episodes.support.numpy(), episodes.query.numpy(), strict=True):
        prototypes = [features[rows].mean(0) for rows in support]
        right = []
        for c, rows in enumerate(query):
            for q in features[rows]:
                cosines = [q @ p / np.linalg.norm(q) / np.linalg.norm(p) for p in prototypes]
                right.append(np.argmax(cosines) == c)
        found.append(np.mean(right))
    return found


@pytest.mark.parametrize(("way", "shot"), [(5, 5), (5, 1), (20, 3), (2, 7)])
def test_every_episode_equals_the_oracle(way: int, shot: int) -> None:
    features, episodes = data(way, shot, episodes=80 // way)
    exact = features.double().numpy()
    euclidean, cosine = (few_shot(features, episodes, head) for head in ("euclidean", "cosine"))
    np.testing.assert_allclose(euclidean.numpy(), euclidean_oracle(exact, episodes), atol=1e-12)
    np.testing.assert_allclose(cosine.numpy(), cosine_oracle(exact, episodes), atol=1e-12)
    assert not torch.equal(euclidean, cosine)
    assert 1 / way < float(cosine.mean()) < 1


def test_features_crowded_around_one_direction_lose_no_digits() -> None:
    """As with an untrained encoder: all cosines are 0.99999..., and single precision must still tell them apart."""
    features, episodes = data(episodes=60, width=64)
    crowded = features + 2000 * torch.ones(64)
    exact = crowded.double().numpy()
    np.testing.assert_allclose(few_shot(crowded, episodes, "euclidean"), euclidean_oracle(exact, episodes), atol=2e-3)
    np.testing.assert_allclose(few_shot(crowded, episodes, "cosine"), cosine_oracle(exact, episodes), atol=2e-2)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    features, episodes = data()
    whole = few_shot(features, episodes)
    monkeypatch.setitem(function.__globals__, "_CHUNK_BYTES", 1)
    assert torch.equal(few_shot(features, episodes), whole)


def test_collapsed_features_are_chance() -> None:
    _, episodes = data()
    for value in (0.0, 3.0):
        for head in ("cosine", "euclidean"):
            found = few_shot(torch.full((400, 8), value), episodes, head)
            assert torch.equal(found, torch.full_like(found, 0.2))


def test_properties() -> None:
    features, episodes = data()
    torch.testing.assert_close(few_shot(features * 7, episodes, "cosine"), few_shot(features, episodes, "cosine"))
    scale = 0.1 + torch.rand(400, 1, generator=torch.Generator().manual_seed(1))
    shot1 = data(shot=1)[1]
    assert torch.equal(few_shot(features * scale, shot1, "cosine"), few_shot(features, shot1, "cosine"))
    turned = Episodes(episodes.classes.flip(1), episodes.support.flip(1), episodes.query.flip(1))
    torch.testing.assert_close(few_shot(features, turned, "euclidean"), few_shot(features, episodes, "euclidean"))


def test_center_is_subtracted() -> None:
    features, episodes = data()
    center = torch.full((16,), 0.7)
    assert torch.equal(few_shot(features, episodes, center=center), few_shot(features - center, episodes))
    assert not torch.equal(few_shot(features, episodes, center=center), few_shot(features, episodes))


def test_bad_input() -> None:
    features, episodes = data()
    with pytest.raises(InputError, match="did you mean 'cosine'"):
        few_shot(features, episodes, "cosin")
    with pytest.raises(InputError, match="row for each index"):
        few_shot(features[:50], episodes)
    with pytest.raises(InputError, match="center"):
        few_shot(features, episodes, center=torch.zeros(3))
    with pytest.raises(InputError, match="NaN"):
        few_shot(features.clone().fill_(torch.nan), episodes)
