"""Where does it help? What the best linear change of the finished features would still add, by source and arm.

python benchmarks/studies/spectrum.py                     # measures the cells of evidence.py that are done; about 10 s each
python benchmarks/studies/spectrum.py --source shapes --seeds 1

The features of a finished encoder are changed by a linear map fitted on views of training images and evaluated on held-out
classes of the source (`meta-validation`): standardized (mean 0 and variance 1 of every dimension), whitened, and whitened with
every canonical direction weighted by its correlation between two views of an image (Hotelling 1936), so that what views do not
share is left out. Where whitening adds much, an encoder uses some of its factors far more than others; where it takes points
away, the small directions hold noise. The classes are none of a headline of `evidence.py`; on letters and shapes settings of
shared TC² were chosen on them, and those of digits are among the ten digits that its runs on letters are also evaluated on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from arguments import choices
from cells import Cell, prepare_worker
from csv_results import FOLDER, Results
from evidence_cells import ARMS, OBJECTIVES, OURS, SHORT, SOURCES, cell, titled
from pairs import paired_by_seed, signed
from recipes import best
from shared import positive
from torch import Tensor

from metatc2.experiment import run as runs
from metatc2.experiment.build import build_data, build_views
from metatc2.models.features import evaluation_mode, extract
from metatc2.objectives import title_of
from metatc2.transfer.heads.prototype import few_shot
from metatc2.transfer.sampling import sample_episodes

FITTED_ON, WAY, QUERY, EPISODES = 3000, 20, 5, 600
KEPT = 1e-3  # added to variances of 1 on average: directions below are not brought to the height of the others
CHANGES = {
    "features": "as it is",
    "standardized": "standardized",
    "whitened": "whitened",
    "shared": "whitened and weighted",
}
RESULTS = Results(
    FOLDER / "spectrum.csv",
    {
        **dict.fromkeys(("source", "objective", "arm"), str),
        **dict.fromkeys(("seed", "way"), int),
        **dict.fromkeys((*CHANGES, "participation_ratio"), float),
    },
    digits=5,
)


def canonical(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """Directions of unit variance in which two views correlate alone, and their correlations.

    Args:
        one, two: ``(N, d)``, views of the same images, of mean zero and unit variance.

    Returns:
        A map ``(d, d)`` to the directions, and ``(d,)``, largest last.
    """
    covariance = (one.T @ one + two.T @ two) / (2 * len(one))
    size, axes = torch.linalg.eigh(covariance)
    whitening = axes @ torch.diag((size.clamp_min(0) + KEPT).rsqrt()) @ axes.T
    between = (one.T @ two + two.T @ one) / (2 * len(one))
    correlations, directions = torch.linalg.eigh(whitening @ between @ whitening)
    return whitening @ directions, correlations


def measure(one: Cell) -> dict[str, Any]:
    """Accuracies on held-out classes of the features as they are and changed, and how their variance is spread."""
    run = runs.load_run(one.path)
    store = build_data(run.config)
    generator = torch.Generator().manual_seed(0)
    rows, held_out = store.rows("meta-train"), store.rows("meta-validation")
    rows = rows[torch.randperm(len(rows), generator=generator)[:FITTED_ON]]
    views = build_views(run.config, store.image_size)
    with torch.no_grad(), evaluation_mode(run.encoder):
        made = views(store.images[rows], generator)[0].unbind(1)
        pair = [torch.cat([run.encoder(part) for part in view.split(500)]).double() for view in made]
    both = torch.cat(pair)
    mean, deviation = both.mean(0), both.std(0).clamp_min(1e-6)
    pair = [(z - mean) / deviation for z in pair]
    directions, correlations = canonical(*pair)
    features = extract(run.encoder, store.images[held_out])
    standardized = (features.double() - mean) / deviation
    labels = store.labels[held_out]
    episodes = sample_episodes(
        labels,
        way=min(WAY, len(labels.unique())),
        shot=1,
        query=QUERY,
        episodes=EPISODES,
        generator=torch.Generator().manual_seed(0),
    )
    white = standardized @ directions
    shared = white * correlations.clamp_min(0)
    changed = dict(zip(CHANGES, (features, standardized, white, shared), strict=True))
    spectrum = torch.linalg.eigvalsh(torch.cat(pair).T.cov())  # a dead unit has no correlation, but no variance either
    return {
        "way": int(episodes.classes.shape[1]),
        **{name: float(few_shot(z.float(), episodes).mean()) for name, z in changed.items()},
        "participation_ratio": float(spectrum.sum() ** 2 / spectrum.square().sum()),
        "shared_directions": float(correlations.clamp(0, 1).sum()),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Means over seeds of the features as they are and changed, by source, objective and arm."""
    lines = [
        f"| held-out classes, 1-shot | arm | {' | '.join(CHANGES.values())} | participation ratio | seeds |",
        "|---|---|" + "---|" * (len(CHANGES) + 2),
    ]
    for source, objective, arm in dict.fromkeys((r["source"], r["objective"], r["arm"]) for r in rows):
        own = [r for r in rows if (r["source"], r["objective"], r["arm"]) == (source, objective, arm)]

        def mean(name: str, of: Sequence[Mapping[str, Any]] = own) -> float:
            return float(sum(r[name] for r in of) / len(of))

        changes = " | ".join(f"{100 * mean(name):.1f}" for name in CHANGES)
        title = f"{source}, {title_of(objective)}, {own[0]['way']}-way"
        lines.append(f"| {title} | {titled(arm)} | {changes} | {mean('participation_ratio'):.0f} | {len(own)} |")
    return "\n".join(lines)


def differences_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Shared TC² + isotropy as it is less plain with each change."""
    lines = [
        f"| {titled(OURS)} as it is, less plain | {' | '.join(CHANGES.values())} |",
        "|---|" + "---|" * len(CHANGES),
    ]
    for source, objective in dict.fromkeys((r["source"], r["objective"]) for r in rows):
        ours, plain = (
            {r["seed"]: r for r in rows if (r["source"], r["objective"], r["arm"]) == (source, objective, arm)}
            for arm in (OURS, "plain")
        )
        as_it_is = {s: r["features"] for s, r in ours.items()}
        result = [paired_by_seed(as_it_is, {s: r[change] for s, r in plain.items()}) for change in CHANGES]
        if any(result):
            lines.append(f"| {source}, {title_of(objective)} | {' | '.join(map(signed, result))} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is done of what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices(parser, "--source", SOURCES, SHORT)
    choices(parser, "--objectives", OBJECTIVES)
    choices(parser, "--arms", ARMS, ["plain", OURS])
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence"), help="run folders of evidence.py")
    parser.add_argument("--results", type=Path, default=RESULTS.path, help="CSV file")
    given = parser.parse_args()
    prepare_worker()
    recipes, rows = best(), []
    for source in given.source:
        for objective in given.objectives:
            for arm in given.arms:
                for seed in range(given.seeds):
                    one = cell(given.runs, source, objective, arm, seed, recipes[objective])
                    if one.done:
                        named = {"source": source, "objective": objective, "arm": arm, "seed": seed}
                        rows.append({**named, **measure(one)})
                        print(rows[-1], flush=True)
    RESULTS.at(given.results).write(rows)


if __name__ == "__main__":
    main()
