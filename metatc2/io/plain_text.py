"""Text from outside (names of files and classes, words of the command line) as it may be shown: nothing in it acts."""

from __future__ import annotations

import re

# What moves a cursor, starts an escape sequence, breaks a line or turns the direction of writing; half a surrogate pair is
# how Python keeps a byte of a file name that is no UTF-8, and cannot be encoded.
_ACTS = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_ACTING = re.compile(f"[{_ACTS}]")
_ACTING_IN_A_LINE = re.compile(f"(?!\n)[{_ACTS}]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: str, *, keep_lines: bool = False) -> str:
    r"""The text with every character that would act, rather than be seen, written as its escape.

    Args:
        text: any text.
        keep_lines: whether line breaks stay; for text of several lines that is not a name.

    >>> print(visible("a\x1b[31mb\nc"), visible("\u202egnp.exe"), visible("caf\udce9"), visible("Größe ² 猫"))
    a\x1b[31mb\nc \u202egnp.exe caf\udce9 Größe ² 猫
    """
    return (_ACTING_IN_A_LINE if keep_lines else _ACTING).sub(lambda match: _escaped(match[0]), text)


def brief(text: str, most: int = 80) -> str:
    """`visible` text of at most `most` characters; of a longer one the middle is left out.

    >>> brief("0123456789", 7)
    '012…789'
    """
    seen = visible(text if len(text) <= 4 * most else text[: 2 * most] + text[-2 * most :])
    if len(seen) <= most:
        return seen
    head = most // 2
    return f"{seen[:head]}…{seen[len(seen) - (most - 1 - head) :]}"


def _escaped(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
