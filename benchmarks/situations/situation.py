"""What a row of the robustness table is made of."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from libraries import Library, NotOffered, Recipe, Task

WAY, SHOT, QUERY = 3, 3, 4


class Failed(Exception):
    """The library did something else than it should; the message says what."""


@dataclass(frozen=True)
class Way:
    """What to try where plain use fails.

    Args:
        how: in a few words.
        recipe: fields of the recipe that differ.
        caller: a context that the caller would have to write around the library, where it has nothing of its own. It is
            mentioned, and does not make the row pass.
    """

    how: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    caller: Callable[[], AbstractContextManager[Any]] | None = None


@dataclass(frozen=True)
class Situation:
    """A situation and what is expected in it.

    Args:
        name: as in the table.
        recipe: the inner optimization.
        check: ``check(library, recipe)`` gives a detail worth telling, and raises where the library does not pass.
        ways: by name of the library.
    """

    name: str
    recipe: Recipe
    check: Callable[[Library, Recipe], str]
    ways: Mapping[str, Sequence[Way]] = field(default_factory=dict)


def outcome(situation: Situation, name: str, library: Library) -> dict[str, Any]:
    """``outcome``, ``passes`` and ``detail`` of a library: plain use first, then what its documentation offers."""
    detail, failure = _attempt(situation, library, Way(""))
    if failure is None:
        return {"outcome": "passes", "passes": True, "detail": detail}
    if isinstance(failure, NotOffered):
        return {"outcome": f"not offered: {failure}", "passes": None, "detail": ""}
    notes = []
    for way in situation.ways.get(name, ()):
        own, wrong = _attempt(situation, library, way)
        if wrong is None and way.caller is None:
            by_default = f"by default: {words(failure)}"
            return {"outcome": f"passes with {way.how}", "passes": True, "detail": f"{own}; {by_default}".lstrip("; ")}
        notes.append(f"with {way.how}: {'works' if wrong is None else words(wrong)}")
    return {"outcome": f"fails: {words(failure)}", "passes": False, "detail": "; ".join([detail, *notes]).lstrip("; ")}


def _attempt(situation: Situation, library: Library, way: Way) -> tuple[str, Exception | None]:
    printed = io.StringIO()  # learn2learn prints the error that matters and goes on to another
    try:
        around = way.caller() if way.caller else contextlib.nullcontext()
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()), around:
            return situation.check(library, dataclasses.replace(situation.recipe, **way.recipe)), None
    except Exception as failure:
        told = [line for line in printed.getvalue().splitlines() if line.startswith("RuntimeError")]
        return "", Failed(f"prints {told[0]} and raises {type(failure).__name__}") if told else failure


def words(failure: Exception) -> str:
    """An exception in one line; the type is left out of what a check found by itself."""
    return short(str(failure) if isinstance(failure, Failed | NotOffered) else f"{type(failure).__name__}: {failure}")


def short(text: str, length: int = 120) -> str:
    """The first words of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length].rsplit(" ", 1)[0] + " ..."


def tasks(*shape: int, number: int = 2) -> list[Task]:
    """Gaussian noise around a center for every class, in float64, the same every time."""
    g = torch.Generator().manual_seed(3)

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.arange(WAY).repeat(n)
        noise = torch.randn(len(y), *shape, generator=g, dtype=torch.float64)
        return noise + y.view(-1, *(1 for _ in shape)) / WAY, y

    return [Task(*draw(SHOT), *draw(QUERY)) for _ in range(number)]
