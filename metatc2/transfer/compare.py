"""Two methods on the same targets and episodes: the paired difference, and what may be said about it."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy import stats
from torch import Tensor

from metatc2.errors import InputError
from metatc2.metrics.intervals import mean_interval, paired_difference
from metatc2.models.stages import OUTPUT
from metatc2.transfer.results import Row

MEAN_TARGET = "mean over targets"

# Seeds below which no method is called better (protocols: at least 3, 5 for a claim).
_SEEDS_FOR_A_VERDICT = 3
_LEVEL = 0.05

# What names a measurement, how many draws it was asked to make, and what must then be equal.
_MEASURED = (
    *("protocol", "target", "split", "way", "shot", "head", "features", "k_asked", "layer", "metric", "setting"),
    "context_sha256",
)
_DRAWN = ("episodes", "query_asked")
_SAME = ("target_sha256", "episodes_seed", *_DRAWN, "query", "bank", "k", "temperature", "inductive")


@dataclass(frozen=True, eq=False)
class Run:
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
class Difference:
    """Accuracy of A minus accuracy of B, as fractions.

    Args:
        a: method A.
        b: method B.
        protocol: as in `Row`; so are split, way, shot, head, features and k.
        target: as in `Row`, or `MEAN_TARGET`.
        split: empty in a mean over targets.
        way: 0 in a mean over targets of k-NN, where it differs between targets.
        shot: labelled images a class.
        head: classifier.
        features: ``"encoder"`` unless others were asked for.
        k: neighbours asked for, k-NN only.
        targets: how many stand behind the figure.
        seeds: that both methods have.
        per_seed: difference for each seed.
        mean_a: accuracy of A.
        mean_b: accuracy of B.
        difference: ``mean_a − mean_b``.
        ci95: half width of its 95 % Student interval.
        interval: over what the interval is: ``"seeds"`` (what a claim needs), or with one seed ``"episodes"`` or
            ``"images"`` (k-NN), which say nothing about another pre-training.
        effect: Cohen's d_z of the seeds' differences, their mean over their standard deviation; None with one seed, and
            infinite where all are equal and not zero.
        p: of the paired t-test over seeds; None with one seed.
        p_holm: `p` adjusted by Holm's method over the targets of the same measurement; in a mean over targets it is `p`.
        verdict: ``"better"`` or ``"worse"`` (A than B) only with 3 seeds or more and ``p_holm < 0.05`` (with one target, an
            interval without zero), else ``"not distinguishable"``; ``"one seed: no verdict"``.
        metric, setting, layer: as in `Row`.
        context: pairs that the features were adapted to, in words.
    """

    a: str
    b: str
    protocol: str
    target: str
    split: str
    way: int
    shot: int
    head: str
    features: str
    k: int | None
    targets: int
    seeds: tuple[int, ...]
    per_seed: tuple[float, ...]
    mean_a: float
    mean_b: float
    difference: float
    ci95: float
    interval: str
    verdict: str
    effect: float | None = None
    p: float | None = None
    p_holm: float | None = None
    metric: str = "accuracy"
    setting: str = ""
    layer: str = OUTPUT
    context: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a mapping that JSON holds; an infinite effect is null."""
        effect = self.effect if self.effect is not None and math.isfinite(self.effect) else None
        return {**dataclasses.asdict(self), "effect": effect}


def by_method(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs of the same method together, in the order in which methods first appear.

    Raises:
        InputError: if two runs of a method have the same seed: they would be one measurement counted twice.

    >>> [(m, len(r)) for m, r in by_method([Run("a", "plain", 0, []), Run("b", "plain", 1, [])]).items()]
    [('plain', 2)]
    """
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        for other in groups[run.method]:
            if other.seed == run.seed:
                raise InputError(
                    f"compare: {other.label} and {run.label} are both {run.method!r} with seed {run.seed}; "
                    "name one of them"
                )
        groups[run.method].append(run)
    return dict(groups)


def compare(a_runs: Sequence[Run], b_runs: Sequence[Run], *, features: str = "encoder") -> list[Difference]:
    """Method A against method B, seed by seed, on each target that both have, then on the mean over targets.

    With one common seed the interval is over paired episodes; with more it is over the seeds' differences.

    Args:
        a_runs: runs of method A, one a seed (see `by_method`).
        b_runs: runs of method B.
        features: which rows to compare, see `Row.features`.

    Raises:
        InputError: if the methods share no seed or no row, if shared rows were measured on other images or episodes, or
            if accuracies are missing where there is one seed only.
    """
    a, b = _by_seed(a_runs), _by_seed(b_runs)
    a_name, b_name = a_runs[0].method, b_runs[0].method
    common = sorted(a.keys() & b.keys())
    if not common:
        raise InputError(
            f"compare: {a_name!r} (seeds {sorted(a)}) and {b_name!r} (seeds {sorted(b)}) share no seed; "
            "pre-train both with the same seeds"
        )
    pairs: dict[tuple[Hashable, ...], dict[int, _Pair]] = defaultdict(dict)
    for seed in common:
        ours, theirs = _rows(a[seed], features), _rows(b[seed], features)
        matched = {key[: len(_MEASURED)] for key in ours.keys() & theirs.keys()}
        for key, row in ours.items():
            if key in theirs:
                pairs[key][seed] = _Pair(a[seed], row, b[seed], theirs[key])
                continue
            # The same with another number of episodes is no accident unless the right one stands beside it.
            measured = key[: len(_MEASURED)]
            for other_key, other in theirs.items():
                if other_key[: len(_MEASURED)] == measured and measured not in matched:
                    _require_same(a[seed], row, b[seed], other)
    if not pairs:
        protocols = [sorted({row.protocol for run in side.values() for row in run.rows}) for side in (a, b)]
        if not set(protocols[0]) & set(protocols[1]):
            raise InputError(
                f"compare: {a_name!r} was measured by {', '.join(protocols[0]) or 'nothing'} and {b_name!r} by "
                f"{', '.join(protocols[1]) or 'nothing'}, which cannot be compared; run `metatc2 transfer` on both with "
                "the same --protocol"
            )
        adapted = any(row.context_sha256 for run in (*a.values(), *b.values()) for row in run.rows)
        raise InputError(
            f"compare: {a_name!r} and {b_name!r} share no result of features {features!r}; "
            "run `metatc2 transfer` on both with the same targets, protocol, way and shot"
            + ", and the same --context where both have weights that adapt to pairs (runs of TC²)"
            * adapted
        )
    for by_seed in pairs.values():
        sides = [side for p in by_seed.values() for side in ((p.a_run, p.a), (p.b_run, p.b))]
        for side in sides[1:]:
            _require_same(*sides[0], *side)

    groups: dict[tuple[Hashable, ...], list[dict[int, _Pair]]] = defaultdict(list)
    for by_seed in pairs.values():
        row = next(iter(by_seed.values())).a
        way = row.way if row.protocol == "few-shot" else 0
        same = (row.protocol, way, row.shot, row.head, row.k_asked, row.episodes, row.query_asked)
        groups[(*same, row.metric, row.setting, row.layer, row.context_sha256)].append(by_seed)
    found = [
        difference for group in groups.values() for difference in _corrected([_difference([one]) for one in group])
    ]
    found += [_difference(group) for group in groups.values() if len(group) > 1 and set.intersection(*map(set, group))]
    return found


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (Holm 1979): ``max over j ≤ i of min(1, (n − j + 1) p_(j))`` in ascending order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def _corrected(targets: list[Difference]) -> list[Difference]:
    """The differences on several targets as one family of tests."""
    tested = [d for d in targets if d.p is not None]
    adjusted = dict(zip(map(id, tested), holm([d.p for d in tested if d.p is not None]), strict=True))
    return [
        dataclasses.replace(d, p_holm=adjusted[id(d)], verdict=_verdict(d.difference, adjusted[id(d)], len(d.seeds)))
        if id(d) in adjusted
        else d
        for d in targets
    ]


@dataclass(frozen=True)
class _Pair:
    """The same row of two runs of one seed."""

    a_run: Run
    a: Row
    b_run: Run
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


def _by_seed(runs: Sequence[Run]) -> dict[int, Run]:
    groups = by_method(runs)
    if len(groups) != 1:
        raise InputError(f"compare: each side must be one method, got {sorted(groups)}; group the runs by method first")
    return {run.seed: run for run in runs}


def _rows(run: Run, features: str) -> dict[tuple[Hashable, ...], Row]:
    rows: dict[tuple[Hashable, ...], Row] = {}
    for row in run.rows:
        if row.features == features:
            key = tuple(getattr(row, name) for name in (*_MEASURED, *_DRAWN))
            if key in rows:
                raise InputError(
                    f"compare: {run.label} has {row.key} twice, measured on different images; "
                    "delete its transfer.json and run `metatc2 transfer` again"
                )
            rows[key] = row
    return rows


def _require_same(first_run: Run, first: Row, run: Run, row: Row) -> None:
    """All seeds of both sides must have met the same images and episodes."""
    differing = [name for name in _SAME if getattr(row, name) != getattr(first, name)]
    if differing:
        told = ", ".join(f"{name} ({getattr(first, name)!r} and {getattr(row, name)!r})" for name in differing)
        raise InputError(
            f"compare: {first_run.label} and {run.label} differ on {row.target} in {told}; "
            "run `metatc2 transfer` on both with the same images and episodes"
        )


def _difference(group: Sequence[Mapping[int, _Pair]]) -> Difference:
    """One target, or several with every seed's difference averaged over them."""
    seeds = tuple(sorted(set.intersection(*map(set, group))))
    first = group[0][seeds[0]]
    row = first.a
    mean_a = [statistics.fmean(pairs[seed].a.mean for pairs in group) for seed in seeds]
    mean_b = [statistics.fmean(pairs[seed].b.mean for pairs in group) for seed in seeds]
    per_seed = tuple(x - y for x, y in zip(mean_a, mean_b, strict=True))
    if len(seeds) > 1:
        difference, ci95 = mean_interval(per_seed)
        interval = "seeds"
    else:
        difference = per_seed[0]
        # Targets have episodes of their own, so their errors are independent.
        ci95 = sum(pairs[seeds[0]].half_width() ** 2 for pairs in group) ** 0.5 / len(group)
        interval = "episodes" if row.protocol == "few-shot" else "images"
    one = len(group) == 1
    effect, p = _paired_test(per_seed)
    return Difference(
        a=first.a_run.method,
        b=first.b_run.method,
        protocol=row.protocol,
        target=row.target if one else MEAN_TARGET,
        split=row.split if one else "",
        way=row.way if one or row.protocol == "few-shot" else 0,
        shot=row.shot,
        head=row.head,
        features=row.features,
        k=row.k_asked,
        targets=len(group),
        seeds=seeds,
        per_seed=per_seed,
        mean_a=statistics.fmean(mean_a),
        mean_b=statistics.fmean(mean_b),
        difference=difference,
        ci95=ci95,
        interval=interval,
        verdict=_verdict(difference, p, len(seeds)),
        effect=effect,
        p=p,
        p_holm=p,
        metric=row.metric,
        setting=row.setting,
        layer=row.layer,
        context=row.context_words,
    )


def _paired_test(differences: Sequence[float]) -> tuple[float | None, float | None]:
    """Effect size d_z and p of the paired t-test; None where there is one difference."""
    if len(differences) < 2:
        return None, None
    mean, spread = statistics.fmean(differences), statistics.stdev(differences)
    if spread == 0:
        return (0.0, 1.0) if mean == 0 else (math.copysign(math.inf, mean), 0.0)
    effect = mean / spread
    return effect, float(2 * stats.t.sf(abs(effect) * len(differences) ** 0.5, len(differences) - 1))


def _verdict(difference: float, p: float | None, seeds: int) -> str:
    if p is None:
        return "one seed: no verdict"
    if seeds < _SEEDS_FOR_A_VERDICT or p >= _LEVEL:
        return "not distinguishable"
    return "better" if difference > 0 else "worse"
