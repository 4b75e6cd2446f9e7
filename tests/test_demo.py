"""The demo from end to end, with two steps a run: its files, its figures, and a headline that follows the numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from metatc2.demo import METHODS, OBJECTIVES, headline, run_demo
from metatc2.errors import InputError
from metatc2.transfer import MEAN_TARGET, Difference


def difference(value: float, half: float, verdict: str) -> Difference:
    return Difference(
        a="tc2",
        b="plain",
        protocol="few-shot",
        target=MEAN_TARGET,
        split="",
        way=20,
        shot=1,
        head="cosine",
        features="encoder",
        k=None,
        targets=4,
        seeds=(0, 1, 2),
        per_seed=(value,) * 3,
        mean_a=0.5 + value,
        mean_b=0.5,
        difference=value,
        ci95=half,
        interval="seeds",
        verdict=verdict,
    )


def test_headline_says_what_was_measured_whichever_way_it_fell() -> None:
    found = {
        ("simclr", "none"): [difference(0.02, 0.01, "better")],
        ("simclr", "standardise"): [difference(-0.02, 0.01, "worse")],
        ("barlow", "none"): [difference(0.02, 0.03, "not distinguishable")],
        ("barlow", "standardise"): [difference(0.02, 0.03, "one seed: no verdict")],
    }
    lines = headline(found).splitlines()
    assert "better than plain (+2.0 ± 1.0 points), worse than standardised (-2.0 ± 1.0 points)" in lines[1]
    assert "not distinguishable from plain (+2.0 ± 3.0 points), one seed: no verdict against standardised" in lines[2]


def test_demo_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ("trainer.steps=2", "trainer.log_every=1", "transfer.episodes=5", "episode.batch=32", "encoder.width=24")
    run_demo(tmp_path, seeds=2, changes=changes)
    printed = capsys.readouterr().out
    assert "raw pixels" in printed
    assert "random encoder" in printed
    assert all(f"{o}, {m}" in printed for o in OBJECTIVES.values() for m in METHODS.values())
    rows = json.loads((tmp_path / "demo.json").read_text())
    assert {(d["a"], d["b"]) for d in rows} == {
        (f"{o}+tc2", o + other) for o in OBJECTIVES for other in ("", "+standardise")
    }
    assert all(len(d["per_seed"]) == 2 for d in rows)
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.size[0] > 1000
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 500


def test_no_seeds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1"):
        run_demo(tmp_path, seeds=0)
