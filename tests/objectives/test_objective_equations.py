"""Each objective against its paper's equation, restated with loops over samples and dimensions in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from metatc2.objectives import (
    BYOL,
    BarlowTwins,
    Embeddings,
    MoCo,
    Objective,
    SimCLR,
    SimSiam,
    VICReg,
    redundancy,
)

Array = NDArray[np.float64]


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / (math.sqrt(a @ a) * math.sqrt(b @ b)))


def simclr(z: Array, tau: float) -> float:
    """Algorithm 1: z_{2k-1}, z_{2k} are the views of image k; ℓ(i, j) over all k ≠ i."""
    n = len(z)
    flat = [z[k, v] for k in range(n) for v in range(2)]

    def ell(i: int, j: int) -> float:
        others = sum(math.exp(cosine(flat[i], flat[k]) / tau) for k in range(2 * n) if k != i)
        return -math.log(math.exp(cosine(flat[i], flat[j]) / tau) / others)

    return sum(ell(2 * k, 2 * k + 1) + ell(2 * k + 1, 2 * k) for k in range(n)) / (2 * n)


def moco(z: Array, t: Array, queue: list[Array], tau: float) -> float:
    total = 0.0
    for i in range(len(z)):
        for view in range(2):
            q, k = z[i, view], t[i, 1 - view]
            own = math.exp(cosine(q, k) / tau)
            total -= math.log(own / (own + sum(math.exp(cosine(q, m) / tau) for m in queue)))
    return total / (2 * len(z))


def byol(p: Array, t: Array) -> float:
    total = 0.0
    for i in range(len(p)):
        for view in range(2):
            q, z = p[i, view], t[i, 1 - view]
            total += float(np.sum((q / np.linalg.norm(q) - z / np.linalg.norm(z)) ** 2))
    return total / len(p)


def simsiam(p: Array, z: Array) -> float:
    return -sum(cosine(p[i, 0], z[i, 1]) / 2 + cosine(p[i, 1], z[i, 0]) / 2 for i in range(len(p))) / len(p)


def barlow(z: Array, weight: float) -> float:
    n, _, d = z.shape
    a, b = z[:, 0] - z[:, 0].mean(0), z[:, 1] - z[:, 1].mean(0)
    total = 0.0
    for i in range(d):
        for j in range(d):
            c = sum(a[s, i] * b[s, j] for s in range(n))
            c /= math.sqrt(sum(a[s, i] ** 2 for s in range(n))) * math.sqrt(sum(b[s, j] ** 2 for s in range(n)))
            total += (1 - c) ** 2 if i == j else weight * c**2
    return total


def vicreg(z: Array, lam: float, mu: float, nu: float) -> float:
    n, _, d = z.shape
    s = sum((z[i, 0, j] - z[i, 1, j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    v = c = 0.0
    for view in range(2):
        x = z[:, view]
        mean = x.mean(0)
        cov = sum(np.outer(x[i] - mean, x[i] - mean) for i in range(n)) / (n - 1)
        v += sum(max(0.0, 1 - math.sqrt(x[:, j].var(ddof=1) + 1e-4)) for j in range(d)) / d
        c += sum(cov[i, j] ** 2 for i in range(d) for j in range(d) if i != j) / d
    return float(lam * s + mu * v + nu * c)


def filled_moco() -> tuple[MoCo, list[Array]]:
    objective = MoCo(queue=20, temperature=0.3).double()
    keys = torch.randn(2, 3, 2, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    objective.update(Embeddings(keys, targets=keys))
    return objective, list(keys.flatten(0, 2).numpy())


CASES: dict[str, tuple[Objective, Callable[[Array, Array, Array], float]]] = {
    "simclr": (SimCLR(0.2), lambda z, p, t: simclr(z, 0.2)),
    "simclr-default": (SimCLR(), lambda z, p, t: simclr(z, 0.5)),
    "moco": (filled_moco()[0], lambda z, p, t: moco(z, t, filled_moco()[1], 0.3)),
    "byol": (BYOL(), lambda z, p, t: byol(p, t)),
    "simsiam": (SimSiam(), lambda z, p, t: simsiam(p, z)),
    "barlow": (BarlowTwins(), lambda z, p, t: barlow(z, 0.0051)),
    "barlow-weight": (BarlowTwins(0.7), lambda z, p, t: barlow(z, 0.7)),
    "vicreg": (VICReg(), lambda z, p, t: vicreg(z, 25, 25, 1)),
    "vicreg-weights": (VICReg(3, 5, 7), lambda z, p, t: vicreg(z, 3, 5, 7)),
}


def tensors(tasks: int = 3, samples: int = 6, dim: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(3)
    # Dimensions of unlike scale and offset, so that a missing centring, mean or square root shows.
    scale = torch.linspace(0.3, 2.0, dim, dtype=torch.float64)
    z, p, t = (torch.randn(tasks, samples, 2, dim, generator=g, dtype=torch.float64) * scale + 0.4 for _ in range(3))
    return z, p, t


@pytest.mark.parametrize("case", CASES)
def test_objective_is_its_papers_equation(case: str) -> None:
    objective, equation = CASES[case]
    z, p, t = tensors()
    expected = [equation(z[i].numpy(), p[i].numpy(), t[i].numpy()) for i in range(len(z))]
    e = Embeddings(z, p, t)
    # Barlow Twins adds 1e-5 to the variance, as batch normalization does; the equation has none.
    tolerance = 1e-4 if "barlow" in case else 1e-10
    assert objective.per_task(e).tolist() == pytest.approx(expected, rel=tolerance)
    assert objective(e).item() == pytest.approx(np.mean(expected), rel=tolerance)


def test_barlow_twins_is_exact_without_the_constant() -> None:
    z, _, _ = tensors()
    expected = [barlow(z[i].numpy(), 0.3) for i in range(len(z))]
    assert redundancy(z[:, :, 0], z[:, :, 1], 0.3, eps=0.0).tolist() == pytest.approx(expected, rel=1e-12)


def test_a_dead_dimension_of_barlow_twins_correlates_with_nothing() -> None:
    z = torch.randn(1, 64, 4, generator=torch.Generator().manual_seed(0))
    z[..., 1] = 0.1  # not a binary fraction: its mean is off by rounding
    value = redundancy(z, z, weight=0.0)
    assert value.item() == pytest.approx(1.0, abs=1e-3)
