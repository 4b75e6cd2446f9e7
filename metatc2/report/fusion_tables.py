"""What fusion measured, as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from metatc2.io.terminal import Group, PlainTable
from metatc2.report.fusion_rows import ByLabels, EncoderWeights, fusion_rows, sentence
from metatc2.transfer.fusion.measure import FusionDifference, FusionRow


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
    for made in fusion_rows(rows, differences):
        title = f"{made.target}: accuracy in % by labels a class (± 95 % interval over {made.draws} draws of labels)"
        tables.append(_by_labels(title, ("method", "encoders"), made.accuracies, [sentence(note) for note in notes]))
        title = f"{made.target}: paired differences in points of accuracy, A - B, by labels a class"
        below = (
            "* the interval over draws excludes zero. The draws share encoders and test images: it says nothing of other "
            "encoders."
        )
        tables.append(_by_labels(title, ("A", "B"), made.differences, [below]))
        if made.weights is not None:
            tables.append(_weights(made.target, made.weights))
    return Group(*tables)


def _by_labels(title: str, heads: tuple[str, str], made: ByLabels, below: Sequence[str]) -> PlainTable:
    table = PlainTable(title)
    for head in heads:
        table.add_column(head)
    for count in made.counts:
        table.add_column(str(count), justify="right", min_width=9)
    starred = any(cell.endswith("*") for _, cells in made.lines for cell in cells)
    for names, cells in made.lines:
        narrow = [cell.replace(" ± ", "±") for cell in cells]
        table.add_row(*names, *[f"{cell} " if starred and cell[-1] != "*" else cell for cell in narrow])
    table.say_below(below)
    return table


def _weights(target: str, made: EncoderWeights) -> PlainTable:
    table = PlainTable(
        f"{target}: weight of each encoder by class, attention {made.attention}, {made.labels} labels a class"
    )
    table.add_column("class")
    for encoder in made.encoders:
        table.add_column(encoder, justify="right")
    for name, weights in made.lines:
        table.add_row(name, *[f"{w:.2f}" for w in weights])
    table.say_below([sentence(probe) for probe in made.probes])
    return table
