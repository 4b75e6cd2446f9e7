"""Calibration against the formulas of TC² restated, its switches and controls, and recovery of planted factors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from metatc2.calibration import (
    Calibrator,
    MeanWeights,
    PooledFactors,
    SampleWeights,
    hoyer,
    named_calibrator,
    orthogonality,
    reconstruction,
    reconstruction_ratio,
    sparsity,
    standardize,
)
from metatc2.errors import InputError
from metatc2.objectives.regularizers import isotropy


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def calibrator(**options: object) -> Calibrator:
    made = named_calibrator(8, 3, generator=generator(1), **options).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * draw(*p.shape, seed=p.numel()))  # away from the zeros of the start
    return made


def test_losses_restate_their_formulas() -> None:
    z, w, v = draw(3, 5, 2, 8), draw(3, 5, 2, 4, seed=1), draw(4, 8, seed=2)
    zs, ws, vs = z.reshape(-1, 8).numpy(), w.reshape(-1, 4).numpy(), v.numpy()
    rec = np.mean([np.sum((zs[j] - sum(ws[j, k] * vs[k] for k in range(4))) ** 2) / 8 for j in range(len(zs))])
    orth = sum((vs[a] @ vs[b] - (a == b)) ** 2 for a in range(4) for b in range(4)) / 4
    spars = np.mean([np.abs(row).sum() for row in ws]) / 2
    assert reconstruction(z, w, v).item() == pytest.approx(rec)
    assert orthogonality(v).item() == pytest.approx(orth)
    assert sparsity(w).item() == pytest.approx(spars)
    each = [(2 - np.abs(r).sum() / np.sqrt((r**2).sum())) / (2 - 1) for r in ws]
    assert hoyer(w).item() == pytest.approx(np.mean(each))
    assert reconstruction_ratio(z, w, v).item() == pytest.approx(rec / zs.var(0).mean())


@pytest.mark.parametrize("views", [1, 2, 3])
def test_isotropy_restates_its_formula(views: int) -> None:
    z, v = draw(3, 5, 1, 8) * 2 + draw(3, 5, views, 8, seed=1) + 1, draw(4, 8, seed=2)
    for basis, given in ((v.numpy(), v), (np.eye(8), None)):
        codes = z.numpy().reshape(15, views, 8) @ basis.T
        codes -= codes.mean((0, 1))
        covariance = np.einsum("nvi,nvj->ij", codes, codes) / (15 * views)
        variance = np.trace(covariance)
        pairs = [(a, b) for a in range(views) for b in range(views) if a != b] or [(0, 0)]
        shared = np.mean([np.trace(codes[:, a].T @ codes[:, b]) / 15 for a, b in pairs])
        expected = np.log(len(basis) * np.linalg.norm(covariance) ** 2 / ((shared + 0.1 * variance) / 1.1) ** 2)
        assert isotropy(z, given).item() == pytest.approx(expected)
        assert isotropy(7 * z - 3, given).item() == pytest.approx(expected)  # it has no unit and no origin


def test_isotropy_is_zero_for_whitened_data_alone(seed_offset: int) -> None:
    z = draw(40, 8, seed=seed_offset) @ draw(8, 8, seed=seed_offset + 1) + 3
    centered = z.numpy() - z.numpy().mean(0)
    size, axes = np.linalg.eigh(centered.T @ centered / 40)
    white = torch.from_numpy(centered @ axes / np.sqrt(size) + 5)[:, None].expand(-1, 2, -1)
    factors = torch.linalg.qr(draw(8, 3, seed=seed_offset + 2)).Q.T
    assert isotropy(white).item() == pytest.approx(0, abs=1e-12)
    assert isotropy(white, factors).item() == pytest.approx(0, abs=1e-12)
    assert isotropy(standardize(z[:, None]), factors).item() > 0.01  # equal variances alone do not suffice
    assert isotropy(white + 0.1 * draw(40, 2, 8, seed=seed_offset + 3)).item() > 0.01  # alike in both views no more


def test_isotropy_is_the_participation_ratio_where_all_variance_is_shared() -> None:
    """And no choice of all the axes changes the loss, only the samples do."""
    z = draw(200, 4) * torch.tensor([1.5, 1.2, 0.8, 0.1], dtype=torch.float64) @ torch.linalg.qr(draw(4, 4, seed=1)).Q
    size = np.linalg.eigvalsh(np.cov(z.numpy(), rowvar=False, bias=True))
    z = z[:, None].expand(-1, 2, -1)
    assert isotropy(z).item() == pytest.approx(np.log(4 * (size**2).sum() / size.sum() ** 2))
    assert isotropy(z, torch.linalg.qr(draw(4, 4, seed=2)).Q).item() == pytest.approx(isotropy(z).item())


def test_isotropy_asks_for_a_variance_as_large_as_what_views_share_of_it(seed_offset: int) -> None:
    """Of independent directions with correlations ρ between views, variances ∝ ρ + 0.1 are the best, not equal ones."""
    correlation = torch.tensor([1.0, 0.7, 0.3, 0.0], dtype=torch.float64)
    sample = draw(4000, 12, seed=seed_offset)
    independent = torch.linalg.qr(sample - sample.mean(0)).Q * 4000**0.5
    cause, noise = independent[:, :4], independent[:, 4:].unflatten(1, (2, 4))
    views = correlation.sqrt() * cause[:, None] + (1 - correlation).sqrt() * noise

    def loss(variances: torch.Tensor) -> float:
        return isotropy(views * variances.sqrt()).item()

    best = correlation + 0.1
    least = loss(best)
    assert least < loss(torch.ones(4)) - 0.1  # whitened
    for change in draw(50, 4, seed=seed_offset + 5):
        assert loss(best * (0.3 * change).exp()) > least


def test_isotropy_of_a_collapsed_representation_is_finite() -> None:
    for start in (torch.zeros(6, 2, 4), torch.full((6, 2, 4), 3.0)):
        z = start.requires_grad_()
        value = isotropy(z)
        value.backward()
        assert value.item() == pytest.approx(np.log(4), abs=1e-5)
        assert z.grad is not None
        assert bool(z.grad.isfinite().all())


def test_isotropy_moves_the_samples_and_not_the_factors() -> None:
    z, v = draw(4, 3, 2, 5).requires_grad_(), draw(3, 5, seed=1).requires_grad_()
    isotropy(z, v).backward()
    assert v.grad is None
    assert z.grad is not None
    assert bool(z.grad.any())
    assert torch.autograd.gradcheck(lambda samples: isotropy(samples, v.detach()), (z,))


def test_reconstruction_target_has_no_gradient() -> None:
    z = draw(4, 8).requires_grad_()
    reconstruction(z, draw(4, 2, seed=1).requires_grad_(), draw(2, 8, seed=2)).backward()
    assert z.grad is None


def test_factor_network_restates_its_formula_and_starts_as_an_orthonormal_basis() -> None:
    network = PooledFactors(8, 3, generator=generator()).double()
    z = draw(2, 5, 2, 8)
    torch.testing.assert_close(network(z) @ network(z).T, torch.eye(3, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.nn.init.normal_(network.value_out, std=0.5, generator=generator(5))
    s = z.reshape(-1, 8).numpy()
    scores = s @ network.key.detach().numpy()
    a = np.exp(scores) / np.exp(scores).sum(0)
    value = gelu(s @ network.value_in.detach().numpy()) @ network.value_out.detach().numpy()
    v = network.basis.detach().numpy() + a.T @ value
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    np.testing.assert_allclose(network(z).detach().numpy(), v, rtol=1e-10)


def test_no_gradient_reaches_the_samples_through_the_factors() -> None:
    made = calibrator()
    z = draw(2, 5, 2, 8).requires_grad_()
    made.factor_network(z).square().sum().backward()
    assert z.grad is None
    assert made.factor_network.key.grad is not None


def test_weight_network_restates_its_formula() -> None:
    network, by_task = (kind(8, 6).double() for kind in (SampleWeights, MeanWeights))
    z, v = draw(2, 5, 2, 8), draw(3, 8, seed=1)
    for seed, p in enumerate(network.parameters()):
        p.data = draw(*p.shape, seed=20 + seed)  # away from the zeros of the start
    by_task.load_state_dict(network.state_dict())
    w1, b1, w2, b2 = (p.detach().numpy() for p in (network.w1, network.b1, network.w2, network.b2))
    expected = (z.numpy() + gelu(z.numpy() @ w1 + b1) @ w2 + b2) @ v.numpy().T
    np.testing.assert_allclose(network(z, v).detach().numpy(), expected, rtol=1e-9)
    mean = by_task(z, v).detach().numpy()
    for task in range(2):
        np.testing.assert_allclose(mean[task], np.broadcast_to(expected[task].reshape(-1, 3).mean(0), (5, 2, 3)))


def test_weights_start_as_the_projection_on_the_factors_and_can_leave_it() -> None:
    made, z = named_calibrator(8, 3, form="blend", generator=generator()).double(), draw(2, 5, 2, 8)
    start = made(z)
    flat, v = z.reshape(-1, 8).numpy(), start.factors.detach().numpy()
    # Least squares: no weights explain more of z by these factors.
    best = np.linalg.lstsq(v.T, flat.T, rcond=None)[0].T
    np.testing.assert_allclose(start.weights.detach().numpy().reshape(-1, 3), best, atol=1e-6)
    np.testing.assert_allclose(start.features.detach().numpy().reshape(-1, 8), best @ v, atol=1e-6)
    made.loss(z, start).backward()
    assert bool(made.weight_network.get_parameter("w2").grad.any())  # type: ignore[union-attr]


@pytest.mark.parametrize("blend", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("form", ["blend", "gate", "add"])
def test_forms(form: str, blend: float) -> None:
    z = draw(2, 5, 2, 8)
    result = calibrator(form=form)(z, blend)
    wv = result.weights @ result.factors
    composed = {"blend": wv, "gate": z * 2 / (1 + torch.exp(-wv)), "add": z + wv}[form]
    torch.testing.assert_close(result.features, (1 - blend) * z + blend * composed)
    if blend == 0:
        assert torch.equal(result.features, z)


def test_z_plus_what_the_factors_compose_is_the_usual_form() -> None:
    z = draw(2, 5, 2, 8)
    assert torch.equal(calibrator()(z).features, calibrator(form="add")(z).features)


@pytest.mark.parametrize("form", ["blend", "add"])
def test_shuffle_gives_every_sample_the_weights_of_another(form: str) -> None:
    z = draw(2, 5, 2, 8)
    plain, placebo = calibrator(form=form)(z), calibrator(form=form, control="shuffle")(z)
    torch.testing.assert_close(placebo.weights, plain.weights)
    own = z if form == "add" else torch.zeros_like(z)
    of_others, composed = placebo.features - own, plain.features - own
    torch.testing.assert_close(of_others[:, 1:], composed[:, :-1])
    torch.testing.assert_close(of_others[:, 0], composed[:, -1])


def test_random_projection_projects_and_learns_nothing() -> None:
    made = named_calibrator(8, 3, form="blend", control="random-projection", generator=generator()).double()
    assert not list(made.parameters())
    z = draw(2, 5, 2, 8)
    once = made(z).features
    torch.testing.assert_close(made(once).features, once, rtol=1e-5, atol=1e-5)  # its axes are of single precision
    assert torch.linalg.matrix_rank(once.reshape(-1, 8), atol=1e-5).item() == 3


@pytest.mark.parametrize("kind", ["parameter", "fixed"])
def test_factors_that_do_not_see_the_data(kind: str) -> None:
    made = calibrator(factor_network=kind)
    assert torch.equal(made(draw(2, 5, 2, 8)).factors, made(draw(2, 5, 2, 8, seed=9)).factors)
    assert ("factor_network.basis" in dict(made.named_parameters())) == (kind == "parameter")


def test_loss_is_the_weighted_sum() -> None:
    made, z = calibrator(orthogonality=0.7, sparsity=0.3), draw(2, 5, 2, 8)
    c = made(z)
    expected = reconstruction(z, c.weights, c.factors) + 0.7 * orthogonality(c.factors) + 0.3 * sparsity(c.weights)
    torch.testing.assert_close(made.loss(z, c), expected)


def test_standardize_and_test_time_averages_agree() -> None:
    h = draw(2, 50, 2, 8) * 3 + 1
    z = standardize(h)
    torch.testing.assert_close(
        z.reshape(-1, 8).std(0, correction=0), torch.ones(8, dtype=torch.float64), rtol=1e-4, atol=0
    )
    made = calibrator(factor_network="parameter")
    made.track(h, made(z).factors)
    at_test = made.test_features(h.reshape(-1, 8), standardized=True)
    torch.testing.assert_close(at_test, made(z).features.reshape(-1, 8), rtol=1e-4, atol=1e-5)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(
        InputError, match=r"calibration.factors is 8 and the representation has 8 dimensions.*factors = 2"
    ):
        named_calibrator(8, 8)
    with pytest.raises(InputError, match="did you mean 'gate'"):
        named_calibrator(8, 3, form="gat")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="did you mean 'pooled'"):
        named_calibrator(8, 3, factor_network="poled")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="unknown weights 'batch'"):
        named_calibrator(8, 3, weights="batch")  # type: ignore[arg-type]


def recovery(sparsity_weight: float, seed: int) -> float:
    """Mean best-match |cosine| of the learned factors with six planted ones; a task uses two of them."""
    g = generator(seed)
    dim, factors, per_task, tasks, samples = 16, 6, 2, 4, 32
    truth = torch.linalg.qr(torch.randn(dim, factors, generator=g)).Q.T
    made = named_calibrator(dim, factors, sparsity=sparsity_weight, hidden=64, generator=generator(seed + 10))
    optimizer = torch.optim.Adam(made.parameters(), lr=5e-3)
    for _ in range(700):
        used = torch.rand(tasks, factors, generator=g).argsort(-1)[:, None, :per_task].expand(-1, samples, -1)
        active = (torch.rand(tasks, samples, per_task, generator=g) < 0.5).float()
        amount = torch.randn(tasks, samples, per_task, generator=g) * active
        mixed = torch.zeros(tasks, samples, factors).scatter(2, used, amount) @ truth
        z = 2 * (mixed + 0.02 * torch.randn(mixed.shape, generator=g))[:, :, None]
        loss = made.loss(z, made(z))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (truth @ made(z).factors.T).abs().amax(1).mean().item()


@pytest.mark.slow  # 1 400 steps of training; the losses are held against their equations above
def test_planted_factors_are_recovered_with_sparsity_and_not_without(seed_offset: int) -> None:
    with_sparsity, without = (recovery(weight, seed_offset) for weight in (0.05, 0.0))
    assert with_sparsity >= 0.8
    assert without <= with_sparsity - 0.15
