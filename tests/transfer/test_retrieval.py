"""Retrieval against scikit-learn's average precision and a plain ranking, one query after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from metatc2.errors import InputError
from metatc2.transfer.protocols.retrieval import retrieval


def data() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 8
    return torch.randn(8, 10, generator=g).double()[labels] + 1.4 * torch.randn(120, 10, generator=g).double(), labels


def cosines(a: Tensor, b: Tensor) -> np.ndarray:
    x, y = a.numpy(), b.numpy()
    return (x / np.linalg.norm(x, axis=1, keepdims=True)) @ (y / np.linalg.norm(y, axis=1, keepdims=True)).T


def test_query_against_gallery_equals_scikit_learn() -> None:
    x, y = data()
    found = retrieval(x[:40], y[:40], x[40:], y[40:], ks=(1, 4))
    similarity = cosines(x[:40], x[40:])
    for i in range(40):
        relevant = (y[40:] == y[i]).numpy()
        assert float(found.average_precision[i]) == pytest.approx(
            average_precision_score(relevant, similarity[i]), abs=1e-6
        )
        for k in (1, 4):
            assert float(found.recall[k][i]) == relevant[np.argsort(-similarity[i])[:k]].any()
    assert 0.2 < found.mean_average_precision < 0.95
    assert 0 < float(found.recall[1].mean()) < float(found.recall[4].mean()) <= 1


def test_leave_one_out_equals_scikit_learn() -> None:
    x, y = data()
    found = retrieval(x, y, ks=(1, 3))
    similarity = cosines(x, x)
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        relevant = (y == y[i]).numpy()[others]
        scores = similarity[i][others]
        assert float(found.average_precision[i]) == pytest.approx(average_precision_score(relevant, scores), abs=1e-6)
        for k in (1, 3):
            assert float(found.recall[k][i]) == relevant[np.argsort(-scores)[:k]].any()


def test_equal_similarities_are_one_rank() -> None:
    gallery = torch.eye(3)[torch.tensor([0, 0, 0, 1, 1, 2])]
    labels = torch.tensor([0, 1, 0, 0, 1, 1])
    query, asked = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([0])
    expected = average_precision_score(labels.numpy() == 0, cosines(query, gallery)[0])
    for order in (torch.arange(6), torch.arange(6).flip(0)):
        found = retrieval(query, asked, gallery[order], labels[order], ks=(1,))
        assert found.mean_average_precision == pytest.approx(expected, abs=1e-9)


def test_chunks_and_scale_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data()
    whole = retrieval(x, y)
    scaled = retrieval(x * (1 + y.unsqueeze(1)), y)
    torch.testing.assert_close(scaled.average_precision, whole.average_precision)
    monkeypatch.setitem(retrieval.__globals__, "_CHUNK_BYTES", 1)
    assert torch.equal(retrieval(x, y).average_precision, whole.average_precision)


def test_queries_without_an_answer_do_not_count() -> None:
    x, y = data()
    y = y.clone()
    y[7] = 99
    found = retrieval(x, y, ks=(1,))
    assert found.answerable.tolist() == [i != 7 for i in range(120)]
    assert len(found.average_precision) == len(found.recall[1]) == 119


def test_bad_input() -> None:
    x, y = data()
    with pytest.raises(InputError, match="together"):
        retrieval(x, y, x)
    with pytest.raises(InputError, match=r"\(Q, D\)"):
        retrieval(x, y, x[:, :3], y)
    with pytest.raises(InputError, match="one label a row"):
        retrieval(x, y[1:])
    with pytest.raises(InputError, match="from 1 to 119"):
        retrieval(x, y, ks=(120,))
    with pytest.raises(InputError, match="no query"):
        retrieval(x, torch.arange(120))
    with pytest.raises(InputError, match="NaN"):
        retrieval(x * torch.nan, y)
