"""Inputs that once ended in a traceback, or went to the terminal raw, and their neighbors: one sentence and status 2 each."""

from __future__ import annotations

from pathlib import Path

import pytest

from metatc2.errors import InputError
from metatc2.io.writing import check_replaceable

from ..command_line import call

DEEP = 20_000
NAMES = {
    "too long": "x" * 256,
    "too deep": "x/" * 3000,
    "nobody's home": "~nobody-of-this-name/x",
    "escape": "\x1b[31mred",
    "markup": "[red]x[/b]",
    "emoji": ":cat:",
    "two lines": "a\nb",
    "no UTF-8": "caf\udce9",
    "right to left": "\u202eevil",
    "NUL": "a\0b",
    "empty": "",
    "a file": "file",
    "a folder": "folder",
    "below a file": "file/below",
    "broken link": "broken",
    "link in a circle": "loop",
}
# Every place on a command line where a path or name stands.
PLACES: dict[str, tuple[str, ...]] = {
    "task": ("pretrain", "{}"),
    "task file": ("pretrain", "{}.toml"),
    "folder": ("pretrain", "folder:{}/x"),
    "npz": ("pretrain", "npz:{}/x"),
    "resume": ("pretrain", "--resume", "{}"),
    "objective": ("pretrain", "digits", "--objective", "{}"),
    "encoder": ("pretrain", "digits", "--encoder", "{}"),
    "set": ("pretrain", "digits", "--set", "{}"),
    "value": ("pretrain", "digits", "--set", "data.split={}"),
    "run": ("transfer", "{}"),
    "weights": ("transfer", "{}.safetensors", "--to", "digits", "--out", "out"),
    "configuration": ("transfer", "w.safetensors", "--config", "{}", "--to", "digits", "--out", "out"),
    "export": ("transfer", "hub:{}/a/b", "--to", "digits", "--out", "out"),
    "zoo": ("transfer", "torchvision:{}", "--to", "digits", "--out", "out"),
    "compared": ("compare", "{}", "other"),
    "matrix": ("matrix", "{}"),
    "estimated": ("estimate", "{}", "--to", "digits"),
    "diagnosed": ("diagnose", "{}"),
    "reported": ("report", "{}"),
    "exported": ("export", "{}", "out"),
    "option": ("tasks", "--x{}"),
}
VALUES = (
    "trainer.threads=1000000",
    "trainer.threads=1000000000000",
    "trainer.steps=0x" + "f" * 5000,
    "trainer.lr=" + "9" * 5000,
    "trainer.lr=1e400",
    "trainer.lr=nan",
    "trainer.warmup=-inf",
    "trainer.seed=18446744073709551616",
    "views.crop_ratio=[1e-300,1e300]",
    "views.crop_scale=[1e-300]",
    "views.blur_sigma=[1,1e300]",
    "encoder.width=1000000000",
    "data.image_size=1000000000",
    "data.workers=1000000000",
    "episode.batch=1000000000000",
    "episode.meta_batch=1000000000000",
    "head.projector_out=1000000000",
    "head.projector_layers=1000000000",
    "calibration.factors=1000000000",
    "calibration.inner_steps=1000000000000",
    "learner.samples=1000000000000",
    "transfer.few-shot.ways=" + "[" * DEEP,
    "transfer.few-shot.ways=" + "[" * DEEP + "]" * DEEP,
    "transfer.few-shot.ways=" + "{a=" * DEEP,
    "transfer.few-shot.ways=[" + "9" * 5000 + "]",
    "transfer.few-shot.ways=[" + "5," * 5000 + "5]",
    "transfer.few-shot.ways=" + "5," * 5000,
    "transfer.few-shot.ways=" + "9" * 5000,
    "transfer.few-shot.ways=]",
    "transfer.few-shot.ways=1]\n[a",
    "transfer.few-shot.heads=" + '"' * 5000,
    "transfer.few-shot=" + "{a=" * DEEP,
    "transfer." + "few-shot." * 5000 + "ways=1",
    "transfer.protocols=" + "[" * DEEP,
    "transfer.way=" + "[" * DEEP,
    "objective.options=" + "{a=" * DEEP,
    "objective.options.temperature=" + "9" * 5000,
    "objective.options.=1",
    "description=" + '"' * 5000,
    "a" * 100_000 + "=1",
    ".".join("a" * 5000) + "=1",
    'data.source="a\\u0000b"',
    "=",
    "==",
    ".=.",
)
FILES: dict[str, bytes] = {
    "empty value": b"[trainer]\nsteps = \n",
    "deep list": b"a = " + b"[" * DEEP,
    "deep table": b"a = " + b"{a=" * DEEP,
    "deep key": b"[" + b".".join([b"a"] * 3000) + b"]\n",
    "long number": b"[trainer]\nsteps = " + b"9" * 5000,
    "long hexadecimal": b"[trainer]\nsteps = 0x" + b"f" * 5000,
    "UTF-16": "[data]\n".encode("utf-16"),
    "Latin-1": "[data]\nsource = 'é'\n".encode("latin-1"),
    "half a surrogate": b"[data]\nsource = '\xed\xa0\x80'\n",
    "NUL": b"[data]\n\0",
    "written NUL": b'[data]\nsource = "a\\u0000b"\n',
    "a key twice": b"[data]\nsource = 'a'\nsource = 'b'\n",
    "an escape": b"[data]\n\x1b[31m = 1\n",
    "a protocol's section as a value": b"[transfer]\nfew-shot = 1\n",
    "a protocol's section as a list": b"[[transfer.few-shot]]\nways = [5]\n",
    "a section in a protocol's": b"[transfer.few-shot.ways.ways]\nways = [5]\n",
    "protocols as a table": b"[transfer.protocols]\nfew-shot = 1\n",
    "no protocol's section": b'[transfer.""]\nways = [5]\n',
    "an unknown key": b'[data]\n"\\u001b[31m[red]:cat:\\n" = 1\n',
    "no table": b"data = 1\n",
    "a date": b"[trainer]\nsteps = 2024-01-01\n",
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
}
HUB = {
    "empty": b"",
    "deep": b"[" * DEEP,
    "long number": b'{"a": ' + b"9" * 5000 + b"}",
    "not a number": b'{"a": NaN}',
    "twice": b'{"a": 1, "a": 2}',
    "UTF-16": "{}".encode("utf-16"),
    "cut": b'{"a": ',
    "a list": b"[]",
    "no UTF-8": b'{"\xff": 1}',
    "unknown key": b'{"model_type": "metatc2", "config": {"\\u001b[31m": {"a": 1}}}',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with one of everything a path can lead to."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 50)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> str:
    """The one sentence of a command that must fail, and leave the folder as it was."""
    before = sorted(folder.rglob("*"))
    capsys.readouterr()
    assert call(*arguments) == 2
    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith("metatc2: error: ")
    assert said.endswith("\n")
    line = said[:-1]
    assert line.isprintable(), "no line break, no escape sequence, no change of direction"
    assert len(line) <= 440
    assert "Traceback" not in line
    assert sorted(folder.rglob("*")) == before
    return line


@pytest.mark.parametrize(
    ("name", "third"),
    [
        pytest.param(name, third, marks=[pytest.mark.slow] * ((i + third) % 3 != 0))
        for i, name in enumerate(NAMES)
        for third in range(3)
    ],
)
def test_names(name: str, third: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of three neighbors the short suite has each at another third of the places."""
    for words in list(PLACES.values())[third::3]:
        refused(capsys, folder, *(word.format(NAMES[name]) for word in words))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:32])
def test_values(value: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, folder, "pretrain", "digits", "--run", "run", "--set", value)


@pytest.mark.parametrize("name", FILES)
def test_task_files_and_configurations(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "my.toml").write_bytes(FILES[name])
    (folder / "run").mkdir()
    (folder / "run" / "config.toml").write_bytes(FILES[name])
    for words in (("pretrain", "my.toml"), ("transfer", "run"), ("pretrain", "--resume", "run"), ("report", "run")):
        refused(capsys, folder, *words)


@pytest.mark.parametrize("name", HUB)
def test_exported_folders_and_diagnoses(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "hub").mkdir()
    (folder / "hub" / "config.json").write_bytes(HUB[name])
    refused(capsys, folder, "transfer", "hub", "--to", "digits", "--out", "out")
    (folder / "run").mkdir()
    (folder / "run" / "config.toml").write_text("")
    (folder / "run" / "diagnose.json").write_bytes(HUB[name])
    refused(capsys, folder, "report", "run")


def test_what_is_no_file_is_not_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import os

    os.mkfifo(folder / "pipe")
    (folder / "run").mkdir()
    (folder / "run" / "config.toml").write_text("")
    assert "device or pipe" in refused(capsys, folder, "report", "run", "--out", "pipe")
    assert "is a folder" in refused(capsys, folder, "report", "run", "--out", "folder")


def test_weights_with_holes_are_not_read_into_memory(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import os

    os.truncate(folder / "w.safetensors", 0)
    os.truncate(folder / "w.safetensors", 1 << 40)
    said = refused(
        capsys,
        folder,
        "transfer",
        "conv4@w.safetensors",
        "--image-size",
        "32",
        "--channels",
        "1",
        "--to",
        "digits",
        "--out",
        "out",
    )
    assert "its header would have 0 bytes" in said


def test_a_name_that_is_too_long_is_refused_before_the_work(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"--json .*x+\.json cannot be written \(File name too long\); give it a shorter name"
    ):
        check_replaceable(folder / ("x" * 300 + ".json"), "--json", (".json",))
