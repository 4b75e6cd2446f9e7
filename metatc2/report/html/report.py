"""One self-contained page about one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from metatc2.errors import InputError
from metatc2.io.files import printable, write_atomically, writing
from metatc2.io.writing import check_replaceable, csv_text
from metatc2.report.figures import to_png
from metatc2.report.fusion_file import Fusion, read_fusion
from metatc2.report.html import sections
from metatc2.report.html.page import PageSection, render
from metatc2.report.methods import Method, read_methods
from metatc2.transfer.row_filter import EVERY_ROW, RowFilter


def write_report(
    paths: Sequence[Path],
    out: Path,
    *,
    assets: bool = False,
    fusion: Path | None = None,
    chosen: RowFilter = EVERY_ROW,
) -> Path:
    """Write the report of run folders: configuration, training, transfer, comparison, conflict, and images.

    Runs that differ in their seed alone are one method. What a folder lacks is named in the page with the command that makes
    it. The page loads nothing: pictures, style and script are in it.

    Args:
        paths: run folders and folders of results, see `read_methods`, the method in question first.
        out: the page, e.g. ``report.html``; replaced if it exists.
        assets: also write every figure as PNG and CSV, and the transfer rows as CSV, to ``report_assets/`` beside the page.
        fusion: file of ``metatc2 fuse --json``, which becomes a part of the page.
        chosen: which of the results are shown; p stays corrected over all targets that were measured.

    Returns:
        `out`.

    Raises:
        InputError: if a path is not a run folder, a file in one is damaged, or `out` cannot be written. Nothing is written
            before the whole report is made.
    """
    if out.is_dir():
        raise InputError(f"--out {out}: is a folder; name a file in it, e.g. {out / 'report.html'}")
    check_replaceable(out, "--out", (".html", ".htm"))
    methods = read_methods(paths, chosen)
    made = build_sections(methods, None if fusion is None else read_fusion(fusion), chosen)
    files = _assets(made) if assets else {}
    page = render(title(methods), made, version=version("metatc2"))
    folder = out.with_name(f"{out.stem}_assets")
    with writing(f"--out {out}", "name a file in a folder of yours"):
        for name, content in files.items():
            write_atomically(folder / name, content)
        write_atomically(out, printable(page).encode())
    return out


def build_sections(
    methods: Sequence[Method], fused: Fusion | None = None, chosen: RowFilter = EVERY_ROW
) -> list[PageSection]:
    """All parts of the page in their order."""
    return [
        sections.summary(methods, chosen),
        sections.configuration(methods),
        sections.curves(methods),
        *sections.monitored(methods),
        sections.transfer_results(methods),
        sections.comparison(methods, chosen),
        sections.transfer_matrix(methods),
        *sections.fusion(fused),
        sections.task_conflict(methods),
        *sections.known_factors(methods),
        *sections.images(methods),
    ]


def title(methods: Sequence[Method]) -> str:
    """Of the page."""
    return "Transfer report: " + " against ".join(dict.fromkeys(method.name for method in methods))


def _assets(made: Sequence[PageSection]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for section in made:
        for drawn in section.figures:
            files[f"{drawn.name}.png"] = to_png(drawn)
            files[f"{drawn.name}.csv"] = csv_text(drawn.columns, drawn.rows).encode()
        if section.id == "transfer" and section.tables:
            files["transfer.csv"] = csv_text(section.tables[-1].columns, section.tables[-1].rows).encode()
    return files
