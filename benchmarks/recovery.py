"""Does calibration find the causes? Generative factors of rendered objects against factors and weights of shared TC².

python benchmarks/recovery.py                               # resumed when called again; trains what `evidence.py` has not
python benchmarks/recovery.py --objectives simclr --arms shared+isotropy plain --seeds 1
python benchmarks/recovery.py --collect

Runs are those of `evidence.py` on `shapes`, in the same folders. Images are drawn anew, from factors that are independent of
each other (among the images of a split of `shapes`, shape and texture are not), none of them a pre-training image. Asked is:

* do codes recover the factors? MIG, SAP and DCI of the weights W at test time (arms of TC²) and of the encoder's features (all
  arms), and the best-match cosine of V, each beside the same under permuted factors;
* does the encoder hold them at all? R² of a ridge regression on its features, on images that it was not fitted on;
* do weights select? Tasks whose images share the value of one factor while the others vary: the share of the variance between
  tasks' use of the codes (mean |W| over their images, summing to 1) that the shared value explains, R² of a permutational
  analysis of variance (Anderson 2001), beside the same under permuted values; corrected for chance as adjusted R² is;
* does conflict fall with that? Conflict between tasks of different shapes, as in `mechanism.py`, and its rank correlation with
  the above across runs; likewise accuracy on combinations of shape and texture that were never seen.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import Cell, identity, in_parallel, make, mean_over, quiet, rows_of, seeds_in
from common import positive, write
from evidence import OBJECTIVES, OURS, cell, titled
from mechanism import conflict, correlations, differences, evaluation_episodes, read
from recipes import best
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from torch import Tensor

from metatc2.calibration import Calibrator, standardize
from metatc2.data.sources.shapes.dataset import load_shapes, shape_factors
from metatc2.data.sources.shapes.factors import GenerativeFactors
from metatc2.data.sources.shapes.render import RANGES
from metatc2.data.store import ImageStore
from metatc2.diagnostics import AgainstNull, against_null, task_loss
from metatc2.experiment import run as runs
from metatc2.experiment.build import build_fresh_encoder, build_learner
from metatc2.experiment.config import TC2Config
from metatc2.learners import SelfSupervised
from metatc2.metrics.disentanglement import factor_recovery
from metatc2.metrics.disentanglement._encoding import columns
from metatc2.models.features import extract
from metatc2.report.text import NAMES
from metatc2.training.checkpoint import latest_checkpoint, load_checkpoint, write_atomically

RESULTS = Path(__file__).resolve().parent / "results" / "recovery.json"
SOURCE, TARGET = "shapes", "shapes:meta-test"
UNTRAINED = "random encoder"
STUDIED = (OURS, "random projection", "plain", "isotropy", UNTRAINED)
IMAGES, SEED = 2000, 1  # the store of pre-training is drawn from seed 0
DRAWS, TREES = 39, 10  # 39 draws are the fewest that give a 95 % interval
BINS, IN_TASK, TASKS_EACH = 8, 16, 8
FEATURES, WEIGHTS = "features", "weights"
COMPARED = ("linear_r2", "mig", "sap", "disentanglement", "completeness", "selection", "C", "C_excess", "T_excess")
CAUSES = ("linear_r2", "mig", "sap", "disentanglement", "selection")
OUTCOMES = ("C", "C_excess", "T_excess", "accuracy")


def images(image_size: int) -> tuple[ImageStore, GenerativeFactors]:
    """Images of their own, labeled by shape in `domains`, and their true factors."""
    known = shape_factors(IMAGES, SEED)
    store = load_shapes(image_size=image_size, count=IMAGES, seed=SEED)
    return replace(store, domains=parts(known, "shape"), domain_names=()), known


def parts(known: GenerativeFactors, name: str) -> Tensor:
    """Category of each image, or which of `BINS` equal parts of the factor's range; int64 ``(N,)``."""
    values = known.select(name).values[:, 0]
    if name not in RANGES:
        return values.long()
    low, high = RANGES[name]
    return ((values - low) / (high - low) * BINS).floor().long().clamp(0, BINS - 1)


def linear_r2(features: Tensor, known: GenerativeFactors) -> dict[str, float]:
    """R² of a ridge regression on the first half of the images, on the second; cosine and sine of a circular factor, and one
    column a category, count by their variance.

    Args:
        features: ``(N, d)``.
        known: of the same images, which are in random order.
    """
    x, half = features.double().numpy(), len(features) // 2
    mean, variance = x[:half].mean(0), x[:half].var(0)
    # A unit that hardly ever fires in the first half must not be blown up to the size of the others: it may fire in the second.
    x = (x - mean) / np.sqrt(variance + 0.01 * variance.mean())
    found = {}
    for name, kind, values in zip(known.names, known.kinds, known.values.unbind(1), strict=True):
        y = columns(values, kind).numpy()
        model = RidgeCV(np.logspace(-2, 5, 15)).fit(x[:half], y[:half])
        predicted = model.predict(x[half:]).reshape(y[half:].shape)
        found[name] = float(r2_score(y[half:], predicted, multioutput="variance_weighted"))
    return found


def task_usage(size: Tensor, values: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """How tasks use the codes, where the images of a task share a value.

    Args:
        size: absolute codes ``(N, K)``.
        values: int64 ``(N,)``.
        generator: images are dealt to tasks from it; none is in two.

    Returns:
        ``(T, K)``, rows that sum to 1, and the value of each task, ``(T,)``.
    """
    usage, shared = [], []
    for value in values.unique().tolist():
        rows = (values == value).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        for task in rows.split(IN_TASK)[:TASKS_EACH]:
            if len(task) == IN_TASK:
                mean = size[task].mean(0)
                usage.append(mean / mean.sum().clamp_min(torch.finfo(mean.dtype).tiny))
                shared.append(value)
    return torch.stack(usage), torch.tensor(shared)


def explained(usage: Tensor, shared: Tensor) -> float:
    """Share of the squared distances to the mean that the groups' means explain: R² of Anderson's (2001) analysis.

    Args:
        usage: ``(T, K)``.
        shared: group of each row, int64 ``(T,)``.
    """
    total = (usage - usage.mean(0)).square().sum()
    group = shared.unique(return_inverse=True)[1]
    counts = group.bincount().to(usage)
    means = torch.zeros(len(counts), usage.shape[1]).to(usage).index_add(0, group, usage) / counts[:, None]
    within = (usage - means[group]).square().sum()
    return float(1 - within / total) if total > 0 else 0.0


def selection(codes: Tensor, values: Tensor, generator: torch.Generator) -> AgainstNull:
    """`explained` of the use of codes by tasks that share a value, beside the same under permuted values."""
    usage, shared = task_usage(codes.double().abs(), values, generator)
    null = [explained(usage, shared[torch.randperm(len(shared), generator=generator)]) for _ in range(199)]
    return against_null(explained(usage, shared), null)


def of_codes(
    codes: Tensor, known: GenerativeFactors, basis: Tensor | None = None, features: Tensor | None = None
) -> dict[str, Any]:
    """Recovery and selection by one kind of codes; see `factor_recovery` for basis and features."""
    generator = torch.Generator().manual_seed(SEED)
    found = factor_recovery(
        codes,
        known,
        generator=generator,
        basis=basis,
        features=features,
        patterns=True,  # V is what the representation is rebuilt from
        draws=DRAWS,
        trees=TREES,
    )
    chosen = {name: selection(codes, parts(known, name), generator) for name in known.names}
    corrected = {name: (s.value - s.null_mean) / (1 - s.null_mean) for name, s in chosen.items()}
    row: dict[str, Any] = {
        "codes_number": codes.shape[1],
        "mig": found.mig.value,
        "mig_null": found.mig.null_mean,
        "mig_p": found.mig.p,
        "sap": found.sap.value,
        "sap_null": found.sap.null_mean,
        "sap_p": found.sap.p,
        "mig_by_factor": dict(found.mig_by_factor),
        "sap_by_factor": dict(found.sap_by_factor),
        "selection": sum(corrected.values()) / len(corrected),
        "selection_by_factor": corrected,
        "selection_p": {name: s.p for name, s in chosen.items()},
    }
    for suffix, scores in (("", found.dci), ("_null", found.dci_null)):
        row[f"disentanglement{suffix}"] = scores.disentanglement
        row[f"completeness{suffix}"] = float(scores.completeness.mean())
        row[f"informativeness{suffix}"] = float(scores.informativeness.mean())
    row["informativeness_by_factor"] = dict(zip(known.names, found.dci.informativeness.tolist(), strict=True))
    if found.cosine is not None and found.cosine_by_direction is not None:
        row |= {"cosine": found.cosine.value, "cosine_null": found.cosine.null_mean, "cosine_p": found.cosine.p}
        row["cosine_by_direction"] = dict(found.cosine_by_direction)
    return row


def rows_for(features: Tensor, known: GenerativeFactors, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The row of an encoder's features ``(N, d)``."""
    linear = linear_r2(features, known)
    mean = sum(linear.values()) / len(linear)
    facts = {"codes": FEATURES, **facts, "linear_r2": mean, "linear_r2_by_factor": linear}
    # Selection looks at the codes' sizes, so these are brought to one scale, as those that W is computed from are.
    return {**facts, **of_codes(standardize(features), known)}


@torch.no_grad()
def of_weights(
    calibrator: Calibrator, features: Tensor, standardized: bool, known: GenerativeFactors
) -> dict[str, Any]:
    """The row of a calibrator's weights W and factors V at test time."""
    z, basis = calibrator.at_test(features, standardized=standardized)
    weights = calibrator.test_weights(features, standardized=standardized)
    return of_codes(weights, known, basis, z[:, 0])


def trained(one: Cell, path: Path) -> str:
    """Measure a run; rows to `path`."""
    quiet()
    run = runs.load_run(one.path)
    store, known = images(run.image_size)
    features = extract(run.encoder, store.images)
    of_run = rows_of(one)
    facts: dict[str, Any] = {"accuracy": mean_over(of_run, [TARGET], 20, 1)}
    facts |= conflict(*task_loss(_learner(run), calibrated=False), evaluation_episodes(run.config, store, "all"))
    rows = [rows_for(features, known, facts)]
    if run.calibrator is not None:
        c = run.config.calibration
        standardized = isinstance(c, TC2Config) and c.standardize
        rows.append({"codes": WEIGHTS, **facts, **of_weights(run.calibrator, features, standardized, known)})
    return _keep(one, path, rows)


def untrained(one: Cell, path: Path) -> str:
    """The same of the encoder that a run starts from."""
    quiet()
    config = one.config
    store, known = images(config.data.image_size or 32)
    encoder = build_fresh_encoder(config, store.channels, store.image_size)
    return _keep(one, path, [rows_for(extract(encoder, store.images), known, {})])


def _learner(run: runs.Run) -> SelfSupervised:
    """As it was at the end of training, heads included."""
    learner = build_learner(run.config, run.channels, run.image_size)
    checkpoint = latest_checkpoint(run.path / "checkpoint")
    assert checkpoint is not None  # a finished cell has one
    assert isinstance(learner, SelfSupervised)
    learner.load_state_dict(load_checkpoint(checkpoint)[1]["learner"])
    return learner.to(memory_format=torch.channels_last)


def _keep(one: Cell, path: Path, rows: list[dict[str, Any]]) -> str:
    plain = {"identity": identity(one.config), "rows": [_plain(row) for row in rows]}
    write_atomically(path, json.dumps(plain, indent=1, allow_nan=False).encode())
    return ", ".join(f"{row['codes']}: MIG {row['mig']:.3f}, selection {row['selection']:.3f}" for row in rows)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Recovery and selection by objective, arm and codes, means over seeds, in brackets under permuted factors."""
    lines = [
        "| shapes | arm | codes | MIG | SAP | disentanglement | completeness | cosine of V | linear R² | selection | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    own = [r for r in rows if "codes_number" in r]
    for objective, arm, codes in dict.fromkeys((r["objective"], r["arm"], r["codes"]) for r in own):
        found = [r for r in own if (r["objective"], r["arm"], r["codes"]) == (objective, arm, codes)]

        def shown(name: str, of: Sequence[Mapping[str, Any]] = found) -> str:
            if of[0].get(name) is None:
                return "–"
            null = f" ({np.mean([r[f'{name}_null'] for r in of]):.2f})" if f"{name}_null" in of[0] else ""
            return f"{np.mean([r[name] for r in of]):.2f}{null}"

        names = ("mig", "sap", "disentanglement", "completeness", "cosine", "linear_r2", "selection")
        title = f"{NAMES[objective]} | {titled(arm)} | {codes}"
        lines.append(f"| {title} | {' | '.join(map(shown, names))} | {len(found)} |")
    return "\n".join(lines)


def main() -> None:
    """Train and measure what is asked for, and gather all of it that is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=["simclr", "barlow"])
    parser.add_argument("--arms", nargs="+", choices=STUDIED, default=list(STUDIED))
    parser.add_argument("--seeds", type=positive, default=2)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence"), help="run folders, those of evidence.py")
    parser.add_argument("--measured", type=Path, default=Path("runs/recovery"), help="folder of one JSON file a run")
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--collect", action="store_true", help="make nothing, only gather")
    given = parser.parse_args()
    recipes = best()

    def named(
        objectives: Sequence[str], arms: Sequence[str], seeds: Sequence[int]
    ) -> dict[tuple[str, str, int], tuple[Path, Cell]]:
        found = {}
        for seed, objective, arm in itertools.product(seeds, objectives, arms):
            if arm == UNTRAINED:  # the encoder that a run starts from is the same for every objective
                one = cell(given.runs, SOURCE, OBJECTIVES[0], "plain", seed, recipes[OBJECTIVES[0]])
                found[objective, arm, seed] = given.measured / f"{SOURCE}-random-encoder-s{seed}.json", one
            else:
                one = cell(given.runs, SOURCE, objective, arm, seed, recipes[objective])
                found[objective, arm, seed] = given.measured / f"{one.path.name}.json", one
        return found

    if not given.collect:
        asked = named(given.objectives, given.arms, range(given.seeds))
        of_runs = {path: one for (_, arm, _), (path, one) in asked.items() if arm != UNTRAINED}
        of_none = {path: one for (_, arm, _), (path, one) in asked.items() if arm == UNTRAINED}
        make(of_runs.values(), workers=given.workers)
        wanted = {path: one for path, one in of_runs.items() if one.done and read(path, one) is None}
        in_parallel(trained, wanted, workers=given.workers)
        in_parallel(untrained, {p: one for p, one in of_none.items() if read(p, one) is None}, workers=given.workers)
    # A random encoder stands beside the objectives that were measured.
    seeds = seeds_in(given.measured)
    studied = [arm for arm in STUDIED if arm != UNTRAINED]
    measured = [o for o in OBJECTIVES if any(read(*pair) for pair in named([o], studied, seeds).values())]
    rows: list[dict[str, Any]] = [
        {"objective": objective, "arm": arm, "seed": seed, **row}
        for (objective, arm, seed), (path, one) in named(measured, STUDIED, seeds).items()
        for row in read(path, one) or ()
    ]
    write(given.json, [*rows, *summary(rows)])


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Differences of shared TC² + isotropy from other arms, rank correlations across trained runs, of each kind of codes."""
    found = []
    for codes in (FEATURES, WEIGHTS):
        own = [row for row in rows if row["codes"] == codes]
        names = [name for name in (*COMPARED, "cosine") if own and all(name in row for row in own)]
        of_runs = [row for row in own if row["arm"] != UNTRAINED]
        measured = [name for name in (*COMPARED, "cosine") if of_runs and all(name in row for row in of_runs)]
        against = differences(of_runs, measured) + differences(
            [row for row in own if row["arm"] in (OURS, UNTRAINED)], names
        )
        causes = (*CAUSES, "cosine") if codes == WEIGHTS else CAUSES
        found += [{"codes": codes, **row} for row in [*against, *correlations(of_runs, causes, OUTCOMES)]]
    return found


if __name__ == "__main__":
    main()
