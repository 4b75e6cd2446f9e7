"""Ctrl-C and SIGTERM as a request: the step in progress is finished and a checkpoint written before the command ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from metatc2.io.terminal import fail

_NOTES = {signal.SIGINT: "Ctrl-C again stops at once", signal.SIGTERM: "a second signal stops at once"}


class StopOnSignal:
    """Asks `Trainer.fit` to stop after SIGINT or SIGTERM; to be used as a context manager around it.

    The first signal is a request once training has begun, that is once the object was called; before that, and the second
    time, it ends the process as it would without us. Handlers that were there before are put back at the end. Outside the
    main thread, where Python has no signals, nothing is done; a signal that is ignored (``nohup``, jobs in the background)
    stays ignored.

    >>> with StopOnSignal() as stop:
    ...     stop(), stop.status
    (False, None)
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._training = False
        self._earlier: dict[int, Any] = {}

    @property
    def status(self) -> int | None:
        """Exit status that the signal asks for: 130 for Ctrl-C, 143 for SIGTERM; None if there was none."""
        return None if self.received is None else 128 + self.received

    def __call__(self) -> bool:
        """Whether to stop."""
        self._training = True
        return self.received is not None

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():
            for number in _NOTES:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._earlier[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._training and self.received is None:
            self.received = number
            # Not through Python's buffers: the signal may have come in the midst of a write to them.
            with suppress(OSError):
                os.write(2, f"\nmetatc2: stopping after this step ({_NOTES[signal.Signals(number)]})\n".encode())
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)


@contextmanager
def ended_by_signal() -> Iterator[StopOnSignal]:
    """For a command that trains: once it has stopped, say so in one sentence and end with the signal's exit status."""
    from metatc2.experiment.run import TrainingStopped  # takes a second that `metatc2 tasks` can do without

    with StopOnSignal() as stop:
        try:
            yield stop
        except TrainingStopped as stopped:
            fail(str(stopped), "stopped")
            raise SystemExit(stop.status) from stopped
