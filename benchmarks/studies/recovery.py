"""Does calibration find the causes? Generative factors of rendered objects against factors and weights of shared TC².

python benchmarks/studies/recovery.py                          # resumed when called again; trains what `evidence.py` has not
python benchmarks/studies/recovery.py --objectives simclr --arms shared+isotropy plain --seeds 1
python benchmarks/studies/recovery.py --collect

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

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from arguments import choices, study_parser
from cells import Cell, in_parallel, make, mean_over, prepare_worker, rows_of, seeds_in
from evidence_cells import OBJECTIVES, OURS, cell
from kept import keep, kept
from mechanism_conflict import conflict, evaluation_episodes
from recipes import best
from recovery_scores import WEIGHTS, images, of_weights, rows_for
from recovery_tables import RESULTS, UNTRAINED

from metatc2.diagnostics import task_loss
from metatc2.experiment import run as runs
from metatc2.experiment.build import build_fresh_encoder, build_learner
from metatc2.experiment.config import TC2Config
from metatc2.learners import SelfSupervised
from metatc2.models.features import extract
from metatc2.training.checkpoint import latest_checkpoint, load_checkpoint

SOURCE, TARGET = "shapes", "shapes:meta-test"
STUDIED = (OURS, "random projection", "plain", "isotropy", UNTRAINED)
Key = tuple[str, str, int]  # objective, arm, seed


def trained(one: Cell, path: Path) -> str:
    """Measure a run; rows to `path`."""
    prepare_worker()
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
    prepare_worker()
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
    keep(one, path, {"rows": rows})
    return ", ".join(f"{row['codes']}: MIG {row['mig']:.3f}, selection {row['selection']:.3f}" for row in rows)


def main() -> None:
    """Train and measure what is asked for, and gather all of it that is done."""
    parser = study_parser(__doc__, runs="runs/evidence", results=RESULTS, seeds=2)
    choices(parser, "--objectives", OBJECTIVES, ["simclr", "barlow"])
    choices(parser, "--arms", STUDIED)
    parser.add_argument("--measured", type=Path, default=Path("runs/recovery"), help="folder of one JSON file a run")
    given = parser.parse_args()
    recipes = best()

    def named(objectives: Iterable[str], arms: Iterable[str], seeds: Sequence[int]) -> dict[Key, tuple[Path, Cell]]:
        result = {}
        for seed, objective, arm in itertools.product(seeds, objectives, arms):
            if arm == UNTRAINED:  # the encoder that a run starts from is the same for every objective
                one = cell(given.runs, SOURCE, OBJECTIVES[0], "plain", seed, recipes[OBJECTIVES[0]])
                result[objective, arm, seed] = given.measured / f"{SOURCE}-random-encoder-s{seed}.json", one
            else:
                one = cell(given.runs, SOURCE, objective, arm, seed, recipes[objective])
                result[objective, arm, seed] = given.measured / f"{one.path.name}.json", one
        return result

    if not given.collect:
        asked = named(given.objectives, given.arms, range(given.seeds))
        of_runs = {path: one for (_, arm, _), (path, one) in asked.items() if arm != UNTRAINED}
        of_none = {path: one for (_, arm, _), (path, one) in asked.items() if arm == UNTRAINED}
        make(of_runs.values(), workers=given.workers)
        wanted = {path: one for path, one in of_runs.items() if one.done and kept(one, path) is None}
        in_parallel(trained, wanted, workers=given.workers)
        in_parallel(untrained, {p: one for p, one in of_none.items() if kept(one, p) is None}, workers=given.workers)
    # A random encoder stands beside the objectives that were measured.
    seeds = seeds_in(given.measured)
    studied = [arm for arm in STUDIED if arm != UNTRAINED]
    measured = [o for o in OBJECTIVES if any(kept(one, path) for path, one in named([o], studied, seeds).values())]
    rows: list[dict[str, Any]] = [
        {"objective": objective, "arm": arm, "seed": seed, **row}
        for (objective, arm, seed), (path, one) in named(measured, STUDIED, seeds).items()
        for row in (kept(one, path) or {"rows": ()})["rows"]
    ]
    RESULTS.at(given.results).write(rows)


if __name__ == "__main__":
    main()
