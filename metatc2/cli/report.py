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
    protocol: Annotated[tuple[str, ...], option("NAME", default="all")] = (),
    target: Annotated[tuple[str, ...], option("TARGET", default="all")] = (),
    head: Annotated[tuple[str, ...], option("NAME", default="all")] = (),
    seeds: Annotated[tuple[int, ...], option("S", default="all")] = (),
) -> None:
    """Write one self-contained page about runs: settings, curves, transfer, comparison, conflict, embeddings, failures.

    It opens with one sentence and one chart of what was measured; the rest is folded.

    For example:
        metatc2 report runs/tc2-s0 runs/tc2-s1 runs/plain-s0 runs/plain-s1 --out report.html --assets
        metatc2 report runs/tc2 runs/plain --protocol few-shot --head cosine
        metatc2 report runs/tc2 runs/resnet18
        metatc2 report runs/simclr runs/rotation --fusion fusion.json

    Args:
        runs: Run folders; those that differ in their seed alone are one method. A name that is no folder stands for those of
            its seeds: runs/tc2 for runs/tc2-s0, runs/tc2-s1 and so on. Folders of results of other encoders too
            (`metatc2 transfer ENCODER --out DIR`).
        out: The page.
        assets: Write every figure as PNG and CSV beside it too.
        fusion: Result of `metatc2 fuse --json` to show too.
        protocol: Show these results alone, e.g. few-shot, "5-way 1-shot", knn.
        target: Show these alone, e.g. glyphs:greek, or glyphs for all of its splits.
        head: Show these classifiers alone, e.g. cosine, k=20.
        seeds: Take these of names that stand for several runs.
    """
    from metatc2.experiment.seed_folders import run_folders
    from metatc2.report.html.report import write_report
    from metatc2.transfer.row_filter import RowFilter

    fused, chosen = None if fusion is None else Path(fusion), RowFilter(protocol, target, head)
    written = write_report(run_folders(runs, seeds), Path(out), assets=assets, fusion=fused, chosen=chosen)
    say(bold(str(written)), ": open it in a browser")
