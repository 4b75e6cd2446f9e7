"""Words of the command line, put in order before they are parsed."""

from __future__ import annotations

from collections.abc import Sequence


def merge_repeated(arguments: Sequence[str]) -> list[str]:
    """``--set a=1 --set b=2`` means ``--set a=1 b=2``; likewise for ``--to``, ``--shot``, ``--protocol``, ``--head``.

    >>> merge_repeated(["pretrain", "glyphs", "--set", "a=1", "--steps", "3", "--set", "b=2"])
    ['pretrain', 'glyphs', '--steps', '3', '--set', 'a=1', 'b=2']
    """
    lists: dict[str, list[str]] = {}
    rest: list[str] = []
    into = rest
    for argument in arguments:
        if argument in ("--set", "--to", "--way", "--shot", "--protocol", "--head", "--against"):
            into = lists.setdefault(argument, [])
            continue
        if argument.startswith("--"):
            into = rest
        into.append(argument)
    return rest + [word for name, values in lists.items() for word in (name, *values)]
