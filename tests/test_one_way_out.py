"""No module writes to a terminal, a CSV or a JSON file by a way of its own, so none can go around what makes text safe."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .source_files import everywhere, nodes, sources

# What each module may use that no other may.
ALLOWED = {
    "io/terminal.py": {"rich"},
    "training/progress.py": {"rich"},
    "io/writing.py": {"csv.writer", "json.dumps"},
    "io/reading.py": {"json.loads", "tomllib.loads"},
}
FORBIDDEN = {"print", "sys.stdout.write", "sys.stderr.write", "csv.writer", "csv.DictWriter", "rich"}


def used(source: str) -> Iterator[str]:
    """Names of what a module calls, dotted, and of the packages it imports."""
    for node in nodes(source):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_only_the_modules_made_for_it_write() -> None:
    found = {(module, name) for module, name in everywhere(used) if name in FORBIDDEN}
    assert found <= {(module, name) for module, names in ALLOWED.items() for name in names}
    assert len({module for module, _ in found}) > 2  # those that are allowed to are read too


def test_the_rule_sees_what_it_forbids() -> None:
    source = "import rich.table\nfrom rich.console import Console\nprint(1)\nsys.stdout.write('a')\ncsv.writer(file)\n"
    assert set(used(source)) >= {"rich", "print", "sys.stdout.write", "csv.writer"}


def test_bars_that_are_given_names_read_no_markup() -> None:
    columns = [
        node
        for node in nodes(sources()["training/progress.py"])
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "TextColumn"
    ]
    assert len(columns) == 4
    plain = [column for column in columns if "markup=False" in map(ast.unparse, column.keywords)]
    assert len(plain) == 2
    # The others show text of ours and numbers alone.
    for column in columns:
        assert isinstance(column.args[0], ast.Constant)
        assert column in plain or not re.search(r"description|fields\[(?!loss|rate|wait)", str(column.args[0].value))
