"""Small episodes whose tasks are known, and networks for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metatc2.episodes import Episode, Samples, TaskIdentity
from metatc2.models.heads import Predictor
from metatc2.objectives import build_objective

NAMES = ("place", "color", "texture")
DIM, OUT, WIDTH = 6, 5, 8


def identity(kinds: list[int], conditions: int = 4, seed: int = 0) -> TaskIdentity:
    """Tasks of the given kinds, with random conditions that belong to the kind."""
    of_kind = torch.rand(len(NAMES), conditions, generator=torch.Generator().manual_seed(seed + 50))
    chosen = torch.tensor(kinds)
    return TaskIdentity(chosen, NAMES, of_kind[chosen])


def z(tasks: int, samples: int = 7, *, dim: int = DIM, seed: int = 0) -> Tensor:
    """A representation ``(tasks, samples, 2, dim)`` in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tasks, samples, 2, dim, generator=generator, dtype=torch.float64)


def episode(kinds: list[int] | None, *, tasks: int = 3, samples: int = 8, seed: int = 0) -> Episode:
    """Tasks of vectors in float64; without kinds they have no identity."""
    generator = torch.Generator().manual_seed(seed)
    tasks = tasks if kinds is None else len(kinds)
    x = torch.randn(tasks, samples, 2, 4, generator=generator, dtype=torch.float64)
    half = samples // 2

    def side(images: Tensor) -> Samples:
        return Samples(images, None, None, torch.zeros(images.shape[:2], dtype=torch.int64))

    return Episode(side(x[:, :half]), side(x[:, half:]), None if kinds is None else identity(kinds))


def body(seed: int = 0, width: int = DIM) -> nn.Module:
    """An encoder with batch normalization, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, width)).double()


def heads(objective: str) -> dict[str, nn.Module | None]:
    """Objective and, where it asks for one, predictor."""
    made = build_objective(objective)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        return {"objective": made, "predictor": Predictor(OUT, 4).double() if made.predictor else None}
