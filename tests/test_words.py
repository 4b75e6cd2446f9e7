"""Words of the field: some words of everyday speech, each with the term that stands in its place, are in no source file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from .source_files import nodes, sources

#: In identifiers, comments, docstrings and messages.
WORDS = {
    "dealt": "assigned, split",
    "ink": "foreground, intensity",
    "judge": "evaluate, measure",
    "judged": "evaluated, measured",
    "judges": "evaluates, measures",
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


def test_words_of_the_field() -> None:
    others, seen = [], set()
    for name, text in sources().items():
        for word in words(text) & WORDS.keys() | variables(text) & VARIABLES.keys():
            seen.add((name, word))
            if (name, word) not in ALLOWED:
                others.append(f"metatc2/{name}: {word!r}; say {WORDS.get(word) or VARIABLES[word]}")
    assert not others, "\n".join(others)
    assert ALLOWED.keys() <= seen  # an exception that no file needs any more


def test_examples_name_what_they_hold() -> None:
    examples = Path(__file__).parent.parent / "examples"
    others = {
        file.name: variables(file.read_text(encoding="utf-8")) & VARIABLES.keys() for file in examples.glob("*.py")
    }
    assert others
    assert not {name: words for name, words in others.items() if words}
