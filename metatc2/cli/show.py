"""What is shown and given to others: `metatc2 report`, `export` and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metatc2.cli._stop_on_signal import ended_by_signal
from metatc2.io.suggest import SOURCE, command
from metatc2.io.terminal import bold, say


def report(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR...")],
    /,
    *,
    out: Annotated[str, tyro.conf.arg(metavar="FILE.html")] = "report.html",
    assets: bool = False,
) -> None:
    """Write one self-contained page about runs: settings, curves, transfer, comparison, conflict, embeddings, failures.

    For example:
        metatc2 report runs/tc2-s0 runs/tc2-s1 runs/plain-s0 runs/plain-s1 --out report.html --assets

    Args:
        runs: Run folders; those that differ in their seed alone are one method.
        out: The page.
        assets: Write every figure as PNG and CSV beside it too.
    """
    from metatc2.report.html.report import write_report

    written = write_report([Path(run) for run in runs], Path(out), assets=assets)
    say(bold(str(written)), ": open it in a browser")


def export(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")],
    /,
) -> None:
    """Write a run's encoder as a folder for the Hugging Face Hub: config.json, model.safetensors, model card.

    For example:
        metatc2 export runs/tc2 my-encoder
        hf upload OWNER/NAME my-encoder

    Args:
        run: Run folder.
        folder: New folder.
    """
    from metatc2.experiment.hub import save_pretrained

    save_pretrained(run, folder)
    say(bold(folder), f": {command('transfer', Path(folder), '--to', SOURCE, '--out', 'DIR')} judges it")


def demo(*, folder: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/demo", seeds: int = 3) -> None:
    """Pre-train on tasks that disagree, with and without TC², transfer to what they share and what one of them keeps, draw it.

    SimCLR on rendered objects: plain, with the regularizer VISReg (the strongest control) and with TC², which is not told what
    the tasks are. Takes a few minutes on two CPU cores. Ctrl-C and SIGTERM end all processes after the step they are at (exit
    status 130 and 143).

    For example:
        metatc2 demo

    Args:
        folder: Where runs, table and picture go.
        seeds: Seeds of every method; intervals are over them.
    """
    from metatc2.cli.demo import run_demo

    with ended_by_signal() as stop:
        run_demo(Path(folder), seeds=seeds, stop=stop)
