"""What calibration costs: step time and peak memory of TC² against the plain objective, interleaved in one run.

    python benchmarks/step_cost.py --json benchmarks/results/step_cost.json

Same encoder, batch and precision on both sides; a step is forward, backward and the optimizers, on an episode that is ready.
Each ratio is the median over rounds of (TC² step / plain step) within one round. Memory is the growth of a fresh process's
peak over what it held before its first step.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import torch
from common import interleaved, resident, timed, write_or_print

from metatc2.episodes import Episode, Samples
from metatc2.experiment.build import build_learner, build_trainer_options
from metatc2.experiment.config import Config, override
from metatc2.training import Trainer

PLAIN = 0  # stands for the plain objective among the numbers of inner steps


@dataclass(frozen=True)
class Case:
    """An encoder at the size it is measured at."""

    encoder: str
    width: int
    channels: int
    image_size: int
    batch: int
    rounds: int


CASES = (
    Case("conv4", 64, 3, 28, 128, 41),
    Case("conv4", 64, 1, 28, 256, 41),
    Case("resnet18", 64, 3, 32, 128, 13),
)


def trainer(case: Case, inner_steps: int, precision: str, adapt: str = "task") -> Trainer:
    """A trainer for one side of the comparison; `PLAIN` inner steps is the plain objective, within each task as TC² has it."""
    if inner_steps == PLAIN:
        method = ["calibration.name=" + ("tasks" if adapt == "task" else "none")]
    else:
        method = ["calibration.name=tc2", f"calibration.adapt={adapt}", f"calibration.inner_steps={inner_steps}"]
        method += ["calibration.blend_warmup=0.0"] * (adapt == "shared")
    config = override(
        Config(),
        [
            f"encoder.name={case.encoder}",
            f"encoder.width={case.width}",
            f"episode.batch={case.batch}",
            f"trainer.precision={precision}",
            "trainer.steps=1000",
            *method,
        ],
    )
    learner = build_learner(config, case.channels, case.image_size)
    return Trainer(learner, _NoSampler(), build_trainer_options(config))


class _NoSampler:
    def sample(self) -> Episode:
        raise NotImplementedError("steps are fed by hand here")

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None:
        pass


def episode(case: Case, tasks: int = 4) -> Episode:
    """Random images, the same for both sides."""
    g = torch.Generator().manual_seed(0)
    samples = case.batch // tasks
    images = torch.rand(tasks, samples, 2, case.channels, case.image_size, case.image_size, generator=g)
    index = torch.arange(case.batch).view(tasks, samples)
    half = samples // 2
    return Episode(
        Samples(images[:, :half], None, None, index[:, :half]),
        Samples(images[:, half:], None, None, index[:, half:]),
    )


def times(case: Case, inner_steps: list[int], precision: str, adapt: str) -> dict[int, list[float]]:
    """Seconds of each step, round by round; the order within a round is random."""
    data = episode(case)
    sides = {t: trainer(case, t, precision, adapt) for t in [PLAIN, *inner_steps]}
    steps = {t: count() for t in sides}
    return interleaved(
        sides, lambda t: timed(partial(sides[t].train_step, next(steps[t]), data)), case.rounds, warm_up=1
    )


def peak_memory(case: Case, inner_steps: int, precision: str, adapt: str) -> int:
    """Bytes by which three steps raise the peak of a fresh process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak, (case, inner_steps, precision, adapt))


def _peak(case: Case, inner_steps: int, precision: str, adapt: str) -> int:
    data, side = episode(case), trainer(case, inner_steps, precision, adapt)
    before = resident("VmRSS")
    for i in range(3):
        side.train_step(i, data)
    return resident("VmHWM") - before


def main() -> None:
    """Measure every case and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
    parser.add_argument("--adapt", choices=["task", "shared"], default="task", help="what the inner loop adapts")
    parser.add_argument("--inner-steps", type=int, nargs="+", default=[1, 3, 10])
    parser.add_argument(
        "--only", choices=sorted({case.encoder for case in CASES}), help="measure this one; other rows of the file stay"
    )
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    if arguments.only and arguments.json and arguments.json.exists():
        rows = [r for r in json.loads(arguments.json.read_text())["rows"] if r["encoder"] != arguments.only]
    for case in CASES:
        if arguments.only not in (None, case.encoder):
            continue
        result = times(case, arguments.inner_steps, arguments.precision, arguments.adapt)
        plain_memory = peak_memory(case, PLAIN, arguments.precision, arguments.adapt)
        for t in arguments.inner_steps:
            ratios = sorted(a / b for a, b in zip(result[t], result[PLAIN], strict=True))
            quarter = len(ratios) // 4
            rows.append(
                {
                    "encoder": case.encoder,
                    "width": case.width,
                    "image": f"{case.channels}x{case.image_size}x{case.image_size}",
                    "batch": case.batch,
                    "tasks": 4,
                    "precision": arguments.precision,
                    "adapt": arguments.adapt,
                    "inner_steps": t,
                    "adjoint": "unroll",
                    "ratio": round(statistics.median(ratios), 4),
                    "ratio_quartiles": [round(ratios[quarter], 4), round(ratios[-1 - quarter], 4)],
                    "rounds": case.rounds,
                    "seconds": round(statistics.median(result[t]), 5),
                    "plain_seconds": round(statistics.median(result[PLAIN]), 5),
                    "memory_ratio": round(peak_memory(case, t, arguments.precision, arguments.adapt) / plain_memory, 4),
                    "plain_memory_mb": round(plain_memory / 1e6, 1),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    write_or_print(arguments.json, rows)


if __name__ == "__main__":
    main()
