"""Why a file does not fit a network, and what it would fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from metatc2.models.foreign_weights.places import Candidate, State, candidates, misfits, tables
from metatc2.models.foreign_weights.resnets import fitting

_NAMED = 2


def why(body: nn.Module, content: Mapping[str, Any], name: str, file: Path, *, at: bool) -> str:
    """The nearest place and what is wrong there, naming few tensors; and what the file would fit.

    Args:
        body: what it does not fit.
        content: of the file.
        name: of the network.
        file: that was read.
        at: whether networks are named as ``NAME@FILE``.
    """
    _, first = next(tables(content), ((), {}))
    if not first:
        return "it holds no tensors"
    nearest = max(candidates(body, content), key=lambda candidate: len(candidate.tensors), default=None)
    problem = (
        f"it has none of the tensors of {name} (it has {few(list(first))})"
        if nearest is None
        else f"{under(nearest.where)}, {_problems(nearest, body.state_dict(), name)}"
    )
    known = fitting(content)
    if at:
        hint = f"; it fits {known.at(file)}" if known else "; name the network that it was saved from, as NAME@FILE"
    else:
        hint = f"; it fits {known.config}" if known else "; name the encoder that it was saved from in [encoder] name"
    return problem + hint


def _problems(candidate: Candidate, wanted: State, name: str) -> str:
    there = candidate.tensors
    missing = [key for key in wanted if key not in there]
    wrong = [f"{k} is {tuple(there[k].shape)}, not {tuple(wanted[k].shape)}" for k in misfits(there, wanted)]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(wanted)} tensors of {name} are missing ({few(missing)})")
    if wrong:
        problems.append(f"{len(wrong)} have other shapes ({few(wrong)})")
    return " and ".join(problems)


def under(where: str) -> str:
    """A place in words."""
    return f"under {where!r}" if where else "at its top"


def few(words: Sequence[str]) -> str:
    """The first of them, and how many more there are.

    >>> few(["a", "b", "c"])
    'a, b, ... 1 more'
    """
    return ", ".join(words[:_NAMED]) + (f", ... {len(words) - _NAMED} more" if len(words) > _NAMED else "")
