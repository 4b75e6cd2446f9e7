"""Storage that fails for a moment is asked again, and then named; no wait for it is without a limit."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from metatc2.errors import cause_of

T = TypeVar("T")

TRIES = 3
PAUSE = 0.2  # seconds before the second try; four times as long before each further one
LIMIT = 60.0  # seconds after which nothing is tried again
STALLED = 300.0  # seconds that a read in another thread may take

# Of networks, disks and limits of the system: the file itself may be whole.
_PASSING = {
    getattr(errno, name)
    for name in (
        *("EIO", "EAGAIN", "EBUSY", "EINTR", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ENOLINK", "EPROTO", "EREMOTEIO"),
        *("ESTALE", "ETIMEDOUT", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH"),
        *("ENETDOWN", "ENETRESET", "ENETUNREACH", "ENOTCONN", "ESHUTDOWN"),
    )
    if hasattr(errno, name)
}


class StorageFailed(OSError):
    """Storage failed as often as it was asked. The image itself may be whole, so it is not left out as one that is not."""


def is_passing(error: BaseException) -> bool:
    """Whether an error is one of the storage, which may be over at the next try: not of the file, its name or its rights.

    >>> is_passing(OSError(errno.EIO, "Input/output error")), is_passing(FileNotFoundError(errno.ENOENT, "No such file"))
    (True, False)
    """
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    return isinstance(error, OSError) and error.errno in _PASSING


def retried(action: Callable[[], T]) -> T:
    """What an action gives; where the storage fails it is tried `TRIES` times in all, with growing pauses.

    Raises:
        StorageFailed: if it failed each time, or `LIMIT` seconds are over.
        Exception: any other, at once.
    """
    began, pause = time.monotonic(), PAUSE
    for tried in range(1, TRIES + 1):
        try:
            return action()
        except OSError as error:
            if isinstance(error, StorageFailed) or not is_passing(error):
                raise
            if tried == TRIES or time.monotonic() - began + pause > LIMIT:
                times = "once" if tried == 1 else f"{tried} times"
                raise StorageFailed(error.errno or errno.EIO, f"{cause_of(error)}, tried {times}") from error
            time.sleep(pause)
            pause *= 4
    raise AssertionError  # a try ends in one of the two ways above


def awaited(job: Future[T]) -> T:
    """The result of a job in another thread.

    Raises:
        StorageFailed: if it takes more than `STALLED` seconds.
        Exception: whatever the job raised.
    """
    try:
        return job.result(timeout=STALLED)
    except TimeoutError as error:
        if job.done():
            raise  # the job's own
        raise StorageFailed(errno.ETIMEDOUT, f"nothing came for {STALLED:g} seconds") from error
