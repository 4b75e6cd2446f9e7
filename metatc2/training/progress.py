"""Live progress: of a run (step, loss, images a second, share of time spent waiting for data, time left), and of jobs."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from metatc2.io.terminal import PlainConsole, console, say

#: Seconds after which a log file gets a line, however long a tenth of the run takes.
MINUTE = 60.0


class Progress:
    """A live bar on a terminal or in a notebook; elsewhere, as in a log file, a line every tenth of the run and every minute.

    Args:
        steps: of the whole run.
        done: steps done already.
        show: False measures and shows nothing; None shows a live bar alone.
    """

    def __init__(self, steps: int, done: int, *, show: bool | None) -> None:
        self.console = console(stderr=True)
        drawn = self.console.is_terminal or self.console.is_jupyter
        self.steps, self.show = steps, drawn if show is None else show
        self.live = self.show and drawn
        self.said = time.perf_counter()
        self.images = self.time = self.waited = 0.0
        self.bar = Bar(
            TextColumn("pre-train"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[rate]:.0f} images/s  data {task.fields[wait]:.0%}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.live,
        )
        self.task = self.bar.add_task("", total=steps, completed=done, loss=float("nan"), rate=0.0, wait=0.0)

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, step: int, loss: float, images: int, seconds: float, waited: float) -> None:
        """Note a step: its images, how long it took, and how long of that it waited for its episode."""
        self.images, self.time, self.waited = self.images + images, self.time + seconds, self.waited + waited
        rate = self.images / max(self.time, 1e-9)
        share = self.waited / max(self.time, 1e-9)
        self.bar.update(self.task, completed=step, loss=loss, rate=rate, wait=share)
        due = step % max(1, self.steps // 10) == 0 or time.perf_counter() - self.said > MINUTE
        if self.show and not self.live and due:
            self.said = time.perf_counter()
            left = (self.steps - step) * images / max(rate, 1e-9)
            say(f"step {step}/{self.steps}  loss {loss:.3f}  {rate:.0f} images/s  data {share:.0%}  {left:.0f} s left")

    def rates(self) -> dict[str, float]:
        """Images a second and share of time spent waiting for data, so far."""
        return {
            "images_per_second": round(self.images / max(self.time, 1e-9), 1),
            "data_wait": round(self.waited / max(self.time, 1e-9), 4),
        }


def jobs_bar(on: PlainConsole, *, told_left: bool = False) -> Bar:
    """A live bar over a number of jobs, whose names stand in it as they were typed; nothing where there is no terminal.

    Args:
        on: where it is drawn.
        told_left: whether the time left is a text that is told, in the field ``left`` of a task; else it is estimated, beside
            the time that went by.
    """
    own = TextColumn("{task.fields[left]}", markup=False)
    times = (own,) if told_left else (TimeRemainingColumn(), TimeElapsedColumn())
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), MofNCompleteColumn(), *times)
    return Bar(*columns, console=on, disable=not on.is_terminal)
