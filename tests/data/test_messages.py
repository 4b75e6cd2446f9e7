"""What errors about sources advise can be typed: whoever named a source on the command line has no call to change."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import metatc2

ROOT = Path(metatc2.__file__).parent
#: Calls of the library, and arguments as Python writes them.
_PYTHON = re.compile(
    r"\b(load|ImageStore|from_dataset|from_arrays)\(|(?<![-.\w])(value_range|download|root|image_size|channels|stream|workers)="
)
#: What no name of a source leads to: objects that a program has given.
_OF_PROGRAMS = {"require_name", "require_store", "check_images"}


def sentences() -> Iterator[tuple[str, str, str]]:
    """File, function and constant text of every `InputError` about sources and targets."""
    files = [*(ROOT / "data").rglob("*.py"), ROOT / "experiment/targets.py", ROOT / "transfer/targets.py"]
    for file in sorted(files):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "InputError":
                    parts = [
                        c.value for c in ast.walk(call) if isinstance(c, ast.Constant) and isinstance(c.value, str)
                    ]
                    yield file.name, function.name, "".join(parts)


def python_only(text: str) -> bool:
    return _PYTHON.search(text) is not None and "--" not in text


def test_no_advice_is_for_programs_alone() -> None:
    found = list(sentences())
    assert len(found) > 100
    assert [each for each in found if python_only(each[2]) and each[1] not in _OF_PROGRAMS] == []


def test_the_rule_sees_what_it_is_for() -> None:
    assert python_only("images hold values; give value_range=(black, white)")
    assert python_only("it is not there; download it with load('cifar10', download=True)")
    assert not python_only("say it with --set data.value_range=BLACK,WHITE (in Python: value_range=(BLACK, WHITE))")
    assert {function for _, function, text in sentences() if python_only(text)} == _OF_PROGRAMS
