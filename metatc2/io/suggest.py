"""Commands that a message suggests: written so that a shell takes them as they are meant, whatever a folder is called."""

from __future__ import annotations

import shlex
from pathlib import Path

from metatc2.io.plain_text import visible

SOURCE = "SOURCE[:SPLIT]"  # stands for what the reader will write, so its brackets are not quoted


def command(*words: str | Path) -> str:
    r"""A command of ``metatc2``, to be pasted into a shell.

    Args:
        words: the sub-command and what follows. A name that the user chose is given as a path: one that begins with a dash
            is written as ``./-name``, since it would be read as an option.

    >>> print(command("pretrain", "--resume", Path("my run; rm")), command("transfer", Path("-x"), "--to", SOURCE), sep="\n")
    metatc2 pretrain --resume 'my run; rm'
    metatc2 transfer ./-x --to SOURCE[:SPLIT]
    >>> print(command("transfer", Path("a\nb")))
    metatc2 transfer $'a\x0ab'
    """
    return " ".join(["metatc2", *map(_quoted, words)])


def _quoted(word: str | Path) -> str:
    text = f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)
    if text == SOURCE:
        return text
    if visible(text) == text:
        return shlex.quote(text)
    # What would act on a terminal cannot be shown, and between plain quotes an escape would be read letter by letter.
    return "$'" + "".join(map(_byte_by_byte, text)) + "'"


def _byte_by_byte(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if visible(character) == character:
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
