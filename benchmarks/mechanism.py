"""Why would calibration help? Conflict between tasks, rank and factor use over training, and whether they tell transfer.

python benchmarks/mechanism.py --figure benchmarks/results/mechanism.png     # resumed when called again
python benchmarks/mechanism.py --objectives simclr --arms plain shared+isotropy --seeds 1
python benchmarks/mechanism.py --collect

Cells are those of `evidence.py` on glyphs, stopped at shares of their steps and measured on images of held-out Latin letters.
Every arm meets the same episodes. Their tasks are of different faces; beside each figure stands its noise null, the same
figure when the images of the episode are dealt to tasks anew at random, which is how tasks are made in training. The loss of
a task is the plain objective on the encoder and the arm's own head for every arm; at the end, for TC², that of the calibrated
representation is measured besides. Figures are means over 5 episodes of 4 tasks of 32 images, with one re-split each, so that
the excess over the null has an interval over episodes: 10 measurements of about 0.5 s on one core, 5 s a checkpoint.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from cells import Cell, identity, in_parallel, paired, quiet, seeds_in
from common import positive, write
from evidence import ARMS, OBJECTIVES, OURS, cell, signed, titled
from recipes import TARGET, best
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from metatc2.data import ImageStore
from metatc2.diagnostics import (
    blocks,
    conflict_rate,
    cosines,
    effective_rank,
    factor_use,
    grams,
    task_gradients,
    task_loss,
    transfer_gains,
    transferability,
)
from metatc2.diagnostics.task_loss import TaskLoss
from metatc2.episodes import Episode, SplitBatch
from metatc2.experiment.build import build_data, build_learner, build_sampler, build_trainer_options, build_views
from metatc2.experiment.config import Config
from metatc2.inner import Params
from metatc2.learners import SelfSupervised, SharedTC2
from metatc2.models.features import extract
from metatc2.report.text import NAMES
from metatc2.training import Trainer, TrainingDiverged
from metatc2.training.checkpoint import write_atomically
from metatc2.transfer import FewShot, Target, evaluate, mean_interval

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # the backend comes first

RESULTS = Path(__file__).resolve().parent / "results" / "mechanism.json"
STUDIED = (OURS, "plain", "tasks", "isotropy", "random projection")
SHARES = (0.0, 1 / 6, 1 / 3, 2 / 3, 1.0)
SPLIT = TARGET.partition(":")[2]
EPISODES, TASKS, BATCH = 5, 4, 128
# Length of the step of the gains over that of θ: a learning rate would mean another step under every objective and arm. In
# trained encoders a task's own loss falls at 0.002 and rises again at 0.03.
STEP = 0.002
SEED = 20_000  # of evaluation episodes and re-splits; no cell is trained with it
ALL = "all"
# Figures of a run that could tell its accuracy.
CAUSES = ("C", "C_excess", "T_excess", "cosine_all", "cosine_all_excess", "effective_rank")
OUTCOME = "accuracy"


def evaluation_episodes(config: Config, store: ImageStore, split: str, count: int = EPISODES) -> list[Episode]:
    """The same for every arm, objective and seed of a study: tasks of neighboring domains, in the views of pre-training."""
    sampler = SplitBatch(
        store,
        build_views(config, store.image_size),
        tasks=TASKS,
        batch=BATCH,
        assign="domain",
        split=split,
        seed=SEED,
    )
    return [sampler.sample() for _ in range(count)]


def resplit(episode: Episode, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Support and query images of as many tasks, dealt anew."""
    images = episode.images
    order = torch.randperm(images.shape[0] * images.shape[1], generator=generator)
    again = images.flatten(0, 1)[order].unflatten(0, images.shape[:2])
    support = episode.support.images.shape[1]
    return again[:, :support], again[:, support:]


def figures(loss: TaskLoss, params: Params, support: Tensor, query: Tensor) -> dict[str, float]:
    """Transferability, conflict rate, a task's own gain, and by block gradient cosines and their share below 0."""
    gradients = task_gradients(loss, params, support)
    products = grams(gradients, blocks(list(params)))
    lengths = products[ALL].diagonal().sqrt()
    theta = math.sqrt(sum(float(p.double().square().sum()) for p in params.values()))
    lr = STEP * theta / max(float(lengths.mean()), 1e-12)
    gains = transfer_gains(loss, params, gradients, query, lr=lr)
    found = {"T": transferability(gains), "C": conflict_rate(gains), "own_gain": float(gains.diagonal().mean())}
    for name, gram in products.items():
        angles = cosines(gram)
        found[f"cosine_{name}"] = float(angles.mean())
        found[f"below_zero_{name}"] = float((angles < 0).double().mean())
    return found


def conflict(loss: TaskLoss, params: Params, episodes: Sequence[Episode]) -> dict[str, float]:
    """`figures` over episodes: mean, mean of the null, and their paired difference with its 95 % interval over episodes.

    Args:
        loss, params: see `metatc2.diagnostics.task_loss`.
        episodes: at least two, of tasks whose images differ in kind.

    Returns:
        Of each figure F: F, F_null, F_excess and F_excess_ci95.
    """
    generator = torch.Generator().manual_seed(SEED)
    own = [figures(loss, params, e.support.images, e.query.images) for e in episodes]
    null = [figures(loss, params, *resplit(e, generator)) for e in episodes]
    found: dict[str, float] = {}
    for name in own[0]:
        a, b = (np.array([part[name] for part in parts]) for parts in (own, null))
        excess, half = mean_interval((a - b).tolist())
        found |= {name: float(a.mean()), f"{name}_null": float(b.mean())}
        found |= {f"{name}_excess": excess, f"{name}_excess_ci95": half}
    return found


def measure(learner: SelfSupervised, config: Config, store: ImageStore, episodes: Sequence[Episode]) -> dict[str, Any]:
    """Everything that is looked at in every checkpoint; the learner is left as it was."""
    found: dict[str, Any] = conflict(*task_loss(learner, calibrated=False), episodes)
    features = extract(learner.encoder, store.images[store.rows(SPLIT)])
    found["effective_rank"] = effective_rank(features)
    judged = config.transfer
    rows, _ = evaluate(
        {"encoder": learner.encoder},
        [Target(store, SPLIT, TARGET)],
        protocols=[
            FewShot(ways=(20,), shots=(1,), query=judged.query, episodes=judged.episodes, heads=judged.heads[:1])
        ],
    )
    found[OUTCOME] = next(row.mean for row in rows if row.features == "encoder")
    if isinstance(learner, SharedTC2):
        found |= _factors(learner, features)
    return found


def _factors(learner: SharedTC2, features: Tensor) -> dict[str, float | None]:
    calibrator = learner.calibrator
    count = len(calibrator.average_factors)
    if not bool(calibrator.average_factors.any()):  # before the first step there are no averages for test time
        return {"usage_entropy": None, "factors_used": None, "unexplained": None}
    use = factor_use(calibrator, features, standardized=learner.standardize)
    return {
        "usage_entropy": math.log(use.factors_used) / math.log(count) if count > 1 else None,
        "factors_used": use.factors_used / count,
        "unexplained": use.unexplained,
    }


def train(one: Cell, path: Path) -> str:
    """Train a cell, measure it at every share of its steps, and write the rows; a sentence for the log."""
    quiet()
    config = one.config
    store = build_data(config)
    learner = build_learner(config, store.channels, store.image_size, class_of=store.labels)
    assert isinstance(learner, SelfSupervised)  # what "ssl" builds
    episodes = evaluation_episodes(config, store, SPLIT)
    torch.manual_seed(config.trainer.seed)  # as in `metatc2.experiment.run.pretrain`
    trainer = Trainer(learner, build_sampler(config, store), build_trainer_options(config))
    rows = []
    for share in SHARES:
        try:
            trainer.fit(round(share * config.trainer.steps))
        except TrainingDiverged as error:
            return f"diverged: {error}"
        rows.append({"share": round(share, 4), "step": trainer.step, **measure(learner, config, store, episodes)})
    if isinstance(learner, SharedTC2):
        rows[-1]["calibrated"] = conflict(*task_loss(learner), episodes)
    content = json.dumps({"identity": identity(config), "seconds": trainer.seconds, "rows": rows}, indent=1)
    write_atomically(path, content.encode())
    last = rows[-1]
    return (
        f"{trainer.seconds:.0f} s of steps; C {last['C']:.2f} (null {last['C_null']:.2f}), accuracy {last[OUTCOME]:.3f}"
    )


def read(path: Path, one: Cell) -> list[dict[str, Any]] | None:
    """Rows of a cell; None where it is not there, or was made with other settings."""
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    rows: list[dict[str, Any]] = found["rows"]
    return rows if found["identity"] == identity(one.config) else None


def differences(final: Sequence[Mapping[str, Any]], names: Sequence[str] = (*CAUSES, OUTCOME)) -> list[dict[str, Any]]:
    """Shared TC² + isotropy less each other arm, over the seeds that both have.

    Args:
        final: one row a run, with objective, arm, seed and the figures named.
        names: figures.
    """
    by = {(r["objective"], r["arm"], r["seed"]): r for r in final}
    found = []
    for objective, arm in dict.fromkeys((o, a) for o, a, _ in by if a != OURS):
        seeds = sorted(s for o, a, s in by if (o, a) == (objective, arm) and (objective, OURS, s) in by)
        for name in names if seeds else ():
            values = [by[objective, OURS, s][name] - by[objective, arm, s][name] for s in seeds]
            found.append({"objective": objective, "against": arm, "figure": name, **paired(values, seeds)})
    return found


def correlations(
    rows: Sequence[Mapping[str, Any]], causes: Sequence[str] = CAUSES, outcomes: Sequence[str] = (OUTCOME,)
) -> list[dict[str, Any]]:
    """Spearman's rank correlation across runs: of all, of each objective, and of all by rank within their objective.

    The last is the one to read over several objectives: losses have their own units, and one objective may both conflict more
    and transfer better without that either explains the other within it. No p-value stands beside it: runs of one arm differ by
    their seed alone, so there are fewer independent ones than runs.

    Args:
        rows: one a run, with its objective and figures.
        causes, outcomes: figures that are correlated, each with each; rows that lack one are left out.
    """
    found = []
    for cause in causes:
        for outcome in outcomes:
            have = [r for r in rows if r.get(cause) is not None and r.get(outcome) is not None]
            by = {o: [r for r in have if r["objective"] == o] for o in dict.fromkeys(r["objective"] for r in have)}
            within = [_ranks(_pairs(own, cause, outcome)) for own in by.values()]
            groups: dict[str, np.ndarray[Any, Any]] = {
                "all runs": _pairs(have, cause, outcome),
                "within objectives": np.concatenate([np.zeros((0, 2)), *within]),
                **{objective: _pairs(own, cause, outcome) for objective, own in by.items()},
            }
            for over, pairs in groups.items():
                if len(pairs) > 2 and (np.ptp(pairs, axis=0) > 0).all():
                    facts = {"cause": cause, "outcome": outcome, "over": over, "runs": len(pairs)}
                    found.append({**facts, "spearman": float(spearmanr(pairs).statistic)})
    return found


def _pairs(rows: Sequence[Mapping[str, Any]], cause: str, outcome: str) -> np.ndarray[Any, Any]:
    return np.array([[r[cause], r[outcome]] for r in rows], dtype=float).reshape(-1, 2)


def _ranks(pairs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Ranks from 0 to 1 in each column, so that objectives with few runs count as those with many."""
    return (np.asarray(rankdata(pairs, axis=0)) - 0.5) / len(pairs)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Figures at the end of training by objective and arm, means over seeds."""
    names = {"C": "C (null)", "T": "T (null), 10⁻³", "cosine_all": "gradient cosine (null)"}
    lines = [
        f"| end of training | arm | {' | '.join(names.values())} | effective rank | factors used | accuracy | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    final = [r for r in rows if r.get("share") == 1]
    for objective, arm in dict.fromkeys((r["objective"], r["arm"]) for r in final):
        own = [r for r in final if (r["objective"], r["arm"]) == (objective, arm)]

        def mean(name: str, scale: float = 1, of: Sequence[Mapping[str, Any]] = own) -> float:
            return scale * float(np.mean([r[name] for r in of]))

        conflicts = " | ".join(
            f"{mean(n, scale):.{digits}f} ({mean(f'{n}_null', scale):.{digits}f})"
            for n, scale, digits in (("C", 1, 2), ("T", 1e3, 1), ("cosine_all", 1, 2))
        )
        used = f"{100 * mean('factors_used'):.0f} %" if own[0].get("factors_used") is not None else "–"
        lines.append(
            f"| {NAMES[objective]} | {titled(arm)} | {conflicts} | {mean('effective_rank'):.1f} | {used} "
            f"| {mean(OUTCOME, 100):.1f} | {len(own)} |"
        )
    return "\n".join(lines)


def differences_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Shared TC² + isotropy less every other arm at the end of training."""
    shown = {
        "C_excess": ("C − null", 1, 2),
        "T_excess": ("T − null, 10⁻³", 1e3, 1),
        "cosine_all_excess": ("gradient cosine − null", 1, 2),
        "effective_rank": ("effective rank", 1, 1),
        OUTCOME: ("accuracy, points", 100, 1),
    }
    lines = [
        f"| {titled(OURS)} less | this arm | {' | '.join(title for title, _, _ in shown.values())} |",
        "|---|---|" + "---|" * len(shown),
    ]
    found = [r for r in rows if "against" in r]
    for objective, arm in dict.fromkeys((r["objective"], r["against"]) for r in found):
        own = {r["figure"]: r for r in found if (r["objective"], r["against"]) == (objective, arm)}
        cells = " | ".join(signed(own[name], scale, digits) for name, (_, scale, digits) in shown.items())
        lines.append(f"| {NAMES[objective]} | {arm} | {cells} |")
    return "\n".join(lines)


def correlations_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rank correlation of every cause with every outcome, over the runs within their objectives."""
    found = [r for r in rows if "spearman" in r and r["over"] == "within objectives"]
    outcomes = list(dict.fromkeys(r["outcome"] for r in found))
    kinds = list(dict.fromkeys(r.get("codes") for r in found))
    lines = [
        f"| rank correlation across runs | {' | '.join(outcomes)} | runs |",
        "|---|" + "---|" * (len(outcomes) + 1),
    ]
    for kind, cause in dict.fromkeys((r.get("codes"), r["cause"]) for r in found):
        own = {r["outcome"]: r for r in found if (r.get("codes"), r["cause"]) == (kind, cause)}
        cells = " | ".join(f"{own[o]['spearman']:+.2f}" if o in own else "–" for o in outcomes)
        name = cause if len(kinds) == 1 else f"{cause} of {kind}"
        lines.append(f"| {name.replace('_', ' ')} | {cells} | {max(r['runs'] for r in own.values())} |")
    return "\n".join(lines)


PANELS = {
    "T_excess": "T − null",
    "C": "conflict rate C",
    "C_excess": "C − null",
    "cosine_all": "gradient cosine",
    "effective_rank": "effective rank",
    OUTCOME: "20-way 1-shot accuracy",
}
COLORS = dict(zip(STUDIED, ("#c1272d", "#404040", "#3477b5", "#3a923a", "#d98a1f"), strict=True))


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Lines over training by arm, a row of panels for each objective; bands span the seeds."""
    objectives = list(dict.fromkeys(r["objective"] for r in rows))
    size = (2.6 * len(PANELS), 2.5 * len(objectives) + 0.5)
    figure, axes = plt.subplots(len(objectives), len(PANELS), figsize=size, squeeze=False, constrained_layout=True)
    for line, objective in zip(axes, objectives, strict=True):
        for panel, (name, title) in zip(line, PANELS.items(), strict=True):
            for arm in STUDIED:
                own = [r for r in rows if (r["objective"], r["arm"]) == (objective, arm)]
                steps = sorted({r["step"] for r in own})
                if not steps:
                    continue
                values = [[r[name] for r in own if r["step"] == step] for step in steps]
                panel.plot(
                    steps,
                    [np.mean(v) for v in values],
                    marker="o",
                    markersize=3,
                    color=COLORS[arm],
                    label=titled(arm),
                )
                low, high = [min(v) for v in values], [max(v) for v in values]
                panel.fill_between(steps, low, high, color=COLORS[arm], alpha=0.15, linewidth=0)
            if name in ("T_excess", "C_excess", "cosine_all"):
                panel.axhline(0, color="gray", linewidth=0.8)
            panel.set_title(f"{NAMES[objective]}: {title}", fontsize=8)
            panel.tick_params(labelsize=8)
            panel.set_xlabel("step", fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Make the cells that are asked for, gather all that are done, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=["simclr", "barlow"])
    parser.add_argument("--arms", nargs="+", choices=STUDIED, default=list(STUDIED))
    parser.add_argument("--seeds", type=positive, default=2)
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/mechanism"))
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, help="PNG file of the lines over training")
    parser.add_argument("--collect", action="store_true", help="make nothing, only gather")
    given = parser.parse_args()
    recipes = best()
    assert set(STUDIED) <= set(ARMS)

    def named(
        objectives: Sequence[str], arms: Sequence[str], seeds: Sequence[int]
    ) -> dict[tuple[str, str, int], tuple[Path, Cell]]:
        found = {}
        for seed, objective, arm in itertools.product(seeds, objectives, arms):
            one = cell(given.runs, "glyphs", objective, arm, seed, recipes[objective])
            found[objective, arm, seed] = one.path.with_name(f"{one.path.name}.json"), one
        return found

    if not given.collect:
        asked = named(given.objectives, given.arms, range(given.seeds))
        in_parallel(train, {p: one for p, one in asked.values() if read(p, one) is None}, workers=given.workers)
    rows: list[dict[str, Any]] = [
        {"objective": objective, "arm": arm, "seed": seed, **row}
        for (objective, arm, seed), (path, one) in named(OBJECTIVES, STUDIED, seeds_in(given.runs)).items()
        for row in read(path, one) or ()
    ]
    final = [row for row in rows if row["share"] == 1]
    write(given.json, [*rows, *differences(final), *correlations(final)])
    if given.figure:
        draw(rows, given.figure)


if __name__ == "__main__":
    main()
