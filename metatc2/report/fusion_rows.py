"""What fusion measured, as rows of tables: what a terminal and a page both show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from metatc2.transfer.fusion.measure import AS_GIVEN, ATTENTION, FusionDifference, FusionRow

Line = tuple[tuple[str, str], tuple[str, ...]]


@dataclass(frozen=True)
class ByLabels:
    """A table with a column for each number of labels a class.

    Args:
        counts: labels a class, of the columns.
        lines: each two headings, and a cell for each column, ``–`` where nothing was measured.
    """

    counts: tuple[int, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class EncoderWeights:
    """Weights that an attention gave, at the most labels.

    Args:
        attention: its name.
        labels: of each class.
        encoders: short names, the whole ones where short ones are alike.
        lines: name and weights of each class, and of all together under ``all``.
        probes: a sentence without its full stop for each other set of encoders.
    """

    attention: str
    labels: int
    encoders: tuple[str, ...]
    lines: tuple[tuple[str, tuple[float, ...]], ...]
    probes: tuple[str, ...]


@dataclass(frozen=True)
class FusionTables:
    """Of one target.

    Args:
        target: its name.
        draws: of labels.
        accuracies: of every method, in %, by method and the encoders that it had.
        differences: paired, in points, of A less B; a star where the interval excludes zero.
        weights: of the first attention; None where it has none by class.
    """

    target: str
    draws: int
    accuracies: ByLabels
    differences: ByLabels
    weights: EncoderWeights | None


def fusion_rows(rows: Sequence[FusionRow], differences: Sequence[FusionDifference]) -> list[FusionTables]:
    """Tables of every target, in the order of the rows.

    Args:
        rows: of `metatc2.transfer.fusion.measure.measure_fusion`.
        differences: of these rows.
    """
    tables = []
    for target in dict.fromkeys(row.target for row in rows):
        own = [row for row in rows if row.target == target]
        paired = [d for d in differences if d.target == target]
        counts = tuple(dict.fromkeys(row.labels_per_class for row in own))
        tables.append(
            FusionTables(
                target, len(own[0].accuracies), _accuracies(own, counts), _differences(paired, counts), _weights(own)
            )
        )
    return tables


def sentence(words: str) -> str:
    """Words with a capital and a full stop.

    >>> sentence("one is left out")
    'One is left out.'
    """
    return f"{words[0].upper()}{words[1:]}."


def _accuracies(rows: Sequence[FusionRow], counts: tuple[int, ...]) -> ByLabels:
    cells = {(r.method, r.setting, r.labels_per_class): f"{100 * r.mean:.1f} ± {100 * r.ci95:.1f}" for r in rows}
    lines = []
    for kind, method, setting in dict.fromkeys((row.kind, row.method, row.setting) for row in rows):
        name = f"{kind}: {method}" if kind == ATTENTION else method
        lines.append(((name, setting), tuple(cells.get((method, setting, count), "–") for count in counts)))
    return ByLabels(counts, tuple(lines))


def _differences(differences: Sequence[FusionDifference], counts: tuple[int, ...]) -> ByLabels:
    cells = {
        (d.a, d.b, d.labels_per_class): f"{100 * d.difference:+.1f} ± {100 * d.ci95:.1f}{'*' * d.is_told_apart}"
        for d in differences
    }
    pairs = dict.fromkeys((d.a, d.b) for d in differences)
    return ByLabels(
        counts, tuple(((_named(a), _named(b)), tuple(cells.get((a, b, n), "–") for n in counts)) for a, b in pairs)
    )


def _named(key: tuple[str, str]) -> str:
    method, setting = key
    return method if setting == AS_GIVEN else f"{method}, {setting}"


def _weights(rows: Sequence[FusionRow]) -> EncoderWeights | None:
    most = max(row.labels_per_class for row in rows)
    first = next((row.method for row in rows if row.kind == ATTENTION), None)
    own = [row for row in rows if (row.method, row.kind, row.labels_per_class) == (first, ATTENTION, most)]
    plain = next((row for row in own if row.setting == AS_GIVEN), None)
    if first is None or plain is None or not plain.weights_by_class:
        return None
    by_class = zip(plain.classes, plain.weights_by_class, strict=True)
    probes = [
        f"{row.setting}: "
        + ", ".join(f"{name} {w:.2f}" for name, w in zip(_short(row.encoders), row.weights, strict=True))
        for row in own
        if row.setting != AS_GIVEN
    ]
    return EncoderWeights(first, most, _short(plain.encoders), (*by_class, ("all", plain.weights)), tuple(probes))


def _short(encoders: Sequence[str]) -> tuple[str, ...]:
    """Last parts of paths; the whole ones where two that differ would look alike."""
    short = tuple(PurePath(encoder).name or encoder for encoder in encoders)
    return short if len(set(short)) == len(set(encoders)) else tuple(encoders)
