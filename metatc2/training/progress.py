"""Live progress: of a run (step, loss, images a second, share of time spent waiting for data, time left), and of jobs."""

from __future__ import annotations

from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from metatc2.io.terminal import PlainConsole, console, say


class Progress:
    """A live bar on a terminal; a line every tenth of the run where there is none.

    Args:
        steps: of the whole run.
        done: steps done already.
        show: False measures and shows nothing.
    """

    def __init__(self, steps: int, done: int, *, show: bool) -> None:
        self.steps, self.show = steps, show
        self.console = console(stderr=True)
        self.live = show and self.console.is_terminal
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
        if self.show and not self.live and step % max(1, self.steps // 10) == 0:
            left = (self.steps - step) * images / max(rate, 1e-9)
            say(f"step {step}/{self.steps}  loss {loss:.3f}  {rate:.0f} images/s  data {share:.0%}  {left:.0f} s left")

    def rates(self) -> dict[str, float]:
        """Images a second and share of time spent waiting for data, so far."""
        return {
            "images_per_second": round(self.images / max(self.time, 1e-9), 1),
            "data_wait": round(self.waited / max(self.time, 1e-9), 4),
        }


def jobs_bar(on: PlainConsole) -> Bar:
    """A live bar over a number of jobs; nothing where there is no terminal.

    Args:
        on: where it is drawn.
    """
    return Bar(*Bar.get_default_columns(), TimeElapsedColumn(), console=on, disable=not on.is_terminal)
