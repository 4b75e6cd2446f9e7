"""The transfer table: every method beside the controls."""

from __future__ import annotations

from collections.abc import Sequence

from metatc2.data.seen import UNKNOWN_SOURCE
from metatc2.report.figures.axis import measure_words, with_head
from metatc2.report.html.page import PageSection, TableCell, TextTable
from metatc2.report.methods import Method, lacking, rows_of
from metatc2.report.text import listed
from metatc2.transfer import RANDOM_ENCODER, RAW_PIXELS, Row, mean_interval
from metatc2.transfer.row_words import remarks

_COLUMNS = (
    "run",
    "target",
    "protocol",
    "head",
    "features",
    "seed",
    "mean",
    "ci95",
    "query",
    "episodes",
    "selection",
    "inductive",
    "classes seen",
    "note",
)

Line = tuple[str, str, int | None]


def transfer_results(methods: Sequence[Method]) -> PageSection:
    """Mean over seeds, interval over episodes and interval over seeds, apart; then every row as it was measured."""
    missing = not_measured(methods)
    columns: dict[str, dict[Line, dict[int, Row]]] = {}
    for method, folder, row in rows_of(methods):
        lines = columns.setdefault(column_name(method, methods, row), {})
        lines.setdefault(_line(row), {}).setdefault(folder.seed, row)
    if not columns:
        return PageSection("transfer", "How well it transfers", missing=missing)
    order = list(dict.fromkeys(line for by_line in columns.values() for line in by_line))
    rows = [(_heading(line), *(_cell(by_line.get(line, {})) for by_line in columns.values())) for line in order]
    several = any(len(by_seed) > 1 for by_line in columns.values() for by_seed in by_line.values())
    caption = "Accuracy in %, or what the line names. ±: 95 % interval over episodes (few-shot) or images" + (
        ", averaged over seeds; below it the mean's 95 % interval over seeds." if several else "."
    )
    return PageSection(
        "transfer",
        "How well it transfers",
        _notes_by_method(methods),
        tables=[
            TextTable(caption, ("target and protocol", *columns), rows),
            every_row(methods),
        ],
        missing=missing,
    )


def not_measured(methods: Sequence[Method]) -> list[str]:
    """Which run folders have no result, and what makes one."""
    unmeasured = [folder for method in methods for folder in method.folders if not folder.rows]
    return lacking(unmeasured, "Not measured yet", "transfer")


def column_name(method: Method, methods: Sequence[Method], row: Row) -> str:
    """Whose figures stand together: a method's, or a control's that does not depend on the method.

    Methods with encoders of one kind share the random encoder; raw pixels are the same for all images of one size.
    """
    if row.features == RAW_PIXELS:
        sizes = {m.folders[0].shape for m in methods}
        return RAW_PIXELS if len(sizes) == 1 else f"{RAW_PIXELS} ({method.name})"
    if row.features == RANDOM_ENCODER:
        kinds = {(m.folders[0].network, m.folders[0].shape) for m in methods}
        return RANDOM_ENCODER if len(kinds) == 1 else f"{RANDOM_ENCODER} ({method.name})"
    return f"{method.name}: {row.features_words}"


def every_row(methods: Sequence[Method]) -> TextTable:
    """The rows of all ``transfer.json``, one by one and as they are."""
    rows = [
        _numbers(str(folder.path), row) for method in methods for folder in method.folders for row in folder.rows or []
    ]
    return TextTable("Every row that was measured", _COLUMNS, rows, folded=True)


def _numbers(run: str, row: Row) -> tuple[TableCell, ...]:
    what = (run, row.target, measure_words(row), row.head, row.features_words, row.seed)
    figures = (f"{row.mean:.6f}", f"{row.ci95:.6f}", _shown(row.query), _shown(row.episodes))
    return (*what, *figures, row.facts.get("selection", ""), row.inductive, _seen(row), row.note)


def _seen(row: Row) -> TableCell:
    """Whether classes were seen; of raw pixels and random encoders none were."""
    known = row.source != UNKNOWN_SOURCE or row.features in (RAW_PIXELS, RANDOM_ENCODER)
    return row.classes_seen if known else "unknown"


def _shown(number: int | None) -> TableCell:
    return "" if number is None else number


def _line(row: Row) -> Line:
    return row.target, with_head(row), row.episodes


def _heading(line: Line) -> str:
    target, words, episodes = line
    return f"{target}\n{words}{f', {episodes} episodes' if episodes else ''}"


def _cell(by_seed: dict[int, Row]) -> str:
    rows = list(by_seed.values())
    if not rows:
        return "–"
    means = [100 * row.mean for row in rows]
    text = f"{sum(means) / len(means):.1f} ± {sum(100 * row.ci95 for row in rows) / len(rows):.1f}"
    # Raw pixels do not depend on the seed: there is no interval over seeds.
    if len(rows) == 1 or rows[0].features == RAW_PIXELS:
        return text
    return f"{text}\n± {mean_interval(means)[1]:.1f} over {len(rows)} seeds"


def _notes_by_method(methods: Sequence[Method]) -> list[str]:
    """What must be said of all methods once, of some with their names."""
    said = {m.name: _notes([row for folder in m.folders for row in folder.rows or []]) for m in methods}
    notes = list(dict.fromkeys(note for own in said.values() for note in own))
    measured = [own for own in said.values() if own]
    everyone = [note for note in notes if all(note in own for own in measured)]
    return everyone + [f"{name}: {note}" for name, own in said.items() for note in own if note not in everyone]


def _notes(rows: Sequence[Row]) -> list[str]:
    together = dict.fromkeys(f"{row.target} {measure_words(row)}" for row in rows if not row.inductive)
    transductive = [f"{listed([*together])}: transductive: queries see each other."] if together else []
    return [*remarks(rows, selection=False), *transductive]
