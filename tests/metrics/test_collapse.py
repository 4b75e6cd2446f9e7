"""Collapse is seen when it happens, and only then."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metatc2.models.registry import build_encoder
from metatc2.objectives import collapsed, nt_xent, rank_summary, rankme


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_effective_rank_is_rankme(shape: tuple[int, int]) -> None:
    z = random(*shape) * torch.linspace(0.01, 3, shape[1])
    values = np.linalg.svd(z.double().numpy(), compute_uv=False)
    p = values / values.sum() + 1e-7  # the paper's ε
    assert rankme(z) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-5)


def test_effective_rank_counts_equal_directions_whatever_their_scale() -> None:
    for rank in (1, 3, 7):
        basis = torch.linalg.qr(random(20, 20))[0][:rank].repeat(2, 1)
        assert rankme(1e3 * basis) == pytest.approx(rank, abs=1e-2)
        assert rankme(1e-3 * basis) == pytest.approx(rank, abs=1e-2)


def test_singular_values_that_are_rounding_alone_are_none() -> None:
    # 200 of them, each a hundred-millionth of the others, would add up.
    directions = torch.linalg.qr(random(200, 3).double())[0]
    assert rankme(torch.linalg.qr(random(300, 3, seed=1).double())[0] @ directions.T) == pytest.approx(3, abs=1e-9)


@pytest.mark.parametrize(("share", "alike"), [(0.015, True), (0.03, False)])
def test_rows_are_one_point_below_two_hundredths_of_a_healthy_spread(share: float, alike: bool) -> None:
    far = torch.ones(64, dtype=torch.float64)
    z = far + share * random(500, 64).double()
    assert rank_summary(z)["unit_std"] * 8 == pytest.approx(share, rel=0.05)
    said = collapsed(z)
    assert (said is not None and "to one point" in said) if alike else said is None


def test_spread_of_unit_rows(seed_offset: int) -> None:
    z = random(4000, 16, seed=seed_offset)
    unit = (z / z.norm(dim=-1, keepdim=True)).double()
    few = unit[::4]  # of more than 1 024 rows, an even selection
    assert rank_summary(z)["unit_std"] == pytest.approx(few.std(0, correction=0).mean().item(), rel=1e-6)
    assert rank_summary(z)["unit_std"] == pytest.approx(1 / 4, rel=0.03)
    assert rank_summary(5 * z)["unit_std"] == pytest.approx(rank_summary(z)["unit_std"], rel=1e-6)
    assert rank_summary(z.view(10, 200, 2, 16)) == rank_summary(z)


@pytest.mark.parametrize("dim", [4, 64, 512])
@pytest.mark.parametrize("rows", [8, 64, 600])
def test_quiet_on_healthy_embeddings(rows: int, dim: int, seed_offset: int) -> None:
    z = random(rows, dim, seed=seed_offset)
    assert collapsed(z) is None
    assert collapsed(z.relu() + 3) is None  # a common offset is not a collapse
    assert collapsed(z * torch.logspace(0, -1, dim)) is None


@pytest.mark.parametrize("name", ["conv4", "resnet18"])
def test_quiet_on_untrained_encoders(name: str, seed_offset: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed_offset)
        encoder = build_encoder(name, channels=1, image_size=16, width=16)
        images = torch.rand(64, 1, 16, 16)
    for mode in (True, False):
        assert collapsed(encoder.train(mode)(images)) is None


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-3])
def test_one_point_is_seen(noise: float) -> None:
    sentence = collapsed(random(1, 32) + noise * random(100, 32, seed=1))
    assert sentence is not None
    assert sentence.startswith("embeddings have collapsed to one point")
    assert "\n" not in sentence


def test_all_zero_is_seen() -> None:
    assert "one point" in (collapsed(torch.zeros(2, 8, 2, 16)) or "")


@pytest.mark.parametrize("offset", [0.0, 2.0])
@pytest.mark.parametrize(("dim", "rank", "fires"), [(32, 1, True), (32, 4, False), (256, 8, True), (256, 40, False)])
def test_lost_rank_is_seen(dim: int, rank: int, fires: bool, offset: float, seed_offset: int) -> None:
    z = random(400, rank, seed=seed_offset) @ random(rank, dim, seed=seed_offset + 1) + offset
    sentence = collapsed(z)
    assert (sentence is not None) is fires
    if sentence:
        assert sentence.startswith("embeddings have lost rank")


def test_too_little_says_nothing() -> None:
    assert collapsed(random(1, 32)) is None
    assert collapsed(random(3, 1) @ random(1, 32)) is None
    assert collapsed(random(100, 1) @ random(1, 3)) is None


def test_nan_is_said() -> None:
    assert collapsed(torch.full((20, 8), float("nan"))) == "embeddings are not finite"


@pytest.mark.slow
def test_a_real_collapse_is_seen_and_a_contrastive_run_is_not(seed_offset: int) -> None:
    """Pulling views together and nothing else collapses; with negatives it does not. Same data, net and steps."""
    found = {}
    for kind in ("pull", "contrast"):
        with torch.random.fork_rng():
            torch.manual_seed(seed_offset)
            net = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 8))
        optimizer = torch.optim.Adam(net.parameters(), 0.02)
        x = random(64, 16, seed=seed_offset)
        for step in range(150):
            z1, z2 = (net(x + 0.3 * random(64, 16, seed=seed_offset + 1 + 2 * step + view)) for view in range(2))
            loss = (z1 - z2).square().mean() if kind == "pull" else nt_xent(z1, z2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found[kind] = collapsed(net(x))
    assert found["contrast"] is None
    assert found["pull"] is not None
