"""`metatc2 demo`: TC² beside its controls on tasks that disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from metatc2.cli._args import option
from metatc2.cli._stop_on_signal import ended_by_signal


def demo(*, folder: Annotated[str, option("DIR")] = "runs/demo", seeds: int = 3) -> None:
    """Pre-train on tasks that disagree, with and without TC², transfer to what they share and what one of them keeps, draw it.

    SimCLR on rendered objects: plain, with the regularizer VISReg (the strongest control of docs/evidence.md) and with TC²,
    which is not told what the tasks are, beside raw pixels and a random encoder. It says where pre-training pays, which
    control is strongest on each target, and what to type next. Takes a few minutes on two CPU cores. Ctrl-C and SIGTERM end
    all processes after the step they are at (exit status 130 and 143).

    For example:
        metatc2 demo

    Args:
        folder: Where runs, table and picture go.
        seeds: Seeds of every method; intervals are over them.
    """
    from metatc2.cli._demo_runs import run_demo

    with ended_by_signal() as stop:
        run_demo(Path(folder), seeds=seeds, stop=stop)
