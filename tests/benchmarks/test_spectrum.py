"""`benchmarks/studies/spectrum.py`: canonical directions, and the way from a run folder to the table."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "studies"))

import spectrum
from cells import Cell
from evidence_cells import OURS

from metatc2.experiment import run as runs
from metatc2.experiment.transfer import transfer


def test_canonical_directions_against_scikit_learn() -> None:
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=draw)

    truth = torch.tensor([0.0, 0.3, 0.5, 0.8, 1.0], dtype=torch.float64)
    cause, mix = normal(4000, 5), torch.eye(5, dtype=torch.float64) + 0.3 * normal(5, 5)
    one, two = ((truth.sqrt() * cause + (1 - truth).sqrt() * normal(4000, 5)) @ mix for _ in range(2))
    mean, deviation = torch.cat([one, two]).mean(0), torch.cat([one, two]).std(0)
    one, two = (one - mean) / deviation, (two - mean) / deviation
    directions, correlations = spectrum.canonical(one, two)
    codes = torch.cat([one, two]) @ directions
    np.testing.assert_allclose(codes.T @ codes / len(codes), np.eye(5), atol=0.03)
    left, right = CCA(n_components=5, scale=False).fit_transform(one.numpy(), two.numpy())
    peer = sorted(np.corrcoef(left[:, i], right[:, i])[0, 1] for i in range(5))
    # The peer lets each view have directions of its own, which views of one kind do not need.
    assert correlations.tolist() == pytest.approx(peer, abs=0.04)
    assert correlations.tolist() == pytest.approx(truth.tolist(), abs=0.04)


@pytest.mark.slow
def test_from_a_run_folder_to_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum, "FITTED_ON", 200)
    monkeypatch.setattr(spectrum, "EPISODES", 1000)
    small = ("encoder.width=8", "trainer.steps=2", "calibration.name=none")
    one = Cell(tmp_path / "run", "digits", small, ())
    run = runs.pretrain(one.config, one.path)
    # A unit that is dead, as some are after training, has no correlation with any other.
    with torch.no_grad():
        last = [m for m in run.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)][-1]
        last.weight[0], last.bias[0] = 0.0, -1.0
    monkeypatch.setattr(spectrum.runs, "load_run", lambda path: run)
    row = {"source": "digits", "objective": "simclr", "arm": "plain", "seed": 0, **spectrum.measure(one)}
    assert all(1 / row["way"] < row[name] <= 1 for name in spectrum.CHANGES)
    assert len({row[name] for name in spectrum.CHANGES}) == 4
    assert 1 <= row["participation_ratio"] <= 7
    # As it is: what `metatc2 transfer` would say, on episodes of another draw.
    asked = {"targets": ("digits:meta-validation",), "ways": (row["way"],), "shots": (1,), "protocols": ("few-shot",)}
    elsewhere = dataclasses.replace(run, path=tmp_path / "told")  # the encoder is no longer that of the run folder
    told = next(r for r in transfer(elsewhere, **asked, heads=("cosine",)) if r.features == "encoder")
    assert row["features"] == pytest.approx(told.mean, abs=0.025)

    twice = spectrum.table([row, {**row, "features": row["features"] - 0.1}]).splitlines()[-1]
    shown = [f"{100 * row['features'] - 5:.1f}", *(f"{100 * row[name]:.1f}" for name in list(spectrum.CHANGES)[1:])]
    assert twice.startswith(f"| digits, SimCLR, {row['way']}-way | plain | {' | '.join(shown)} |")
    assert twice.endswith("| 2 |")
    ours = {**row, "arm": OURS, "features": row["features"] + 0.05}
    against = spectrum.differences_table([row, ours, {**ours, "seed": 1}]).splitlines()[-1]
    assert against.startswith("| digits, SimCLR | +5.0 (1) |")
    assert against.count("(1)") == 4
