"""Result rows and comparisons as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table

from metatc2.transfer import Difference, Row


def wide_console() -> Console:
    """Standard output; where it is no terminal, 120 columns wide, so that tables in a log do not wrap."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def transfer_table(rows: Sequence[Row]) -> Table:
    """One line a target, protocol and head; one column for each kind of features.

    Args:
        rows: of one run, as `metatc2.runs.transfer` returns them.
    """
    kinds = list(dict.fromkeys(row.features for row in rows))
    title = "Accuracy, % (± 95 % interval over episodes; k-NN: over images)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("target", "protocol", "head"):
        table.add_column(heading, no_wrap=True)
    for kind in kinds:
        table.add_column(kind, justify="right")
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        head = row.head if row.protocol == "few-shot" else f"k={row.k}"
        lines.setdefault((row.target, _protocol(row), head), {})[row.features] = (
            f"{100 * row.mean:.1f}±{100 * row.ci95:.1f}"
        )
    for (target, protocol, head), by_kind in lines.items():
        table.add_row(target, protocol, head, *[by_kind.get(kind, "") for kind in kinds])
    notes: dict[str, list[str]] = {}
    for row in rows:
        said = [row.note] if row.note else []
        said += ["some of its classes were among the pre-training images"] if row.classes_seen else []
        for sentence in said:
            known = notes.setdefault(sentence, [])
            where = f"{row.target} {row.shot}-shot" if row.protocol == "few-shot" else row.target
            known += [where] if where not in known else []
    table.caption = "\n".join(f"{', '.join(where)}: {sentence}." for sentence, where in notes.items()) or None
    table.caption_justify = "left"
    return table


def comparison_table(differences: Sequence[Difference]) -> Group:
    """A table for each pair of methods, in points of accuracy, with the verdict that the rule gives."""
    pairs = dict.fromkeys((d.a, d.b) for d in differences)
    return Group(*[_pair_table(a, b, [d for d in differences if (d.a, d.b) == (a, b)]) for a, b in pairs])


def _pair_table(a: str, b: str, differences: Sequence[Difference]) -> Table:
    title = f"{a} (A) against {b} (B), accuracy in %"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("target", "protocol", "head"):
        table.add_column(heading)
    for heading in ("A", "B", "A - B", "by seed"):
        table.add_column(heading, justify="right")
    table.add_column("A is")
    for d in differences:
        table.add_row(
            d.target,
            f"{d.way}-way {d.shot}-shot" if d.protocol == "few-shot" else f"k-NN, k={d.k}",
            d.head,
            f"{100 * d.mean_a:.1f}",
            f"{100 * d.mean_b:.1f}",
            f"{100 * d.difference:+.1f}±{100 * d.ci95:.1f}",
            " ".join(f"{100 * x:+.1f}" for x in d.per_seed),
            d.verdict,
        )
    over = dict.fromkeys(d.interval for d in differences)
    table.caption = f"± 95 % interval over {' and '.join(over)}." + (
        " One seed says nothing about other seeds." if over.keys() - {"seeds"} else ""
    )
    table.caption_justify = "left"
    return table


def _protocol(row: Row) -> str:
    return f"{row.way}-way {row.shot}-shot" if row.protocol == "few-shot" else "k-NN"
