"""What is said of an installation, and with which exit status the doctor ends."""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from metatc2.cli import _installation, doctor
from metatc2.cli._installation import PURPOSES, packages

from ..command_line import call

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ["torch>=2.6", "numpy>=1.26", "pillow>=10.3", "timm>=1.0; extra == 'timm'", 's3fs; extra == "litdata"']
GOOD = {"torch": "2.10.1+cu128", "numpy": "1.26", "pillow": "11.0"}


def installed(versions: dict[str, str]) -> Any:
    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    return version


def told(versions: dict[str, str], load: Any = lambda name: None) -> dict[str, tuple[str, str]]:
    return {one.name: (one.problem, one.install) for one in packages(NEEDED, installed(versions), load)}


def test_what_is_there_is_no_problem() -> None:
    found = told({**GOOD, "timm": "1.0.3", "s3fs": "2024.1"})
    assert found == dict.fromkeys(("torch", "numpy", "pillow", "timm", "s3fs"), ("", ""))


def test_what_is_missing_old_or_broken_comes_with_its_command() -> None:
    def load(name: str) -> None:
        if name == "PIL":
            raise OSError("libjpeg.so:\n  cannot open")

    found = told({**GOOD, "torch": "2.5.1+cpu", "timm": "0.9"}, load)
    assert found["torch"] == ("is older than 2.6", "pip install 'torch>=2.6'")
    assert found["pillow"] == ("cannot be imported (libjpeg.so: cannot open)", "pip install 'pillow>=10.3'")
    assert found["timm"] == ("is older than 1.0", "pip install 'metatc2[timm]'")
    assert found["s3fs"] == ("is not installed", "pip install 'metatc2[litdata]'")
    assert told({})["numpy"] == ("is not installed", "pip install 'numpy>=1.26'")


def test_every_extra_says_what_it_is_for() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert PURPOSES.keys() == extras.keys()


def test_the_table_the_file_and_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "doctor.json"
    monkeypatch.setattr(doctor, "packages", lambda: packages(NEEDED, installed(GOOD), lambda name: None))
    assert call("doctor", "--json", str(out)) == 0
    said = capsys.readouterr().out
    assert "pip install 'metatc2[timm]'" in said
    assert "cores" in said
    written = json.loads(out.read_text())
    assert {"metatc2", "Python", "system", "CPU", "packages"} <= written.keys()
    assert [one["name"] for one in written["packages"] if one["problem"]] == ["timm", "s3fs"]

    without = {name: version for name, version in GOOD.items() if name != "torch"}
    monkeypatch.setattr(doctor, "packages", lambda: packages(NEEDED, installed(without), lambda name: None))
    assert call("doctor", "--json", str(out)) == 2
    assert capsys.readouterr().err == (
        "metatc2: error: metatc2 cannot work here: torch is not installed: pip install 'torch>=2.6'\n"
    )
    assert json.loads(out.read_text())["packages"][0]["installed"] == ""


def test_versions_are_compared_as_numbers() -> None:
    numbers = _installation._numbers
    assert numbers("2.10") > numbers("2.9.1")
    assert numbers("1.0.0") == numbers("1.0")
