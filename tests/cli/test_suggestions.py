"""Commands that messages suggest: a shell reads back the words that were meant, and no message writes one by hand."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import metatc2
from metatc2.errors import InputError
from metatc2.io.suggest import SOURCE, command
from metatc2.training.run_folder import RunFolder

PACKAGE = Path(metatc2.__file__).parent
# A command and then a value in the same words.
BY_HAND = re.compile(r"(metatc2 [a-z]+|hf upload|--resume\b)[^`;,.:()]*$")


def by_hand(source: str) -> Iterator[str]:
    """f-strings in which a value stands where a shell would read it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            before = ""
            for part in node.values:
                if isinstance(part, ast.Constant):
                    before += str(part.value)
                elif BY_HAND.search(before):
                    yield ast.unparse(node)
                    break


@pytest.mark.parametrize("name", ["runs/tc2", "a;rm", "my run", "it's", "$(date)", "-rf", "--help", "*", "猫"])
def test_a_shell_reads_the_words_that_were_meant(name: str) -> None:
    words = shlex.split(command("pretrain", "--resume", Path(name), "--steps", "N"))
    assert words == ["metatc2", "pretrain", "--resume", words[3], "--steps", "N"]
    assert Path(words[3]) == Path(name)
    assert not words[3].startswith("-")


def test_placeholders_are_left_as_they_are() -> None:
    assert command("transfer", "RUN", "--to", SOURCE) == "metatc2 transfer RUN --to SOURCE[:SPLIT]"


def test_what_would_act_on_a_terminal_is_written_byte_by_byte() -> None:
    assert command("transfer", Path("a\x1b'\\\udce9\u202eb")) == r"metatc2 transfer $'a\x1b\'\\\xe9\xe2\x80\xaeb'"


def test_a_folder_that_is_no_run_is_quoted_in_the_command_that_makes_one() -> None:
    with pytest.raises(InputError, match=r"make one with: metatc2 pretrain TASK --run 'a;rm'$"):
        RunFolder(Path("a;rm")).require_run()


@pytest.mark.parametrize("module", sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")))
def test_no_message_writes_a_command_by_hand(module: str) -> None:
    assert not list(by_hand((PACKAGE / module).read_text(encoding="utf-8")))


def test_the_rule_sees_what_it_forbids() -> None:
    for source in (
        'f"run: metatc2 transfer {path}"',
        'f"go on with --resume {p} --steps N"',
        'f"hf upload ME {folder}"',
    ):
        assert list(by_hand(source))
    assert not list(by_hand('f"{path}: run `metatc2 transfer` again, as {name}"'))
