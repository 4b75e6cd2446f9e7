"""k-NN against scikit-learn with the same weights; how bank and queries are chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from metatc2.data.store import ImageStore
from metatc2.errors import InputError
from metatc2.transfer import knn, knn_split


def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    means = torch.randn(7, 12, generator=g)
    labels = 3 * (torch.arange(350) % 7)  # labels with gaps
    features = means[labels // 3] + 1.5 * torch.randn(350, 12, generator=g)
    return features[:250], labels[:250], features[250:], labels[250:]


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (20, 0.1), (200, 0.1), (200, 0.02), (60, 1.0), (9999, 0.1)])
def test_every_query_equals_scikit_learn(k: int, temperature: float) -> None:
    bank, bank_labels, queries, query_labels = data()
    oracle = KNeighborsClassifier(
        n_neighbors=min(k, len(bank)),
        metric="cosine",
        algorithm="brute",
        weights=lambda distance: np.exp((1 - distance) / temperature),
    ).fit(bank.double().numpy(), bank_labels.numpy())
    expected = oracle.predict(queries.double().numpy()) == query_labels.numpy()
    found = knn(bank, bank_labels, queries, query_labels, k=k, temperature=temperature)
    assert torch.equal(found, torch.from_numpy(expected).double())
    assert 0.2 < float(found.mean()) < 1


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = knn(*data())
    monkeypatch.setitem(knn.__globals__, "_CHUNK_BYTES", 1)
    assert torch.equal(knn(*data()), whole)


def test_small_temperature_does_not_overflow() -> None:
    assert torch.equal(knn(*data(), k=50, temperature=1e-4), knn(*data(), k=1))


def store(splits: dict[str, Tensor]) -> ImageStore:
    labels = torch.tensor([0] * 7 + [1] * 4 + [2] + [3] * 8)
    return ImageStore("toy", torch.zeros(20, 1, 4, 4, dtype=torch.uint8), labels, splits=splits)


def test_official_splits_are_used() -> None:
    s = store({"train": torch.arange(0, 20, 2), "test": torch.arange(1, 20, 2)})
    for split in ("test", "all"):
        bank, query, how = knn_split(s, split)
        assert torch.equal(bank, s.rows("train"))
        assert torch.equal(query, s.rows("test"))
        assert how == "train"
    bank, query, how = knn_split(s, "train")
    assert set(bank.tolist()) | set(query.tolist()) == set(s.rows("train").tolist())
    assert how != "train"


def test_half_of_each_class() -> None:
    s = store({"most": torch.arange(2, 20)})
    bank, query, how = knn_split(s, "most")
    assert sorted([*bank.tolist(), *query.tolist()]) == list(range(2, 20))
    assert s.labels[bank].bincount().tolist() == [3, 2, 1, 4]
    assert s.labels[query].bincount().tolist() == [2, 2, 0, 4]
    assert "most" in how
    again = knn_split(s, "most")
    assert torch.equal(bank, again[0])
    # Shuffled within a class, not its first images.
    first = [2, 3, 4, 7, 8, 11, 12, 13, 14, 15]
    assert bank.tolist() != first


def test_bad_input() -> None:
    bank, bank_labels, queries, query_labels = data()
    with pytest.raises(InputError, match="temperature"):
        knn(*data(), temperature=0.0)
    with pytest.raises(InputError, match="k must be at least 1"):
        knn(*data(), k=0)
    with pytest.raises(InputError, match=r"\(B, D\)"):
        knn(bank, bank_labels, queries[:, :3], query_labels)
    with pytest.raises(InputError, match="one label a row"):
        knn(bank, bank_labels[1:], queries, query_labels)
    with pytest.raises(InputError, match="NaN"):
        knn(bank * torch.nan, bank_labels, queries, query_labels)
    single = ImageStore("single", torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.arange(3))
    with pytest.raises(InputError, match="single:all: no class has two images"):
        knn_split(single, "all")
    with pytest.raises(InputError, match="no split"):
        knn_split(single, "tests")
