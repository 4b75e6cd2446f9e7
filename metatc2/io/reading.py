"""Files of text that a person named, read: TOML, JSON and lines of JSON. Whatever is wrong with one is an `InputError`."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from metatc2.errors import InputError, cause_of
from metatc2.io.files import check_regular
from metatc2.io.plain_text import brief

MOST_BYTES = 256 * 2**20  # what a text file of ours never comes near
MOST_TOML = 2**20  # bytes of settings, written by hand
MOST_PARTS = 32  # of a dotted key; the parser takes time of the square of their number
DEEPEST = "brackets nested too deeply"
LONGEST = "a number of too many digits"

Parsed = TypeVar("Parsed")
# A bare or quoted part; an unclosed quote takes the rest of its line, so that no letter is looked at twice.
_PART = r"""(?:[\w-]++|"(?:[^"\\]|\\.)*+(?:"|$)|'[^']*+(?:'|$))"""
_KEY = re.compile(rf"{_PART}(?:[ \t]*+\.[ \t]*+{_PART})*+")


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        InputError: if it is not there, is no file, cannot be read, or is larger than 256 MiB.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: cannot be read, since it is a folder; name a file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({cause_of(error)})") from None
    except ValueError:  # a NUL character inside
        raise InputError(f"{brief(str(path))}: no name that a file can have") from None
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: larger than {MOST_BYTES // 2**20} MiB, so not a file of this kind")
    return content


def text_of(content: bytes, where: str) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: if it is in another encoding.

    >>> text_of(b"\\xef\\xbb\\xbfa = 1", "my.toml")
    'a = 1'
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{where}: not a text file in UTF-8 (it begins like UTF-16); save it as UTF-8")
    try:
        # utf-8-sig: editors on Windows may start a file with a byte order mark.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not a text file in UTF-8 (byte {error.start}); save it as UTF-8") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        InputError: if it cannot be read, or is malformed; with its name and line.
    """
    content = read_bytes(path)
    if len(content) > MOST_TOML:
        raise InputError(f"{path}: larger than {MOST_TOML // 2**20} MiB, so not a file of settings; name another one")
    text = text_of(content, str(path))
    try:
        return parse_toml(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = int(at[1]) if at else len(text.splitlines())
        reason = brief(re.sub(r" \(at [^()]*\)$", "", str(error)))
        raise InputError(f"{path}, line {line}: malformed TOML: {reason}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text, in a time that its length bounds.

    Raises:
        InputError: brackets nested or keys dotted too deeply, or a number of too many digits.
        tomllib.TOMLDecodeError: if it is malformed.

    >>> parse_toml("a.b = 1")
    {'a': {'b': 1}}
    """
    for number, line in enumerate(text.splitlines(), 1):
        if any(len(re.findall(_PART, key)) > MOST_PARTS for key in _KEY.findall(line) if key.count(".") >= MOST_PARTS):
            raise InputError(f"line {number}: a key of more than {MOST_PARTS} parts; keys of settings have two")
    return bounded(lambda: tomllib.loads(text))


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        InputError: if it cannot be read, or is not JSON; with its name.
    """
    return parse_json(read_bytes(path), str(path))


def parse_json(content: bytes, where: str, *, finite: bool = True) -> Any:
    """The value of a JSON text in UTF-8; strict: no key twice, and no NaN or infinity, which JSON has no words for.

    Args:
        content: of the file.
        where: its name, for errors.
        finite: False takes ``NaN`` and ``Infinity`` as Python writes them.

    Raises:
        InputError: naming `where`.

    >>> parse_json(b'{"a": [1, null]}', "my.json")
    {'a': [1, None]}
    >>> parse_json(b'{"a": 1, "a": 2}', "my.json")
    Traceback (most recent call last):
    metatc2.errors.InputError: my.json is not valid JSON: the key 'a' stands twice
    """
    text = text_of(content, where)
    if not text.strip():
        raise InputError(f"{where} is not valid JSON: it is empty")
    try:
        constant = _no_constant if finite else float
        return bounded(lambda: json.loads(text, object_pairs_hook=_once, parse_constant=constant))
    except InputError as error:
        raise InputError(f"{where} is not valid JSON: {error}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is not valid JSON: {error.msg} in line {error.lineno}") from None


def bounded(parse: Callable[[], Parsed]) -> Parsed:
    """What a parser returns, unless its text goes beyond what Python reads.

    Raises:
        InputError: brackets nested too deeply, or a number of too many digits.
    """
    try:
        return parse()
    except RecursionError:
        raise InputError(DEEPEST) from None
    except ValueError as error:
        # Python's own limit on the digits of a whole number, which no parser turns into an error of its own.
        if "integer string conversion" in str(error):
            raise InputError(LONGEST) from None
        raise


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise InputError(f"the key {brief(next(name for name in names if names.count(name) > 1), 40)!r} stands twice")
    return made


def _no_constant(word: str) -> Any:
    raise InputError(f"{word} is no number in JSON")
