"""The names at the top: each is there, is what its package has by that name, and costs nothing until it is asked for."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import metatc2 as mt
from metatc2.learners import LEARNERS
from metatc2.objectives import OBJECTIVES
from metatc2.objectives.pretext import Pretext

from .command_line import PATIENCE

STUB = Path(mt.__file__).with_suffix(".pyi")
NAMES = {
    alias.name: node.module
    for node in ast.parse(STUB.read_text()).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_that_of_its_package(name: str) -> None:
    found = getattr(mt, name)
    assert found is getattr(import_module(f"metatc2.{NAMES[name]}"), name)
    assert callable(found)
    assert name in dir(mt)


KINDS = [*LEARNERS.values(), *(kind for kind in OBJECTIVES.values() if not issubclass(kind, Pretext))]


def test_there_are_few_enough_to_know() -> None:
    # A new learner or objective is to have its name at the top, so that these do not count.
    assert len(NAMES.keys() - {kind.__name__ for kind in KINDS}) <= 50


def test_learners_and_objectives_with_a_name_are_there() -> None:
    assert len(KINDS) >= 21
    lacking = [kind.__name__ for kind in KINDS if getattr(mt, kind.__name__, None) is not kind]
    assert not lacking, f"{lacking} belong into metatc2/__init__.pyi and docs/reference/names.md"


def test_the_page_of_names_has_them_all() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "reference" / "names.md").read_text()
    rows = re.findall(r"^\| \[`metatc2\.(\w+)`\]\(\1\.md\) \| (.*) \|$", page, re.MULTILINE)
    assert {name: package for package, names in rows for name in re.findall(r"`(\w+)`", names)} == NAMES


def described(thing: Any) -> set[str]:
    """Parameters that a docstring says something of: items of Args and Attributes, and names in backticks."""
    found, section = set(), False
    for line in (inspect.getdoc(thing) or "").split("\n"):
        if line and not line.startswith(" "):
            section = line in ("Args:", "Attributes:")
        item = re.match(r"    (\w+(?:, \w+)*): ", line) if section else None
        found |= {*(item[1].split(", ") if item else ()), *re.findall(r"`(\w+)`", line)}
    return found


def called(thing: Any) -> dict[str, tuple[Any, set[str]]]:
    """What a public name offers to call, function, constructor or other ways to make one, and what is described of each."""
    if not inspect.isclass(thing):
        return {thing.__name__: (thing, described(thing))}
    ours = [base for base in thing.__mro__ if base.__module__.startswith("metatc2") and base.__doc__]
    own = set().union(*(described(base) for base in ours))
    made = {
        name: (getattr(thing, name), own | described(getattr(thing, name)))
        for base in ours
        for name, value in vars(base).items()
        if isinstance(value, classmethod | staticmethod) and not name.startswith("_") and name != "from_options"
    }
    return {thing.__name__: (thing, own), **made}


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_described(name: str) -> None:
    for way, (call, told) in called(getattr(mt, name)).items():
        parameters = inspect.signature(call).parameters
        # What a class does not declare (a module without a constructor of its own) is torch's.
        inherited = {"args", "kwargs"} if inspect.isclass(call) else set()
        assert not sorted(parameters.keys() - told - inherited), way


def test_a_parameter_that_is_not_described_is_found() -> None:
    def area(width: float, height: float) -> float:
        """Of a rectangle.

        Args:
            width: in meters.

        >>> height = 2
        """
        return width * height

    assert described(area) == {"width"}


def test_importing_the_package_loads_nothing_of_weight() -> None:
    code = "import sys, metatc2; heavy = {'torch', 'numpy', 'tyro'} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        mt.nothing_of_that_name  # noqa: B018
