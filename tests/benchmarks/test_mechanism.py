"""Conflict, its summaries and what a checkpoint's measurement leaves alone: parts of `benchmarks/studies/mechanism.py`."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "studies"))

import mechanism
import mechanism_tables
from correlations import correlations, correlations_table
from mechanism_conflict import STEP, conflict, evaluation_episodes, figures, resplit
from pairs import paired_by_seed

from metatc2.data import ImageStore
from metatc2.diagnostics import task_conflict
from metatc2.episodes import Episode, Samples
from metatc2.experiment.build import build_learner
from metatc2.experiment.config import Config, override
from metatc2.learners import SelfSupervised

SETTINGS = [
    "encoder.width=8",
    "data.image_size=28",
    "transfer.few-shot.episodes=4",
    "transfer.few-shot.query=2",
    "transfer.few-shot.heads=['cosine']",
]
Params = dict[str, Tensor]


def episode(centers: list[float], samples: int = 8, noise: float = 0.1, seed: int = 0) -> Episode:
    generator = torch.Generator().manual_seed(seed)
    x = torch.tensor(centers).view(-1, 1, 1) + noise * torch.randn(len(centers), samples, 3, generator=generator)
    rows = torch.arange(x.shape[0] * samples).view(x.shape[:2])
    whole = Samples(x, None, None, rows)
    return Episode(whole.map(lambda t: t[:, : samples // 2]), whole.map(lambda t: t[:, samples // 2 :]))


def squared(params: Params, x: Tensor) -> Tensor:
    return ((params["a.w"] - x).square().sum(-1) + (params["b.w"] * x.mean(0)).sum()).mean()


def start() -> Params:
    return {"a.w": torch.full((3,), 0.2), "b.w": torch.full((3,), 0.1)}


def test_figures_are_those_of_the_library_at_the_same_step() -> None:
    one = episode([1.0, -1.0, 0.3])
    found = figures(squared, start(), one.support.images, one.query.images)
    # The step of the text: a fixed share of the length of all parameters, for a gradient of mean length.
    norms = []
    for task in one.support.images:
        at = {name: p.clone().requires_grad_() for name, p in start().items()}
        squared(at, task).backward()
        norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in at.values() if p.grad is not None)))
    theta = math.sqrt(3 * 0.2**2 + 3 * 0.1**2)
    lr = STEP * theta * len(norms) / sum(norms)
    other = task_conflict(squared, start(), one, generator=torch.Generator(), lr=lr)
    assert found["T"] == pytest.approx(other.transferability.value, rel=1e-3)
    assert found["C"] == other.conflict_rate.value > 0
    assert found["own_gain"] == pytest.approx(other.own_gain.value, rel=1e-3)
    for name, cosine in other.cosine.items():
        assert found[f"cosine_{name}"] == pytest.approx(cosine.value)
        assert found[f"below_zero_{name}"] == other.cosine_below_zero[name].value


def test_tasks_that_differ_conflict_more_than_their_resplits() -> None:
    apart = [episode([1.0, -1.0], seed=i) for i in range(6)]
    found = conflict(lambda p, x: (p["w"] - x).square().mean(), {"w": torch.full((3,), 0.01)}, apart)
    assert found["C"] == 1.0
    assert found["C_excess"] == pytest.approx(found["C"] - found["C_null"])
    assert found["C_excess"] > 0 > found["T_excess"]
    # Tasks that are alike conflict no more than their re-splits.
    alike = [episode([1.0, 1.0], noise=1.0, seed=i) for i in range(6)]
    found = conflict(lambda p, x: (p["w"] - x).square().mean(), {"w": torch.full((3,), 1.0)}, alike)
    assert abs(found["C_excess"]) <= found["C_excess_ci95"]


def test_a_resplit_assigns_the_same_images() -> None:
    one = episode([1.0, -1.0])
    support, query = resplit(one, torch.Generator().manual_seed(0))
    assert support.shape == one.support.images.shape
    assert query.shape == one.query.images.shape
    both = torch.cat([support, query], 1)
    assert not torch.equal(both, one.images)
    assert torch.equal(both.flatten().sort().values, one.images.flatten().sort().values)


def test_differences_are_paired_by_seed() -> None:
    found = paired_by_seed({0: 3.0, 1: 5.0}, {1: 1.0, 0: 2.0, 7: 0.0})
    assert found is not None
    assert (found["seeds"], found["per_seed"], found["difference"]) == ([0, 1], [1.0, 4.0], 2.5)
    # Half a Student interval of two values: t₀.₉₇₅ with one degree of freedom times half their distance.
    assert found["ci95"] == pytest.approx(12.7062 * 1.5, rel=1e-4)
    single = paired_by_seed({0: 3.0, 1: 5.0}, {0: 2.0})
    assert single is not None
    assert (single["difference"], single["ci95"]) == (1.0, None)
    assert paired_by_seed({0: 3.0}, {7: 0.0}) is None


def test_correlations_within_objectives_forget_their_offsets() -> None:
    # Falls within each objective, rises between them.
    rows = [{"objective": "a", "C": x, "accuracy": 1 - x} for x in (0.1, 0.2, 0.3)]
    rows += [{"objective": "b", "C": 10 + x, "accuracy": 10 - x} for x in (0.1, 0.2, 0.3, 0.4)]
    rows += [{"objective": "b", "C": None, "accuracy": 0.0}]
    found = {r["over"]: r for r in correlations(rows, ["C"], ["accuracy"])}
    assert (found["a"]["spearman"], found["b"]["spearman"]) == pytest.approx((-1, -1))
    assert found["within objectives"]["spearman"] == pytest.approx(-1, abs=0.01)
    assert found["all runs"]["spearman"] > 0.3
    assert {r["over"]: r["runs"] for r in found.values()} == {"all runs": 7, "within objectives": 7, "a": 3, "b": 4}
    assert correlations([{**r, "C": 1.0} for r in rows], ["C"], ["accuracy"]) == []


def test_tables_show_the_end_of_training_and_its_differences() -> None:
    names = ("C", "T", "cosine_all")
    level = {"shared+isotropy": 0.2, "plain": 0.3}
    rows: list[dict[str, Any]] = [
        {
            **{"objective": "byol", "arm": arm, "seed": seed, "share": share, "effective_rank": 20.0},
            **{key: level[arm] + 0.01 * seed for n in names for key in (n, f"{n}_excess")},
            **{f"{n}_null": 0.1 for n in names},
            "accuracy": 0.7 * share,
            "factors_used": 0.5 if arm == "shared+isotropy" else None,
        }
        for arm in level
        for seed in range(3)
        for share in (0.5, 1)
    ]
    text = mechanism_tables.table(rows).splitlines()
    assert (
        text[2]
        == "| BYOL | shared TC² + isotropy | 0.21 (0.10) | 210.0 (100.0) | 0.21 (0.10) | 20.0 | 50 % | 70.0 | 3 |"
    )
    assert text[3].startswith("| BYOL | plain | 0.31 (0.10) |")
    assert "| 20.0 | – | 70.0 |" in text[3]
    line = mechanism_tables.differences_table(rows).splitlines()[2]
    assert line == "| BYOL | plain | **-0.10 ± 0.00** | **-100.0 ± 0.0** | **-0.10 ± 0.00** | +0.0 ± 0.0 | +0.0 ± 0.0 |"
    rows = [{"objective": "byol", "C": c, "accuracy": a} for c, a in ((0.1, 0.9), (0.2, 0.8), (0.3, 0.7))]
    assert correlations_table(correlations(rows, ["C"], ["accuracy"])).endswith("| C | -1.00 | 3 |")


def toy() -> ImageStore:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(176) % 22
    noise = torch.randint(0, 256, (176, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return ImageStore("toy", noise, labels, labels % 4, splits={"meta-validation": torch.arange(176)})


@pytest.mark.slow
def test_measuring_changes_nothing_and_evaluates_every_arm_by_the_plain_objective() -> None:
    store, found = toy(), {}
    arms = {
        "shared": ("calibration.name=tc2", "calibration.adapt=shared"),
        "standardize": ("calibration.name=standardize",),
    }
    arms |= {"task": ("calibration.name=tc2",), "plain": ("calibration.name=none",)}
    for arm, settings in arms.items():
        config: Config = override(Config(), [*SETTINGS, *settings])
        learner = build_learner(config, 1, 28).train()
        assert isinstance(learner, SelfSupervised)
        before = {name: value.clone() for name, value in learner.state_dict().items()}
        random = torch.get_rng_state()
        episodes = evaluation_episodes(config, store, "meta-validation", 2)
        found[arm] = mechanism.measure(learner, config, store, episodes)
        assert torch.equal(torch.get_rng_state(), random)
        assert all(module.training for module in learner.modules())
        assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    # Before training TC² differs from its control by its calibrator alone, which the loss leaves out.
    ours, control = found["shared"], found["standardize"]
    for method, its_control in ((ours, control), (found["task"], found["plain"])):
        assert method["C"] == its_control["C"] > 0
        assert all(method[name] == pytest.approx(value) for name, value in its_control.items())
        assert 0 <= method["accuracy"] <= 1 < method["effective_rank"]
    assert ours.keys() - control.keys() == {"usage_entropy", "factors_used", "unexplained"}
