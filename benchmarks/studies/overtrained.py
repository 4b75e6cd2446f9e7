"""The late part of an over-trained encoder: UMM beside everything else that could be done to it.

python benchmarks/studies/overtrained.py --data FOLDER --seeds 3            # resumes
python benchmarks/studies/overtrained.py --collect

The situation that UMM is meant for: SimCLR on 1 000 of CIFAR-10's training images for 128 epochs (FOLDER is that of
`photographs.py`; Conv-4 of width 32). From its last step go UMM in three modes, UMM without its two terms (the late part tuned
on the objective alone), plain training for as long as the exact mode takes, and VICReg on the late part. Beside them stand
averaged weights and checkpoints chosen without labels, and, marked, the one that labels would choose.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arguments import study_parser
from cells import Cell, identity, in_parallel, prepare_worker
from csv_results import FOLDER, Results, rounded
from pairs import paired_by_seed, signed
from photographs import transferred
from photographs_data import prepare
from photographs_points import GROUPS, SIZE, TARGETS
from torch import Tensor, nn

from metatc2.data import load
from metatc2.experiment.build import build_data, build_learner, build_sampler, build_trainer_options, build_views
from metatc2.experiment.umm import ADJOINTS, TwoBatches
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.io.files import write_atomically
from metatc2.learners import UMM, SelfSupervised
from metatc2.metrics.coding_rate import rate_reduction
from metatc2.metrics.spectrum import power_law, variances
from metatc2.models.stages import split_after
from metatc2.objectives import VICReg, rankme
from metatc2.training import Trainer, TrainerOptions
from metatc2.transfer import extract

IMAGES, STEPS, EVERY, SPLIT = 1000, 2000, 200, "blocks.1"
UMM_STEPS, LR = 60, 1e-4
EMA_EVERY, EMA = 10, 0.99  # the same as 0.999 a step
START = "last step"
RIVALS = (
    START,
    "UMM, exact",
    "UMM, first order",
    "UMM, alternate",
    "late part on the objective alone",
    "late part on VICReg",
    "plain training at equal time",
    "averaged weights",
    "checkpoint by ΔR",
    "checkpoint by RankMe",
    "checkpoint by α-ReQ",
    "checkpoint by labels",
)
AT = ("rival", "seed")
RESULTS = Results(
    FOLDER / "overtrained.csv",
    {
        "rival": str,
        "seed": int,
        "identity": str,
        "step": int,
        **dict.fromkeys(("seconds", "rate_reduction"), float),
        **{f"accuracy.{target}": float for target in (*TARGETS, "held-out")},
    },
)


def cell(seed: int, folder: Path, archives: Path) -> Cell:
    """The run whose late part is tuned."""
    settings = (
        f"data.source=npz:{archives / 'few.npz'}",
        "data.split=train",
        f"data.image_size={SIZE}",
        "encoder.name=conv4",
        "encoder.width=32",
        "episode.batch=64",
        "episode.tasks=1",
        f"trainer.steps={STEPS}",
        "trainer.lr=0.004",
        "trainer.weight_decay=1e-4",
        "objective.temperature=0.2",
        "calibration.name=none",
        f"trainer.seed={seed}",
    )
    return Cell(folder / f"s{seed}", "cifar10", settings, ())


def few(archives: Path) -> None:
    """The images that are learned from."""
    if not (archives / "few.npz").exists():
        with np.load(archives / "learn.npz") as whole:
            rows = np.random.default_rng(0).permutation(len(whole["images"]))[:IMAGES]
            np.savez(archives / "few.npz", **{name: whole[name][rows] for name in whole})


class Looked:
    """What is measured of an encoder: transfer, and scores without labels on the images that were learned from."""

    def __init__(self, of: Cell, archives: Path) -> None:
        self.archives = archives
        self.images = load(f"npz:{archives / 'few.npz'}").images
        held = load(f"npz:{archives / 'held-out.npz'}").images[:1000]
        views, g = build_views(of.config, SIZE), torch.Generator().manual_seed(0)
        self.pairs = {
            name: [views.apply(images, views.sample(len(images), g)) for _ in range(2)]
            for name, images in (("own", self.images[:]), ("held", held))
        }

    def rate(self, encoder: nn.Module, images: str) -> float:
        """ΔR of two views of every image."""
        one, other = (_features(encoder, side) for side in self.pairs[images])
        return rate_reduction(one, other, eps2=0.1)

    def __call__(self, encoder: nn.Module) -> dict[str, Any]:
        """Accuracy on every target, and ΔR on held-out images."""
        return {"accuracy": transferred(encoder, self.archives), "rate_reduction": self.rate(encoder, "held")}

    def scores(self, encoder: nn.Module) -> dict[str, float]:
        """Larger is better; none looks at a label."""
        features = extract(encoder, self.images)
        decay = power_law(variances(features)).alpha
        return {
            "checkpoint by ΔR": self.rate(encoder, "own"),
            "checkpoint by RankMe": rankme(features),
            "checkpoint by α-ReQ": -abs(decay - 1),
        }


def _features(encoder: nn.Module, images: Tensor) -> Tensor:
    return extract(encoder, (255 * images).round().to(torch.uint8))


def measure(of: Cell, path: Path) -> str:
    """Train one encoder, do everything to its late part, and measure it; all rows of a seed to `path`."""
    prepare_worker()
    config, archives = of.config, path.parent / "archives"
    look, store = Looked(of, archives), build_data(of.config)

    def sampler() -> Any:
        return build_sampler(config, store)

    learner = build_learner(config, 3, SIZE)
    assert isinstance(learner, SelfSupervised)
    trainer = Trainer(learner, sampler(), build_trainer_options(config))
    averaged, snapshots = copy.deepcopy(learner.encoder), {}
    for until in range(EMA_EVERY, STEPS + 1, EMA_EVERY):
        trainer.fit(until)
        with torch.no_grad():
            for mean, now in zip(averaged.state_dict().values(), learner.encoder.state_dict().values(), strict=True):
                mean.copy_(EMA * mean + (1 - EMA) * now if mean.is_floating_point() else now)
        if until % EVERY == 0:
            snapshots[until] = copy.deepcopy(learner.encoder)
    result: dict[str, dict[str, Any]] = {START: {"seconds": trainer.seconds, **look(learner.encoder)}}
    result["averaged weights"] = look(averaged)
    scores = {step: look.scores(encoder) for step, encoder in snapshots.items()}
    measured = {step: look(encoder) for step, encoder in snapshots.items()}
    for name in ("checkpoint by ΔR", "checkpoint by RankMe", "checkpoint by α-ReQ"):
        step = max(scores, key=lambda s, name=name: scores[s][name])  # type: ignore[misc]
        result[name] = {"step": step, **measured[step]}
    step = max(measured, key=lambda s: measured[s]["accuracy"]["held-out"])
    result["checkpoint by labels"] = {"step": step, **measured[step]}

    def tuned(steps: int, what: Callable[[SelfSupervised], Any], two: bool) -> dict[str, Any]:
        own = copy.deepcopy(learner)
        episodes = TwoBatches(sampler()) if two else sampler()
        options = TrainerOptions(steps=steps, lr=LR, precision="bf16-mixed", checkpoint_every=0)
        began = time.perf_counter()
        Trainer(what(own), episodes, options).fit()
        return {"seconds": time.perf_counter() - began, **look(own.encoder)}

    def stage(mode: Any, beta: float = 1.0, gamma: float = 1.0) -> Callable[[SelfSupervised], UMM]:
        adjoint = ADJOINTS[mode]
        inner = None if adjoint is None else InnerLoop(inner_optimizer("sgd", 1e-3), 1, adjoint)
        return lambda own: UMM(own, SPLIT, inner=inner, beta=beta, gamma=gamma)

    result["UMM, exact"] = tuned(UMM_STEPS, stage("exact"), two=True)
    result["UMM, first order"] = tuned(UMM_STEPS, stage("first-order"), two=True)
    result["UMM, alternate"] = tuned(UMM_STEPS, stage("alternate"), two=True)
    result["late part on the objective alone"] = tuned(2 * UMM_STEPS, late_part(None), two=False)
    result["late part on VICReg"] = tuned(2 * UMM_STEPS, late_part(VICReg()), two=False)
    equal = max(1, round(result["UMM, exact"]["seconds"] / (trainer.seconds / STEPS)))
    result["plain training at equal time"] = {"step": equal, **tuned(equal, lambda own: own, two=False)}
    write_atomically(path, json.dumps({"identity": identity(config), "rivals": result}).encode())
    last, stage_s = result[START], result["UMM, exact"]
    return f"ΔR {last['rate_reduction']:.1f} to {stage_s['rate_reduction']:.1f}"


def late_part(objective: VICReg | None) -> Callable[[SelfSupervised], SelfSupervised]:
    """Training of the late part alone, the early one frozen with its running statistics."""

    def of(own: SelfSupervised) -> SelfSupervised:
        learner = own if objective is None else SelfSupervised(own.encoder, objective, projector=own.projector)
        early, _ = split_after(learner.encoder, SPLIT)
        early.requires_grad_(False).eval()
        learner.projector.requires_grad_(objective is not None)
        return learner

    return of


def gather(folder: Path, archives: Path) -> list[dict[str, Any]]:
    """Rows of all seeds that are done."""
    rows = []
    for seed in range(10):
        of, file = cell(seed, folder, archives), folder / f"s{seed}.json"
        kept = json.loads(file.read_text()) if file.exists() else {}
        if kept.get("identity") == identity(of.config):
            for rival, result in kept["rivals"].items():
                rows.append({"rival": rival, "seed": seed, "identity": kept["identity"], **rounded(result)})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The last step in points; what everything else adds to it over paired seeds."""
    by = {rival: {r["seed"]: r for r in rows if r["rival"] == rival} for rival in RIVALS}

    def values(rival: str, targets: Sequence[str]) -> dict[int, float]:
        return {s: float(np.mean([r["accuracy"][t] for t in targets])) for s, r in by[rival].items()}

    def rates(rival: str) -> dict[int, float]:
        return {s: r["rate_reduction"] for s, r in by[rival].items()}

    lines = [
        f"| points | {' | '.join(GROUPS)} | cifar10, its own | ΔR, held-out images | seconds | step |",
        "|---|" + "---|" * (len(GROUPS) + 4),
    ]
    groups = (*GROUPS.values(), ("cifar10",))
    for rival, own in by.items():
        if not own:
            continue
        seconds = [r["seconds"] for r in own.values() if "seconds" in r]
        steps = sorted(r["step"] for r in own.values() if "step" in r)
        tail = f"{np.mean(seconds):.0f}" if seconds else "–", ", ".join(map(str, steps)) or "–"
        if rival == START:
            cells = [f"{100 * np.mean(list(values(rival, ts).values())):.1f}" for ts in groups]
            cells.append(f"{np.mean(list(rates(rival).values())):.1f}")
        else:
            cells = [signed(paired_by_seed(values(rival, ts), values(START, ts))) for ts in groups]
            cells.append(signed(paired_by_seed(rates(rival), rates(START)), scale=1))
        lines.append(f"| {rival}{'' if rival == START else ' − last step'} | {' | '.join((*cells, *tail))} |")
    return "\n".join(lines)


def main() -> None:
    """Make the seeds that are asked for, gather all that are done."""
    parser = study_parser(__doc__, runs="runs/overtrained", results=RESULTS, seeds=3)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of cifar10, caltech101 and pacs")
    given = parser.parse_args()
    archives = (given.runs / "archives").resolve()
    if not given.collect:
        prepare(given.data, archives)
        few(archives)
        cells = {given.runs / f"s{seed}.json": cell(seed, given.runs, archives) for seed in range(given.seeds)}
        done = {r["seed"] for r in gather(given.runs, archives)}
        wanted = {path: c for path, c in cells.items() if c.config.trainer.seed not in done}
        in_parallel(measure, wanted, workers=given.workers)
    RESULTS.at(given.results).write(gather(given.runs, archives))


if __name__ == "__main__":
    main()
