"""The transfer matrix: every source on every target under one protocol, with the controls as rows of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from metatc2.errors import InputError
from metatc2.metrics.intervals import mean_interval
from metatc2.transfer.evaluate import RANDOM_ENCODER, RAW_PIXELS
from metatc2.transfer.pairing import RunResults
from metatc2.transfer.row import Row

# What must agree for two rows to stand in one matrix.
_ONE_PROTOCOL = (
    *("protocol", "way", "shot", "head", "k_asked", "episodes", "query_asked", "temperature", "metric"),
    *("layer", "inductive"),
)


@dataclass(frozen=True)
class Cell:
    """One source on one target.

    Args:
        mean: over seeds, in [0, 1].
        ci95: half width of the 95 % Student interval over seeds; None with one seed.
        seeds: that stand behind it.
    """

    mean: float
    ci95: float | None
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Matrix:
    """Sources down, targets across.

    Args:
        row: a row that was measured in this way, for what the protocol is called.
        sources: ``"METHOD from SOURCE"``, then the controls.
        targets: e.g. ``"glyphs:greek"``.
        cells: by source and target; missing where nothing was measured.
    """

    row: Row
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]


def transfer_matrices(runs: Sequence[RunResults], *, features: str = "encoder") -> list[Matrix]:
    """One matrix for each protocol that was measured; runs that differ in their seed alone are one source.

    Args:
        runs: of any methods, sources and seeds.
        features: which rows of the runs, see `Row.features`; the rows of the two controls always stand below.

    Raises:
        InputError: if there is no such row, or two runs met other images under the name of one target.
    """
    groups: dict[tuple[object, ...], list[tuple[str, int, Row]]] = defaultdict(list)
    for run in runs:
        for row in run.rows:
            if row.features not in (features, RANDOM_ENCODER, RAW_PIXELS):
                continue
            source = {features: f"{run.method} from {row.source}", RAW_PIXELS: RAW_PIXELS}.get(
                row.features, f"{RANDOM_ENCODER} of {run.method}"
            )
            groups[*(row.value(name) for name in _ONE_PROTOCOL), row.setting].append((source, run.seed, row))
    matrices = [_matrix(part) for group in groups.values() for part in _by_context(group, features)]
    if not matrices:
        raise InputError(
            f"matrix: no result of features {features!r}; run `metatc2 transfer` on the runs with the same --to"
        )
    return matrices


def _by_context(group: Sequence[tuple[str, int, Row]], features: str) -> Iterator[list[tuple[str, int, Row]]]:
    """The rows of each set of pairs that features were adapted to (of most, none), each beside the controls."""
    for context in dict.fromkeys(row.context_sha256 for _, _, row in group if row.features == features):
        yield [one for one in group if one[2].features != features or one[2].context_sha256 == context]


def _matrix(group: Sequence[tuple[str, int, Row]]) -> Matrix:
    images: dict[str, Row] = {}
    values: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    group = _pixels_told_apart(_controls_told_apart(group))
    for source, seed, row in group:
        if not images.setdefault(row.target, row).same_images(row):
            raise InputError(
                f"matrix: {row.target} stands for different images in different runs; measure all of them on one version of "
                "the data"
            )
        values[source, row.target][seed] = row.mean
    kinds = {source: row.features for source, _, row in group}
    own = [source for source, kind in kinds.items() if kind not in (RANDOM_ENCODER, RAW_PIXELS)]
    controls = [source for control in (RANDOM_ENCODER, RAW_PIXELS) for source, kind in kinds.items() if kind == control]
    targets = tuple(dict.fromkeys(row.target for _, _, row in group))
    cells = {key: over_seeds(by_seed, constant=kinds[key[0]] == RAW_PIXELS) for key, by_seed in values.items()}
    # Of a control only where it stands alone: what the features were adapted to is said of the others.
    representative = next((row for _, _, row in group if row.context_sha256), group[0][2])
    return Matrix(representative, (*own, *controls), targets, cells)


def _controls_told_apart(group: Sequence[tuple[str, int, Row]]) -> list[tuple[str, int, Row]]:
    """Random encoders of different architectures are different controls: each is named after the run it stands beside."""
    values: dict[tuple[str, int], set[float]] = defaultdict(set)
    for _, seed, row in group:
        if row.features == RANDOM_ENCODER:
            values[row.target, seed].add(row.mean)
    if all(len(distinct) == 1 for distinct in values.values()):
        return [(RANDOM_ENCODER if row.features == RANDOM_ENCODER else s, seed, row) for s, seed, row in group]
    return list(group)


def _pixels_told_apart(group: Sequence[tuple[str, int, Row]]) -> list[tuple[str, int, Row]]:
    """Raw pixels of the same images at two sizes are two controls."""
    shapes = {row.image_shape for _, _, row in group if row.features == RAW_PIXELS}
    if len(shapes) < 2:
        return list(group)
    return [
        (f"{RAW_PIXELS} of {row.image_shape}" if row.features == RAW_PIXELS else source, seed, row)
        for source, seed, row in group
    ]


def over_seeds(by_seed: Mapping[int, float], *, constant: bool = False) -> Cell:
    """A figure of several seeds.

    Args:
        by_seed: one a seed, in [0, 1].
        constant: whether no seed changes it, as of raw pixels; there is no interval then.

    >>> cell = over_seeds({0: 0.4, 1: 0.5, 2: 0.6})
    >>> round(cell.mean, 3), round(cell.ci95, 3), cell.seeds
    (0.5, 0.248, (0, 1, 2))
    """
    seeds = tuple(sorted(by_seed))
    if len(seeds) == 1 or constant:
        return Cell(by_seed[seeds[0]], None, seeds)
    mean, half = mean_interval([by_seed[seed] for seed in seeds])
    return Cell(mean, half, seeds)
