"""The library's own source, read and parsed once for all rules that hold of it."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from types import MappingProxyType

PACKAGE = Path(__file__).resolve().parents[1] / "metatc2"


@functools.cache
def sources() -> MappingProxyType[str, str]:
    """The text of every module, by its path within the package."""
    files = sorted(PACKAGE.rglob("*.py"))
    return MappingProxyType({file.relative_to(PACKAGE).as_posix(): file.read_text(encoding="utf-8") for file in files})


@functools.cache
def nodes(source: str) -> tuple[ast.AST, ...]:
    """All nodes of the syntax tree of some source, breadth first."""
    return (*ast.walk(ast.parse(source)),)


def everywhere(found: Callable[[str], Iterable[str]]) -> set[tuple[str, str]]:
    """What a rule finds in the sources, with the module that it found it in."""
    return {(name, what) for name, source in sources().items() for what in found(source)}
