"""How the study of conflict selects, pairs and shows: parts of `benchmarks/studies/conflict_rows.py`, `conflict_points.py` and
`kept.py`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

STUDIES = Path(__file__).resolve().parents[2] / "benchmarks" / "studies"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(STUDIES)
    import conflict_rows

    return conflict_rows


def row(
    arm: str, seed: int, mean: float, *, level: str = "one-more", lr: str = "0.002", validation: float = 0.0
) -> Any:
    factors = dict.fromkeys(
        ("shape", "texture", "size", "orientation", "hue", "background", "x", "y", "lighting"), mean
    )
    at = {"level": level, "objective": "simclr", "arm": arm, "width": 32, "seed": seed, "lr": lr}
    return {**at, "test": {"mean": mean, "factors": factors}, "validation": {"mean": validation}, "seconds": 1.0}


def rows() -> list[Any]:
    gains = {"one-more": (0.20, 0.24, 0.16), "same": (0.05, 0.04, 0.09), "contradiction": (0.10, 0.08, 0.12)}
    made = []
    for level, gain in gains.items():
        for seed in range(3):
            made += [row("one head", seed, 0.3 + 0.01 * seed, level=level)]
            made += [row("TC²", seed, 0.3 + 0.01 * seed + gain[seed], level=level)]
    return made


def test_differences_are_paired_by_seed(study: Any) -> None:
    found = study.gap(rows(), "TC²", "one head", level="one-more")
    values = np.array([0.20, 0.24, 0.16])
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / 3**0.5
    assert found["difference"] == pytest.approx(0.20)
    assert found["ci95"] == pytest.approx(half)
    assert found["per_seed"] == pytest.approx(values)


def test_the_interaction_is_the_gain_less_the_gain_where_tasks_agree(study: Any) -> None:
    found = {(r["subject"], r["interaction"]): r for r in study.interactions(rows())}
    assert set(found) == {("TC²", "one-more"), ("TC²", "contradiction")}
    assert found["TC²", "one-more"]["per_seed"] == pytest.approx([0.15, 0.20, 0.07])
    assert found["TC²", "one-more"]["gain"] == pytest.approx(0.20)


def test_rates_are_chosen_on_validation_and_the_search_takes_no_part(study: Any) -> None:
    searched = [
        row("TC²", study.SEARCH_SEED, 0.9, lr="0.002", validation=0.4),  # better on test, worse on validation
        row("TC²", study.SEARCH_SEED, 0.1, lr="0.004", validation=0.5),
    ]
    own = [row("TC²", 0, 0.3, lr="0.002"), row("TC²", 0, 0.6, lr="0.004")]
    assert study.searched(searched) == {"TC²": "0.004"}
    chosen = study.select([*searched, *own], level="one-more", objective="simclr", width=32, arm="TC²")
    assert {seed: r["test"]["mean"] for seed, r in chosen.items()} == {0: 0.6}


@pytest.mark.slow
def test_every_arm_can_be_built_and_named_apart(study: Any, tmp_path: Path) -> None:
    from cells import identity
    from conflict_points import ARMS, Point

    cells = [Point("one-more", "simclr", arm, 32, 0, "0.002").cell(tmp_path) for arm in ARMS]
    assert len({cell.path for cell in cells}) == len(ARMS)
    assert len({identity(cell.config) for cell in cells}) == len(ARMS)


def test_rows_are_of_the_settings_they_were_measured_with(study: Any, tmp_path: Path) -> None:
    from conflict_points import Point
    from kept import keep, kept, missing, row_file

    one = Point("one-more", "simclr", "TC²", 32, 0, "0.002").cell(tmp_path)
    other = Point("one-more", "simclr", "TC²", 16, 0, "0.002").cell(tmp_path)
    assert list(missing([one, other])) == [row_file(one), row_file(other)]
    keep(one, row_file(one), {"seconds": 1.5})
    keep(one, row_file(other), {"seconds": 2.5})  # left by other settings
    assert kept(one) == {"seconds": 1.5}
    assert kept(other) is None
    assert list(missing([one, other])) == [row_file(other)]


@pytest.mark.slow
@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_committed_rows_are_gone_on_from(every: int, study: Any, tmp_path: Path) -> None:
    """A fresh clone gathers cells and controls as they were committed, and writes the same bits."""
    import conflict
    from kept import restore

    folder, results, there = tmp_path / "runs", study.RESULTS.at(tmp_path / "new.csv"), study.RESULTS
    if every > 1:
        rows = study.RESULTS.read()
        cells, controls = ([r for r in rows if ("control" in r) == of] for of in (False, True))
        there = study.RESULTS.at(tmp_path / "old.csv")
        there.write([*cells[::every], *controls])
    restore(there, folder, lambda r: conflict.cell_of(r, folder))
    found = conflict.gather(folder)
    results.write(found)
    assert len(found) > 300 / every
    assert {r["control"] for r in found if "control" in r} == {"raw pixels", "random encoder"}
    assert results.path.read_bytes() == there.path.read_bytes()
