"""Why would calibration help? Conflict between tasks, rank and factor use over training, and whether they tell transfer.

python benchmarks/studies/mechanism.py --figure benchmarks/studies/results/mechanism.png     # resumed when called again
python benchmarks/studies/mechanism.py --objectives simclr --arms plain shared+isotropy --seeds 1
python benchmarks/studies/mechanism.py --collect

Cells are those of `evidence.py` on glyphs, stopped at shares of their steps and measured on images of held-out Latin letters.
Every arm meets the same episodes. Their tasks are of different faces; beside each figure stands its noise null, the same
figure when the images of the episode are assigned to tasks anew at random, as tasks are made in training. The loss of
a task is the plain objective on the encoder and the arm's own head for every arm; at the end, for TC², that of the calibrated
representation is measured besides. Figures are means over 5 episodes of 4 tasks of 32 images, with one re-split each, so that
the excess over the null has an interval over episodes: 10 measurements of about 0.5 s on one core, 5 s a checkpoint.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from arguments import choices, study_parser
from cells import Cell, in_parallel, prepare_worker, seeds_in
from evidence_cells import OBJECTIVES, cell
from kept import keep, kept, missing
from mechanism_conflict import conflict, evaluation_episodes
from mechanism_tables import OUTCOME, RESULTS, STUDIED, draw
from recipes import TARGET, best
from torch import Tensor

from metatc2.data import ImageStore
from metatc2.diagnostics import effective_rank, factor_use, task_loss
from metatc2.episodes import Episode
from metatc2.experiment.build import build_data, build_learner, build_sampler, build_trainer_options
from metatc2.experiment.config import Config
from metatc2.learners import SelfSupervised, SharedTC2
from metatc2.models.features import extract
from metatc2.training import Trainer, TrainingDiverged
from metatc2.transfer import FewShot, Target, evaluate

SHARES = (0.0, 1 / 6, 1 / 3, 2 / 3, 1.0)
SPLIT = TARGET.partition(":")[2]


def measure(learner: SelfSupervised, config: Config, store: ImageStore, episodes: Sequence[Episode]) -> dict[str, Any]:
    """Everything that is looked at in every checkpoint; the learner is left as it was."""
    result: dict[str, Any] = conflict(*task_loss(learner, calibrated=False), episodes)
    features = extract(learner.encoder, store.images[store.rows(SPLIT)])
    result["effective_rank"] = effective_rank(features)
    asked: Any = config.protocols["few-shot"]
    rows, _ = evaluate(
        {"encoder": learner.encoder},
        [Target(store, SPLIT, TARGET)],
        protocols=[FewShot(ways=(20,), shots=(1,), query=asked.query, episodes=asked.episodes, heads=asked.heads[:1])],
    )
    result[OUTCOME] = next(row.mean for row in rows if row.features == "encoder")
    if isinstance(learner, SharedTC2):
        result |= _factors(learner, features)
    return result


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
    prepare_worker()
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
    keep(one, path, {"seconds": trainer.seconds, "rows": rows})
    last = rows[-1]
    return (
        f"{trainer.seconds:.0f} s of steps; C {last['C']:.2f} (null {last['C_null']:.2f}), accuracy {last[OUTCOME]:.3f}"
    )


def main() -> None:
    """Make the cells that are asked for, gather all that are done, draw."""
    parser = study_parser(__doc__, runs="runs/mechanism", results=RESULTS, seeds=2)
    choices(parser, "--objectives", OBJECTIVES, ["simclr", "barlow"])
    choices(parser, "--arms", STUDIED)
    parser.add_argument("--figure", type=Path, help="PNG file of the lines over training")
    given = parser.parse_args()
    recipes = best()

    def named(objectives: Iterable[str], arms: Iterable[str], seeds: Sequence[int]) -> dict[tuple[str, str, int], Cell]:
        return {
            (objective, arm, seed): cell(given.runs, "glyphs", objective, arm, seed, recipes[objective])
            for seed, objective, arm in itertools.product(seeds, objectives, arms)
        }

    if not given.collect:
        asked = named(given.objectives, given.arms, range(given.seeds))
        in_parallel(train, missing(asked.values()), workers=given.workers)
    rows: list[dict[str, Any]] = [
        {"objective": objective, "arm": arm, "seed": seed, **row}
        for (objective, arm, seed), one in named(OBJECTIVES, STUDIED, seeds_in(given.runs)).items()
        for row in (kept(one) or {"rows": ()})["rows"]
    ]
    results = RESULTS.at(given.results)
    results.write(rows)
    if given.figure:
        draw(results.read(), given.figure)


if __name__ == "__main__":
    main()
