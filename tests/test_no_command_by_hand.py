"""No message writes a command with a value in it by hand, since a shell might read other words: `suggest.command` quotes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .source_files import everywhere, nodes

# A command and then a value in the same words.
BY_HAND = re.compile(r"(metatc2 [a-z]+|hf upload|--resume\b)[^`;,.:()]*$")


def by_hand(source: str) -> Iterator[str]:
    """f-strings in which a value stands where a shell would read it."""
    for node in nodes(source):
        if isinstance(node, ast.JoinedStr):
            before = ""
            for part in node.values:
                if isinstance(part, ast.Constant):
                    before += str(part.value)
                elif BY_HAND.search(before):
                    yield ast.unparse(node)
                    break


def test_no_message_writes_a_command_by_hand() -> None:
    assert not everywhere(by_hand)


def test_the_rule_sees_what_it_forbids() -> None:
    for source in (
        'f"run: metatc2 transfer {path}"',
        'f"go on with --resume {p} --steps N"',
        'f"hf upload ME {folder}"',
    ):
        assert list(by_hand(source))
    assert not list(by_hand('f"{path}: run `metatc2 transfer` again, as {name}"'))
