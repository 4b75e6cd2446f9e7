"""How far advice has come: a live bar on a terminal, a line a job where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from metatc2.io.terminal import console, say

if TYPE_CHECKING:
    from metatc2.experiment.advice.progress import AdviceProgress


def time_left(seconds: float | None) -> str:
    """In words.

    >>> time_left(None), time_left(4.2), time_left(130.0)
    ('time left unknown', '4 s left', '2 min left')
    """
    if seconds is None:
        return "time left unknown"
    return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"


@contextmanager
def shown_progress() -> Iterator[Callable[[AdviceProgress], None]]:
    """What shows every `AdviceProgress` that it is given, on standard error."""
    from metatc2.training.progress import jobs_bar

    on = console(stderr=True)
    if not on.is_terminal:
        say("advise: reading images and timing steps")
        yield _line
        return
    with jobs_bar(on, told_left=True) as bar:

        def tell(progress: AdviceProgress) -> None:
            if not bar.tasks:  # before it is known how many jobs there are, nothing is shown of them
                bar.add_task(progress.what, total=progress.jobs, left="")
            done = progress.done + progress.share
            bar.update(
                bar.tasks[0].id,
                description=progress.what,
                completed=done,
                total=progress.jobs,
                left=time_left(progress.left),
            )

        yield tell


def _line(progress: AdviceProgress) -> None:
    if progress.finished:
        say(f"{progress.done}/{progress.jobs}  {progress.what}: done; {time_left(progress.left)}")
