"""Numbers in the prose of the pages are those of the tables, which scripts make of committed results."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TABLE = re.compile(r"<!-- table \w+ -->\n.*?<!-- end -->", re.DOTALL)
INTERVAL = re.compile(r"([+\-−]?)(\d+(?:\.\d+)?) ± (\d+(?:\.\d+)?)")
TABLES = {found for page in PAGES for table in TABLE.findall(page.read_text()) for found in INTERVAL.findall(table)}


def foreign(prose: str) -> list[str]:
    """Intervals that stand in no table, on whichever side of zero: a page may say how far one is below another."""
    known = {(value, half) for _, value, half in TABLES}
    return [f"{value} ± {half}" for _, value, half in INTERVAL.findall(prose) if (value, half) not in known]


def test_every_interval_in_prose_is_one_of_a_table() -> None:
    found = {page.relative_to(ROOT).as_posix(): foreign(TABLE.sub("", page.read_text())) for page in PAGES}
    assert not {page: numbers for page, numbers in found.items() if numbers}


def test_an_interval_of_no_table_is_found() -> None:
    assert len(TABLES) > 300
    assert foreign("above it by 3.21 ± 9.87 points, and +10.0 ± 1.8 as the table has it") == ["3.21 ± 9.87"]


def test_pages_of_generated_tables_hand_type_no_quartiles_or_ratios_of_time() -> None:
    """What benchmarks of speed found is in their tables: a run anew would leave words such as "1.6 times" behind."""
    for name in ("measured.md", "scaling.md"):
        prose = TABLE.sub("", (ROOT / "docs" / name).read_text())
        assert not re.findall(r"\d\.\d+ times|nine tenths|from a quarter", prose), name
