"""Words of the field: some words of everyday speech, each with the term that stands in its place, are in no file but tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from .source_files import nodes, sources

ROOT = Path(__file__).resolve().parents[1]

#: In identifiers, comments, docstrings and messages.
WORDS = {
    "dealt": "assigned, split",
    "ink": "foreground, intensity",
    "judge": "evaluate, measure",
    "judged": "evaluated, measured",
    "judges": "evaluates, measures",
    "judging": "evaluating, measuring",
    "kin": "methods of the same kind",
    "placebo": "control",
    "placebos": "controls",
    "seat": "slot of an assignment",
    "seats": "slots of an assignment",
}
#: In names of variables and arguments alone: as a verb in a sentence it says what it means.
VARIABLES = {"found": "the noun of what it holds"}
ALLOWED = {
    ("episodes/domain_tasks.py", "ink"): "the name of a domain in an example",
    ("report/conflict_file.py", "judged"): "a key of files that earlier versions wrote",
}


def words(text: str) -> set[str]:
    """Of sentences and of identifiers alike, in small letters."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text)}


def variables(text: str) -> set[str]:
    return {n.id for n in nodes(text) if isinstance(n, ast.Name)} | {
        n.arg for n in nodes(text) if isinstance(n, ast.arg)
    }


def written_around() -> dict[str, str]:
    """Pages, task files and scripts beside the package."""
    files = [file for name in ("docs", "examples", "benchmarks") for file in (ROOT / name).rglob("*.py")]
    files += [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "tasks").glob("*.toml"),
        *ROOT.glob("*.md"),
        ROOT / "benchmarks/README.md",
    ]
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}


def others_in(name: str, text: str) -> set[str]:
    """Of the words above, those that a file has."""
    return words(text) & WORDS.keys() | (variables(text) & VARIABLES.keys() if name.endswith(".py") else set())


def said(name: str, word: str) -> str:
    return f"{name}: {word!r}; say {WORDS.get(word) or VARIABLES[word]}"


def test_words_of_the_field() -> None:
    seen = {(name, word) for name, text in sources().items() for word in others_in(name, text)}
    others = [said(f"metatc2/{name}", word) for name, word in sorted(seen - ALLOWED.keys())]
    assert not others, "\n".join(others)
    assert ALLOWED.keys() <= seen  # an exception that no file needs any more


def test_words_of_the_field_around_the_package() -> None:
    texts = written_around()
    assert len(texts) > 100
    others = [said(name, word) for name, text in texts.items() for word in sorted(others_in(name, text))]
    assert not others, "\n".join(others)


def test_a_class_name_has_one_meaning() -> None:
    places: dict[str, list[str]] = {}
    for name, text in sources().items():
        for node in nodes(text):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    assert not {name: files for name, files in places.items() if len(files) > 1}
