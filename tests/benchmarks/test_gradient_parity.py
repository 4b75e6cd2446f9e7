"""Our meta-gradients against learn2learn, torchopt's meta-optimizers and higher: a part of `benchmarks/gradient_parity.py`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from metatc2.contrib import require_learn2learn

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CASES = [
    ("mlp", "SGD", 3),
    ("mlp", "SGD, momentum 0.9", 3),
    ("mlp", "Adam, eps_root 0", 3),
    ("mlp", "Adam, eps_root 1e-8", 2),
    ("mlp", "SGD, first order", 3),
    ("conv4", "SGD", 2),
    ("conv4", "SGD, first order", 2),
]

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the peers


@pytest.fixture
def parity(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gradient_parity

    return gradient_parity


def present(peer: str) -> None:
    if peer == "learn2learn":
        require_learn2learn()
    else:
        pytest.importorskip(peer, reason=f"{peer} is not installed")


# One peer has nearly all rules; of the others the first rule is quick, and of all those on the small network.
PAIRS = [
    pytest.param(
        peer, *case, marks=[pytest.mark.slow] * ((peer != "torchopt" and case != CASES[0]) or case[0] == "conv4")
    )
    for peer in ("learn2learn", "torchopt", "higher")
    for case in CASES
]


@pytest.mark.parametrize(("peer", "net", "rule", "steps"), PAIRS)
def test_the_meta_gradient_is_that_of_the_peer(parity: Any, peer: str, net: str, rule: str, steps: int) -> None:
    present(peer)
    rows = list(parity.compare(net, rule, steps, [peer]))
    measured = [r for r in rows if r["difference"] is not None]
    if not measured:
        pytest.skip(f"{peer}: {rows[0]['not_offered']}")
    for row in measured:
        assert row["difference"] <= parity.GOAL, row
        # The second-order part is there to be missed.
        assert row.get("first_order_difference", 1.0) > 0.1, row


@pytest.mark.slow
def test_what_the_peers_offer(parity: Any) -> None:
    """A case that turns into "not offered" would otherwise be skipped in silence."""
    offered = {
        (rule, peer)
        for rule in parity.RULES
        for peer in ("learn2learn", "torchopt")
        if any(r["difference"] is not None for r in parity.compare("mlp", rule, 1, [peer]))
    }
    assert offered == {
        ("SGD", "learn2learn"),
        ("SGD, first order", "learn2learn"),
        ("SGD", "torchopt"),
        ("SGD, momentum 0.9", "torchopt"),
        ("Adam, eps_root 0", "torchopt"),
        ("Adam, eps_root 1e-8", "torchopt"),
    }


def test_a_difference_is_found(parity: Any) -> None:
    import torch

    a, b = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])
    assert parity.difference(a, b) == 0.5
    assert parity.difference(b, a) == 1.0


def test_the_table_says_what_is_not_offered(parity: Any) -> None:
    rows = list(parity.compare("mlp", "SGD, momentum 0.9", 1, ["learn2learn", "torchopt"]))
    line = parity.table(rows).splitlines()[-1]
    assert line.startswith("| SGD, momentum 0.9 | not offered | ")
