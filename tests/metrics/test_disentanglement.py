"""Factor recovery: the papers' equations restated, scikit-learn's information, codes whose recovery is known, placebos."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import mutual_info_score
from torch import Tensor

from metatc2.data import GenerativeFactors, shape_factors
from metatc2.errors import InputError
from metatc2.metrics.disentanglement import (
    DCI,
    best_match_cosine,
    dci,
    factor_directions,
    factor_recovery,
    mig,
    mutual_information,
    predictability,
    sap,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def known(count: int, *names: str) -> GenerativeFactors:
    return shape_factors(count, seed=3).select(*(names or ("texture", "size", "hue")))


def rotation(size: int) -> Tensor:
    return torch.linalg.qr(random(size, size, seed=7)).Q


def mixed(count: int) -> tuple[Tensor, GenerativeFactors]:
    """Codes that hold something of each factor, and noise."""
    factors = known(count)
    turn = 2 * math.pi * factors.values[:, 2]
    signal = torch.stack([factors.values[:, 0], 10 * factors.values[:, 1], turn.cos(), turn.sin(), turn * 0], 1)
    return signal @ random(5, 4, seed=1) + random(count, 4, seed=2), factors


# Mutual information gap


def histogram(x: np.ndarray) -> np.ndarray:
    """NumPy's own twenty bins."""
    return np.clip(np.digitize(x, np.histogram(x, 20)[1][:-1]), 1, 20)


def test_information_is_scikit_learns() -> None:
    codes, factors = mixed(700)
    information, entropy = mutual_information(codes, factors)
    texture, size, hue = factors.values.numpy().T
    parts = [texture.astype(int), histogram(size), np.floor(hue * 20).astype(int)]
    for j, part in enumerate(parts):
        assert entropy[j].item() == pytest.approx(mutual_info_score(part, part))
        theirs = [mutual_info_score(part, histogram(column)) for column in codes.numpy().T]
        np.testing.assert_allclose(information[:, j], theirs, rtol=1e-6)
        first, second = sorted(theirs, reverse=True)[:2]
        assert mig(codes, factors)[j].item() == pytest.approx((first - second) / entropy[j].item())


def test_gap_of_codes_that_are_the_factors_and_of_a_rotation() -> None:
    factors = known(5000, "size", "x", "y")
    codes = factors.values - factors.values.mean(0)
    codes = codes / codes.std(0)
    assert bool((mig(-3 * codes, factors) > 0.95).all())
    assert float(mig(codes @ rotation(3), factors).mean()) < 0.25
    # Two copies of a code leave no gap.
    assert float(mig(torch.cat([codes, codes], 1), factors).abs().max()) == 0


def test_constant_codes_tell_nothing() -> None:
    factors = known(300, "size", "texture")
    codes = torch.cat([factors.values, torch.full((300, 2), 4.0)], 1)
    assert mutual_information(codes, factors)[0][2:].abs().max() < 1e-12
    assert predictability(codes, factors)[2:, 0].tolist() == [0, 0]
    assert predictability(codes, factors)[2:, 1].tolist() == pytest.approx([1 / 8, 1 / 8])


# Separated attribute predictability


def test_predictability_restated() -> None:
    codes, factors = mixed(400)
    found = predictability(codes, factors)
    texture, size, hue = factors.values.numpy().T
    turn = np.stack([np.cos(2 * np.pi * hue), np.sin(2 * np.pi * hue)], 1)
    for k, column in enumerate(codes.numpy().T):
        assert found[k, 1].item() == pytest.approx(np.corrcoef(column, size)[0, 1] ** 2)
        assert found[k, 2].item() == pytest.approx(LinearRegression().fit(turn, column).score(turn, column))
    ordered = found.sort(0, descending=True).values
    torch.testing.assert_close(sap(codes, factors), ordered[0] - ordered[1])
    assert len(np.unique(texture)) == 8


def test_thresholds_of_two_categories_are_the_best_of_all() -> None:
    """Every threshold tried, as in the paper's own code."""
    code, labels = random(60, 2), (random(60, seed=1) + random(60, 2)[:, 0] > 0.3).double()
    factors = GenerativeFactors(labels[:, None], ("kind",), ("categorical",))
    for k in range(2):
        best = 0.0
        for bound in code[:, k].tolist():
            above = code[:, k] >= bound
            right = [float((above == answer)[labels == 1].double().mean()) for answer in (True, False)]
            wrong = [float((above == answer)[labels == 0].double().mean()) for answer in (False, True)]
            best = max(best, *((a + b) / 2 for a, b in zip(right, wrong, strict=True)))
        # A tree splits by Gini impurity: as good as the best threshold or nearly so.
        assert best - 0.05 < float(predictability(code, factors)[k, 0]) <= best + 1e-9


def test_separation_of_known_codes() -> None:
    factors = known(600, "texture", "size", "x")
    codes = factors.values - factors.values.mean(0)
    codes = codes / codes.std(0)
    found = sap(codes, factors)
    assert found[0] > 0.6
    assert bool((found[1:] > 0.95).all())
    assert float(sap(codes @ rotation(3), factors)[1:].mean()) < 0.5
    hue = known(600, "hue")
    turn = 2 * math.pi * hue.values
    noise = random(600, 1)
    assert float(sap(torch.cat([(turn + 0.7).cos(), noise], 1), hue)) > 0.97
    assert float(sap(torch.cat([turn.cos(), turn.sin()], 1), hue)) < 0.02


# DCI


def test_disentanglement_and_completeness_restated() -> None:
    codes, factors = mixed(300)
    found = dci(codes, factors, generator=generator(), trees=10)
    r = found.importance.numpy()
    np.testing.assert_allclose(r.sum(0), 1)
    p = r / r.sum(1, keepdims=True)
    by_code = [1 + sum(x * math.log(x, 3) for x in row if x) for row in p]
    np.testing.assert_allclose(found.by_code, by_code, atol=1e-9)
    complete = [1 + sum(x * math.log(x, 4) for x in row if x) for row in (r / r.sum(0)).T]
    np.testing.assert_allclose(found.completeness, complete, atol=1e-9)
    assert found.disentanglement == pytest.approx((np.array(by_code) * r.sum(1) / r.sum()).sum())


def test_dci_of_codes_that_are_the_factors_of_a_rotation_and_of_noise(seed_offset: int) -> None:
    factors = known(1500, "size", "x", "y")
    codes = factors.values - factors.values.mean(0)
    codes = codes / codes.std(0)

    def figures(found: DCI) -> tuple[float, float, float]:
        return found.disentanglement, float(found.completeness.mean()), float(found.informativeness.mean())

    own = figures(dci(codes, factors, generator=generator(seed_offset), trees=10))
    turned = figures(dci(codes @ rotation(3), factors, generator=generator(seed_offset), trees=10))
    nothing = figures(dci(random(1500, 3, seed=seed_offset), factors, generator=generator(seed_offset), trees=10))
    assert min(own) > 0.97
    assert max(turned[:2]) < 0.6
    assert turned[2] > 0.8
    assert max(nothing) < 0.1


def test_informativeness_of_circular_and_categorical_factors() -> None:
    factors = known(600, "texture", "hue")
    turn = 2 * math.pi * factors.values[:, 1]
    codes = torch.stack([factors.values[:, 0] * 5, turn.cos(), turn.sin(), random(600)], 1)
    found = dci(codes, factors, generator=generator(), trees=10)
    assert bool((found.informativeness > 0.97).all())
    # Hue needs two codes of four: half the completeness, all the disentanglement.
    assert found.completeness.tolist() == pytest.approx([1, 0.5], abs=0.05)
    assert bool((found.by_code[:3] > 0.9).all())
    again = dci(codes, factors, generator=generator(), trees=10)
    assert again.importance.equal(found.importance)


def test_a_circular_factor_has_no_edge() -> None:
    """A turn starts nowhere: all figures but the histogram's stay where the origin is moved."""
    factors = known(500, "hue", "size")
    moved = GenerativeFactors(
        torch.stack([(factors.values[:, 0] + 0.37) % 1, factors.values[:, 1]], 1), factors.names, factors.kinds
    )
    codes = random(500, 3) + (2 * math.pi * factors.values[:, :1]).cos()
    torch.testing.assert_close(sap(codes, factors), sap(codes, moved))
    first, second = (best_match_cosine(torch.eye(3), factor_directions(codes, each).bases) for each in (factors, moved))
    torch.testing.assert_close(first.cosines, second.cosines)


# Directions and their match


@pytest.mark.parametrize("patterns", [False, True])
def test_directions_are_scikit_learns_regressions(patterns: bool) -> None:
    codes, factors = mixed(300)
    found = factor_directions(codes, factors, ridge=0.01, patterns=patterns)
    assert found.names == (*(f"texture={k}" for k in range(8)), "size", "hue")
    texture, size, hue = factors.values.numpy().T
    x = codes.numpy()
    columns = [
        *((texture == k).astype(float) for k in range(8)),
        size,
        np.cos(2 * np.pi * hue),
        np.sin(2 * np.pi * hue),
    ]
    for mine, y in zip(torch.cat(found.bases).numpy(), columns, strict=True):
        if patterns:
            theirs = LinearRegression().fit(y[:, None], x).coef_[:, 0] * y.var()
        else:
            theirs = Ridge(alpha=0.01 * x.var(0).mean() * len(x)).fit(x, y).coef_
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-9)


def test_matching_is_the_best_of_all_assignments() -> None:
    rows, lines = random(4, 5), random(3, 5, seed=1)
    cosine = np.abs(rows.numpy() @ lines.numpy().T)
    cosine = cosine / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(lines, axis=1)
    best = max(itertools.permutations(range(4), 3), key=lambda chosen: sum(cosine[k, j] for j, k in enumerate(chosen)))
    found = best_match_cosine(rows, lines)
    assert found.rows.tolist() == list(best)
    np.testing.assert_allclose(found.cosines, [cosine[k, j] for j, k in enumerate(best)])
    assert found.mean == pytest.approx(np.mean([cosine[k, j] for j, k in enumerate(best)]))
    few = best_match_cosine(rows[:2], lines)
    assert int((few.rows == -1).sum()) == int(few.cosines.isnan().sum()) == 1


def test_a_plane_has_no_direction_of_its_own() -> None:
    basis, angle = random(2, 6), 0.8
    inside = math.cos(angle) * basis[0] / 3 + math.sin(angle) * basis[1]
    found = best_match_cosine(inside[None], [basis])
    assert found.cosines.tolist() == pytest.approx([1])
    # The share of a vector's length that least squares on the plane explains.
    vector = random(6, seed=4)
    fitted = basis.T @ torch.linalg.lstsq(basis.T, vector[:, None]).solution
    assert best_match_cosine(vector[None], [basis]).cosines.item() == pytest.approx(
        float(fitted.norm() / vector.norm())
    )


def test_a_basis_that_made_the_features_is_matched() -> None:
    factors = known(2000, "size", "x", "hue")
    turn = 2 * math.pi * factors.values[:, 2]
    parts = torch.stack([10 * factors.values[:, 0], 5 * factors.values[:, 1], turn.cos(), turn.sin()], 1)
    basis = rotation(8)[:6]
    features = parts @ basis[:4] + 0.05 * random(2000, 8)
    for patterns in (False, True):
        found = best_match_cosine(basis, factor_directions(features, factors, patterns=patterns).bases)
        assert bool((found.cosines > 0.99).all())
        assert found.rows[:2].tolist() == [0, 1]
        assert int(found.rows[2]) in (2, 3)
    # Correlated noise: what to weigh by turns away from it, what moves does not.
    noise = 3 * random(2000, 1) @ (basis[:1] + basis[4:5])
    patterns = best_match_cosine(
        basis[:1], factor_directions(features + noise, factors.select("size"), patterns=True).bases
    )
    weights = best_match_cosine(basis[:1], factor_directions(features + noise, factors.select("size")).bases)
    assert weights.mean < 0.8 < 0.9 < patterns.mean


# Together, beside the placebo


@pytest.mark.slow
def test_recovery_beside_its_null(seed_offset: int) -> None:
    factors = known(400, "size", "x", "texture")
    codes = factors.values - factors.values.mean(0)
    codes = codes / codes.std(0)
    basis = rotation(5)[:3]
    features = codes @ basis + 0.1 * random(400, 5, seed=seed_offset)
    found = factor_recovery(codes, factors, generator=generator(seed_offset), basis=basis, features=features, trees=5)
    assert found.cosine is not None
    assert found.cosine_by_direction is not None
    for figure in (found.mig, found.sap, found.cosine):
        assert figure.outside
        assert figure.value > figure.null_high
    assert found.mig.value == pytest.approx(np.mean(list(found.mig_by_factor.values())))
    assert found.mig_by_factor == dict(zip(factors.names, mig(codes, factors).tolist(), strict=True))
    assert found.sap_by_factor == dict(zip(factors.names, sap(codes, factors).tolist(), strict=True))
    assert len(found.cosine_by_direction) == 3
    assert found.dci.disentanglement > 0.9
    assert found.dci_null.disentanglement < 0.3
    assert float(found.dci_null.informativeness.max()) < 0.1


@pytest.mark.slow
def test_noise_is_inside_its_null(seed_offset: int) -> None:
    factors, codes = known(150), random(150, 4, seed=seed_offset)
    found = factor_recovery(
        codes,
        factors,
        generator=generator(seed_offset),
        basis=random(4, 6, seed=seed_offset + 1),
        features=random(150, 6, seed=seed_offset + 2),
        trees=3,
    )
    assert found.cosine is not None
    assert not (found.mig.outside and found.sap.outside and found.cosine.outside)
    assert [figure.p > 0.01 for figure in (found.mig, found.sap, found.cosine)] == [True] * 3
    alone = factor_recovery(codes, factors, generator=generator(seed_offset), trees=3)
    assert alone.cosine is alone.cosine_by_direction is None


FEW = known(30)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mig(random(29, 3), FEW), "mutual information: codes are of 29 images and factors of 30"),
        (lambda: sap(random(30, 1), FEW), "SAP: needs at least 2 codes, since it is a gap between two, got 1"),
        (lambda: mig(random(30, 2) * math.nan, FEW), "mutual information: 30 of 30 rows are NaN"),
        (
            lambda: dci(random(30, 2), FEW.select("hue"), generator=generator()),
            "needs at least 20 images and two factors",
        ),
        (lambda: dci(random(9, 2), FEW.take(torch.arange(9)), generator=generator()), "needs at least 20 images"),
        (
            lambda: sap(random(2, 2), FEW.take(torch.tensor([3, 3]))),
            "factor texture is the same in all images; leave it",
        ),
        (lambda: factor_directions(random(30, 2), FEW, ridge=0), "ridge must be above 0"),
        (lambda: best_match_cosine(random(2, 3), random(2, 4)), "rows must be (K, d) and directions as wide"),
        (lambda: best_match_cosine(random(2, 3) * math.inf, random(2, 3)), "must be finite"),
        (lambda: factor_recovery(random(30, 2), FEW, generator=generator(), draws=5), "draws must be at least 39"),
        (lambda: factor_recovery(random(30, 2), FEW, generator=generator(), basis=random(2, 2)), "belong together"),
    ],
)
def test_bad_input(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    assert sentence in str(error.value)
