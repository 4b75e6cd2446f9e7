"""The layers in pyproject.toml: imports point downward only; and nothing but four names stands at the root."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from .source_files import nodes, sources

ROOT = Path(__file__).resolve().parents[1]


def test_imports_point_downward(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_nothing_else_stands_at_the_root_of_the_package() -> None:
    modules = {path.stem for path in (ROOT / "metatc2").glob("*.py")}
    assert modules == {"__init__", "__main__", "errors"}


def test_task_folder_holds_task_files_only() -> None:
    assert {path.suffix for path in (ROOT / "tasks").iterdir() if path.is_file()} == {".toml"}


def test_what_begins_with_an_underscore_is_imported_inside_its_package_only() -> None:
    strangers = []
    for module, source in sources().items():
        own = module.partition("/")[0]
        for node in nodes(source):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("metatc2."):
                continue
            package, *inner = str(node.module).split(".")[1:]
            private = [name for name in (*inner, *(alias.name for alias in node.names)) if name.startswith("_")]
            if private and package != own:
                strangers.append(f"metatc2/{module}: {private[0]} of {package}")
    assert not strangers
