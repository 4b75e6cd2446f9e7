"""Recovery and selection of known factors: parts of `benchmarks/studies/recovery_*.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from metatc2.data.sources.shapes.dataset import load_shapes, shape_factors
from metatc2.data.sources.shapes.factors import GenerativeFactors

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "studies"))

import recovery_scores as recovery
import recovery_tables


@pytest.fixture
def generator(seed_offset: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_offset)


@pytest.mark.parametrize("name", ["shape", "size", "hue"])
def test_parts_are_the_classes_of_the_source(name: str) -> None:
    assert torch.equal(recovery.parts(shape_factors(150), name), load_shapes(name, 8, count=150).labels)


def test_images_are_not_those_of_pretraining(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "IMAGES", 960)
    store, known = recovery.images(8)
    own = {row.numpy().tobytes() for row in store.images}
    assert len(known) == 960
    assert not own & {row.numpy().tobytes() for row in load_shapes(image_size=8, count=960).images}
    assert torch.equal(store.domains, known.values[:, 0].long())


def test_linear_r2_tells_what_is_there(generator: torch.Generator) -> None:
    values = torch.rand(1200, 3, generator=generator, dtype=torch.float64)
    values[:, 2] = (values[:, 2] * 3).floor()
    known = GenerativeFactors(values, ("x", "hue", "shape"), ("linear", "circular", "categorical"))
    turn = 2 * torch.pi * values[:, 1]
    held = torch.stack([values[:, 0] * 5 + 1, turn.cos(), turn.sin()], 1)
    mixed = held @ torch.randn(3, 3, generator=generator, dtype=torch.float64)
    rare = torch.zeros(1200, 1, dtype=torch.float64)  # a unit that is all but dead among the images fitted on
    rare[7], rare[900:950] = 1e-6, 1.0
    for features in (mixed, torch.cat([mixed, rare], 1)):
        found = recovery.linear_r2(features, known)
        assert found["x"] > 0.99
        assert found["hue"] > 0.99
        assert abs(found["shape"]) < 0.05


def test_tasks_share_a_value_and_no_image(generator: torch.Generator) -> None:
    values = torch.arange(400) % 5
    # A code for each image: what a task uses tells its images.
    usage, shared = recovery.task_usage(torch.eye(400), values, generator)
    assert usage.shape == (5 * (80 // recovery.IN_TASK), 400)
    assert torch.allclose(usage.sum(1), torch.ones(len(usage)))
    assert int((usage > 0).sum(0).max()) == 1
    for row, value in zip(usage, shared, strict=True):
        assert set(values[row > 0].tolist()) == {int(value)}


def test_explained_is_r2_of_a_regression_on_the_groups(generator: torch.Generator) -> None:
    usage = torch.rand(30, 4, generator=generator, dtype=torch.float64)
    shared = torch.randint(0, 5, (30,), generator=generator) * 3
    groups = (shared[:, None] == shared.unique()).double().numpy()
    predicted = LinearRegression().fit(groups, usage.numpy()).predict(groups)
    # Weighed by variance, the R² of all columns is that of their sums of squares.
    oracle = r2_score(usage.numpy(), predicted, multioutput="variance_weighted")
    assert recovery.explained(usage, shared) == pytest.approx(oracle)
    assert recovery.explained(torch.ones(30, 4), shared) == 0


def test_selection_is_found_where_codes_select(generator: torch.Generator) -> None:
    values = torch.arange(800) % 8
    noise = torch.randn(800, 8, generator=generator)
    found = recovery.selection(noise + 3 * torch.eye(8)[values], values, generator)
    assert found.value > 0.9
    assert found.outside
    chance = recovery.selection(noise, values, generator)
    assert chance.p > 0.01
    # With 8 groups of 6 tasks, 7 of 47 degrees of freedom.
    assert chance.null_mean == pytest.approx(7 / 47, abs=0.02)


def test_the_table_shows_means_beside_their_nulls() -> None:
    facts = {"objective": "simclr", "arm": "shared+isotropy", "codes": "weights", "codes_number": 8, "selection": 0.5}
    scores = dict.fromkeys(("mig", "sap", "disentanglement", "completeness", "cosine"), 0.2)
    nulls = {f"{name}_null": 0.05 for name in scores}
    rows = [{**facts, **scores, **nulls, "seed": 0}, {**facts, **scores, **nulls, "seed": 1, "mig": 0.4}]
    line = recovery_tables.table(rows).splitlines()[-1]
    others = " | ".join(4 * ["0.20 (0.05)"])
    assert line == f"| SimCLR | shared TC² + isotropy | weights | 0.30 (0.05) | {others} | – | 0.50 | 2 |"
