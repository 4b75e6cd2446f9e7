"""How the study of the number of images draws, pairs and shows: `data_size.py`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from metatc2.data import ImageStore, load

STUDIES = Path(__file__).resolve().parents[2] / "benchmarks" / "studies"


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(STUDIES)
    import data_size

    return data_size


def test_every_cell_can_be_built_and_named_apart(study: Any, tmp_path: Path) -> None:
    cells = [
        study.cell(tmp_path, task, arm, count, seed)
        for task in study.TARGETS
        for arm in study.ARMS
        for count in study.COUNTS
        for seed in range(2)
    ]
    assert len({cell.path for cell in cells}) == len({cell.stamp for cell in cells}) == len(cells) == 48
    assert all(cell.config.value("data.split") == "all" for cell in cells)


def test_smaller_sets_are_parts_of_larger_ones_and_of_meta_train(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.arange(60, dtype=torch.uint8)[:, None, None, None].expand(60, 1, 8, 8)
    store = ImageStore("toy", images, torch.arange(60) % 6, splits={"meta-train": torch.arange(3, 43)})
    monkeypatch.setattr(study, "load", lambda task: store)
    monkeypatch.setattr(study, "COUNTS", (5, 20))
    for seed in range(2):
        study.draw(tmp_path, "toy", seed)
    drawn = {
        (count, seed): load(f"npz:{study.file_of(tmp_path, 'toy', count, seed)}").images[:, 0, 0, 0].tolist()
        for count in (5, 20)
        for seed in range(2)
    }
    assert [len(set(found)) for found in drawn.values()] == [5, 5, 20, 20]
    assert drawn[20, 0] != drawn[20, 1]
    for seed in range(2):
        assert drawn[20, seed][:5] == drawn[5, seed]
        assert set(drawn[20, seed]) <= set(store.rows("meta-train").tolist())


def test_arms_are_paired_with_raw_pixels_by_seed(study: Any) -> None:
    values = {
        ("none", 150): (0.5, 0.6, 0.7),
        ("raw pixels", 0): (0.4, 0.4, 0.4),
        ("random encoder", 0): (0.3, 0.3, 0.3),
    }
    rows = [
        {"task": "glyphs", "arm": arm, "images": count, "seed": seed, "accuracy": {"a": value - 0.1, "b": value + 0.1}}
        for (arm, count), found in values.items()
        for seed, value in enumerate(found)
    ]
    lines = study.table(rows).splitlines()
    assert lines[2].startswith("| 0 (random encoder) | **-10.0 ± 0.0** | **-10.0 ± 0.0** |")
    assert lines[3] == "| 150 | +20.0 ± 24.8 | – | – | – | – | – | 0/3 |"
    more = [{**row, "images": 9600, "accuracy": {"a": 0.9}} for row in rows if row["arm"] == "none"]
    assert study.table([*rows, *more]).splitlines()[-1] == "| 9600 − 150 | **+30.0 ± 24.8** | – | – | – | – | – | 0/3 |"
