"""What the page opens with: one sentence and one chart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from metatc2.errors import InputError
from metatc2.experiment.compare import compare
from metatc2.experiment.pretrained import ENCODER
from metatc2.report.figures import Point, accuracy
from metatc2.report.figures.axis import measure_words, signed, with_head
from metatc2.report.html.page import PageSection
from metatc2.report.html.sections.transfer import column_name, not_measured
from metatc2.report.methods import Method, rows_of
from metatc2.report.text import listed
from metatc2.transfer import MEAN_TARGET, RANDOM_ENCODER, RAW_PIXELS, Difference, Row, mean_interval
from metatc2.transfer.row_filter import EVERY_ROW, RowFilter

_TARGETS = 8
_CONTROLS = (RANDOM_ENCODER, RAW_PIXELS)
_AS_SUBJECT = {RANDOM_ENCODER: "a random encoder reaches", RAW_PIXELS: "raw pixels reach"}

BySeed = Mapping[int, Row]


def summary(methods: Sequence[Method], chosen: RowFilter = EVERY_ROW) -> PageSection:
    """What was measured first, on every target, in one sentence and one chart; the rest of the page has the rest.

    Args:
        methods: of the page, the one in question first.
        chosen: which results it shows.
    """
    rows = [row for method in methods for folder in method.folders for row in folder.rows or ()]
    if not rows:
        names = ", ".join(method.name for method in methods)
        return PageSection(
            "summary",
            "In short",
            [f"No transfer of {names} has been measured yet."],
            missing=not_measured(methods),
            opening=True,
        )
    first = _first(methods, rows)
    words = measure_words(first)
    columns = _columns(methods, words)
    points = _points(columns)
    measured = with_head(first)
    chance = 1 / first.way if first.protocol == "few-shot" and first.metric == "accuracy" and first.way else None
    more = [f"Shown of what was measured: {chosen.words}."] if chosen.words else []
    left = len(dict.fromkeys(row.target for row in rows if measure_words(row) == words)) - _TARGETS
    more += (
        [f"The chart shows the first {_TARGETS} targets; {left} more are in the transfer table."] if left > 0 else []
    )
    return PageSection(
        "summary",
        "In short",
        [_sentence(methods, columns, measured, chosen), *more],
        figures=[accuracy(points, measured, chance)],
        opening=True,
    )


def _first(methods: Sequence[Method], rows: Sequence[Row]) -> Row:
    """The row that says what is told: of accuracy where there is one, and measured in a way that all methods were."""
    ordered = [row for row in rows if row.metric == "accuracy"] or list(rows)
    ways = [{measure_words(row) for folder in method.folders for row in folder.rows or ()} for method in methods]
    shared = set.intersection(*(way for way in ways if way))
    return next((row for row in ordered if measure_words(row) in shared), ordered[0])


def _columns(methods: Sequence[Method], words: str) -> dict[str, dict[str, dict[int, Row]]]:
    """By method or control, target and seed: the rows measured in one way, with the first classifier of each column."""
    columns: dict[str, dict[str, dict[int, Row]]] = {}
    heads: dict[str, str] = {}
    for method, folder, row in rows_of(methods):
        if measure_words(row) == words:
            name = column_name(method, methods, row)
            if heads.setdefault(name, row.head) == row.head:
                columns.setdefault(name, {}).setdefault(row.target, {}).setdefault(folder.seed, row)
    return columns


def _points(columns: Mapping[str, Mapping[str, BySeed]]) -> list[Point]:
    shared = _shared(columns)
    targets = list(dict.fromkeys([*shared, *(target for by_target in columns.values() for target in by_target)]))
    points = [
        _point(target, name, [by_target[target]])
        for target in targets[:_TARGETS]
        for name, by_target in columns.items()
        if target in by_target
    ]
    if len(shared) > 1:
        of_all = {
            name: [each[target] for target in shared] for name, each in columns.items() if set(shared) <= set(each)
        }
        points += [
            _point(MEAN_TARGET, name, group) for name, group in of_all.items() if set.intersection(*map(set, group))
        ]
    return points


def _shared(columns: Mapping[str, Mapping[str, BySeed]]) -> list[str]:
    """Targets that every method was measured on, which a mean is over; all where there is none."""
    targets = list(dict.fromkeys(target for by_target in columns.values() for target in by_target))
    own = [by_target for by_target in columns.values() if not _is_control(by_target)] or list(columns.values())
    return [target for target in targets if all(target in by_target for by_target in own)] or targets


def _is_control(by_target: Mapping[str, BySeed]) -> bool:
    return all(row.features in _CONTROLS for by_seed in by_target.values() for row in by_seed.values())


def _point(target: str, name: str, group: Sequence[BySeed]) -> Point:
    """One target, or several with every seed's results averaged over them."""
    seeds = sorted(set.intersection(*map(set, group)))
    rows = [by_seed[seeds[0]] for by_seed in group]
    control, constant = rows[0].features in _CONTROLS, rows[0].features == RAW_PIXELS
    means = [statistics.fmean(by_seed[seed].mean for by_seed in group) for seed in seeds]
    if len(seeds) > 1 and not constant:
        mean, half = mean_interval(means)
        return Point(target, name, control, mean, half, "seeds", len(seeds))
    # Targets have episodes of their own, so their errors are independent.
    half = sum(row.ci95**2 for row in rows) ** 0.5 / len(rows)
    return Point(target, name, control, means[0], half, "episodes" if rows[0].episodes else "images", len(seeds))


def _sentence(
    methods: Sequence[Method],
    columns: Mapping[str, Mapping[str, BySeed]],
    measured: str,
    chosen: RowFilter,
) -> str:
    """By rule: the first method's result, its paired differences from the others with their verdicts, and the controls."""
    points = _points(columns)
    shared = _shared(columns)
    target = MEAN_TARGET if any(p.target == MEAN_TARGET for p in points) else shared[0]
    there = [p for p in points if p.target == target]
    targets = len(shared)
    where = f"the mean over {targets} targets" if target == MEAN_TARGET else target
    trained, controls = [p for p in there if not p.control], [p for p in there if p.control]
    lead = (trained or there)[0]
    name = lead.name.removesuffix(f": {ENCODER}")
    sentence = f"{name} reaches {100 * lead.mean:.1f} ± {100 * lead.ci95:.1f} % on {where} ({measured})"
    against = [_against(d) for d in _differences(methods, chosen) if with_head(d) == measured and d.target == target]
    others = [p for p in trained if p is not lead]
    parts = against or [f"{p.name} {100 * p.mean:.1f} ± {100 * p.ci95:.1f} %" for p in others]
    told = f"{sentence}{''.join(f', {part}' for part in parts)}"
    alone = [f"{_AS_SUBJECT.get(p.name, p.name)} {100 * p.mean:.1f} %" for p in controls if p is not lead]
    return f"{told}{'; ' if alone else ''}{listed(alone) if alone else ''}."


def _differences(methods: Sequence[Method], chosen: RowFilter) -> list[Difference]:
    """None where the comparison, which has a part of its own, says why there are none."""
    try:
        return compare([f.path for method in methods for f in method.folders if f.rows], chosen=chosen)
    except InputError:
        return []


def _against(d: Difference) -> str:
    seeds = f", {len(d.seeds)} seeds" if len(d.seeds) > 1 else ""
    return f"{signed(100 * d.difference)} ± {100 * d.ci95:.1f} points against {d.b} ({d.verdict}{seeds})"
