"""Makes a notebook of every script in examples/; the site has them, and the repository does not.

python docs/notebooks.py --out notebooks     # one .ipynb a script, without outputs

Lines that begin with ``# %%`` begin a cell; ``# %% [markdown]`` one of text. A script without them is cut at its functions: the
docstring is text, and what it does when it is run is the last cell.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
_MARK = re.compile(r"^# %%(.*)$", re.MULTILINE)
_MAIN = re.compile(r'^if __name__ == "__main__":\n    main\(\)\n?', re.MULTILINE)


def scripts() -> list[Path]:
    """The scripts, by name."""
    return sorted(EXAMPLES.glob("*.py"))


def notebook(script: Path) -> str:
    """A script as the text of a notebook (format 4.5)."""
    cells = [_cell(kind, text, number) for number, (kind, text) in enumerate(parts(script))]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    content = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def parts(script: Path) -> Iterator[tuple[str, str]]:
    """Kind (``markdown`` or ``code``) and text of each cell."""
    source = script.read_text(encoding="utf-8")
    tree = ast.parse(source)
    told = ast.get_docstring(tree) or script.stem
    first, _, rest = told.partition("\n")
    commands = re.sub(r"^(python .*)$", r"`\1`", rest.strip(), flags=re.MULTILINE)
    yield "markdown", f"# {script.stem.replace('_', ' ')}\n\n{first}\n\n{commands}".strip()
    end = tree.body[0].end_lineno or 1  # of the docstring, which every script has
    body = "\n".join(source.splitlines()[end:]) + "\n"
    # Arguments of the command line go into the list; a notebook's kernel has words of its own.
    body = _MAIN.sub(f'import sys\n\nsys.argv = ["{script.name}"]\nmain()\n', body)
    cells = _marked(body) if _MARK.search(body) else _cut(body)
    for kind, text in cells:
        if text.strip():
            yield kind, text.strip()


def _marked(body: str) -> Iterator[tuple[str, str]]:
    before, *rest = _MARK.split(body)
    yield "code", before
    for head, text in zip(rest[::2], rest[1::2], strict=True):
        if "[markdown]" in head:
            yield "markdown", re.sub(r"^# ?", "", text.strip(), flags=re.MULTILINE)
        else:
            yield "code", text


def _cut(body: str) -> Iterator[tuple[str, str]]:
    """At each function, with what stands before the first as one cell and what is done at the end as the last."""
    lines, start = body.splitlines(), 0
    for node in ast.parse(body).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield "code", "\n".join(lines[start : node.lineno - 1])
            yield "code", "\n".join(lines[node.lineno - 1 : node.end_lineno])
            start = node.end_lineno or node.lineno
    yield "code", "\n".join(lines[start:])


def _cell(kind: str, text: str, number: int) -> dict[str, Any]:
    own: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    lines = text.splitlines(keepends=True)
    return {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": lines, **own}


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("notebooks"), help="folder, made if need be")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for script in scripts():
        (out / f"{script.stem}.ipynb").write_text(notebook(script), encoding="utf-8")
        print(out / f"{script.stem}.ipynb")


if __name__ == "__main__":
    main()
