"""What is said of words that make no command: one plain sentence in every locale, which names the word that is wrong."""

from __future__ import annotations

import io

import pytest

from metatc2.cli.app import PARSER
from metatc2.errors import InputError

WRONG = {
    "pretrain --bogus": "unknown option --bogus; ",
    "transfer --bogus x": "unknown option --bogus; ",
    "transfer runs/a --shots 3": "unknown option --shots; did you mean --shot?",
    "transfer --shots=3": "unknown option --shots; did you mean --shot?",
    "pretrain glyphs --steps x": "Error parsing --steps: expected INT, found ['x']; see ",
    "bogus": "Unrecognized options: bogus; there are tasks, ",
    "export a": "Missing from metatc2 export: FOLDER New folder",
    "transfer": "Missing from metatc2 transfer: ENCODER Run folder",
    "transfer --allow_seen --no-download": "Missing from metatc2 transfer: ENCODER Run folder",
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


@pytest.mark.parametrize("words", [["--calibration", "None"], ["--calibration=None"], ["--adjoint", "None"]])
def test_none_of_python_is_no_value(words: list[str]) -> None:
    """It would mean the default, which for calibration is the opposite of ``none``."""
    with pytest.raises(InputError, match="None: no such value; leave"):
        PARSER.parse(["pretrain", "glyphs", *words])
