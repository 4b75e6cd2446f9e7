"""The tables of the page on configuration are those that the models give."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_tables_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("keys", DOCS / "keys.py")
    assert spec is not None
    assert spec.loader is not None
    keys = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(keys)
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    written = page.partition(keys.BEGIN)[2].partition(keys.END)[0].strip()
    assert written == keys.tables().strip(), "run python docs/keys.py"
