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


def of_data(key: str, *values: str) -> str:
    """How a setting of images is written: for commands that take ``--set``, for `metatc2 transfer`, and in Python.

    Args:
        key: of ``[data]``, which is an option of `metatc2 transfer` and an argument of `metatc2.data.load` too.
        values: none of what is true or false.

    >>> print(of_data("value_range", "0", "4095"))
    --set data.value_range=0,4095 (metatc2 transfer: --value-range 0 4095; in Python: value_range=(0, 4095))
    >>> print(of_data("download"))
    --set data.download=true (metatc2 transfer: --download; in Python: download=True)
    """
    option = " ".join([f"--{key.replace('_', '-')}", *values])
    in_python = f"({', '.join(values)})" if len(values) > 1 else values[0] if values else "True"
    given = ",".join(values) or "true"
    return f"--set data.{key}={given} (metatc2 transfer: {option}; in Python: {key}={in_python})"


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
