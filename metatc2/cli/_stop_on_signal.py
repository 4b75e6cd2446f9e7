"""Ctrl-C, SIGTERM and SIGUSR1 as a request: the step in progress is finished and a checkpoint written before the command
ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from metatc2.cli import _slurm
from metatc2.io.launched import process_number
from metatc2.io.terminal import fail

# What a scheduler sends some time before it ends a job (`sbatch --signal=USR1@300`); Windows has no such signal.
PREEMPTED: int | None = getattr(signal, "SIGUSR1", None)
ENDED: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
ENDED_OR_PREEMPTED = ENDED if PREEMPTED is None else (*ENDED, PREEMPTED)


class StopOnSignal:
    """Asks `Trainer.fit` to stop after a signal; to be used as a context manager around it.

    Args:
        numbers: of the signals.

    The first signal is a request once training has begun, that is once the object was called; before that, and the second
    time, it ends the process as it would without us. Handlers that were there before are put back at the end. Outside the
    main thread, where Python has no signals, nothing is done; a signal that is ignored (``nohup``, jobs in the background)
    stays ignored.

    >>> with StopOnSignal() as stop:
    ...     stop(), stop.status
    (False, None)
    """

    def __init__(self, numbers: Sequence[int] = ENDED) -> None:
        self.numbers = numbers
        self.received: int | None = None
        self._training = False
        self._earlier: dict[int, Any] = {}

    @property
    def status(self) -> int | None:
        """Exit status that the signal asks for: 130 for Ctrl-C, 143 for SIGTERM, 0 for SIGUSR1; None if there was none."""
        if self.received is None:
            return None
        return 0 if self.received == PREEMPTED else 128 + self.received

    def __call__(self) -> bool:
        """Whether to stop."""
        self._training = True
        return self.received is not None

    def has_stopped(self) -> None:
        """Training has ended: but for Ctrl-C, signals are of no account from now on (SLURM ends what it queues again)."""
        for number in self._earlier:
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_IGN)

    def __enter__(self) -> StopOnSignal:
        if threading.current_thread() is threading.main_thread():
            for number in self.numbers:
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
            again = "Ctrl-C again stops at once" if number == signal.SIGINT else "a second signal stops at once"
            # Not through Python's buffers: the signal may have come in the midst of a write to them.
            with suppress(OSError):
                os.write(2, f"\nmetatc2: stopping after this step ({again})\n".encode())
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)


@contextmanager
def ended_by_signal(numbers: Sequence[int] = ENDED) -> Iterator[StopOnSignal]:
    """For a command that trains: once it has stopped, say so in one sentence and end with the signal's exit status.

    After SIGUSR1 a job of SLURM is queued again; where that fails, the exit status is 138.
    """
    from metatc2.experiment.run import TrainingStopped  # takes a second that `metatc2 tasks` can do without
    from metatc2.ops.ranks import is_first

    with StopOnSignal(numbers) as stop:
        try:
            yield stop
        except TrainingStopped as stopped:
            stop.has_stopped()
            if not is_first():  # the first process speaks; this one may have been told by another to stop
                raise SystemExit(stop.status or 0) from stopped
            number = _slurm.job() if stop.received == PREEMPTED and not process_number() else None
            if number is None:
                fail(str(stopped), "stopped")
                raise SystemExit(128 + signal.SIGTERM if stop.received is None else stop.status) from stopped
            why = _slurm.requeue(number)
            if why is None:
                fail(f"{stopped}; SLURM has queued job {number} again, which goes on there by itself", "stopped")
                raise SystemExit(0) from stopped
            fail(f"{stopped}; SLURM has not queued job {number} again: {why}", "stopped")
            raise SystemExit(128 + (stop.received or 0)) from stopped
