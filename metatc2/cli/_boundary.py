"""How a command ends when something is raised: which exceptions are the user's to mend, and the sentence for each.

What is not named here is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import csv
import errno
import json
import struct
import sys
import tomllib
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from metatc2.cli._memory import is_out_of_memory
from metatc2.errors import InputError, RankLost, RanksDiffer, cause_of
from metatc2.io.plain_text import brief

LONGEST = 420  # characters of a sentence; of a longer one the middle is left out

_HOW = {
    errno.ENOSPC: "free some space, or name a place on another disk",
    errno.EDQUOT: "free some space, or name a place on another disk",
    errno.EROFS: "name a place that can be written",
    errno.EACCES: "name a place of yours, or change its permissions",
    errno.EPERM: "name a place of yours, or change its permissions",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a part of this path is a file; name a place below a folder",
    errno.EISDIR: "this is a folder; name a file",
    errno.EEXIST: "choose another name",
    errno.ENOENT: "check the path",
    errno.ELOOP: "links lead round in a circle; name the place itself",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: "the disk or the network gave up; try again or restore the file",
    errno.EINVAL: "choose another name",
    errno.EILSEQ: "choose a name without special characters",
}


@dataclass(frozen=True)
class Ending:
    """Exit status of a command, what kind of ending it is, and why in one sentence."""

    status: int
    how: str
    sentence: str


def ending_of(error: Exception) -> Ending | None:
    """How a command ends that raised `error`; None for a bug of ours.

    >>> ending_of(InputError("x is wrong; write y")).sentence
    'x is wrong; write y'
    >>> ending_of(OSError(28, "No space left on device", "run/a")).sentence
    'run/a: no space left on device; free some space, or name a place on another disk'
    >>> ending_of(KeyError("a")) is None
    True
    """
    if _diverged(error):
        return Ending(1, "stopped", str(error))
    if is_out_of_memory(error):
        return Ending(2, "error", _memory(error))
    for kind, sentence in _SENTENCES.items():
        if isinstance(error, kind):
            message = sentence(error)
            return None if message is None else Ending(2, "error", brief(message, LONGEST))
    return None


def _diverged(error: Exception) -> bool:
    # Imported by whoever can raise it; the import takes a second that `metatc2 tasks` can do without.
    step = sys.modules.get("metatc2.training.outer_step")
    return step is not None and isinstance(error, step.TrainingDiverged)


def _memory(error: Exception) -> str:
    message = brief(str(error).splitlines()[0] if str(error) else "no more can be had", 120)
    return (
        f"out of memory ({message}); lower episode.batch (episode.meta_batch of labeled tasks), encoder.width, data.image_size "
        f"or the widths of [head], {_accumulate()}set trainer.precision=bf16-mixed, or stream the images (data.stream=true, "
        "--stream)"
    )


def _accumulate() -> str:
    """The setting that makes a batch in several parts, in versions that have it."""
    sections = sys.modules.get("metatc2.experiment.config.training")
    has = sections is not None and "accumulate" in sections.TrainerConfig.model_fields
    return "raise trainer.accumulate, " if has else ""


def _system(error: Exception) -> str:
    assert isinstance(error, OSError)
    reason = cause_of(error)
    # The text of some exceptions (ours, Pillow's, a network's) is a sentence of its own, without number and name.
    reason = reason[:1].lower() + reason[1:] if error.strerror else reason
    names = [brief(str(name), 120) for name in (error.filename, error.filename2) if name is not None]
    where = f"{' and '.join(names)}: " if names else ""
    how = _HOW.get(error.errno or 0)
    return f"{where}{reason}{f'; {how}' if how else ''}"


def _text(error: Exception) -> str:
    assert isinstance(error, UnicodeError)
    if isinstance(error, UnicodeDecodeError):
        return f"a file that was named is not text in {error.encoding} (byte {error.start}); save it as UTF-8"
    if isinstance(error, UnicodeEncodeError):
        around = brief(error.object[max(0, error.start - 20) : error.end + 20], 60)
        return f"a name cannot be written as {error.encoding} ({around}); rename the file or class"
    return f"a name or file cannot be read as text ({error})"


def _damaged(error: Exception) -> str:
    return f"a file that was named is damaged ({brief(str(error), 160)}); restore it, or make it again"


def _value(error: Exception) -> str | None:
    # Python refuses these two by a bare ValueError.
    if "embedded null" in str(error):
        return "a path holds a NUL character, which no path can; leave it out"
    if "integer string conversion" in str(error):
        return "a whole number of over 4300 digits; no number can be as long"
    return None


def _home(error: Exception) -> str | None:
    # What Path.expanduser raises.
    if "home directory" in str(error):
        return "a path begins with ~ and a name that no user of this machine has; write the path out"
    return None


# In this order: the first class that fits.
_SENTENCES: dict[type[Exception], Callable[[Exception], str | None]] = {
    InputError: str,
    RankLost: str,
    RanksDiffer: str,
    UnicodeError: _text,
    json.JSONDecodeError: _damaged,
    tomllib.TOMLDecodeError: _damaged,
    csv.Error: _damaged,
    zipfile.BadZipFile: _damaged,
    zlib.error: _damaged,
    struct.error: _damaged,
    EOFError: _damaged,
    RecursionError: lambda _: "something that was given is nested too deeply; give it with fewer levels",
    BrokenProcessPool: lambda _: "a worker process was ended from outside, mostly for want of memory; free some",
    OSError: _system,
    ValueError: _value,
    RuntimeError: _home,
}
