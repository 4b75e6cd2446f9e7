"""Names are printed as they are written, on every kind of terminal, and nothing in them acts."""

from __future__ import annotations

import io
import sys

import pytest
import torch
from rich.console import Console

from metatc2.cli._boundary import ending_of
from metatc2.io.terminal import PlainTable, bold, fail, say, table_text, warn, wide_console
from metatc2.io.writing import csv_text, json_text

from ..command_line import call

NAMES = ["set[/b]", "[red]x[/red]", ":cat:", ":two:test", "a\\[b]", "http://x/1", "$x$"]
ACTING = {"\x1b[31m": r"\x1b[31m", "a\nb": r"a\nb", "a\rb": r"a\rb", "\x9b2J": r"\x9b2J", "\u202eb": r"\u202eb"}
ACTING |= {"\u2066b": r"\u2066b", "caf\udce9": r"caf\udce9", "a\tb": r"a\tb", "\x07": r"\x07", "\x7f": r"\x7f"}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_not_interpreted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(bold(name), f": {name}")
    fail(name)
    warn(name)
    wide_console().print(name)
    out, err = capsys.readouterr()
    assert err == f"{name}: {name}\nmetatc2: error: {name}\nmetatc2: warning: {name}\n"
    assert out == f"{name}\n"


@pytest.mark.parametrize("name", [*NAMES, *ACTING])
def test_tables_in_any_console(name: str) -> None:
    table = PlainTable(f"of {name}")
    table.add_column(name)
    table.add_row(name)
    table.say_below([f"below {name}"])
    foreign = Console(file=io.StringIO(), width=120, color_system=None)
    with foreign.capture() as captured:
        foreign.print(table)
    written = ACTING.get(name, name)
    for text in (table_text(table), captured.get()):
        assert text.count(written) == 4
        assert "\x1b" not in text


@pytest.mark.parametrize("name", ACTING)
def test_what_acts_is_escaped(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    fail(name)
    say(bold(name))
    assert capsys.readouterr().err == f"metatc2: error: {ACTING[name]}\n{ACTING[name]}\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_a_terminal_that_lacks_characters(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    assert call("learners") == 0
    assert call("pretrain", "--help") == 0
    assert call("pretrain", "猫²") == 2
    for stream in streams:
        stream.flush()
    assert r"\u732b" in streams[1].buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_has_had_enough(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdout", Closed())
    assert call("tasks") == 141
    assert capsys.readouterr().err == ""


class Full(io.StringIO):
    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_under_standard_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    assert call("tasks") == 2
    assert capsys.readouterr().err.startswith("metatc2: error: no space left on device")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+1+1", "'+1+1"),
        ("-1+1", "'-1+1"),
        (" =1+1", "' =1+1"),
        ("\t=1", r"'\t=1"),
        ("\r=1", r"'\r=1"),
        ("＝1", "'＝1"),
        ("-1.5", "-1.5"),
        ("cat", "cat"),
        ("a=b", "a=b"),
    ],
)
def test_a_spreadsheet_computes_nothing(text: str, cell: str) -> None:
    assert csv_text([text], [[text, -0.5]]) == f"{cell}\n{cell},-0.5\n"


def test_json_has_no_word_for_infinity() -> None:
    assert json_text([float("inf"), {"a": float("nan")}, 1], indent=None) == '[null, {"a": null}, 1]\n'


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (PermissionError(13, "Permission denied", "a/b"), "a/b: permission denied"),
        (OSError(36, "File name too long", "x" * 999), "file name too long"),
        (MemoryError("Unable to allocate 7 TiB"), "out of memory (Unable to allocate 7 TiB)"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), "lower episode.batch"),
        (
            RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"),
            "out of memory (CUDA error: out of memory);",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "set trainer.precision=bf16-mixed"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "out of memory"),
        (RuntimeError("Storage size calculation overflowed with sizes=[9]"), "out of memory"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "not text in utf-8"),
        (UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates not allowed"), r"caf\udce9"),
        (ValueError("embedded null byte"), "NUL"),
        (RuntimeError("Could not determine home directory."), "begins with ~"),
    ],
)
def test_what_is_for_the_user_to_mend(error: Exception, part: str) -> None:
    ending = ending_of(error)
    assert ending is not None
    assert (ending.status, ending.how) == (2, "error")
    assert part in ending.sentence
    assert len(ending.sentence) <= 420


@pytest.mark.parametrize(
    "error", [KeyError("a"), TypeError("a"), ValueError("a"), RuntimeError("a"), AttributeError("a")]
)
def test_a_bug_of_ours_keeps_its_traceback(error: Exception) -> None:
    assert ending_of(error) is None
