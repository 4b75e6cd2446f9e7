"""Every learner on labeled tasks, meta-trained on Latin letters and tested on scripts never seen.

    python benchmarks/glyphs_fewshot.py --json benchmarks/results/glyphs_fewshot.json

Conv-4 of width 32 on 28 × 28, trained on 5-way tasks with 1 to 5 shots; tested 5-way and 20-way, 1-shot and 5-shot, on Greek,
Cyrillic, Georgian and Armenian, the same episodes for every learner and seed, by adaptation to each episode. Learners with a
linear head meta-learn one row for all classes, so that they can be tested 20-way (not BOIL, whose head stays as it is). Each
accuracy is the mean over scripts; the interval is over seeds. Batch statistics are transductive (`norm = batch`) for all. Two
controls: raw pixels (nearest prototype), and each learner's own adaptation from an untrained network. Runs that are in the
folder already are not made again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from common import write

from metatc2.data import load
from metatc2.experiment import run as runs
from metatc2.experiment.config import Config, override, read_task
from metatc2.experiment.weights import fresh_learner
from metatc2.learners import LEARNERS
from metatc2.transfer import ADAPTED, RAW_PIXELS, FewShot, evaluate, expand_targets, mean_interval

SCRIPTS = ("greek", "cyrillic", "georgian", "armenian")
#: Chosen on glyphs:meta-validation by short runs of one seed: a hint for each learner, not a search.
CHOSEN: dict[str, list[str]] = {}
SHARED = {"maml", "fomaml", "anil", "reptile", "meta-sgd", "maml++", "imaml"}


def config(learner: str, seed: int, steps: int) -> Config:
    """The task glyphs with the settings of this benchmark."""
    shared = ["learner.shared_head=true"] if learner in SHARED else []
    return override(
        read_task("glyphs"),
        [
            f"learner.name={learner}",
            f"trainer.seed={seed}",
            f"trainer.steps={steps}",
            "trainer.lr=0.002",
            "trainer.weight_decay=0.0",
            "trainer.clip=10.0",
            "trainer.checkpoint_every=100000",
            "trainer.threads=1",
            "encoder.width=32",
            "episode.way=5",
            "episode.shot=1",
            "episode.shot_most=5",
            "episode.query=5",
            "episode.meta_batch=2",
            *shared,
            *CHOSEN.get(learner, []),
        ],
    )


def measure(job: tuple[str, int, int, int, str]) -> list[dict[str, Any]]:
    """Train one learner with one seed and test it; steps 0 is the control, the network as it was drawn."""
    learner, seed, steps, episodes, folder = job
    torch.set_num_threads(1)
    path = Path(folder) / f"{learner}-s{seed}-{steps}"
    kept = path.with_suffix(".json")
    if kept.exists():
        found: list[dict[str, Any]] = json.loads(kept.read_text())
        return found
    settings = config(learner, seed, max(steps, 1))
    store = load("glyphs", image_size=28)
    if steps:
        if path.exists() and not (path / "learner.safetensors").exists():
            shutil.rmtree(path)  # a run of this benchmark that was cut
        done = runs.load_run(path) if (path / "learner.safetensors").exists() else runs.pretrain(settings, path)
        made, seconds = done.learner, done.seconds
    else:
        made, seconds = fresh_learner(settings, store.channels, store.image_size), 0.0
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
    found = []
    for features in (ADAPTED, RAW_PIXELS):
        for way, shot in sorted({(row.way, row.shot) for row in rows}):
            own = [row.mean for row in rows if (row.way, row.shot, row.features) == (way, shot, features)]
            facts = {"learner": learner, "seed": seed, "steps": steps, "features": features, "way": way, "shot": shot}
            found.append({**facts, "mean": statistics.fmean(own), "scripts": len(own), "seconds": seconds})
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found))
    print(json.dumps(found[:4]), flush=True)
    return found


def summarize(found: Iterable[dict[str, Any]], seeds: int) -> list[dict[str, Any]]:
    """One row a learner and setting, with the interval over seeds; and MAML against its first-order version, in pairs."""
    found = list(found)
    rows: list[dict[str, Any]] = []

    def values(**wanted: Any) -> list[float]:
        chosen = [r for r in found if all(r[key] == value for key, value in wanted.items())]
        return [r["mean"] for r in sorted(chosen, key=lambda r: r["seed"])]

    settings = sorted({(r["way"], r["shot"]) for r in found})
    for learner in dict.fromkeys(r["learner"] for r in found):
        for way, shot in settings:
            for trained in (True, False):
                own = [
                    r
                    for r in found
                    if (r["learner"], r["way"], r["shot"], r["features"]) == (learner, way, shot, ADAPTED)
                    and bool(r["steps"]) is trained
                ]
                if own:
                    mean, ci95 = mean_interval([r["mean"] for r in own])
                    facts = {"learner": learner, "trained": trained, "way": way, "shot": shot, "seeds": len(own)}
                    by_seed = [round(r["mean"], 4) for r in sorted(own, key=lambda r: r["seed"])]
                    cost = statistics.fmean(r["seconds"] for r in own)
                    rows.append(
                        {**facts, "mean": mean, "ci95": ci95, "per_seed": by_seed, "train_seconds": round(cost)}
                    )
    for way, shot in settings:
        raw = values(features=RAW_PIXELS, way=way, shot=shot)
        rows.append({"control": RAW_PIXELS, "way": way, "shot": shot, "mean": raw[0]})
        pair = [
            [r["mean"] for r in sorted(found, key=lambda r: r["seed"]) if r["steps"] and r["features"] == ADAPTED
             and (r["learner"], r["way"], r["shot"]) == (name, way, shot)]
            for name in ("maml", "fomaml")
        ]  # fmt: skip
        if len(pair[0]) == len(pair[1]) >= 2:
            per_seed = [a - b for a, b in zip(*pair, strict=True)]
            difference, ci95 = mean_interval(per_seed)
            verdict = "not distinguishable"
            if seeds >= 3 and abs(difference) > ci95:
                verdict = "better" if difference > 0 else "worse"
            facts = {"a": "maml", "b": "fomaml", "way": way, "shot": shot, "difference": difference, "ci95": ci95}
            rows.append({**facts, "per_seed": [round(d, 4) for d in per_seed], "verdict": verdict})
    return rows


def main() -> None:
    """Make every run and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--folder", default="runs/glyphs_fewshot", help="where runs go")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=15, help="test episodes a script")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS), choices=list(LEARNERS))
    arguments = parser.parse_args()
    jobs = [
        (learner, seed, steps, arguments.episodes, arguments.folder)
        for seed in range(arguments.seeds)
        for steps in (arguments.steps, 0)
        for learner in (arguments.learners if steps else [n for n in ("maml", "protonet") if n in arguments.learners])
    ]
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        found = [row for rows in pool.imap(measure, jobs) for row in rows]
    rows = summarize(found, arguments.seeds)
    for row in rows:
        row |= {"train_steps": arguments.steps, "episodes": arguments.episodes * len(SCRIPTS)}
    if arguments.json:
        write(arguments.json, rows)
    else:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
