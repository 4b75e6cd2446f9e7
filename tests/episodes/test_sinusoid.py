"""Sinusoid tasks: the true function, its ranges, noise, ranks, resumption, errors."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.utils.data import DataLoader

from metatc2.episodes import Episode
from metatc2.episodes.sinusoid import SinusoidTasks, sinusoid
from metatc2.errors import InputError


def points(episode: Episode) -> tuple[Tensor, Tensor]:
    """Inputs and targets of both sides, ``(tasks, n)``."""
    assert episode.support.labels is not None
    assert episode.query.labels is not None
    return episode.images[:, :, 0, 0], torch.cat([episode.support.labels, episode.query.labels], 1)


def test_shapes() -> None:
    episode = SinusoidTasks(shot=5, query=7, tasks=3).sample()
    assert episode.support.images.shape == (3, 5, 1, 1)
    assert episode.query.images.shape == (3, 7, 1, 1)
    for side in (episode.support, episode.query):
        x, y = side.labeled()
        assert x.shape == (*y.shape, 1)
        assert x.dtype == y.dtype == torch.float32
        assert side.index.unique().tolist() == [-1]
        assert side.descriptors is None


def test_points_lie_on_one_sine_a_task() -> None:
    """Least squares on sin and cos, which knows nothing of amplitude and phase, finds both again."""
    sampler = SinusoidTasks(tasks=20)
    x, y = (t.double().numpy() for t in points(sampler.sample()))
    for task in range(20):
        basis = np.stack([np.sin(x[task]), np.cos(x[task])], 1)
        (a, b), residual, *_ = np.linalg.lstsq(basis, y[task], rcond=None)
        assert float(residual[0]) < 1e-8
        # A sin(x − φ) = A cos φ sin x − A sin φ cos x
        assert math.hypot(a, b) == pytest.approx(float(sampler.amplitude[task]), rel=1e-4)
        assert math.atan2(-b, a) == pytest.approx(float(sampler.phase[task]), abs=1e-3)


def test_amplitude_phase_and_inputs_are_uniform_in_their_ranges(seed_offset: int) -> None:
    sampler = SinusoidTasks(tasks=3_000, amplitude=(1, 2), phase=(0.5, 0.75), low=-3, high=4, seed=seed_offset)
    x, _ = points(sampler.sample())
    for found, low, high in (
        (sampler.amplitude, 1, 2),
        (sampler.phase, 0.5, 0.75),
        (x[:, 0], -3, 4),
        (x[:, -1], -3, 4),
    ):
        assert stats.kstest(found.flatten(), "uniform", args=(low, high - low)).pvalue > 1e-6
    defaults = SinusoidTasks(tasks=3_000, seed=seed_offset)
    defaults.sample()
    assert stats.kstest(defaults.amplitude.flatten(), "uniform", args=(0.1, 4.9)).pvalue > 1e-6
    assert stats.kstest(defaults.phase.flatten(), "uniform", args=(0, math.pi)).pvalue > 1e-6


def test_noise_is_normal_on_both_sides(seed_offset: int) -> None:
    sampler = SinusoidTasks(shot=6, query=6, tasks=500, noise=0.3, seed=seed_offset)
    x, y = points(sampler.sample())
    error = y - sinusoid(sampler.amplitude, sampler.phase, x)
    for side in (error[:, :6], error[:, 6:]):
        assert stats.kstest(side.flatten(), "norm", args=(0, 0.3)).pvalue > 1e-6


def test_seed_rank_workers_and_state() -> None:
    def first(**options: Any) -> Tensor:
        return points(SinusoidTasks(**options).sample())[1]

    assert torch.equal(first(seed=1), first(seed=1))
    assert not torch.equal(first(seed=1), first(seed=2))
    assert not torch.equal(first(seed=1), first(seed=1, rank=1))
    sampler, other = SinusoidTasks(seed=1), SinusoidTasks(seed=2)
    sampler.sample()
    other.load_state_dict(sampler.state_dict())
    assert torch.equal(points(sampler.sample())[1], points(other.sample())[1])
    loader = DataLoader(sampler, batch_size=None, num_workers=2)
    drawn = [tuple(task) for episode in islice(loader, 4) for task in points(episode)[1].tolist()]
    assert len(set(drawn)) == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shot": 0}, "shot must be at least 1, got 0"),
        ({"query": 0}, "query must be at least 1"),
        ({"tasks": 0}, "tasks must be at least 1"),
        ({"amplitude": (5, 1)}, r"amplitude must be two finite numbers, the smaller first, got \(5, 1\)"),
        ({"phase": (0, math.inf)}, "phase must be two finite numbers"),
        ({"low": 5, "high": -5}, r"low, high must be .* got \(5, -5\)"),
        ({"noise": -0.1}, "noise must be a finite number from 0 on, got -0.1"),
        ({"noise": math.nan}, "noise must be"),
        ({"seed": -1}, "SinusoidTasks: seed must be at least 0"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SinusoidTasks(**options)
