"""What is given away: one version, a wheel of the library and its task files alone, lower bounds that can be installed."""

from __future__ import annotations

import doctest
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import metatc2

from ..command_line import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_a_wheel_holds_the_library_and_its_task_files(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    package = {name for name in names if name.startswith("metatc2/")}
    assert {name.split("/")[0] for name in names - package} == {f"metatc2-{metatc2.__version__}.dist-info"}
    assert {f"metatc2/_tasks/{path.name}" for path in (ROOT / "tasks").iterdir()} == {
        name for name in package if name.startswith("metatc2/_tasks/")
    }
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "metatc2").rglob("*.py")}
    assert {name for name in package if name.endswith(".py")} == modules
    # Templates, styles, the marker of types: what code reads beside itself.
    assert "metatc2/py.typed" in package
    assert any(name.startswith("metatc2/report/") and not name.endswith(".py") for name in package)


def test_there_is_one_version(wheel: zipfile.ZipFile) -> None:
    assert "version" not in PROJECT
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    assert f"\nVersion: {metatc2.__version__}\n" in wheel.read(metadata).decode()
    told = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert told is not None
    assert told[1] == metatc2.__version__
    assert f"## [{metatc2.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_lower_bounds_are_constraints() -> None:
    spec = importlib.util.spec_from_file_location("lowest", ROOT / ".github" / "lowest_dependencies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not doctest.testmod(module).failed
    found = module.lowest(PROJECT["dependencies"])
    assert "torch==2.6" in found
    assert len(found) == len(PROJECT["dependencies"])
    with pytest.raises(ValueError, match=r"'numpy' in pyproject.toml has no lower bound"):
        module.lowest(["numpy"])


def test_workflows_and_hooks_are_yaml_that_names_what_there_is() -> None:
    yaml = pytest.importorskip("yaml")
    read = {
        path.name: yaml.safe_load(path.read_text())
        for path in (
            *(ROOT / ".github" / "workflows").iterdir(),
            ROOT / ".pre-commit-config.yaml",
            ROOT / "CITATION.cff",
        )
    }
    matrix = read["tests.yml"]["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={matrix['python'][0]}"
    assert {hook["id"] for repo in read[".pre-commit-config.yaml"]["repos"] for hook in repo["hooks"]} == {
        "ruff-check",
        "ruff-format",
        "mypy",
    }
    assert [author["name"] for author in read["CITATION.cff"]["authors"]] == [a["name"] for a in PROJECT["authors"]]
    commands = [step.get("run", "") for job in read["docs.yml"]["jobs"].values() for step in job["steps"]]
    assert "mkdocs build --strict" in commands
