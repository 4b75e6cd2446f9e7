"""Arguments of the studies' scripts."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from csv_results import Results
from shared import positive


def study_parser(about: str | None, *, runs: str, results: Results, seeds: int) -> argparse.ArgumentParser:
    """Arguments that every study has: seeds, workers, where runs lie and results go, and only to gather."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=positive, default=seeds)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--runs", type=Path, default=Path(runs))
    parser.add_argument("--results", type=Path, default=results.path, help="CSV file")
    parser.add_argument("--collect", action="store_true", help="make nothing, only gather")
    return parser


def choices(
    parser: argparse.ArgumentParser, flag: str, every: Iterable[str], default: Iterable[str] | None = None
) -> None:
    """An argument that takes some of a study's names; all of them where it is not given, or the default."""
    names = list(every)
    parser.add_argument(flag, nargs="+", choices=names, default=names if default is None else list(default))
