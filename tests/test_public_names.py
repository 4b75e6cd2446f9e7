"""The names at the top: each is there, is what its package has by that name, and costs nothing until it is asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import metatc2 as mt

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


def test_there_are_few_enough_to_know() -> None:
    assert len(NAMES) <= 60


def test_importing_the_package_loads_nothing_of_weight() -> None:
    code = "import sys, metatc2; heavy = {'torch', 'numpy', 'tyro'} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        mt.nothing_of_that_name  # noqa: B018
