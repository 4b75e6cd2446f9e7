"""Two methods on the same targets and episodes: the paired difference, and what may be said about it."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metatc2.metrics.intervals import mean_interval
from metatc2.models.stages import OUTPUT
from metatc2.transfer.paired_test import holm, paired_t_test, verdict
from metatc2.transfer.pairing import Pair, RunResults, paired_rows

MEAN_TARGET = "mean over targets"


@dataclass(frozen=True)
class Difference:
    """Accuracy of A minus accuracy of B, as fractions.

    Args:
        a: method A.
        b: method B.
        protocol: as in `Row`; so are split, way, shot, head, features and k.
        target: as in `Row`, or `MEAN_TARGET`.
        split: empty in a mean over targets.
        way: None in a mean over targets of k-NN, where it differs between targets.
        shot: labeled images a class; None where there are no episodes.
        head: classifier.
        features: ``"encoder"`` unless others were asked for.
        k: neighbors asked for, k-NN only.
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
        image_shapes: of A's and of B's images where they differ: the same images at two sizes.
        seeds_alone: that A, and that B, has and the other lacks; they are not compared.
    """

    a: str
    b: str
    protocol: str
    target: str
    split: str
    way: int | None
    shot: int | None
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
    image_shapes: tuple[str, str] | None = None
    seeds_alone: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    def to_json(self) -> dict[str, Any]:
        """As a mapping that JSON holds; an infinite effect is null."""
        effect = self.effect if self.effect is not None and math.isfinite(self.effect) else None
        return {**dataclasses.asdict(self), "effect": effect}


def compare(
    a_runs: Sequence[RunResults], b_runs: Sequence[RunResults], *, features: str = "encoder"
) -> list[Difference]:
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
    groups: dict[tuple[Hashable, ...], list[dict[int, Pair]]] = defaultdict(list)
    for by_seed in paired_rows(a_runs, b_runs, features=features):
        row = next(iter(by_seed.values())).a
        # Without episodes, way is the number of the target's classes.
        names = ("protocol", *(("way",) if row.episodes else ()), "shot", "head", "k_asked", "episodes", "query_asked")
        same = (*names, "metric", "layer", "context_sha256")
        groups[*(row.value(name) for name in same), row.setting].append(by_seed)
    differences = [
        difference for group in groups.values() for difference in _corrected([_difference([one]) for one in group])
    ]
    differences += [
        _difference(group) for group in groups.values() if len(group) > 1 and set.intersection(*map(set, group))
    ]
    seeds = [{run.seed for run in runs} for runs in (a_runs, b_runs)]
    alone = (tuple(sorted(seeds[0] - seeds[1])), tuple(sorted(seeds[1] - seeds[0])))
    return [dataclasses.replace(difference, seeds_alone=alone) for difference in differences]


def _corrected(targets: list[Difference]) -> list[Difference]:
    """The differences on several targets as one family of tests."""
    tested = [d for d in targets if d.p is not None]
    adjusted = dict(zip(map(id, tested), holm([d.p for d in tested if d.p is not None]), strict=True))
    return [
        dataclasses.replace(d, p_holm=adjusted[id(d)], verdict=verdict(d.difference, adjusted[id(d)], len(d.seeds)))
        if id(d) in adjusted
        else d
        for d in targets
    ]


def _difference(group: Sequence[Mapping[int, Pair]]) -> Difference:
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
        interval = "episodes" if row.episodes else "images"
    one = len(group) == 1
    effect, p = paired_t_test(per_seed)
    # Neighbors that were used, where they are the same everywhere; fewer than were asked for if the bank is small.
    used = {side.value("k") for pairs in group for pair in pairs.values() for side in (pair.a, pair.b)}
    return Difference(
        a=first.a_run.method,
        b=first.b_run.method,
        protocol=row.protocol,
        target=row.target if one else MEAN_TARGET,
        split=row.split if one else "",
        way=row.way if one or row.episodes else None,
        shot=row.shot,
        head=row.head,
        features=row.features,
        k=used.pop() if len(used) == 1 else row.value("k_asked"),
        targets=len(group),
        seeds=seeds,
        per_seed=per_seed,
        mean_a=statistics.fmean(mean_a),
        mean_b=statistics.fmean(mean_b),
        difference=difference,
        ci95=ci95,
        interval=interval,
        verdict=verdict(difference, p, len(seeds)),
        effect=effect,
        p=p,
        p_holm=p,
        metric=row.metric,
        setting=row.setting,
        layer=row.layer,
        context=row.context_words,
        image_shapes=(row.image_shape, first.b.image_shape) if row.image_shape != first.b.image_shape else None,
    )
