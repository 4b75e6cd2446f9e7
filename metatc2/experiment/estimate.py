"""What `metatc2 estimate` does: transferability without training, and whether it ranks encoders as measured transfer does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from metatc2.errors import InputError
from metatc2.experiment.load import load_pretrained
from metatc2.experiment.targets import Sources, asked_or_own, find_targets
from metatc2.io.run_files import RESULTS
from metatc2.io.suggest import command
from metatc2.models.stages import OUTPUT
from metatc2.transfer import FeatureTable, RankCorrelation, Target, h_score, log_me, rank_correlation, read_results
from metatc2.transfer.estimates import Estimate

ESTIMATES = ("LogME", "H-score", "H-score, shrunk")


def run(
    names: Sequence[str],
    targets: Sequence[str] = (),
    *,
    allow_seen: bool = False,
    tell: Callable[[str], None] | None = None,
) -> tuple[list[Estimate], dict[tuple[str, str], RankCorrelation]]:
    """LogME and H-score of encoders on targets, and by estimate and target their rank correlation with measured transfer.

    Args:
        names: see `load_pretrained`; results are looked for where the name is a run folder.
        targets: ``SOURCE[:SPLIT]``; by default those of the first run's task, or where it names none what the run learned
            from.
        allow_seen: whether targets may hold classes of the pre-training images.
        tell: gets what is left of features that take long, a sentence each.

    Returns:
        The estimates, and rank correlations where three encoders or more have results.

    Raises:
        InputError: if no encoder is named, or one or a target cannot be had.
    """
    if not names:
        example = command("estimate", "runs/tc2", "runs/plain", "--to", "shapes:meta-test")
        raise InputError(f"estimate: no encoder is named; write e.g. {example}")
    config, wanted = asked_or_own(targets, names[0])
    sources = Sources.of(config.data)
    estimates: list[Estimate] = []
    results: list[dict[tuple[object, ...], float]] = []
    for name in names:
        encoder = load_pretrained(name)
        for target in find_targets(encoder, wanted, sources, allow_seen=allow_seen):
            rows = target.store.rows(target.split)
            features = FeatureTable(target.store, {name: encoder.encoder}, tell=tell).at(name, rows)
            labels = target.store.labels[rows]
            values = (log_me(features, labels), h_score(features, labels), h_score(features, labels, shrinkage=True))
            estimates.append(Estimate(name, target.name, dict(zip(ESTIMATES, values, strict=True)), None))
            results.append(_measured(name, target))
    estimates = _with_measured(estimates, results)
    return estimates, _correlations(estimates)


def _measured(name: str, target: Target) -> dict[tuple[object, ...], float]:
    path = Path(name) / RESULTS
    if not path.exists():
        return {}
    return {
        tuple(row.value(name) for name in ("way", "shot", "head", "episodes", "query_asked")): row.mean
        for row in read_results(path)[0]
        if (row.target, row.protocol, row.features, row.layer) == (target.name, "few-shot", "encoder", OUTPUT)
        and row.inductive
    }


def _with_measured(
    estimates: Sequence[Estimate], results: Sequence[Mapping[tuple[object, ...], float]]
) -> list[Estimate]:
    """Only one and the same measurement ranks encoders."""
    shared: dict[str, tuple[object, ...]] = {}
    for target in dict.fromkeys(e.target for e in estimates):
        known = [own for e, own in zip(estimates, results, strict=True) if e.target == target and own]
        common = [key for key in known[0] if all(key in own for own in known)] if known else []
        if common:
            shared[target] = common[0]
    return [
        replace(e, measured=own.get(shared[e.target])) if e.target in shared else e
        for e, own in zip(estimates, results, strict=True)
    ]


def _correlations(estimates: Sequence[Estimate]) -> dict[tuple[str, str], RankCorrelation]:
    correlations = {}
    for target in dict.fromkeys(e.target for e in estimates):
        known = [(e, e.measured) for e in estimates if e.target == target and e.measured is not None]
        for name in ESTIMATES:
            values = [e.values[name] for e, _ in known]
            # A rank correlation needs three encoders, and differences on both sides.
            if len(known) >= 3 and len(set(values)) > 1 and len({m for _, m in known}) > 1:
                correlations[name, target] = rank_correlation(values, [m for _, m in known if not math.isnan(m)])
    return correlations
