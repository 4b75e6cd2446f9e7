"""The exceptions users meet, and the words that suggest a fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 260  # characters of a list of names in a sentence


class InputError(ValueError):
    r"""Something the user gave cannot work. The message is one sentence: what, where, what was expected, how to fix it.

    The command line prints it without a traceback and exits with status 2. Ends of lines, which texts from outside may bring
    into it, become spaces.

    Args:
        about: the message; further values as any exception has them.

    >>> print(InputError("a file says 'x\ny'; delete it"))
    a file says 'x y'; delete it
    """

    def __init__(self, *about: object) -> None:
        super().__init__(*(" ".join(each.splitlines()) if isinstance(each, str) else each for each in about))


def cause_of(error: Exception) -> str:
    """Why something failed, in the system's words where it has any; some errors have a number or a text alone, or nothing.

    >>> cause_of(OSError(13, "Permission denied", "a.txt")), cause_of(OSError("no seek")), cause_of(OSError())
    ('Permission denied', 'no seek', 'OSError')
    """
    system = error.strerror if isinstance(error, OSError) else None
    return system or str(error) or type(error).__name__


class MissingPackage(InputError, ImportError):
    """An optional package is asked for and not installed; the message says what to install."""


class RankLost(RuntimeError):
    """Another process that trains along has ended or hangs. The message says what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class RanksDiffer(RuntimeError):
    """A tensor that should be the same on all processes that train together is not. The message names it."""


def kind_of(thing: object) -> str:
    """The class of an object, with its article.

    >>> kind_of(3), kind_of("x")
    ('an int', 'a str')
    """
    name = type(thing).__name__
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def nearest_registered(word: str, known: Iterable[str]) -> str:
    """As `nearest`, of names that installed packages add to: what is near none may be one of a package that is not here.

    >>> nearest_registered("dcl", ["simclr", "byol"])
    'known: byol, simclr; names of other packages are known where these are installed'
    """
    hint = nearest(word, known)
    return f"{hint}; names of other packages are known where these are installed" if hint.startswith("known:") else hint


def nearest(word: str, known: Iterable[str]) -> str:
    """End of a sentence that names the closest known word, or lists them all when none is close.

    >>> nearest("simclr2", ["simclr", "byol"])
    "did you mean 'simclr'? Known: byol, simclr"
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    listed = ", ".join(names)
    if len(listed) > _LISTED:
        fitting = listed[:_LISTED].rpartition(", ")[0]
        listed = f"{fitting} and {len(names) - fitting.count(', ') - 1} more"
    return f"did you mean {close[0]!r}? Known: {listed}" if close else f"known: {listed}"
