"""New situations of `benchmarks/robustness.py`, with fewer steps: ours passes, and each check finds the fault it is for."""

from __future__ import annotations

import dataclasses
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = [
    "one module under two names",
    "activation checkpointing",
    "spectral norm",
    "frozen BatchNorm",
    "deepcopy of a meta-learner",
    "pickle and torch.save of a meta-learner",
    "tensors alive after 5 and after 50 steps",
]
Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def only_what_is_made_here() -> None:
    """Counting tensors takes long where thousands of other objects are alive; see `tests/conftest.py`."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run(name, **changes)``: the outcome of a situation for ours, with some of its functions replaced."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    from libraries import LIBRARIES
    from situations import SITUATIONS, leaks, modules, outcome

    monkeypatch.setattr(modules, "TRAINING", 40)
    monkeypatch.setattr(leaks, "FEW", 3)
    monkeypatch.setattr(leaks, "MANY", 6)

    def found(name: str, **changes: Any) -> dict[str, Any]:
        situation = next(s for s in SITUATIONS if s.name == name)
        situation = dataclasses.replace(situation, recipe=dataclasses.replace(situation.recipe, steps=1))
        with torch.random.fork_rng():
            return outcome(situation, "ours", dataclasses.replace(LIBRARIES["ours"], **changes))

    return found


# Of the same kinds there are quick tests with more modules: tests/inner/test_checkpointing.py, tests/modules, tests/ops.
LONG = ("one module under two names", "activation checkpointing", "frozen BatchNorm")


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in NAMES])
def test_ours_passes(run: Run, name: str) -> None:
    found = run(name)
    refused = name == "activation checkpointing" and found["outcome"].startswith("not offered: refused")
    assert found["passes"] is True or refused, found


def test_names_are_all_known(run: Run) -> None:
    rows = [s.name for s in sys.modules["situations"].SITUATIONS]
    assert set(NAMES) <= set(rows)
    assert len(set(rows)) == len(rows)


def test_weights_that_stay_in_the_network_are_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def predict(network: Any, recipe: Any, task: Any) -> Any:
        with torch.no_grad():
            network.head.weight.add_(1e-3)
        return network(task.query_x)

    # Held against itself: the gradient is another check's business.
    monkeypatch.setattr(sys.modules["situations.modules"], "held_against_differences", lambda *_: lambda *_: "")
    assert "adapted weights stay" in run("one module under two names", predict=predict)["outcome"]


def test_statistics_that_do_not_move_are_found(run: Run) -> None:
    found = run("spectral norm", after_step=lambda held: held[0].eval())
    assert "a largest singular value of" in found["outcome"]
    assert found["passes"] is False


def test_a_norm_that_is_put_into_training_mode_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["situations.modules"], "held_against_differences", lambda *_: lambda *_: "")
    found = run("frozen BatchNorm", after_step=lambda held: held[0].train())
    assert "it was put into training mode" in found["outcome"] + found["detail"]
    assert found["passes"] is False


def test_what_cannot_be_copied_or_is_shared_is_found(run: Run) -> None:
    module = sys.modules["libraries"].ours

    class Shared:
        def __init__(self, learner: Any) -> None:
            self.learner = learner

        def __call__(self, episode: Any) -> Any:
            return self.learner(episode)

        def __reduce__(self) -> Any:
            raise TypeError("never")

        def __deepcopy__(self, memo: Any) -> Any:
            return self

    def hold(network: Any, recipe: Any) -> Any:
        return network, Shared(module.learner(network, recipe))

    assert "TypeError: never" in run("pickle and torch.save of a meta-learner", hold=hold)["outcome"]
    assert "the copy gives another meta-gradient" in run("deepcopy of a meta-learner", hold=hold)["outcome"]


def test_tensors_that_stay_are_found(run: Run) -> None:
    kept: list[Any] = []
    found = run("tensors alive after 5 and after 50 steps", after_step=lambda held: kept.append(torch.zeros(1)))
    assert found["outcome"] == "fails: 1 more tensors alive after every step"
