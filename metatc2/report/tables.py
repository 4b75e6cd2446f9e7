"""Result rows and comparisons as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metatc2.io.terminal import Group, PlainTable
from metatc2.transfer import Cell, Difference, Matrix, RankCorrelation, Row
from metatc2.transfer.estimates import Estimate
from metatc2.transfer.evaluate import RAW_PIXELS
from metatc2.transfer.matrix import over_seeds
from metatc2.transfer.row_words import head_name, pair_remarks, protocol_name, remarks


def transfer_table(rows: Sequence[Row]) -> PlainTable:
    """One line a target, protocol and head; one column for each kind of features.

    Args:
        rows: of one run, as `metatc2.experiment.transfer.transfer` returns them.
    """
    kinds = list(dict.fromkeys(row.features_words for row in rows))
    title = "Accuracy, or what the line names, in % (± 95 % interval over episodes, else over images)"
    table = PlainTable(title)
    for heading in ("target", "protocol", "head"):
        table.add_column(heading)
    for kind in kinds:
        # A figure that is cut is worse than a name that wraps.
        table.add_column(kind, justify="right", min_width=10)
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        lines.setdefault((row.target, protocol_name(row), head_name(row)), {})[row.features_words] = (
            f"{100 * row.mean:.1f}±{100 * row.ci95:.1f}"
        )
    for (target, protocol, head), by_kind in lines.items():
        table.add_row(target, protocol, head, *[by_kind.get(kind, "") for kind in kinds])
    table.say_below(remarks(rows))
    return table


def seeds_table(rows: Sequence[Row]) -> PlainTable:
    """As `transfer_table`, of the means over seeds.

    Args:
        rows: of runs that differ in their seed alone, measured in one way.
    """
    lines: dict[tuple[str, str, str], dict[str, dict[int, Row]]] = {}
    for row in rows:
        line = lines.setdefault((row.target, protocol_name(row), head_name(row)), {})
        line.setdefault(row.features_words, {})[row.seed] = row
    kinds = list(dict.fromkeys(row.features_words for row in rows))
    seeds = ", ".join(map(str, sorted({row.seed for row in rows})))
    table = PlainTable(f"Mean over the seeds {seeds}, in % (± 95 % interval over seeds)")
    for heading in ("target", "protocol", "head"):
        table.add_column(heading)
    for kind in kinds:
        table.add_column(kind, justify="right", min_width=10)
    for (target, protocol, head), by_kind in lines.items():
        table.add_row(target, protocol, head, *[_over_seeds(by_kind.get(kind, {})) for kind in kinds])
    if any(row.features == RAW_PIXELS for row in rows):
        table.say_below(["No seed changes raw pixels: of them there is no interval over seeds."])
    return table


def _over_seeds(by_seed: Mapping[int, Row]) -> str:
    if not by_seed:
        return ""
    constant = all(row.features == RAW_PIXELS for row in by_seed.values())
    return _percent(over_seeds({seed: row.mean for seed, row in by_seed.items()}, constant=constant))


def comparison_table(differences: Sequence[Difference]) -> Group:
    """A table for each pair of methods, in points of accuracy, with the verdict that the rule gives."""
    pairs = dict.fromkeys((d.a, d.b) for d in differences)
    return Group(*[_pair_table(a, b, [d for d in differences if (d.a, d.b) == (a, b)]) for a, b in pairs])


def matrix_tables(matrices: Sequence[Matrix]) -> Group:
    """One table a protocol: sources down, targets across, the controls last."""
    return Group(*[_matrix_table(matrix) for matrix in matrices])


def _matrix_table(matrix: Matrix) -> PlainTable:
    drawn = f", {matrix.row.episodes} episodes" if matrix.row.episodes else ""
    over = " (± 95 % interval over seeds)" if any(cell.ci95 is not None for cell in matrix.cells.values()) else ""
    features = f", {matrix.row.features_words}" if matrix.row.context_words else ""
    title = f"{protocol_name(matrix.row)}, {head_name(matrix.row)}{drawn}{features}: result in %{over}"
    table = PlainTable(title)
    table.add_column("source")
    for target in matrix.targets:
        table.add_column(target, justify="right")
    for source in matrix.sources:
        cells = [matrix.cells.get((source, target)) for target in matrix.targets]
        table.add_row(source, *["" if cell is None else _percent(cell) for cell in cells])
    return table


def _percent(cell: Cell) -> str:
    return f"{100 * cell.mean:.1f}" + ("" if cell.ci95 is None else f"±{100 * cell.ci95:.1f}")


def estimate_table(
    estimates: Sequence[Estimate], correlations: Mapping[tuple[str, str], RankCorrelation]
) -> PlainTable:
    """Estimates of transfer, one line an encoder and target; below, how well they rank the encoders."""
    names = list(estimates[0].values)
    table = PlainTable()
    table.add_column("target")
    table.add_column("encoder")
    for heading in (*names, "measured, %"):
        table.add_column(heading, justify="right")
    for e in sorted(estimates, key=lambda e: e.target):
        measured = "" if e.measured is None else f"{100 * e.measured:.1f}"
        table.add_row(e.target, e.encoder, *[f"{value:.3f}" for value in e.values.values()], measured)
    correlated = [
        f"{target}: {name} ranks {c.encoders} encoders with Kendall's τ {c.kendall:+.2f}, Spearman's ρ {c.spearman:+.2f}."
        for (name, target), c in correlations.items()
    ]
    table.say_below(["Higher is better; compare within one target.", *correlated])
    return table


def _pair_table(a: str, b: str, differences: Sequence[Difference]) -> PlainTable:
    title = f"{a} (A) against {b} (B), accuracy in %"
    table = PlainTable(title)
    for heading in ("target", "protocol", "head"):
        table.add_column(heading)
    for heading in ("A", "B", "A - B", "by seed", "d_z", "p"):
        table.add_column(heading, justify="right")
    table.add_column("A is")
    for d in differences:
        table.add_row(
            d.target,
            f"{protocol_name(d)}, {d.context}" if d.context else protocol_name(d),
            f"k={d.k}" if d.k else d.head,
            f"{100 * d.mean_a:.1f}",
            f"{100 * d.mean_b:.1f}",
            f"{100 * d.difference:+.1f}±{100 * d.ci95:.1f}",
            " ".join(f"{100 * x:+.1f}" for x in d.per_seed),
            "" if d.effect is None else f"{d.effect:+.1f}",
            "" if d.p_holm is None else f"{d.p_holm:.3f}",
            d.verdict,
        )
    over = dict.fromkeys(d.interval for d in differences)
    below = f"± 95 % interval over {' and '.join(over)}." + (
        " One seed says nothing about other seeds."
        if over.keys() - {"seeds"}
        else " d_z: mean over standard deviation of the seeds' differences; p: paired t-test, Holm's correction over targets."
    )
    table.say_below([below, *pair_remarks(differences)])
    return table
