"""Threads that read and decode; one that storage never answers does not keep the program from ending."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import cache
from typing import Any, ParamSpec, TypeVar

import torch
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

T = TypeVar("T")
P = ParamSpec("P")

_Job = tuple[Future[Any], Callable[[], Any]]
_PATIENCE = 2.0  # seconds for the jobs that run when the program ends


class ReadingThreads(Executor):
    """Threads that each compute on one core; Pillow and torch give up Python's lock while they work.

    As `concurrent.futures.ThreadPoolExecutor`, except that the interpreter's end does not wait for them for ever: a read from
    a network file system that is gone returns never.

    Args:
        workers: how many.
    """

    def __init__(self, workers: int) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        threads = [
            threading.Thread(target=_work, args=(self._jobs,), name=f"metatc2-data_{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in threads:
            thread.start()
        self._end = weakref.finalize(self, _stop, self._jobs, threads)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `concurrent.futures.Executor.submit`."""
        job: Future[T] = Future()
        self._jobs.put((job, lambda: fn(*args, **kwargs)))
        return job

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads; jobs that no thread has begun are canceled, those that run are waited for a moment."""
        self._end()


def _work(jobs: queue.SimpleQueue[_Job | None]) -> None:
    _one_core()
    while (taken := jobs.get()) is not None:
        job, action = taken
        if job.set_running_or_notify_cancel():
            try:
                job.set_result(action())
            except BaseException as error:  # it is the caller's, as in any executor
                job.set_exception(error)
        del taken, job, action  # a thread that waits must keep nothing alive


def _stop(jobs: queue.SimpleQueue[_Job | None], threads: Sequence[threading.Thread]) -> None:
    try:
        while (waiting := jobs.get_nowait()) is not None:
            waiting[0].cancel()
    except queue.Empty:
        pass
    for _ in threads:
        jobs.put(None)
    until = time.monotonic() + _PATIENCE
    for thread in threads:
        if thread is not threading.current_thread():  # the collector may run in one of them
            thread.join(max(0.0, until - time.monotonic()))


def _one_core() -> None:
    torch.get_num_threads()  # torch sets a new thread's number at its first question, and must not do so later
    _openmp().limit(limits=1)  # OpenMP keeps the number by thread: the others compute as before


@cache
def _openmp() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="openmp")
