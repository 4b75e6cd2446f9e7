"""Use of factors: restated in numpy on the calibrator's own weights, and calibrators whose use is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from metatc2.calibration import Calibrator, named_calibrator
from metatc2.diagnostics import factor_use, usage_information
from metatc2.errors import InputError


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained(factors: Tensor | None = None, control: str = "none", k: int = 3) -> Calibrator:
    calibrator = named_calibrator(6, k, control=control, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    calibrator.track(2 * random(200, 6) + 1, random(k, 6, seed=1) if factors is None else factors)
    return calibrator


@pytest.mark.parametrize("standardized", [False, True])
def test_figures_restated(standardized: bool) -> None:
    calibrator, h = trained(), 2 * random(150, 6, seed=2) + 1
    found = factor_use(calibrator, h, standardized=standardized)
    w = calibrator.test_weights(h, standardized=standardized).detach().double().numpy()
    v = calibrator.average_factors.double().numpy()
    v = v / np.linalg.norm(v, axis=1, keepdims=True)
    z = h.double().numpy()
    if standardized:
        z = (z - calibrator.mean.double().numpy()) / np.sqrt(calibrator.variance.double().numpy() + 1e-5)
    share = np.abs(w).mean(0) / np.abs(w).mean(0).sum()
    np.testing.assert_allclose(found.usage, share, rtol=1e-6)
    assert found.factors_used == pytest.approx(math.exp(-(share * np.log(share)).sum()))
    assert found.orthogonality == pytest.approx(((v @ v.T - np.eye(3)) ** 2).sum() / 3, rel=1e-5)
    assert found.overlap_most == pytest.approx(np.abs(v @ v.T - np.eye(3)).max(), rel=1e-5)
    hoyer = (math.sqrt(3) - np.abs(w).sum(1) / np.linalg.norm(w, axis=1)) / (math.sqrt(3) - 1)
    assert found.hoyer == pytest.approx(hoyer.mean(), rel=1e-6)
    assert found.near_zero == pytest.approx((np.abs(w) < 0.05 * np.abs(w).max(1, keepdims=True)).mean())
    unexplained = ((z - w @ v) ** 2).mean() / ((z - z.mean(0)) ** 2).mean()
    assert found.unexplained == pytest.approx(unexplained, rel=1e-4)
    assert found.between_groups is None


def test_one_factor_in_use_and_one_that_is_double() -> None:
    eye = torch.eye(3, 6)
    calibrator = trained(eye, control="random-projection")
    h = torch.zeros(50, 6)
    h[:, 1] = random(50)
    found = factor_use(calibrator, h, standardized=False)
    assert found.usage == (0, 1, 0)
    assert (found.factors_used, found.hoyer) == (1, 1)
    assert found.unused == found.near_zero == pytest.approx(2 / 3)
    assert found.unexplained == pytest.approx(0, abs=0.05)
    double = factor_use(trained(torch.stack([eye[0], eye[0], eye[1]])), h, standardized=False)
    assert double.overlap_most == pytest.approx(1)
    assert double.orthogonality == pytest.approx(2 / 3)


def test_groups_that_use_other_factors_stand_out_and_random_groups_do_not(seed_offset: int) -> None:
    calibrator = trained(torch.eye(3, 6), control="random-projection")
    groups = torch.arange(90) % 3
    h = torch.zeros(90, 6)
    h[torch.arange(90), groups] = 1 + random(90, seed=seed_offset).abs()
    apart = factor_use(
        calibrator, h, standardized=False, groups=groups * 7, generator=torch.Generator().manual_seed(seed_offset)
    )
    assert apart.between_groups is not None
    assert apart.between_groups.value == pytest.approx(1)
    assert apart.between_groups.outside
    mixed = torch.randperm(90, generator=torch.Generator().manual_seed(seed_offset + 1)) % 3
    found = factor_use(
        calibrator, h, standardized=False, groups=mixed, generator=torch.Generator().manual_seed(seed_offset)
    )
    assert found.between_groups is not None
    assert not found.between_groups.outside
    assert found.between_groups.null_mean > 0  # small groups differ by chance alone


def test_usage_information_is_mutual_information() -> None:
    size, groups = random(40, 5).abs().double(), torch.arange(40) % 4
    usage = np.stack([size[groups == g].sum(0).numpy() / size[groups == g].sum().item() for g in range(4)])
    joint = usage / 4  # groups weigh alike
    expected = (joint * np.log(joint / (joint.sum(1, keepdims=True) * joint.sum(0)))).sum() / math.log(4)
    assert usage_information(size, groups) == pytest.approx(expected, rel=1e-9)


def test_the_calibrator_is_left_alone_and_one_factor_has_no_sparsity() -> None:
    calibrator = trained(k=1)
    before = {name: value.clone() for name, value in calibrator.state_dict().items()}
    found = factor_use(calibrator, random(20, 6), standardized=True)
    assert (found.hoyer, found.overlap_most, found.usage) == (None, 0, (1,))
    assert all(torch.equal(value, before[name]) for name, value in calibrator.state_dict().items())


def test_what_does_not_fit_is_refused() -> None:
    calibrator, h = trained(), random(20, 6)
    with pytest.raises(InputError, match="features are 5 wide and the calibrator takes 6"):
        factor_use(calibrator, h[:, :5], standardized=True)
    with pytest.raises(InputError, match="NaN or infinite"):
        factor_use(calibrator, h / 0, standardized=True)
    with pytest.raises(InputError, match=r"groups must be whole numbers of shape \(20,\) with at least two"):
        factor_use(calibrator, h, standardized=True, groups=torch.zeros(20, dtype=torch.int64))
    with pytest.raises(InputError, match="groups need a generator"):
        factor_use(calibrator, h, standardized=True, groups=torch.arange(20))
