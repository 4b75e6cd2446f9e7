"""Every learner on labeled tasks, meta-trained on Latin letters and tested on scripts never seen.

    python benchmarks/studies/glyphs_fewshot.py                      # resumes

Conv-4 of width 32 on 28 × 28, trained on 5-way tasks with 1 to 5 shots; tested 5-way and 20-way, 1-shot and 5-shot, on Greek,
Cyrillic, Georgian and Armenian, the same episodes for every learner and seed, by adaptation to each episode. Rates of the outer
and inner loop are those that `learner_rates.py` chose on Latin letters that were not trained on. Learners with a
linear head meta-learn one row for all classes, so that they can be tested 20-way (not BOIL, whose head stays as it is). Each
accuracy is the mean over scripts; the interval is over seeds. Batch statistics are transductive (`norm = batch`) for all. Two
controls: raw pixels (nearest prototype), and each learner's own adaptation from an untrained network. Runs that are in the
folder already are not made again.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import learner_rates
import torch
from arguments import choices, study_parser
from csv_results import FOLDER, Results
from learner_settings import config
from pairs import ENOUGH, paired_by_seed
from shared import positive

from metatc2.data import load
from metatc2.experiment import run as runs
from metatc2.experiment.weights import fresh_learner
from metatc2.io.files import write_atomically
from metatc2.learners import LEARNERS
from metatc2.transfer import ADAPTED, RAW_PIXELS, FewShot, evaluate, expand_targets, mean_interval

SCRIPTS = ("greek", "cyrillic", "georgian", "armenian")
RESULTS = Results(
    FOLDER / "glyphs_fewshot.csv",
    {
        **dict.fromkeys(("control", "learner"), str),
        **dict.fromkeys(("steps", "seed", "way", "shot"), int),
        **dict.fromkeys(("accuracy", "train_seconds"), float),
    },
    digits=None,  # of few episodes, so that means lie on the border between two tenths
)

Job = tuple[str, int, int, int, str]  # learner, seed, steps, episodes, folder


def kept(job: Job) -> Path:
    """Where the rows of a job are kept."""
    learner, seed, steps, _, folder = job
    return Path(folder) / f"{learner}-s{seed}-{steps}.json"


def measure(job: Job) -> None:
    """Train one learner with one seed and test it; steps 0 is the control, the network as it was drawn."""
    learner, seed, steps, episodes, _ = job
    torch.set_num_threads(1)
    if kept(job).exists():
        return
    path = kept(job).with_suffix("")
    settings = config(learner, seed, max(steps, 1), learner_rates.chosen(learner))
    store = load("glyphs", image_size=28)
    if steps:
        if path.exists() and not (path / "learner.safetensors").exists():
            shutil.rmtree(path)  # a run of this study that was cut
        done = runs.load_run(path) if (path / "learner.safetensors").exists() else runs.pretrain(settings, path)
        made, seconds = done.learner, done.seconds
    else:
        made, seconds = fresh_learner(settings, store.channels, store.image_size), None
    assert made is not None
    targets = [target for script in SCRIPTS for target in expand_targets(store, script)]
    rows, _ = evaluate(
        {},
        targets,
        seed=seed,
        source="glyphs:meta-train",
        protocols=[
            FewShot(ways=(5,) if learner == "boil" else (5, 20), query=5, episodes=episodes, heads=("euclidean",)),
        ],
        learners={ADAPTED: made.eval()},
    )
    result: list[dict[str, Any]] = []
    for features in (ADAPTED, RAW_PIXELS):
        for way, shot in sorted({(row.way, row.shot) for row in rows}):
            own = [row.mean for row in rows if (row.way, row.shot, row.features) == (way, shot, features)]
            facts = {"seed": seed, "way": way, "shot": shot, "accuracy": statistics.fmean(own)}
            named = {"learner": learner, "steps": steps, "train_seconds": seconds}
            result.append({**facts, **(named if features == ADAPTED else {"control": features})})
    write_atomically(kept(job), json.dumps(result).encode())
    print(json.dumps(result[:4]), flush=True)


def gather(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Rows of the jobs that are done; of the control, which is the same for every job of a seed, one a seed and setting."""
    result = [row for job in jobs if kept(job).exists() for row in json.loads(kept(job).read_text())]
    controls = {(r["seed"], r["way"], r["shot"]): r for r in result if "control" in r}
    return [*(r for r in result if "learner" in r), *controls.values()]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy of every learner on scripts never seen."""
    settings = sorted({(r["way"], r["shot"]) for r in rows})
    lines = [
        "| learner | " + " | ".join(f"{way}-way {shot}-shot" for way, shot in settings) + " | training, s |",
        "|---|" + "---|" * (len(settings) + 1),
    ]
    for learner, steps in dict.fromkeys((r["learner"], r["steps"]) for r in rows if "learner" in r):
        own = [r for r in rows if (r.get("learner"), r.get("steps")) == (learner, steps)]
        cells = []
        for at in settings:
            values = [r["accuracy"] for r in own if (r["way"], r["shot"]) == at]
            half = f" ± {100 * mean_interval(values)[1]:.1f}" if len(values) > 1 else ""
            cells.append(f"{100 * statistics.fmean(values):.1f}{half}" if values else "–")
        cost = f"{statistics.fmean(r['train_seconds'] for r in own):.0f}" if steps else "–"
        lines.append(f"| {learner if steps else f'{learner}, untrained'} | {' | '.join(cells)} | {cost} |")
    controls = [r for r in rows if "control" in r]
    raw = [statistics.fmean(r["accuracy"] for r in controls if (r["way"], r["shot"]) == at) for at in settings]
    lines.append("| raw pixels, nearest prototype | " + " | ".join(f"{100 * value:.1f}" for value in raw) + " | – |")
    return "\n".join(lines)


def orders_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """MAML against its own first-order version, in pairs of one seed."""
    lines = ["| maml − fomaml | difference ± 95 % over seeds | by seed | maml is |", "|---|---|---|---|"]
    trained = [r for r in rows if r.get("steps")]
    for way, shot in sorted({(r["way"], r["shot"]) for r in trained}):
        sides = (
            {r["seed"]: r["accuracy"] for r in trained if (r["learner"], r["way"], r["shot"]) == (name, way, shot)}
            for name in ("maml", "fomaml")
        )
        result = paired_by_seed(*sides)
        if result is None or result["ci95"] is None:
            continue
        difference, ci95 = result["difference"], result["ci95"]
        verdict = "not distinguishable"
        if len(result["seeds"]) >= ENOUGH and abs(difference) > ci95:
            verdict = "better" if difference > 0 else "worse"
        by_seed = ", ".join(f"{100 * d:+.1f}" for d in result["per_seed"])
        lines.append(f"| {way}-way {shot}-shot | {100 * difference:+.1f} ± {100 * ci95:.1f} | {by_seed} | {verdict} |")
    return "\n".join(lines)


def main() -> None:
    """Make every run and write the rows."""
    parser = study_parser(__doc__, runs="runs/glyphs_fewshot", results=RESULTS, seeds=3)
    parser.add_argument("--steps", type=positive, default=100)
    parser.add_argument("--episodes", type=positive, default=15, help="test episodes a script")
    choices(parser, "--learners", LEARNERS)
    given = parser.parse_args()
    untrained = [name for name in ("maml", "protonet") if name in given.learners]
    jobs = [
        (learner, seed, steps, given.episodes, str(given.runs))
        for seed in range(given.seeds)
        for steps, learners in ((given.steps, given.learners), (0, untrained))
        for learner in learners
    ]
    if not given.collect:
        with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
            pool.map(measure, jobs, chunksize=1)
    RESULTS.at(given.results).write(gather(jobs))


if __name__ == "__main__":
    main()
