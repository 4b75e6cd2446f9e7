"""The demo from end to end, with two steps a run: its files, its figures, and a headline that follows the numbers."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from metatc2.cli import _demo_findings, _demo_runs
from metatc2.cli._demo_findings import METHODS, TARGETS, headline, pairs_by_kind, pays, strongest_controls
from metatc2.cli._demo_runs import demo_config, run_demo
from metatc2.errors import InputError
from metatc2.experiment.build import build_data, build_sampler
from metatc2.experiment.config import NoCalibration, NoRegularizer
from metatc2.transfer import MEAN_TARGET, Difference, read_results

HUE, SHARED = "shapes:hue:test", "shapes:meta-test"


def difference(target: str, value: float, half: float, verdict: str) -> Difference:
    return Difference(
        a="tc2", b="plain", protocol="few-shot", target=target, split="", way=5, shot=5, head="cosine", features="encoder",
        k=None, targets=4, seeds=(0, 1, 2), per_seed=(value,) * 3, mean_a=0.5 + value, mean_b=0.5, difference=value,
        ci95=half, interval="seeds", verdict=verdict,
    )  # fmt: skip


def test_headline_says_what_was_measured_whichever_way_it_fell() -> None:
    found = {
        "plain": [
            difference(SHARED, -0.04, 0.01, "worse"),
            difference(HUE, 0.1, 0.02, "better"),
            difference("shapes:x:test", 0.03, 0.01, "better"),
            difference(MEAN_TARGET, 0.02, 0.03, "not distinguishable"),
        ],
        "visreg": [difference(HUE, 0.1, 0.02, "one seed: no verdict")],
    }
    lines = headline(found).splitlines()
    assert lines[1] == (
        "Against plain, in points: better on hue (+10.0 ± 2.0) and position across (+3.0 ± 1.0); worse on shape and texture "
        "(-4.0 ± 1.0); not distinguishable on their mean (+2.0 ± 3.0)."
    )
    assert lines[2] == "Against VISReg, in points: one seed: no verdict on hue (+10.0 ± 2.0)."


def test_headline_names_the_strongest_control_of_each_target() -> None:
    accuracies = {
        name: dict.fromkeys((*TARGETS.values(), "mean"), (value, 0.0))
        for name, value in (("raw pixels", 0.3), ("random encoder", 0.2), ("plain", 0.35), ("TC²", 0.4))
    }
    accuracies["random encoder"]["lighting"] = (0.55, 0.0)
    assert strongest_controls(accuracies) == (
        "The strongest control is plain on shape and texture (35.0 %, TC² 40.0 %), plain on hue (35.0 %, TC² 40.0 %), random "
        "encoder on lighting (55.0 %, TC² 40.0 %), plain on position across (35.0 %, TC² 40.0 %)."
    )


def test_headline_claims_that_pre_training_pays_only_where_both_intervals_say_so() -> None:
    assert pays([0.88, 0.9, 0.86], [0.24] * 3, [0.25, 0.24, 0.23]).startswith(
        "Pre-training pays on shape and texture: "
    )
    for unclear in (pays([0.88, 0.9, 0.86], [0.24] * 3, [0.2, 0.95, 0.9]), pays([0.9], [0.2], [0.2])):
        assert unclear.startswith("On shape and texture: ")


def test_methods_of_a_seed_see_the_same_images_and_differ_in_nothing_but_the_method() -> None:
    configs = [demo_config(method, 1, ["data.image_size=8"]) for method in METHODS]
    store = build_data(configs[0])
    first, *others = [build_sampler(config, store).sample().images for config in configs]
    assert all(torch.equal(first, other) for other in others)
    assert len({(c.calibration.name, c.regularizer.name) for c in configs}) == 3
    bare = [replace(c, calibration=NoCalibration(), regularizer=NoRegularizer()) for c in configs]
    assert bare[0] == bare[1] == bare[2]


def test_pairs_share_what_their_label_says() -> None:
    found = pairs_by_kind(28, pairs=12)
    assert [label.partition("+ ")[2] for label in found] == ["", "hue", "orientation", "x, y", "lighting"]
    # The hue of an object's brightest color, from the pixels: pairs that share it are nearer than others.
    apart = {label: _hue_distance(images) for label, images in found.items()}
    assert apart["shape, texture\n+ hue"] < 0.5 * min(value for label, value in apart.items() if "hue" not in label)


def _hue_distance(pairs: torch.Tensor) -> float:
    """Mean distance on the circle of the hues of two objects, each the hue of its bright pixels' mean color."""
    hues = [[_hue(image) for image in pair] for pair in pairs]
    return sum(min(abs(a - b), 1 - abs(a - b)) for a, b in hues) / len(hues)


def _hue(image: torch.Tensor) -> float:
    bright = image.amax(0) > 0.55  # the ground is darker
    return colorsys.rgb_to_hsv(*image[:, bright].mean(1).tolist())[0]


def one_by_one(job: Callable[..., str], given: Sequence[tuple[Any, ...]], workers: int, stop: Any) -> Iterator[str]:
    """`run_jobs` in this process."""
    for words in given:
        yield job(*words, stop)


@pytest.mark.parametrize("seeds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_demo_in_small(
    seeds: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    if seeds == 1:  # otherwise in worker processes, which import everything
        monkeypatch.setattr(_demo_runs, "run_jobs", one_by_one)
        request.getfixturevalue("few_shapes")
    monkeypatch.setattr(_demo_findings, "_EPISODES", 4)
    changes = (
        "trainer.steps=2", "trainer.log_every=1", "transfer.few-shot.episodes=5", "episode.batch=32", "encoder.width=16",
        "data.image_size=16",
    )  # fmt: skip
    run_demo(tmp_path, seeds=seeds, changes=changes)
    printed = capsys.readouterr().out
    assert all(
        f" {name} " in printed for name in ("raw pixels", "random encoder", *METHODS.values(), *TARGETS.values())
    )
    assert "metatc2 advise folder:PATH" in printed
    assert "The strongest control is " in printed
    found = json.loads((tmp_path / "demo.json").read_text())
    assert {(d["a"], d["b"]) for d in found} == {
        ("simclr+tc2", "simclr+tasks"),
        ("simclr+tc2", "simclr+tasks+visreg"),
    }
    assert [d["target"] for d in found] == [*TARGETS, MEAN_TARGET] * 2
    assert all(len(d["per_seed"]) == seeds for d in found)
    # Targets are of images that were not pre-trained on, so nothing is refused or marked.
    assert not any(row.classes_seen for row in read_results(tmp_path / "tc2-s0" / "transfer.json")[0])
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.size[0] > 1000
        assert len(picture.convert("RGB").getcolors(2**24) or []) > 500


def test_no_seeds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1"):
        run_demo(tmp_path, seeds=0)
