"""No module writes to a terminal, a CSV or a JSON file by a way of its own, so none can go around what makes text safe."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .source_files import everywhere, nodes, sources

# What each module may use that no other may.
ALLOWED = {
    "io/terminal.py": {"rich"},
    "training/progress.py": {"rich"},
    "cli/_advise_progress.py": {"rich"},
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


def text_columns(module: str) -> list[ast.Call]:
    columns = [n for n in nodes(sources()[module]) if isinstance(n, ast.Call) and ast.unparse(n.func) == "TextColumn"]
    assert columns
    return columns


def test_only_the_modules_made_for_it_write() -> None:
    found = {(module, name) for module, name in everywhere(used) if name in FORBIDDEN}
    assert found <= {(module, name) for module, names in ALLOWED.items() for name in names}
    assert len({module for module, _ in found}) > 2  # those that are allowed to are read too


def test_the_rule_sees_what_it_forbids() -> None:
    source = "import rich.table\nfrom rich.console import Console\nprint(1)\nsys.stdout.write('a')\ncsv.writer(file)\n"
    assert set(used(source)) >= {"rich", "print", "sys.stdout.write", "csv.writer"}


def test_the_progress_bar_is_given_no_name() -> None:
    """Columns of the bar read markup, so only text of ours may stand in them."""
    columns = text_columns("training/progress.py")
    assert all(isinstance(column.args[0], ast.Constant) for column in columns)


def test_the_bar_of_advice_which_is_given_names_reads_no_markup() -> None:
    columns = text_columns("cli/_advise_progress.py")
    assert all("markup=False" in [ast.unparse(keyword) for keyword in column.keywords] for column in columns)
