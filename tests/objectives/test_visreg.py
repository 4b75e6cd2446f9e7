"""VISReg against scipy's optimal transport, its equations restated, and central differences with the scale held."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import Tensor

from metatc2.objectives import Embeddings, VISReg, center_loss, directions, scale_loss, shape_loss, sigreg

from .differences import Array, check_both_orders


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SCALES = torch.tensor([0.2, 1.0, 2.5], dtype=torch.float64)


def quantiles(n: int) -> Array:
    return np.asarray(stats.norm.ppf(np.arange(1, n + 1) / (n + 1)))


def transport(x: Array, y: Array) -> float:
    """Squared Wasserstein-2 distance: the cheapest assignment of equally many points, with nothing sorted."""
    cost = np.subtract.outer(x, y) ** 2
    return float(cost[optimize.linear_sum_assignment(cost)].mean())


def terms(z: Array, a: Array, held: Array | None = None) -> tuple[float, float, float]:
    """Scale, shape and center of samples (n, D); the shape's standard deviation may be held at that of others."""
    deviation = z.std(0)
    along = (z - z.mean(0)) / (deviation if held is None else held.std(0)) @ a
    shape = np.mean([transport(along[:, k], quantiles(len(z))) for k in range(a.shape[1])])
    return float(((1 - deviation) ** 2).mean()), float(shape), float((z.mean(0) ** 2).mean())


def test_each_term_is_its_equation() -> None:
    z = draw(2, 2, 11, 3, seed=1) * SCALES + 0.4
    a = directions(z, 6, step=2, seed=5).numpy()
    expected = np.array([[terms(z[i, j].numpy(), a) for j in range(2)] for i in range(2)])
    np.testing.assert_allclose(scale_loss(z).numpy(), expected[..., 0], rtol=1e-10)
    np.testing.assert_allclose(shape_loss(z, step=2, seed=5, slices=6).numpy(), expected[..., 1], rtol=1e-10)
    np.testing.assert_allclose(center_loss(z).numpy(), expected[..., 2], rtol=1e-10)


def test_shape_is_zero_at_quantiles_of_any_scale() -> None:
    """In one dimension: q of unit variance has nothing to mend but that division by its own deviation."""
    q = torch.from_numpy(quantiles(50))[:, None]
    spread = q.square().mean().sqrt()
    expected = ((1 - 1 / spread) * q).square().mean()
    for factor in (0.01, 1.0, 30.0):
        assert shape_loss(factor * q + 7, step=0).item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize(
    "weights", [(0.6, 1.0, 1.0, 1.0), (0.9, 0.0, 1.0, 0.0), (1.0, 2.0, 0.5, 3.0), (0.0, 1.0, 1.0, 1.0)]
)
def test_visreg_is_the_papers_loss_in_value_and_derivatives(weights: tuple[float, float, float, float]) -> None:
    weight, *others = weights
    z, objective = draw(2, 6, 2, 3, seed=3) * SCALES + 0.3, VISReg(*weights, slices=5, seed=1)
    for _ in range(2):
        objective.update(Embeddings(z))
    a = directions(z, 5, step=2, seed=1).numpy()

    def value(flat: Array) -> float:
        losses = []
        for task, held in zip(flat.reshape(2, 6, 2, 3), z.numpy(), strict=True):
            spread = ((task - task.mean(1, keepdims=True)) ** 2).mean()
            views = [np.dot(others, terms(task[:, v], a, held[:, v])) for v in range(2)]
            losses.append((1 - weight) * spread + weight * np.mean(views))
        return float(np.mean(losses))

    check_both_orders(lambda x: objective(Embeddings(x.view(2, 6, 2, 3))), value, z.flatten())


def test_shape_tells_a_gaussian_from_all_else_at_any_scale(seed_offset: int) -> None:
    z = draw(400, 6, seed=seed_offset + 1)
    good = shape_loss(z, step=0)
    torch.testing.assert_close(good, shape_loss(z * torch.logspace(-2, 2, 6, dtype=torch.float64) - 3, step=0))
    line = torch.linspace(-1.7, 1.7, 400, dtype=torch.float64)[:, None].expand(-1, 6)
    signs = draw(400, 1, seed=seed_offset + 2).sign() * (0.1 * z + 1)  # two clusters
    for other in (line, z[:, :1].expand(-1, 6), signs, torch.zeros_like(z)):
        assert shape_loss(other, step=0) > 5 * good


def test_tasks_are_apart_and_the_order_of_samples_does_not_matter() -> None:
    z = draw(3, 10, 4, seed=2)
    turned = z[:, torch.randperm(10, generator=torch.Generator().manual_seed(1))]
    whole = shape_loss(z, step=0) + scale_loss(z)
    torch.testing.assert_close(whole, torch.stack([shape_loss(task, step=0) + scale_loss(task) for task in z]))
    torch.testing.assert_close(whole, shape_loss(turned, step=0) + scale_loss(turned))


def test_near_collapse_scale_still_pulls_where_sigreg_does_not() -> None:
    strength = []
    for loss in (scale_loss, lambda x: sigreg(x, step=0) / x.shape[-2]):
        for factor in (1e-1, 1e-4):
            z = (factor * draw(64, 4)).requires_grad_()
            (gradient,) = torch.autograd.grad(loss(z), z)
            strength.append(gradient.norm().item())
    assert strength[1] == pytest.approx(strength[0], rel=0.2)
    assert strength[3] < 0.01 * strength[2]


def test_directions_move_with_the_steps() -> None:
    e, objective = Embeddings(draw(2, 6, 2, 3)), VISReg(slices=4)
    first = objective(e).item()
    objective.update(e)
    resumed = VISReg(slices=4)
    resumed.load_state_dict(objective.state_dict())
    assert resumed(e).item() == objective(e).item() != first
