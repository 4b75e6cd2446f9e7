"""`benchmarks/fuzz.py`: what it is to find is found where it is planted, and its kinds hold on a few inputs."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from metatc2.errors import InputError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
pytest.importorskip("hypothesis")


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import fuzz

    handlers = {number: signal.getsignal(number) for number in (signal.SIGPROF, signal.SIGALRM)}
    yield fuzz
    for number, handler in handlers.items():
        signal.signal(number, handler)


class TwoLines(InputError):
    """`InputError` itself has one line whatever it is given."""

    def __str__(self) -> str:
        return "two\nlines"


def read(value: int, outside: Path) -> object:
    """Ends in another way for each number."""
    if value == 1:
        raise InputError("one line")
    if value == 2:
        raise TwoLines
    if value == 3:
        raise KeyError(value)
    if value == 4:
        (outside / "x").write_text("")
    if value == 5:
        return pickle.loads(pickle.dumps(os.getcwd))
    if value == 6:
        while True:
            try:
                sum(range(1000))
            except Exception:  # what a reader of damaged files may do
                continue
    return None


def test_what_is_planted_is_found(fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hostile import kind as kinds

    monkeypatch.setattr(kinds, "CPU", 0.2)
    # The signals without the limit of memory, which would stay with this process.
    monkeypatch.setattr(kinds.resource, "setrlimit", lambda *_: None)
    kinds.limit_process()
    counted = iter(range(1000))
    planted = kinds.Kind(
        "planted", "", 1, lambda folder: (lambda rng: next(counted), lambda value: read(value, tmp_path))
    )
    (row,) = fuzz.fuzz([planted], 8, [], tmp_path / "out.json", tmp_path / "crashes")
    assert {name: row[name] for name in (*fuzz.COUNTED, "written outside", "ran code")} == {
        "read": 4,
        "refused": 1,
        "crash": 2,
        "hang": 1,
        "written outside": 1,
        "ran code": 1,
    }
    assert len(list((tmp_path / "crashes").iterdir())) == 5
    # It goes on from what is there: nothing is left to be done, and then two more.
    assert fuzz.fuzz([planted], 8, [row], None, None) == [row]
    assert fuzz.fuzz([planted], 10, [row], None, None)[0]["inputs"] == 10


def test_a_batch_is_drawn_again_alike(fuzz: Any) -> None:
    from hostile.changes import changed

    draw = changed([b"[a]\nb = 1\n"])
    one, two = ([draw(rng) for _ in range(20)] for rng in (Random(1), Random(1)))
    assert one == two
    assert len(set(one)) > 10


@pytest.mark.parametrize(
    "name", ["TOML", "source", "JSON", "results", "diagnosis", "npz", "safetensors", "torch file", "image"]
)
def test_a_few_inputs_of_the_cheap_kinds(name: str, fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path / "cache"))
    from hostile import KINDS

    kind = next(kind for kind in KINDS if kind.name == name)
    drawn, reader = kind.prepare(tmp_path)
    rng, ends = Random(7), []
    for _ in range(40):
        try:
            reader(drawn(rng))
            ends.append("read")
        except InputError:
            ends.append("refused")
    assert set(ends) == {"read", "refused"}
