"""Half precision, zero rows, huge and tiny rows, NaN, NumPy: every protocol on features gives what double precision gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize
from torch import Tensor

from metatc2.diagnostics import alignment, coding_rate, effective_rank, rankme, uniformity
from metatc2.errors import InputError
from metatc2.objectives import rank_summary
from metatc2.ops.rows import unit_rows
from metatc2.transfer import Episodes, few_shot, h_score, knn, log_me
from metatc2.transfer.domain_episodes import leave_one_domain_out_few_shot
from metatc2.transfer.heads.nearest_prototype import nearest_prototype
from metatc2.transfer.heads.prototype import HEADS
from metatc2.transfer.protocols.clips import nearest_clip
from metatc2.transfer.protocols.leave_one_domain_out import leave_one_domain_out
from metatc2.transfer.protocols.linear import linear
from metatc2.transfer.protocols.linear_sgd import linear_sgd
from metatc2.transfer.protocols.retrieval import retrieval
from metatc2.transfer.protocols.semi_supervised import semi_supervised_linear

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LABELS = 2 * (torch.arange(48) % 3)


def features(kind: str = "plain") -> Tensor:
    """Three classes; values that float16 holds, times a power of two where a kind asks for it."""
    g = torch.Generator().manual_seed(0)
    means = torch.tensor([[2.0, 0, 0, 1], [0, 2, 0, 1], [0, 0, 2, 1]])
    x = (means[LABELS // 2] + 0.7 * torch.randn(48, 4, generator=g)).half().float()
    if kind == "zero rows":
        x[::7] = 0
    if kind == "huge rows":
        x[::5] *= 2.0**12  # whose squares overflow in float16
    if kind == "tiny rows":
        x[::5] *= 2.0**-12
    return x


KINDS = ["plain", "zero rows", "huge rows", "tiny rows"]


def episodes() -> Episodes:
    g = torch.Generator().manual_seed(1)
    rows = [torch.stack([torch.randperm(16, generator=g) * 3 + c for c in range(3)]) for _ in range(20)]
    drawn = torch.stack(rows)
    return Episodes(torch.arange(3).expand(20, 3), drawn[..., :3], drawn[..., 3:9], 0)


def sides(x: Tensor) -> tuple[Tensor, ...]:
    return x[:24], LABELS[:24], x[24:36], LABELS[24:36], x[36:], LABELS[36:]


def clips(x: Tensor) -> Tensor:
    return nearest_clip(x, torch.arange(48) // 3, torch.arange(16) % 4).correct


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "knn": lambda x: knn(x[:30], LABELS[:30], x[30:], LABELS[30:], k=7),
    "retrieval": lambda x: retrieval(x, LABELS).average_precision,
    "prototypes": lambda x: nearest_prototype(x[:30], LABELS[:30], x[30:], LABELS[30:]),
    "domains": lambda x: torch.cat(leave_one_domain_out(x, LABELS, torch.arange(48) // 12).correct),
    "domains, few-shot": lambda x: torch.cat(
        leave_one_domain_out_few_shot(x, LABELS, torch.arange(48) // 12, way=3, shot=2, seed=0, episodes=10).correct
    ),
    "clips": clips,
    "linear": lambda x: linear(*sides(x), grid=(0.1, 1.0), steps=100).correct,
    "linear-sgd": lambda x: (
        linear_sgd(
            *sides(x), generator=torch.Generator().manual_seed(0), epochs=3, rates=(0.1, 1.0), standardize=False
        ).correct
    ),
    "semi-supervised": lambda x: semi_supervised_linear(*sides(x), fraction=0.5, l2=(0.1, 1.0)).correct,
    "LogME": lambda x: torch.tensor(log_me(x, LABELS)),
    "H-score": lambda x: torch.tensor(h_score(x, LABELS)),
    "H-score, shrunk": lambda x: torch.tensor(h_score(x, LABELS, shrinkage=True)),
    "uniformity": lambda x: torch.tensor(uniformity(x)),
    "alignment": lambda x: torch.tensor(alignment(x, x.flip(0))),
    "coding rate": lambda x: torch.tensor(coding_rate(x)),
    "RankMe": lambda x: torch.tensor(rankme(x)),
    "effective rank": lambda x: torch.tensor(effective_rank(x)),
    **{head: lambda x, head=head: few_shot(x, episodes(), head) for head in HEADS},
}


# Which fit something: the short suite has them on the hardest kind.
FITTED = ("linear", "linear-sgd", "semi-supervised", "logistic", "domains, few-shot")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=[pytest.mark.slow] * (name in FITTED and kind != "huge rows"))
        for name in FUNCTIONS
        for kind in KINDS
    ],
)
def test_every_precision_gives_what_double_gives(kind: str, name: str) -> None:
    x = features(kind)
    exact = FUNCTIONS[name](x.double())
    assert bool(exact.isfinite().all())
    for dtype in DTYPES:
        given = x.to(dtype)
        same = torch.equal(given.double(), x.double())
        # Rounded to what the precision holds, it is another problem.
        wanted = exact if same else FUNCTIONS[name](given.double())
        torch.testing.assert_close(FUNCTIONS[name](given).double(), wanted.double(), rtol=1e-4, atol=1e-4)


SCALE_FREE = (
    "knn",
    "retrieval",
    "prototypes",
    "clips",
    "domains",
    "cosine",
    "euclidean",
    "ridge",
    "logistic",
    "bd-cspn",
)


@pytest.mark.parametrize("name", [*SCALE_FREE, "RankMe", "uniformity", "alignment"])
@pytest.mark.parametrize("scale", [2.0**100, 2.0**-100, 2.0**-140])  # the last makes float32 denormal
def test_the_scale_does_not_matter_where_it_must_not(name: str, scale: float) -> None:
    x = features("zero rows")
    exact = (x * scale).double() / scale  # denormal numbers have few digits
    torch.testing.assert_close(FUNCTIONS[name](x * scale), FUNCTIONS[name](exact.float()), rtol=1e-5, atol=1e-6)
    one = torch.where(torch.arange(48) % 5 == 1, scale, 1.0)[:, None]
    if name in ("knn", "retrieval", "prototypes", "ridge", "logistic", "uniformity", "alignment"):
        mixed = (x.double() * one).float()
        found = FUNCTIONS[name](mixed)
        wanted = FUNCTIONS[name](mixed.double() if name == "prototypes" else mixed.double() / one)
        torch.testing.assert_close(found, wanted.to(found), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_and_infinity_are_named(name: str) -> None:
    for value in (torch.nan, torch.inf):
        x = features()
        x[3, 1] = value
        with pytest.raises(InputError, match=r"1 of \d+ (images|rows) .*first at row"):
            FUNCTIONS[name](x)
    with pytest.raises(InputError, match="real features|floating point"):
        FUNCTIONS[name](features().to(torch.complex64))


@pytest.mark.parametrize("name", ["knn", "retrieval", "prototypes", "linear", "linear-sgd", "LogME", "cosine"])
def test_numpy_arrays_are_taken(name: str) -> None:
    x = features()
    taken = FUNCTIONS[name](x.numpy())  # type: ignore[arg-type]
    torch.testing.assert_close(taken, FUNCTIONS[name](x))
    with pytest.raises(InputError, match="tensor or a NumPy array"):
        FUNCTIONS[name](np.array([["a"] * 4] * 48))  # type: ignore[arg-type]


def test_labels_of_a_regression_are_told_so() -> None:
    x = features()
    for found in (
        lambda y: knn(x, y, x, LABELS),
        lambda y: linear(x, y, x, LABELS, x, LABELS),
        lambda y: log_me(x, y),
    ):
        with pytest.raises(InputError, match="whole numbers, one a class, got torch.float32; .* regression"):
            found(torch.rand(48))


def test_two_precisions_meet() -> None:
    x = features()
    mixed = knn(x[:30].half(), LABELS[:30], x[30:].double(), LABELS[30:].int(), k=7)
    assert torch.equal(mixed, FUNCTIONS["knn"](x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_zero_row_takes_no_part_in_half_precision(dtype: torch.dtype) -> None:
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=dtype)
    labels = torch.tensor([0, 1, 0])
    asked = torch.tensor([[1.0, 0.1], [0.1, 1.0]], dtype=dtype)
    assert knn(bank, labels, asked, torch.tensor([0, 1]), k=1).tolist() == [1, 1]
    found = retrieval(asked, torch.tensor([0, 1]), bank[:2].repeat(2, 1), torch.tensor([0, 1, 0, 1]), ks=(1,))
    assert found.mean_average_precision == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_vote_counts(dtype: torch.dtype) -> None:
    """In bfloat16 a sum of ones stops at 256."""
    bank = torch.ones(600, 2, dtype=dtype)
    labels = torch.cat([torch.zeros(299), torch.ones(301)]).long()
    assert knn(bank, labels, bank[:1], torch.tensor([1]), k=600).tolist() == [1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head", ["cosine", "bd-cspn"])
def test_a_zero_prototype_has_the_cosine_zero(head: str, dtype: torch.dtype) -> None:
    """The query's cosines are 0.2 to the first class, 0 to the second, whose support cancels, and −0.2 to the third."""
    a = torch.tensor([1.0, 0.0, 0.0])
    far = torch.tensor([0.0, 0.0, 1.0])
    query = torch.tensor([0.25, 0.0, 1.0])
    support = torch.stack([a, a, far, -far, -a, -a])
    x = torch.cat([support, query[None], -query[None]]).to(dtype)
    rows = torch.arange(6).view(1, 3, 2)
    one = Episodes(torch.arange(3)[None], rows, torch.tensor([[[6], [6], [6]]]), 0)
    scores = HEADS["cosine"](unit_rows(x)).scores(one.support, one.query.flatten(1))[0, 0]
    torch.testing.assert_close(
        scores - scores[1], scores.new_tensor([1, 0, -1]) * 0.25 / query.norm(), atol=1e-6, rtol=0
    )
    assert few_shot(x, one, "cosine").item() == pytest.approx(1 / 3)
    if head == "cosine":
        against = Episodes(one.classes, one.support[:, :2], torch.tensor([[[7], [7]]]), 0)  # cosines −0.2 and 0
        assert few_shot(x, against, head).item() == 0.5
        picked = HEADS[head](unit_rows(x)).scores(against.support, torch.tensor([[7]])).argmax(2)
        assert picked.item() == 1


def test_a_zero_query_ties_all_classes_and_the_first_wins() -> None:
    x = features()
    x[5] = 0
    rows = torch.tensor([[[0, 3], [1, 4], [2, 8]]])
    scores = HEADS["cosine"](x).scores(rows, torch.tensor([[5, 6]]))
    assert scores[0, 0].tolist() == [0, 0, 0]
    assert len(set(scores[0, 1].tolist())) == 3


def test_unit_rows_equal_scikit_learn_at_every_length() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=g, dtype=torch.float64)
    x[3] = 0
    wanted = normalize(x.numpy())
    for scale in (1.0, 1e30, 1e-30, 1e-42):
        single = (x * scale).float()
        relative = 1e-6 if scale > 1e-40 else 1e-2  # denormal numbers have few digits
        np.testing.assert_allclose(unit_rows(single).numpy(), wanted, atol=relative)
    for scale in (1e200, 1e-300):
        np.testing.assert_allclose(unit_rows(x * scale).numpy(), wanted, atol=1e-12)
    np.testing.assert_allclose(unit_rows(x.half()).numpy(), wanted, atol=1e-3)
    assert unit_rows(x.half()).dtype == torch.float32


def test_half_precision_against_scikit_learn() -> None:
    x = features()
    x[:30:7] = 0  # in the bank; a query of zeros has no nearest
    half, exact = x.half(), x.double().numpy()
    train, y, _, _, test, truth = sides(x)
    weights = {"n_neighbors": 7, "metric": "cosine", "weights": lambda d: np.exp((1 - d) / 0.1)}
    oracle = KNeighborsClassifier(**weights).fit(exact[:30], LABELS[:30].numpy())
    expected = oracle.predict(exact[30:]) == LABELS[30:].numpy()
    assert knn(half[:30], LABELS[:30], half[30:], LABELS[30:], k=7).tolist() == expected.astype(float).tolist()
    cosine = normalize(exact) @ normalize(exact).T
    wanted = [
        average_precision_score(np.delete(LABELS.numpy() == LABELS[i].item(), i), np.delete(cosine[i], i))
        for i in range(48)
    ]
    np.testing.assert_allclose(retrieval(half, LABELS).average_precision, wanted, atol=0.02)
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000)
    model.fit(exact[:36], LABELS[:36].numpy())
    found = linear(*sides(half), grid=(1.0,), tolerance=1e-12)  # type: ignore[arg-type]
    assert found.correct.tolist() == (model.predict(test.numpy()) == truth.numpy()).astype(float).tolist()
    assert train.shape == (24, 4)
    assert y.shape == (24,)


@pytest.mark.parametrize("width", [1, 2, 30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_h_score_with_shrinkage_of_two_images(width: int, dtype: torch.dtype) -> None:
    """Two images, two classes: Ledoit and Wolf shrink nothing, all variance lies between the classes, and the share is 1."""
    x = torch.tensor([[1.0] * width, [-2.0] * width], dtype=dtype)
    assert h_score(x, torch.tensor([0, 1]), shrinkage=True) == pytest.approx(h_score(x, torch.tensor([0, 1])))
    assert h_score(x, torch.tensor([0, 1])) == pytest.approx(1)


def test_what_even_double_precision_cannot_square_is_refused() -> None:
    x = features().double() * 2.0**600
    with pytest.raises(InputError, match="divide all features"):
        knn(x, LABELS, x, LABELS)
    assert rankme(x) == pytest.approx(rankme(features()))
    assert rank_summary(x)["unit_std"] == pytest.approx(rank_summary(features())["unit_std"])
