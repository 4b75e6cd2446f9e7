"""Valid contents with a few changes, and values that are strange for their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Draw = Callable[[Random], Any]

# What parsers trip over: brackets, quotes, ends of lines, control characters, halves of encodings, numbers beyond any type.
PIECES = (
    *(b"[", b"]", b"{", b"}", b'"', b"'", b"=", b",", b".", b":", b"\n", b"\r", b"\0", b"#", b"\\", b"/", b"../", b"~"),
    *(b"\x1b[31m", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xae", b"\\u0000", b"\\ud800"),
    *(b"9" * 400, b"9" * 4400, b"1e999", b"nan", b"NaN", b"-inf", b"-0", b"-1", b"1e-320", b"0x", b"true", b"null"),
    *(b"[" * 3000, b'{"a":' * 1000, b"\x00" * 8, b"\xff" * 8, b"\x7f" * 4, b"<script>", b"=cmd", b"$(", b"%s"),
)


def changed(valid: Sequence[bytes], most: int = 4) -> Draw:
    """One of several valid contents, with up to `most` changes: a stretch left out, doubled, turned or replaced.

    Drawn by a plain generator: what Hypothesis would spend on a draw is ten times what most readers take.
    """

    def draw(rng: Random) -> bytes:
        content = rng.choice(valid)
        for _ in range(rng.randint(0, most)):
            start = rng.randrange(len(content) + 1)
            part = content[start : start + rng.randrange(41)]
            new = rng.choice(
                (rng.choice(PIECES), rng.choice(PIECES), rng.randbytes(rng.randrange(7)), b"", part * 2, part[::-1])
            )
            content = content[:start] + new + content[start + len(part) :]
        return content

    return draw


def as_text(draw: Draw) -> Draw:
    """The same as texts, bytes that are no UTF-8 kept as Python keeps them in names."""
    return lambda rng: draw(rng).decode(errors="surrogateescape")


def values(depth: int = 8) -> SearchStrategy[object]:
    """Any value that JSON has words for, strange numbers and texts among them."""
    numbers = st.one_of(st.integers(), st.floats(), st.sampled_from((0, 1, -1, 2**31, 2**63, 10**400, 1e308)))
    leaves = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=12))
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=depth,
    )
