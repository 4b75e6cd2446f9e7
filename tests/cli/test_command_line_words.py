"""What is said of words that make no command: one plain sentence in every locale, which names the word that is wrong."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from metatc2.cli.app import PARSER, main
from metatc2.errors import InputError

WRONG = {
    "pretrain --bogus": "unknown option --bogus; ",
    "transfer --bogus x": "unknown option --bogus; ",
    "transfer runs/a --shots 3": "unknown option --shots; did you mean --shot?",
    "transfer --shots=3": "unknown option --shots; did you mean --shot?",
    "pretrain glyphs --steps x": "Error parsing --steps: expected INT, found ['x']; see ",
    "advise digits --labels-per-class x": "Error parsing --labels-per-class: expected numbers, found ['x']; see ",
    "bogus": "unknown command bogus; known: advise, ",
    "export a": "export: no FOLDER; see metatc2 export --help",
    "umm": "umm: no DIR and no --split STAGE; see metatc2 umm --help",
    "transfer --allow_seen --no-download": "transfer: no ENCODER; see metatc2 transfer --help",
}


def said(words: str) -> str:
    with pytest.raises(InputError) as caught:
        PARSER.parse(words.split())
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("words", WRONG)
def test_a_sentence_has_no_boxes_and_names_what_is_wrong(
    words: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # tyro draws its boxes in ASCII where standard output cannot write others.
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    sentence = said(words)
    assert sentence.startswith(WRONG[words])
    assert not set(sentence) & set("─│╭╰+")
    assert "---" not in sentence
    assert " | " not in sentence


@pytest.mark.parametrize(
    "command", [name for name in PARSER.names if name not in ("tasks", "learners", "doctor", "demo")]
)
def test_a_command_alone_says_what_it_lacks(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([command])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert not out
    assert re.fullmatch(rf"metatc2: error: {command}: [^\n]+\n", err), err
    assert not [*tmp_path.iterdir()]


def test_no_word_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert not ended.value.code
    out = capsys.readouterr().out
    assert all(name in out for name in PARSER.names)


@pytest.mark.parametrize("words", [["--calibration", "None"], ["--calibration=None"], ["--adjoint", "None"]])
def test_none_of_python_is_no_value(words: list[str]) -> None:
    """It would mean the default, which for calibration is the opposite of ``none``."""
    with pytest.raises(InputError, match="None: no such value; leave"):
        PARSER.parse(["pretrain", "glyphs", *words])
