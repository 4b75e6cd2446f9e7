"""Notebooks are the scripts of examples/, cell by cell; those run in tests/examples."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from ..command_line import run_script

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCRIPTS = sorted((DOCS.parent / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def notebooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_notebooks", DOCS / "notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def statements(code: str) -> list[str]:
    """What code does, but for the docstring, and for how a script and a notebook begin."""
    body = ast.parse(code).body
    told = [node for node in body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    return [ast.unparse(node) for node in body if node not in told and not isinstance(node, ast.If)]


def test_there_are_eight() -> None:
    assert len(SCRIPTS) == 8
    page = (DOCS / "examples.md").read_text()
    assert not [script.name for script in SCRIPTS if f"](../examples/{script.name})" not in page]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_does_what_its_script_does(script: Path, notebooks: ModuleType) -> None:
    cells = json.loads(notebooks.notebook(script))["cells"]
    kinds = [cell["cell_type"] for cell in cells]
    assert kinds[0] == "markdown"
    assert kinds.count("code") >= 3
    assert len({cell["id"] for cell in cells}) == len(cells)
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for text in code:
        compile(text, script.name, "exec")
        assert "# %%" not in text
    done, source = statements("\n\n".join(code)), script.read_text()
    if '__name__ == "__main__"' in source:
        assert done[-3:] == ["import sys", f"sys.argv = ['{script.name}']", "main()"]
        done = done[:-3]
    assert done == statements(source)


def test_the_command_writes_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script(DOCS / "notebooks.py", "--out", str(tmp_path / "made")) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(SCRIPTS)
    assert {path.stem for path in (tmp_path / "made").iterdir()} == {script.stem for script in SCRIPTS}


def test_they_are_of_the_format(notebooks: ModuleType) -> None:
    nbformat = pytest.importorskip("nbformat")
    for script in SCRIPTS:
        nbformat.validate(nbformat.reads(notebooks.notebook(script), as_version=4))
