"""Both sides of every pair of the page on migration run; where they are the same step, they leave the same gradient."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "migration.md").read_text()
BLOCKS = re.findall(r'```python title="([\w ]+)"\n(.*?)```', PAGE, re.DOTALL)
SETUP, LOSSES = (next(text for title, text in BLOCKS if title == wanted) for wanted in ("both", "losses"))
SIDES = [block for block in BLOCKS if block[0] not in ("both", "losses")]
PAIRS = list(zip(SIDES[::2], SIDES[1::2], strict=True))
ROWS = [(left, right) for left, right in re.findall(r"^\| `(.+)` \| `(.+)` \|$", PAGE, re.MULTILINE) if "loss." in left]
NAMES = re.findall(r"`((?:learn2learn|metatc2)\.[\w.]+)`", PAGE)


def left_by(code: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Gradients of the network after a side of a pair, and the names that it knows."""
    names: dict[str, Any] = {}
    exec(compile(SETUP, "migration.md", "exec"), names)
    exec(compile(code, "migration.md", "exec"), names)
    network = names["network"]
    assert isinstance(network, nn.Module)
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}, names


def test_the_call_of_evaluation_in_the_text_gives_logits_of_one_task() -> None:
    call = re.search(r"`(learner\.predict\(.+?\))`", PAGE)
    assert call
    with torch.random.fork_rng():
        names = left_by(next(right for (peer, _), (_, right) in PAIRS if peer == "learn2learn"))[1]
    assert eval(call[1], names).shape == (6, 3)


def test_each_pair_has_one_of_ours_on_the_right() -> None:
    assert len(PAIRS) == 4
    assert [right[0] for _, right in PAIRS] == ["metatc2"] * 4
    assert {left[0] for left, _ in PAIRS} == {"learn2learn", "higher", "lightly"}
    assert len(ROWS) == 5


@pytest.mark.filterwarnings("ignore")  # of the peers
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0][0])
def test_both_sides_run_and_leave_the_same_gradient(pair: tuple[tuple[str, str], tuple[str, str]]) -> None:
    (peer, theirs), (_, ours) = pair
    with torch.random.fork_rng():
        found, names = left_by(ours)
        assert len(found) == 4
        pytest.importorskip(peer)
        expected, _ = left_by(theirs)
    assert found.keys() == expected.keys()
    if peer == "lightly":
        assert names["loss"].isfinite()
        return
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("theirs", "ours"), ROWS, ids=lambda code: code[:40])
def test_losses_are_the_same(theirs: str, ours: str) -> None:
    pytest.importorskip("lightly")
    names: dict[str, Any] = {}
    exec(compile(LOSSES, "migration.md", "exec"), names)
    torch.testing.assert_close(eval(ours, names), eval(theirs, names), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_names_are_there(name: str) -> None:
    package, _, _ = name.partition(".")
    pytest.importorskip(package)
    module, _, attribute = name.rpartition(".")
    if module == "learn2learn.vision.benchmarks":
        pytest.importorskip(module)
    assert hasattr(import_module(module), attribute)
