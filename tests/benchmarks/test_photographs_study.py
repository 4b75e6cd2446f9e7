"""How the study of photographs selects and pairs, and what its archives hold: `benchmarks/studies/photographs_*.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "studies"))

from photographs_data import NEW_IN_PACS, Sizes, prepare
from photographs_points import DESIGNS, LONGER, PARTS, SEARCH, SEARCH_SEED, STEPS, TARGETS, points
from photographs_rows import best, effects, select


def row(arm: str, seed: int, value: float, **other: Any) -> dict[str, Any]:
    at = {"objective": "simclr", "encoder": "conv4", "steps": STEPS, "lr": "0.002", "temperature": "0.2", **other}
    return {"arm": arm, "seed": seed, **at, "accuracy": {**dict.fromkeys(TARGETS, value), "held-out": value}}


def test_the_main_effect_is_the_mean_of_both_simple_effects() -> None:
    values = {
        "tasks": (0.30, 0.32),
        "TC²": (0.40, 0.40),
        "tasks + isotropy": (0.50, 0.50),
        "TC² + isotropy": (0.52, 0.50),
    }
    rows = [row(arm, seed, each) for arm, both in values.items() for seed, each in enumerate(both)]
    found = {(r["contrast"], r["targets"]): r for r in effects(rows)}
    calibrated = found["tasks that differ by nothing: main effect of TC²", "usual"]
    assert calibrated["per_seed"] == pytest.approx([(0.10 + 0.02) / 2, (0.08 + 0.00) / 2])
    regularized = found["tasks that differ by nothing: main effect of isotropy", "usual"]
    assert regularized["per_seed"] == pytest.approx([(0.12 + 0.20) / 2, (0.10 + 0.18) / 2])


def test_designs_are_kept_apart_and_the_search_takes_no_part() -> None:
    rows = [
        row("plain", 0, 0.1),
        row("plain", 0, 0.2, encoder="resnet18"),
        row("plain", 0, 0.3, steps=LONGER),
        row("plain", 0, 0.4, objective="byol"),
        row("plain", SEARCH_SEED, 0.5),
    ]
    found = {name: select(rows, "plain", name) for name in DESIGNS}
    shown = {name: {seed: r["accuracy"]["hue"] for seed, r in own.items()} for name, own in found.items()}
    assert shown == {
        "SimCLR": {0: 0.1},
        "BYOL": {0: 0.4},
        "Barlow Twins": {},
        "SimCLR, ResNet-18": {0: 0.2},
        "SimCLR, 10 epochs": {0: 0.3},
    }


def test_the_recipe_is_chosen_on_held_out_training_images() -> None:
    one, other = row("plain", SEARCH_SEED, 0.9, lr="0.002"), row("plain", SEARCH_SEED, 0.1, lr="0.004")
    one["accuracy"]["held-out"], other["accuracy"]["held-out"] = 0.3, 0.4
    assert best([one, other]) == ("0.004", "0.2")


@pytest.mark.slow
def test_every_point_of_the_study_can_be_built_and_named_apart(tmp_path: Path) -> None:
    every = [point for part in PARTS for point in points(part, 2, SEARCH[0])]
    cells = [point.cell(tmp_path, tmp_path) for point in every]
    assert len({cell.path for cell in cells}) == len(set(every))
    for cell in cells:
        assert cell.config.trainer.steps in (STEPS, LONGER)


def test_archives_hold_what_targets_need(tmp_path: Path) -> None:
    """Images turned as their labels say, styles beside classes, held-out images apart from those that are learned from."""
    generator = np.random.default_rng(0)
    names = {"cifar10/train": 60, "cifar10/test": 40}
    folder = tmp_path / "data"
    images = generator.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    for place, count in names.items():
        for label in ("cat", "dog"):
            (folder / place / label).mkdir(parents=True)
        source = folder / place / "cat" / "0.png"
        Image.fromarray(images[0]).save(source)
        for i in range(1, count):  # one image under many names: what is tested is where rows go
            (folder / place / ("cat" if i % 2 else "dog") / f"{i}.png").hardlink_to(source)
    for name in ("bonsai", "car_side"):
        (folder / "caltech101" / name).mkdir(parents=True)
        Image.fromarray(images[1]).save(folder / "caltech101" / name / "0.png")
    for style in ("art", "cartoon", "photo", "sketch"):
        for name in (*NEW_IN_PACS, "dog"):
            (folder / "pacs" / style / name).mkdir(parents=True)
            for i in range(2):
                Image.fromarray(images[2]).save(folder / "pacs" / style / name / f"{i}.png")
    sizes = Sizes(held_fit=7, held_asked=3, bank=10, asked=5, probe_fit=8, probe_asked=4)
    prepare(folder, tmp_path / "made", sizes)
    with np.load(tmp_path / "made" / "rotation.npz") as turned:
        own = torch.from_numpy(images[0]).permute(2, 0, 1)
        for image, label in zip(turned["images"][:8], turned["labels"][:8], strict=True):
            assert torch.equal(torch.from_numpy(image).squeeze(), torch.rot90(own, int(label), (1, 2)))
    with np.load(tmp_path / "made" / "learn.npz") as learned, np.load(tmp_path / "made" / "held-out.npz") as held:
        assert (len(learned["images"]), len(held["images"])) == (50, 10)
    styles = np.load(tmp_path / "made" / "pacs-styles.npy")
    assert sorted(np.bincount(styles).tolist()) == [10, 10, 10, 10]
    with np.load(tmp_path / "made" / "caltech101.npz") as other:
        assert len(other["images"]) == 1  # the class that CIFAR-10 has is left out
