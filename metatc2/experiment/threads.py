"""How many CPU threads may be asked for: more than the system can start end the process, without an exception to catch."""

from __future__ import annotations

import os

from metatc2.errors import InputError

ALWAYS = 64  # a machine of one processor can start as many; runs of a larger one can be repeated on it


def check_threads(threads: int | None) -> None:
    """Refuse more threads than `ALWAYS`, or eight a processor where that is more.

    Raises:
        InputError: naming the most that can be asked for.

    >>> check_threads(None)
    >>> check_threads(10**6)
    Traceback (most recent call last):
    metatc2.errors.InputError: trainer.threads = 1000000 is too many for the ... processors that it may use; ask for ...
    """
    processors = usable_processors()
    most = max(ALWAYS, 8 * processors)
    if threads is not None and threads > most:
        raise InputError(
            f"trainer.threads = {threads} is too many for the {processors} processors that it may use; ask for at most "
            f"{most}"
        )


def usable_processors() -> int:
    """Processors that this process may use: those of its affinity mask, which a scheduler sets, not those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
