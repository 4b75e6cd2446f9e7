"""What fusion measured, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from metatc2.io.terminal import Group, PlainTable
from metatc2.transfer.fusion.measure import AS_GIVEN, ATTENTION, FusionDifference, FusionRow


def fusion_tables(
    rows: Sequence[FusionRow], differences: Sequence[FusionDifference], notes: Sequence[str] = ()
) -> Group:
    """For each target accuracies, paired differences, and the weights of encoders by class.

    Args:
        rows: of `metatc2.transfer.fusion.measure.measure_fusion`, of all targets.
        differences: of these rows.
        notes: sentences without their full stop, that stand below.
    """
    tables: list[PlainTable] = []
    for target in dict.fromkeys(row.target for row in rows):
        own = [row for row in rows if row.target == target]
        tables += [
            _accuracies(target, own, notes),
            _differences(target, [d for d in differences if d.target == target]),
            *_weights(target, own),
        ]
    return Group(*tables)


def _accuracies(target: str, rows: Sequence[FusionRow], notes: Sequence[str]) -> PlainTable:
    draws = len(rows[0].accuracies)
    table = PlainTable(f"{target}: accuracy in % by labels a class (± 95 % interval over {draws} draws of labels)")
    table.add_column("method")
    table.add_column("encoders")
    counts = list(dict.fromkeys(row.labels_per_class for row in rows))
    for count in counts:
        table.add_column(str(count), justify="right", min_width=9)
    cells = {(row.method, row.setting, row.labels_per_class): row for row in rows}
    for method, setting, kind in dict.fromkeys((row.method, row.setting, row.kind) for row in rows):
        name = f"attention: {method}" if kind == ATTENTION else method
        figures = [cells[method, setting, count] for count in counts]
        table.add_row(name, setting, *[f"{100 * row.mean:.1f}±{100 * row.ci95:.1f}" for row in figures])
    table.say_below([f"{note[0].upper()}{note[1:]}." for note in notes])
    return table


def _differences(target: str, differences: Sequence[FusionDifference]) -> PlainTable:
    table = PlainTable(f"{target}: paired differences in points of accuracy, by labels a class")
    counts = list(dict.fromkeys(d.labels_per_class for d in differences))
    table.add_column("A")
    table.add_column("B")
    for count in counts:
        table.add_column(f"A - B, {count}", justify="right", min_width=9)
    cells = {(d.a, d.b, d.labels_per_class): d for d in differences}
    for a, b in dict.fromkeys((d.a, d.b) for d in differences):
        figures = [cells[a, b, count] for count in counts]
        table.add_row(
            named(a),
            named(b),
            *[f"{100 * d.difference:+.1f}±{100 * d.ci95:.1f}{'*' if d.is_told_apart else ' '}" for d in figures],
        )
    table.say_below(
        [
            "* the interval over draws excludes zero. The draws share encoders and test images: it says nothing of other "
            "encoders."
        ]
    )
    return table


def _weights(target: str, rows: Sequence[FusionRow]) -> list[PlainTable]:
    """Of the first attention: by class at the most labels, and on average with every set of encoders."""
    most = max(row.labels_per_class for row in rows)
    first = next(row.method for row in rows if row.kind == ATTENTION)
    own = [row for row in rows if row.method == first and row.kind == ATTENTION and row.labels_per_class == most]
    plain = next(row for row in own if row.setting == AS_GIVEN)
    table = PlainTable(f"{target}: weight of each encoder by class, attention {first}, {most} labels a class")
    table.add_column("class")
    for encoder in plain.encoders:
        table.add_column(PurePath(encoder).name or encoder, justify="right")
    for name, weights in zip(plain.classes, plain.weights_by_class, strict=True):
        table.add_row(name, *[f"{w:.2f}" for w in weights])
    table.add_row("all", *[f"{w:.2f}" for w in plain.weights])
    probed = [
        f"{row.setting}: "
        + ", ".join(f"{PurePath(e).name} {w:.2f}" for e, w in zip(row.encoders, row.weights, strict=True))
        for row in own
        if row.setting != AS_GIVEN
    ]
    table.say_below([f"{line[0].upper()}{line[1:]}." for line in probed])
    return [table]


def named(key: tuple[str, str]) -> str:
    """A method and the encoders that it had, in words.

    >>> named(("sur", AS_GIVEN)), named(("sur", "one encoder twice"))
    ('sur', 'sur, one encoder twice')
    """
    method, setting = key
    return method if setting == AS_GIVEN else f"{method}, {setting}"
