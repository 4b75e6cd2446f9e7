"""`metatc2 report`: one page about runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.io.terminal import bold, say


def report(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, option("DIR...")],
    /,
    *,
    out: Annotated[str, option("FILE.html")] = "report.html",
    assets: bool = False,
    fusion: Annotated[str | None, option("FILE.json")] = None,
) -> None:
    """Write one self-contained page about runs: settings, curves, transfer, comparison, conflict, embeddings, failures.

    For example:
        metatc2 report runs/tc2-s0 runs/tc2-s1 runs/plain-s0 runs/plain-s1 --out report.html --assets
        metatc2 report runs/simclr runs/rotation --fusion fusion.json

    Args:
        runs: Run folders; those that differ in their seed alone are one method.
        out: The page.
        assets: Write every figure as PNG and CSV beside it too.
        fusion: Result of `metatc2 fuse --json` to show too.
    """
    from metatc2.report.html.report import write_report

    fused = None if fusion is None else Path(fusion)
    written = write_report([Path(run) for run in runs], Path(out), assets=assets, fusion=fused)
    say(bold(str(written)), ": open it in a browser")
