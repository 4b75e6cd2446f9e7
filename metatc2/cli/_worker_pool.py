"""Jobs in processes that stop together: when they are asked to, when one of them fails, when who started them is gone."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")

_LOOK = 0.2  # seconds between two questions whether to stop


class Stopped(Exception):
    """The jobs were asked to stop before all were done."""


class Flag(Protocol):
    """Memory that processes share. Without a lock, which a process that is killed would keep."""

    value: bool


class Worker:
    """Of a worker process: asked by its job before every step whether to stop.

    Args:
        asked: set by the process that started it.
    """

    def __init__(self, asked: Flag) -> None:
        self.asked = asked
        self.signalled = self.orphaned = False
        self.busy = threading.Lock()

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.asked.value or self.signalled or self.orphaned

    def handle(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM: a job ends as it does when it is asked to, and the process with it."""
        self.signalled = True
        if not self.busy.locked():
            os._exit(128 + number)

    def watch(self, wait_for_parent: Callable[[], object]) -> None:
        """Wait until the process that started this one is gone, then let the job end and end the process.

        Nothing else would: a worker holds both ends of the pipe that it gets its jobs from.
        """
        wait_for_parent()
        self.orphaned = True
        with self.busy:
            os._exit(1)

    def run(self, job: Callable[..., Result], given: Sequence[Any]) -> Result:
        """Do a job."""
        with self.busy:
            try:
                if self():
                    raise Stopped
                return job(*given, self)
            finally:
                if self.signalled:
                    os._exit(128 + signal.SIGTERM)


def run_jobs(
    job: Callable[..., Result], given: Sequence[Sequence[Any]], workers: int, stop: Callable[[], bool]
) -> Generator[Result, None, None]:
    """Results of jobs as they come. However it ends, no worker is left.

    Args:
        job: of a module's top level. Gets its own arguments and, after them, a `Worker` to ask whether to stop.
        given: the arguments of each job.
        workers: processes.
        stop: asked several times a second in this process.

    Raises:
        Stopped: if `stop` said so; the jobs were asked to stop and have ended.
    """
    context = multiprocessing.get_context("spawn")
    asked = context.RawValue(ctypes.c_bool, False)
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(asked,))
    try:
        with _interrupts_ignored():
            waiting = {pool.submit(_run, job, tuple(arguments)) for arguments in given}
        while waiting:
            done, waiting = wait(waiting, timeout=_LOOK, return_when=FIRST_COMPLETED)
            if stop():
                raise Stopped
            for future in done:
                try:
                    result = future.result()
                except BrokenProcessPool:
                    if stop():  # a signal to the whole group of processes
                        raise Stopped from None
                    raise
                yield result
    finally:
        asked.value = True
        try:
            pool.shutdown(cancel_futures=True)
        except BaseException:  # a second signal, which does not wait for the step
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


# Of a worker process, which has one: a pool hands nothing but a job's arguments on, and shared memory is none.
_own: list[Worker] = []


def _begin(asked: Flag) -> None:
    worker = Worker(asked)
    _own[:] = [worker]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; who started this process passes it on
    signal.signal(signal.SIGTERM, worker.handle)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=worker.watch, args=(parent.join,), daemon=True).start()


def _run(job: Callable[..., Result], given: Sequence[Any]) -> Result:
    return _own[0].run(job, given)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes that are started in the block ignore Ctrl-C from their first moment, before they could say so themselves."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
