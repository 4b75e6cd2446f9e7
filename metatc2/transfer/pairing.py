"""Which rows of two methods belong together: the same measurement on the same images and episodes, seed by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.intervals import paired_difference
from metatc2.transfer.row import FACTS, Row

# What names a measurement, how many draws it was asked to make, and what must then be equal.
_MEASURED = (
    *("protocol", "target", "split", "way", "shot", "head", "features", "k_asked", "layer", "metric", "setting"),
    "context_sha256",
)
_DRAWN = ("episodes", "query_asked")
_SAME = ("episodes_seed", *_DRAWN, "query", "bank", "k", "temperature", "inductive")


@dataclass(frozen=True, eq=False)
class RunResults:
    """The results of one pre-training run.

    Args:
        label: its directory, for messages.
        method: what was run, whatever the seed, e.g. ``"simclr + tc2"``.
        seed: of pre-training.
        rows: from `read_results`.
        accuracies: from `read_results`; needed where there is one seed only.
    """

    label: str
    method: str
    seed: int
    rows: Sequence[Row]
    accuracies: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """The same row of two runs of one seed."""

    a_run: RunResults
    a: Row
    b_run: RunResults
    b: Row

    def half_width(self) -> float:
        """Of the interval over paired episodes."""
        sides = []
        for run, row in ((self.a_run, self.a), (self.b_run, self.b)):
            if row.key not in run.accuracies:
                raise InputError(
                    f"compare: {run.label} lacks the accuracies of {row.key}, and with one seed the interval is over "
                    "episodes; run `metatc2 transfer` again, or compare 2 seeds or more"
                )
            sides.append(run.accuracies[row.key])
        return paired_difference(*sides)[1]


def by_method(runs: Iterable[RunResults]) -> dict[str, list[RunResults]]:
    """Runs of the same method together, in the order in which methods first appear.

    Raises:
        InputError: if two runs of a method have the same seed: they would be one measurement counted twice.

    >>> runs = [RunResults("a", "plain", 0, []), RunResults("b", "plain", 1, [])]
    >>> [(method, len(own)) for method, own in by_method(runs).items()]
    [('plain', 2)]
    """
    groups: dict[str, list[RunResults]] = defaultdict(list)
    for run in runs:
        for other in groups[run.method]:
            if other.seed == run.seed:
                raise InputError(
                    f"compare: {other.label} and {run.label} are both {run.method!r} with seed {run.seed}; "
                    "name one of them"
                )
        groups[run.method].append(run)
    return dict(groups)


def paired_rows(
    a_runs: Sequence[RunResults], b_runs: Sequence[RunResults], *, features: str = "encoder"
) -> list[dict[int, Pair]]:
    """The rows that two methods share: for each measurement and target a pair a seed, those of most seeds or of one.

    Args:
        a_runs: runs of method A, one a seed (see `by_method`).
        b_runs: runs of method B.
        features: which rows, see `Row.features`.

    Raises:
        InputError: if the methods share no seed or no row, or if shared rows were measured on other images or episodes.
    """
    a, b = _by_seed(a_runs), _by_seed(b_runs)
    a_name, b_name = a_runs[0].method, b_runs[0].method
    common = sorted(a.keys() & b.keys())
    if not common:
        raise InputError(
            f"compare: {a_name!r} (seeds {sorted(a)}) and {b_name!r} (seeds {sorted(b)}) share no seed; "
            "pre-train both with the same seeds"
        )
    pairs: dict[tuple[Hashable, ...], dict[int, Pair]] = defaultdict(dict)
    for seed in common:
        ours, theirs = _rows(a[seed], features), _rows(b[seed], features)
        matched = {key[: len(_MEASURED)] for key in ours.keys() & theirs.keys()}
        for key, row in ours.items():
            if key in theirs:
                pairs[key][seed] = Pair(a[seed], row, b[seed], theirs[key])
                continue
            # The same with other episodes or settings is no accident unless the right one stands beside it.
            measured = key[: len(_MEASURED)]
            for other_key, other in theirs.items():
                if other_key[: len(_MEASURED)] == measured and measured not in matched:
                    _require_same(a[seed], row, b[seed], other)
    if not pairs:
        raise InputError(_why_nothing_is_shared(a, b, a_name, b_name, features))
    for by_seed in pairs.values():
        sides = [side for p in by_seed.values() for side in ((p.a_run, p.a), (p.b_run, p.b))]
        for side in sides[1:]:
            _require_same(*sides[0], *side)
    return list(pairs.values())


def _why_nothing_is_shared(
    a: Mapping[int, RunResults], b: Mapping[int, RunResults], a_name: str, b_name: str, features: str
) -> str:
    targets = [sorted({row.target for run in side.values() for row in run.rows}) for side in (a, b)]
    if not set(targets[0]) & set(targets[1]):
        was, others = (_few(names) for names in targets)
        return (
            f"compare: {a_name!r} was measured on {was} and {b_name!r} on {others}, so they share no result; run "
            "`metatc2 transfer` on both with the same --to"
        )
    protocols = [sorted({row.protocol for run in side.values() for row in run.rows}) for side in (a, b)]
    if not set(protocols[0]) & set(protocols[1]):
        return (
            f"compare: {a_name!r} was measured by {', '.join(protocols[0]) or 'nothing'} and {b_name!r} by "
            f"{', '.join(protocols[1]) or 'nothing'}, which cannot be compared; run `metatc2 transfer` on both with "
            "the same --protocol"
        )
    adapted = any(row.context_sha256 for run in (*a.values(), *b.values()) for row in run.rows)
    return (
        f"compare: {a_name!r} and {b_name!r} share no result of features {features!r}; "
        "run `metatc2 transfer` on both with the same targets, protocol, way and shot"
        + (", and the same --context where both have weights that adapt to pairs (runs of TC²)" if adapted else "")
    )


def _by_seed(runs: Sequence[RunResults]) -> dict[int, RunResults]:
    groups = by_method(runs)
    if len(groups) != 1:
        raise InputError(f"compare: each side must be one method, got {sorted(groups)}; group the runs by method first")
    return {run.seed: run for run in runs}


def _rows(run: RunResults, features: str) -> dict[tuple[Hashable, ...], Row]:
    rows: dict[tuple[Hashable, ...], Row] = {}
    for row in run.rows:
        if row.features == features:
            key = (*(row.value(name) for name in (*_MEASURED, *_DRAWN)), row.own_facts)
            if key in rows:
                raise InputError(
                    f"compare: {run.label} has {row.key} twice, measured on different images; "
                    "delete its transfer.json and run `metatc2 transfer` again"
                )
            rows[key] = row
    return rows


def _require_same(first_run: RunResults, first: Row, run: RunResults, row: Row) -> None:
    """All seeds of both sides must have met the same images and episodes."""
    # What a protocol of another package says of a row is part of how it was measured.
    others = [name for name in dict.fromkeys((*first.facts, *row.facts)) if name not in FACTS]
    differing = ["target_sha256"] * (not row.same_images(first))
    differing += [name for name in (*_SAME, *others) if row.value(name) != first.value(name)]
    if differing:
        described = ", ".join(f"{name} ({first.value(name)!r} and {row.value(name)!r})" for name in differing)
        raise InputError(
            f"compare: {first_run.label} and {run.label} differ on {row.target} in {described}; "
            "run `metatc2 transfer` on both with the same images and episodes"
        )


def _few(names: Sequence[str]) -> str:
    """Some of several names; what is looked at may be a choice that leaves none."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}" if names else "none of the targets that were chosen"
