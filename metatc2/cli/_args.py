"""Arguments of commands: how they are shown, and words put in order before they are parsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tyro

_LISTS = (
    *("--set", "--to", "--way", "--shot", "--protocol", "--target", "--head", "--against", "--seeds"),
    *("--labels-per-class", "--attention", "--baseline", "--method", "--format"),
)
# Of `advise`, where several encoders may be named; `pretrain` takes one.
_OF_ADVISE = ("--encoder",)


def merge_repeated(arguments: Sequence[str]) -> list[str]:
    """``--set a=1 --set b=2`` means ``--set a=1 b=2``; likewise for ``--to``, ``--shot``, ``--protocol``, ``--head``.

    >>> merge_repeated(["pretrain", "glyphs", "--set", "a=1", "--steps", "3", "--set", "b=2"])
    ['pretrain', 'glyphs', '--steps', '3', '--set', 'a=1', 'b=2']
    """
    lists: dict[str, list[str]] = {}
    rest: list[str] = []
    into = rest
    known = (*_LISTS, *_OF_ADVISE) if list(arguments[:1]) == ["advise"] else _LISTS
    for argument in arguments:
        if argument in known:
            into = lists.setdefault(argument, [])
            continue
        if argument.startswith("--"):
            into = rest
        into.append(argument)
    return rest + [word for name, values in lists.items() for word in (name, *values)]


def option(metavar: str, help: str | None = None, default: str = "") -> Any:
    """How ``--help`` shows an argument of a command.

    Args:
        metavar: what stands for the value.
        help: the line; by default that of the docstring.
        default: what its default comes to, where the signature has none or an empty tuple; else the signature's is shown.
    """

    def shown(label: str) -> str:
        said = default or ("" if label in ("", "None") else label)
        return f"(default: {said})" if said else ""

    return tyro.conf.arg(metavar=metavar, help=help, help_behavior_hint=shown)
