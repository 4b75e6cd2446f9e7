"""SIGReg and LeJEPA against the closed form of the statistic, scipy's integrals and the paper's equations restated."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import Tensor

from metatc2.errors import InputError
from metatc2.objectives import Embeddings, LeJEPA, directions, epps_pulley, invariance, sigreg, view_variance

from .differences import Array, check_both_orders


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def closed_form(x: Array) -> float:
    """The integral over all t, from the Fourier transforms of three Gaussians."""
    pairs = np.exp(-(np.subtract.outer(x, x) ** 2) / 2).mean()
    return len(x) * (
        math.sqrt(2 * math.pi) * pairs
        - 2 * math.sqrt(math.pi) * np.exp(-(x**2) / 4).mean()
        + math.sqrt(2 * math.pi / 3)
    )


def integrand(t: float, x: Array) -> float:
    return float(abs(np.exp(1j * t * x).mean() - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2))


def by_hand(z: Array, a: Array, points: int = 17, limit: float = 5.0) -> float:
    """The paper's algorithm 1, over both halves of the interval, one direction after the other."""
    t = np.linspace(-limit, limit, points)
    values = [len(z) * integrate.trapezoid([integrand(s, z @ a[:, k]) for s in t], t) for k in range(a.shape[1])]
    return float(np.mean(values))


SAMPLES = {
    "normal": draw(40, 1),
    "shifted": draw(25, 1) * 0.7 + 0.8,
    "one point": torch.full((9, 1), 0.3, dtype=torch.float64),
    "two points": torch.tensor([[-1.0], [1.0]], dtype=torch.float64),
    "uniform": torch.linspace(-1.7, 1.7, 30, dtype=torch.float64)[:, None],
}


@pytest.mark.parametrize("name", SAMPLES)
def test_statistic_is_the_integral(name: str) -> None:
    x = SAMPLES[name]
    array = x[:, 0].numpy()
    exact = closed_form(array)
    assert exact == pytest.approx(len(x) * integrate.quad(integrand, -12, 12, args=(array,), limit=200)[0], rel=1e-8)
    assert epps_pulley(x, points=201, limit=12.0).item() == pytest.approx(exact, rel=1e-11)
    assert epps_pulley(x).item() == pytest.approx(exact, rel=1e-3)
    assert epps_pulley(x).item() == pytest.approx(by_hand(x.numpy(), np.ones((1, 1))), rel=1e-12)


@pytest.mark.parametrize(("points", "limit"), [(17, 5.0), (9, 3.0), (3, 1.0)])
def test_sigreg_is_the_mean_over_directions(points: int, limit: float) -> None:
    z = draw(3, 2, 12, 4, seed=1) * torch.tensor([0.3, 1.0, 1.5, 2.0], dtype=torch.float64) + 0.2
    found = sigreg(z, step=3, seed=4, slices=7, points=points, limit=limit)
    a = directions(z, 7, step=3, seed=4).numpy()
    assert found.shape == (3, 2)
    expected = [[by_hand(z[i, j].numpy(), a, points, limit) for j in range(2)] for i in range(3)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11)


def test_directions_are_uniform_unit_vectors_of_their_own_for_every_step_and_seed() -> None:
    z = torch.zeros(2, 5, dtype=torch.float64)
    a = directions(z, 20_000, step=0)
    torch.testing.assert_close(a.norm(dim=0), torch.ones(20_000, dtype=torch.float64))
    torch.testing.assert_close(a @ a.T / 20_000, torch.eye(5, dtype=torch.float64) / 5, rtol=0, atol=0.01)
    assert a.mean(1).abs().max() < 0.01
    others = [directions(z, 3, step=step, seed=seed) for step in range(3) for seed in range(3)]
    assert len({tuple(o.flatten().tolist()) for o in others}) == 9
    torch.testing.assert_close(directions(z.float(), 3, step=1), others[3].float())


def test_sigreg_tells_the_standard_normal_from_all_else(seed_offset: int) -> None:
    z = draw(400, 6, seed=seed_offset + 1)
    expected = math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3)  # 1.06 of normal samples, whatever their number
    assert sigreg(z, step=0).item() == pytest.approx(expected, rel=0.6)
    worse = {
        "collapsed": torch.zeros_like(z),
        "shifted": z + 1,
        "small": 0.3 * z,
        "anisotropic": z * torch.tensor([2.0, 1.5, 1.0, 0.5, 0.2, 0.1], dtype=torch.float64),
        "uniform on a line": torch.linspace(-1.7, 1.7, 400, dtype=torch.float64)[:, None].expand(-1, 6),
        "copies": z[:, :1].expand(-1, 6),
    }
    for name, other in worse.items():
        assert sigreg(other, step=0) > 5 * expected, name


def test_tasks_are_apart_and_the_order_of_samples_does_not_matter() -> None:
    z = draw(3, 10, 4, seed=2)
    whole = sigreg(z, step=0)
    torch.testing.assert_close(whole, torch.stack([sigreg(task, step=0) for task in z]))
    torch.testing.assert_close(
        whole, sigreg(z[:, torch.randperm(10, generator=torch.Generator().manual_seed(1))], step=0)
    )


def test_view_variance_is_a_quarter_of_the_distance_of_two_views() -> None:
    z = draw(3, 5, 2, 4)
    torch.testing.assert_close(view_variance(z), invariance(z[:, :, 0], z[:, :, 1]) / 4)
    z = draw(5, 4, 3).numpy()
    distances = [((z[i, v] - z[i].mean(0)) ** 2).mean() for i in range(5) for v in range(4)]
    assert view_variance(torch.from_numpy(z)).item() == pytest.approx(np.mean(distances))


@pytest.mark.parametrize("weight", [0.05, 0.0, 1.0, 0.4])
def test_lejepa_is_the_papers_algorithm_in_value_and_derivatives(weight: float) -> None:
    z, objective = draw(2, 6, 2, 3, seed=3), LeJEPA(weight, slices=5, seed=1)
    for _ in range(2):
        objective.update(Embeddings(z))
    a = directions(z, 5, step=2, seed=1).numpy()

    def value(flat: Array) -> float:
        losses = []
        for task in flat.reshape(2, 6, 2, 3):
            spread = ((task - task.mean(1, keepdims=True)) ** 2).mean()
            losses.append((1 - weight) * spread + weight * np.mean([by_hand(task[:, v], a) for v in range(2)]))
        return float(np.mean(losses))

    check_both_orders(lambda x: objective(Embeddings(x.view(2, 6, 2, 3))), value, z.flatten())


def test_a_step_has_one_function_and_a_resumed_run_goes_on_alike() -> None:
    e = Embeddings(draw(2, 6, 2, 3))
    objective, losses, states = LeJEPA(slices=4), [], []
    for _ in range(4):
        states.append(copy.deepcopy(objective.state_dict()))
        losses.append(objective(e).item())
        assert objective(e).item() == losses[-1]
        objective.update(e)
    assert len(set(losses)) == 4
    for state, loss in zip(states, losses, strict=True):
        resumed = LeJEPA(slices=4)
        resumed.load_state_dict(state)
        assert resumed(e).item() == loss
    assert LeJEPA(slices=4, seed=1)(e).item() != losses[0]


def test_the_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    LeJEPA()(Embeddings(draw(2, 6, 2, 3)))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 16}, "SIGReg: points must be an odd number of at least 3, found 16"),
        ({"points": 1}, "SIGReg: points must be an odd number of at least 3, found 1"),
        ({"limit": 0.0}, "SIGReg: limit must be above 0, found 0.0"),
        ({"slices": 0}, "random directions: slices must be at least 1, found 0"),
        ({"step": -1}, "random directions: step must be at least 0, found -1"),
        ({"seed": -1}, "random directions: seed must be at least 0, found -1"),
    ],
)
def test_bad_arguments_are_errors(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError) as caught:
        sigreg(draw(4, 3), **{"step": 0, **options})
    assert str(caught.value) == message
