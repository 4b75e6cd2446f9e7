"""A kind of input of `fuzz.py`, and how one input of it ends."""

from __future__ import annotations

import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis.strategies import SearchStrategy

from hostile.changes import Draw
from metatc2.errors import InputError

CPU, WALL = 10.0, 120.0  # seconds for one input; of processor time, so that a busy machine makes no hang
ADDRESSES = 4 * 2**30  # bytes of addresses that an input may ask for beyond what the process has

Reader = Callable[[Any], object]
Prepared = tuple[Draw | SearchStrategy[Any], Reader]


class Hang(BaseException):
    """An input took too long. No `Exception`, which readers of damaged files catch."""


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Args:
        name: in the results.
        what: is read, in a few words.
        share: of all inputs, in ten-thousandths. Cheap kinds have most.
        prepare: gets an empty folder of its own; returns what draws an input, by a generator or by Hypothesis, and what reads
            it.
    """

    name: str
    what: str
    share: int
    prepare: Callable[[Path], Prepared]


@dataclass(frozen=True)
class Ending:
    """How an input ended: ``read``, ``refused`` (an `InputError` of one line), ``crash`` or ``hang``; and where."""

    how: str
    where: str = ""


def ending(read: Reader, value: Any) -> Ending:
    """Read one input under limits of time."""
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, CPU)
    signal.setitimer(signal.ITIMER_REAL, WALL)
    try:
        read(value)
        result = Ending("read")
    except InputError as error:
        # A line break of the input itself is shown as its escape.
        whole = "\n" in str(value) or "\n" not in str(error).strip()
        result = Ending("refused") if whole else Ending("crash", f"more than one line: {error!r}")
    except Hang as error:
        result = Ending("hang", _place(error))
    except Exception as error:
        result = Ending("crash", f"{type(error).__name__}: {str(error)[:200]} | {_place(error)}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    # A hang that a reader took for damage.
    return result if time.process_time() - began < CPU else Ending("hang", result.where)


def limit_process() -> None:
    """Signals that end an input, and no more memory than one should need."""

    def hang(number: int, frame: FrameType | None) -> None:
        raise Hang

    signal.signal(signal.SIGPROF, hang)
    signal.signal(signal.SIGALRM, hang)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ADDRESSES, resource.RLIM_INFINITY))


def _place(error: BaseException) -> str:
    """The innermost line of ours."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if "metatc2" in f.filename or "hostile" in f.filename]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
