"""Commands that messages suggest: a shell reads back the words that were meant."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from metatc2.errors import InputError
from metatc2.io.suggest import SOURCE, command
from metatc2.training.run_folder import RunFolder


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
