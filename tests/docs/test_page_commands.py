"""Every command on the pages of docs/ is one that there is, and what pages say of files and of the paper is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from metatc2 import __version__
from metatc2.cli.app import PARSER

ROOT = Path(__file__).resolve().parents[2]
# Those of extending.md are of the package that the page writes; its own test runs them.
PAGES = [
    page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name not in ("extending.md", "configuration.md")
]
SCRIPT = re.compile(r"^python ((?:benchmarks|docs|examples)/\S+\.py)([^#\n]*)", re.MULTILINE)


def commands(page: Path) -> list[str]:
    """In blocks, and in the text where a command is whole: with words after it."""
    text = page.read_text()
    found = re.findall(r"^metatc2 (.+)$", text, re.MULTILINE)
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    spans = re.findall(r"`metatc2 ((?:pretrain|transfer|compare|replay|umm) [^`]+)`", plain)
    return [*found, *(span for span in spans if not re.search(r"[A-Z]{2}|\.\.\.", span))]


LINES = sorted({(page.relative_to(ROOT / "docs").as_posix(), line) for page in PAGES for line in commands(page)})


@pytest.mark.parametrize("page", sorted({page for page, _ in LINES}))
def test_commands_are_ones_that_there_are(page: str) -> None:
    for line in (line for of, line in LINES if of == page):
        words = shlex.split(line.partition(" > ")[0], comments=True)  # what a shell does with the output is not ours
        assert callable(PARSER.parse(words)), line


def test_commands_were_found() -> None:
    pages = {page for page, _ in LINES}
    assert {"choosing.md", "faq.md", "run-folder.md", "methods/maml.md", "umm.md"} <= pages
    assert len(LINES) > 60


def test_scripts_are_there_and_take_the_options_that_are_shown() -> None:
    # That they start is tried by test_readme.py and test_notebooks.py; to import all of them takes long.
    for name in ("examples.md", "provenance.md"):
        shown = SCRIPT.findall((ROOT / "docs" / name).read_text())
        assert shown
        for script, words in shown:
            source = (ROOT / script).read_text()
            options = [word for word in words.split() if word.startswith("--") and word != "--help"]
            assert not [word for word in options if f'"{word}"' not in source], script


def test_what_is_to_be_cited_is_what_the_file_says() -> None:
    yaml = pytest.importorskip("yaml")
    page, cff = (ROOT / "docs" / "citing.md").read_text(), yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert f"version = {{{cff['version']}}}" in page
    assert cff["version"] == __version__
    (paper,) = cff["references"]
    authors = " and ".join(f"{one['family-names']}, {one['given-names']}" for one in paper["authors"])
    for text in (
        paper["title"],
        authors,
        str(paper["year"]),
        paper["identifiers"][0]["value"],
        cff["authors"][0]["name"],
    ):
        assert text in page, text


def test_every_file_of_results_has_a_checksum_on_its_page() -> None:
    page = (ROOT / "docs" / "provenance.md").read_text()
    files = [*(ROOT / "benchmarks").glob("results/*.json"), *(ROOT / "benchmarks").glob("studies/results/*.csv")]
    assert len(files) >= 30
    found = dict(re.findall(r"^\| \[([\w.]+)\]\(.*\| `([0-9a-f]{64})` \|$", page, re.MULTILINE))
    assert {path.name for path in files} == found.keys()
    assert len(set(found.values())) == len(files)
