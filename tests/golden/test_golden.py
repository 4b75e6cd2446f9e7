"""The committed numbers of `golden.py` come out again; to rounding, for processors round sums differently."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
EXPECTED = json.loads((HERE / "golden.json").read_text())
CUT = "simclr, cut after two steps and resumed"
# Of 40 to 300 images: some are decided by the last bit, and by what `assert_near` tells of.
ACCURACY = 0.05


def script() -> Any:
    spec = importlib.util.spec_from_file_location("golden", HERE / "golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOLDEN = script()
# Most of the time of all goes to these, each of which has tests of its own.
LONG = {"semi-supervised", "corruption", "fine-tune", "linear", "linear-sgd"}
# Their arithmetic is asserted elsewhere; of their paths through a run the others have every part.
SLOW = {"maml recompute", "maml first-order", "simclr+isotropy"}


@pytest.fixture(autouse=True)
def few_steps_are_no_training() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return GOLDEN.pretrain(GOLDEN.configuration(GOLDEN.JUDGED), tmp_path_factory.mktemp("golden") / "run")


def assert_near(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Adam moves an entry whose gradient is nothing but rounding by the learning rate, up or down.

    Here they are the last shifts, which add the same to the features of all images: the objectives standardize. In three steps
    of 1e-3 no entry goes further than 3e-3.
    """
    for own, norm in zip(found["norms"], expected["norms"], strict=True):
        assert own == pytest.approx(norm, rel=1e-3, abs=1e-5 if norm > 0.1 else 3e-3)
    means = [sum(facts["features"]) / len(facts["features"]) for facts in (found, expected)]
    assert means[0] == pytest.approx(means[1], abs=3e-3)
    centered = [[f - mean for f in facts["features"]] for facts, mean in zip((found, expected), means, strict=True)]
    assert centered[0] == pytest.approx(centered[1], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in GOLDEN.RUNS]
)
def test_an_encoder_comes_out_again(name: str, tmp_path: Path) -> None:
    assert_near(GOLDEN.facts(GOLDEN.pretrain(GOLDEN.configuration(name), tmp_path / "run")), EXPECTED[name])


def test_where_a_run_was_cut_does_not_matter(judged: Any, tmp_path: Path) -> None:
    found = GOLDEN.cut_and_resumed(tmp_path)
    assert_near(found, EXPECTED[CUT])
    assert found["sha256"] == judged.encoder_sha256  # on any processor


@pytest.mark.parametrize(
    "protocol", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in GOLDEN.PROTOCOLS]
)
def test_rows_come_out_again(protocol: str, judged: Any, tmp_path: Path) -> None:
    expected = {key: mean for key, mean in EXPECTED[GOLDEN.JUDGED]["rows"].items() if key.startswith(f"{protocol}|")}
    assert GOLDEN.rows(judged, tmp_path, protocol) == pytest.approx(expected, abs=ACCURACY)


def test_nothing_else_is_expected() -> None:
    assert EXPECTED.keys() == {*GOLDEN.RUNS, CUT}
    assert {key.split("|")[0] for key in EXPECTED[GOLDEN.JUDGED]["rows"]} == set(GOLDEN.PROTOCOLS)
