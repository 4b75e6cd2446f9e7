"""Regularizers of representations: each against its parts on samples put together by hand, and what all promise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

import metatc2.calibration
from metatc2.errors import InputError
from metatc2.learners import SelfSupervised
from metatc2.objectives import SimCLR, center_loss, scale_loss, shape_loss, sigreg
from metatc2.objectives.regularizers import REGULARIZERS, Isotropy, ScaleShape, SIGReg, build_regularizer, isotropy

ROOT = Path(__file__).parents[2]


def draw(tasks: int = 3, samples: int = 8, views: int = 2, dim: int = 4, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    # Dimensions of unlike scale and offset, and views that share something.
    own = torch.randn(tasks, samples, 1, dim, generator=g, dtype=torch.float64)
    z = own + 0.5 * torch.randn(tasks, samples, views, dim, generator=g, dtype=torch.float64)
    return z * torch.linspace(0.2, 3.0, dim, dtype=torch.float64) + 0.7


def standard(z: Tensor) -> Tensor:
    """By scikit-learn, which adds nothing to the variance."""
    rows = StandardScaler().fit_transform(z.reshape(-1, z.shape[-1]).numpy())
    return torch.from_numpy(np.asarray(rows)).view(z.shape)


def test_isotropy_is_that_of_what_it_is_given_which_learners_standardize() -> None:
    z = draw()
    assert Isotropy()(z, 0) == isotropy(z)
    assert {name: build_regularizer(name).standardized for name in REGULARIZERS} == {
        "isotropy": True,
        "sigreg": False,
        "visreg": False,
    }
    for standardize in (False, True):
        learner = SelfSupervised(
            nn.Identity(),
            SimCLR(),
            projector=nn.Identity(),
            standardize=standardize,
            regularizer=Isotropy(),
            weight=0.5,
        )
        learner.scale.fill_(2.0)
        seen = metatc2.calibration.standardize(z) if standardize else z  # as `branches` has it
        expected = isotropy(standard(z))
        torch.testing.assert_close(learner.regularize(seen), expected, rtol=1e-3, atol=1e-3)
        learner.regularizer = SIGReg(slices=8)
        assert learner.regularize(seen) == SIGReg(slices=8)(seen, 0)
    assert Isotropy()(z, 0) == Isotropy()(z, 9)  # nothing is random
    many = standard(draw(samples=500))
    assert Isotropy()(many, 0) < Isotropy()(many[..., :1].expand(-1, -1, -1, 4), 0) - 1


@pytest.mark.parametrize("views", [1, 2, 3])
def test_isotropy_is_its_equation(views: int) -> None:
    """Restated by the covariance of every two views, about one mean; a tenth of the variance counts as shared in any case."""
    z = draw(views=views) + 0.4 * torch.arange(views, dtype=torch.float64)[:, None]
    factors = torch.linalg.qr(draw(1, 4, 1, 3)[0, :, 0]).Q.T.clone().requires_grad_()
    for v in (None, factors):
        codes = z if v is None else z @ v.detach().T
        rows = (codes - codes.mean((0, 1, 2))).flatten(0, 1)
        between = {(a, b): rows[:, a].T @ rows[:, b] / len(rows) for a in range(views) for b in range(views)}
        covariance = torch.stack([between[a, a] for a in range(views)]).mean(0)
        other = [c.trace() for (a, b), c in between.items() if a != b] or [covariance.trace()]
        shared = (torch.stack(other).mean() + 0.1 * covariance.trace()) / 1.1
        expected = (len(covariance) * covariance.square().sum() / shared**2).log()
        torch.testing.assert_close(isotropy(z, v).detach(), expected)
    (slope,) = torch.autograd.grad(isotropy(z.requires_grad_(), factors), factors, allow_unused=True)
    assert slope is None


def test_isotropy_of_views_that_oppose_is_finite() -> None:
    one = draw(views=1)
    one = one - one.mean((0, 1))
    z = torch.cat([one, -one], 2)
    rows = one.flatten(0, 2)
    covariance = rows.T @ rows / len(rows)
    shared = 0.01 * covariance.trace() / 1.1
    torch.testing.assert_close(isotropy(z), (4 * covariance.square().sum() / shared**2).log())


def test_sigreg_is_the_statistic_of_each_view_over_n() -> None:
    z = draw()
    rows = standard(z)
    expected = [sigreg(rows[:, :, view].reshape(24, 4), step=5, seed=2, slices=16) / 24 for view in range(2)]
    found = SIGReg(slices=16, seed=2)(z, 5)
    torch.testing.assert_close(
        found, torch.stack(expected).mean(), rtol=1e-3, atol=1e-5
    )  # 1e-5 is added to the variance
    # Neither the scale of the features nor the size of the batch is in it.
    torch.testing.assert_close(SIGReg(slices=16, seed=2)(30 * z - 4, 5), found, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(SIGReg(slices=16, seed=2)(z.repeat(5, 3, 1, 1), 5), found)


def test_visreg_is_scale_and_shape_of_each_view_as_it_is() -> None:
    z = draw()
    expected = torch.zeros((), dtype=torch.float64)
    for view in range(2):
        rows = z[:, :, view].reshape(24, 4)
        expected = expected + (2 * scale_loss(rows) + 3 * shape_loss(rows, step=5, seed=1, slices=16)) / 2
    found = ScaleShape(scale=2, shape=3, slices=16, seed=1)(z, 5)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ScaleShape(2, 3, 16, 1)(z + 4, 5), found)  # the mean is left alone
    assert center_loss(z.flatten(0, 2)) > 0.1
    assert ScaleShape(2, 3, 16, 1)(2 * z, 5) > found


@pytest.mark.parametrize("name", REGULARIZERS)
def test_every_regularizer_prefers_independent_gaussian_features(name: str, seed_offset: int) -> None:
    regularizer = build_regularizer(name)
    z = torch.randn(4, 50, 1, 6, generator=torch.Generator().manual_seed(seed_offset), dtype=torch.float64)
    z = z.expand(-1, -1, 2, -1)
    good, copies, alike = (regularizer(each, 0) for each in (z, z[..., :1].expand(-1, -1, -1, 6), torch.ones_like(z)))
    assert good.ndim == 0
    assert 0 <= good < 0.15
    assert copies > 3 * good
    assert 0.3 < alike < 3


@pytest.mark.parametrize("name", REGULARIZERS)
def test_the_order_of_samples_tasks_and_views_does_not_matter(name: str) -> None:
    regularizer, z = build_regularizer(name), draw()
    turned = z.flip(2)[[2, 0, 1]][:, [3, 1, 7, 0, 2, 6, 5, 4]]
    torch.testing.assert_close(regularizer(z, 1), regularizer(turned, 1))


@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_step_has_one_function_and_no_state(name: str) -> None:
    regularizer, z = build_regularizer(name), draw()
    assert regularizer(z, 3) == regularizer(z, 3)
    assert bool(regularizer(z, 3) == regularizer(z, 4)) == (name == "isotropy")
    assert not regularizer.state_dict()
    assert 0 < regularizer.weight < 1


@pytest.mark.parametrize("name", ["isotropy", "sigreg"])
def test_twice_differentiable(name: str) -> None:
    z = draw(tasks=2, samples=3, dim=3).requires_grad_()
    options = {} if name == "isotropy" else {"slices": 4}

    def loss(x: Tensor) -> Tensor:
        return build_regularizer(name, **options)(x, 2)

    assert gradcheck(loss, (z,))
    assert gradgradcheck(loss, (z,))


def test_scale_is_twice_differentiable_and_shape_with_the_scale_held_is_tested_elsewhere() -> None:
    z = draw(tasks=2, samples=3, dim=3).requires_grad_()
    assert gradgradcheck(lambda x: ScaleShape(shape=0)(x, 2), (z,))


@pytest.mark.parametrize("name", REGULARIZERS)
def test_collapsed_features_have_finite_derivatives_and_half_precision_is_upcast(name: str) -> None:
    regularizer = build_regularizer(name)
    z = torch.full((2, 4, 2, 3), 0.3, requires_grad=True)
    (first,) = torch.autograd.grad(regularizer(z, 0), z, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), z, allow_unused=True, materialize_grads=True)
    assert first.isfinite().all()
    assert second.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert regularizer(draw().bfloat16(), 0).dtype == torch.float32
        assert regularizer(draw().float(), 0).item() == pytest.approx(regularizer(draw(), 0).item(), rel=1e-3)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_another_shape_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=r"of shape \(tasks, samples, views, d\), found \(8, 2, 4\)$"):
        build_regularizer(name)(torch.zeros(8, 2, 4), 0)


def test_every_name_builds_its_own_class() -> None:
    assert [build_regularizer(name).name for name in REGULARIZERS] == list(REGULARIZERS)
    assert set(REGULARIZERS) == {"isotropy", "sigreg", "visreg"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("isotropi", {}, "unknown regularizer 'isotropi'; did you mean 'isotropy'"),
        ("isotropy", {"slices": 4}, "isotropy has no option 'slices'; it takes none"),
        ("sigreg", {"slice": 4}, "sigreg has no option 'slice'; did you mean 'slices'"),
        ("sigreg", {"slices": 0.5}, "sigreg: slices must be a whole number, found 0.5"),
        ("sigreg", {"slices": 0}, "sigreg: slices must be above 0, found 0"),
        ("visreg", {"scale": -1}, "visreg: scale must be at least 0, found -1"),
        ("visreg", {"seed": -1}, "visreg: seed must be at least 0, found -1"),
    ],
)
def test_bad_names_and_options_are_errors(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        build_regularizer(name, **options)
    assert message in str(caught.value)


def test_objectives_import_nothing_of_calibration() -> None:
    for path in (ROOT / "metatc2" / "objectives").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) metatc2\.(calibration|learners)", path.read_text(), re.MULTILINE), path


def test_the_example_of_the_page_runs() -> None:
    page = (ROOT / "docs" / "regularizers.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(example, "docs/regularizers.md", "exec"), {})
