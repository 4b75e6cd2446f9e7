"""Recompute against Unroll: peak memory and time of one exact meta-gradient with many inner steps on larger images.

    python benchmarks/adjoint_memory.py --json benchmarks/results/adjoint_memory.json

Conv-4 of width 32 on 84 × 84 color images, one 5-way 5-shot task with 15 queries a class, SGD, one thread. Memory is the
growth of a fresh process's peak over what it held before. A round takes each adjoint once, in random order; the ratio of
times is the median over rounds of (Recompute / Unroll) within one round. The gradients are compared to the bit.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
import torchopt
from common import interleaved, resident, timed, write_or_print

from metatc2.episodes import Episode, Samples
from metatc2.inner import Adjoint, InnerLoop, Recompute, Unroll
from metatc2.learners import MAML
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Classifier

WAY, SHOT, QUERY, SIZE = 5, 5, 15, 84
ADJOINTS: dict[str, Adjoint] = {"unroll": Unroll(), "recompute": Recompute()}


def meta_gradient(name: str, steps: int) -> Callable[[], torch.Tensor]:
    """A function that gives the meta-gradient in one vector."""
    torch.manual_seed(0)
    network = Classifier(Conv4(3, 32), 32, WAY).to(memory_format=torch.channels_last).train()
    learner = MAML(network, InnerLoop(torchopt.sgd(0.05), steps, ADJOINTS[name]))
    g = torch.Generator().manual_seed(0)

    def side(shot: int) -> Samples:
        labels = torch.arange(WAY).repeat_interleave(shot)[None]
        return Samples(torch.rand(1, WAY * shot, 1, 3, SIZE, SIZE, generator=g), labels, None, torch.zeros_like(labels))

    data = Episode(side(SHOT), side(QUERY))

    def run() -> torch.Tensor:
        learner.zero_grad(set_to_none=True)
        learner(data).loss.backward()
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    return run


def peak_memory(name: str, steps: int) -> int:
    """Bytes by which one meta-gradient raises the peak of a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (name, steps))


def _peak(name: str, steps: int) -> int:
    torch.set_num_threads(1)
    run = meta_gradient(name, steps)
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def _seconds(runs: Mapping[str, Callable[[], object]], name: str) -> float:
    return timed(runs[name])


def main() -> None:
    """Measure both and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--inner-steps", type=int, nargs="+", default=[5, 20])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for steps in arguments.inner_steps:
        runs = {name: meta_gradient(name, steps) for name in ADJOINTS}
        gradients = {name: run() for name, run in runs.items()}
        result = interleaved(runs, partial(_seconds, runs), arguments.rounds)
        memory = {name: peak_memory(name, steps) for name in ADJOINTS}
        ratios = sorted(a / b for a, b in zip(result["recompute"], result["unroll"], strict=True))
        away = (gradients["recompute"] - gradients["unroll"]).norm() / gradients["unroll"].norm()
        rows.append(
            {
                "inner_steps": steps,
                "image": f"3x{SIZE}x{SIZE}",
                "task": f"{WAY}-way {SHOT}-shot {QUERY}-query",
                "memory_unroll_mb": round(memory["unroll"] / 1e6),
                "memory_recompute_mb": round(memory["recompute"] / 1e6),
                "memory_ratio": round(memory["unroll"] / memory["recompute"], 2),
                "time_ratio": round(statistics.median(ratios), 3),
                "time_ratio_range": [round(ratios[0], 3), round(ratios[-1], 3)],
                "rounds": arguments.rounds,
                "seconds_unroll": round(statistics.median(result["unroll"]), 2),
                "gradient_distance": float(away),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    write_or_print(arguments.json, rows)


if __name__ == "__main__":
    main()
