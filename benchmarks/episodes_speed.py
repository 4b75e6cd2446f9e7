"""Second-order MAML: time and peak memory of a meta-gradient against learn2learn, torchopt and higher.

    python benchmarks/episodes_speed.py --json benchmarks/results/episodes_speed.json

Conv-4 of width 64 on 28 × 28, 5-way 1-shot with 15 queries a class, 16 tasks, SGD inner steps, one thread by default. Every
library takes its meta-gradient in the way its own examples do, one task after the other, for the same network and episode.
A round takes each library once, in random order; a ratio is the median over rounds of (library / ours) within one round.
Memory is given twice: the most bytes of tensors alive at once, which repeats exactly, and the growth of a fresh process's peak,
in which the allocator's luck takes part. The peers are installed by requirements-dev.txt.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import torchopt
from common import interleaved, resident, tensor_peak, timed, write_or_print
from libraries import LIBRARIES as PEERS
from libraries import Library, Recipe, Task
from torch import Tensor, nn

from metatc2.episodes import Episode, Samples
from metatc2.inner import InnerLoop, Recompute, Unroll
from metatc2.learners.maml import MAML
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Classifier

TASKS, WAY, SHOT, QUERY, LR = 16, 5, 1, 15, 0.1


def network(last: bool) -> nn.Module:
    """The same network for every library; channels-last in ours, which the trainer does for every learner."""
    torch.manual_seed(0)
    made = Classifier(Conv4(1, 64), 64, WAY).train()
    return made.to(memory_format=torch.channels_last) if last else made


def episode() -> Episode:
    """Random images, the same for all."""
    g = torch.Generator().manual_seed(0)

    def side(shot: int) -> Samples:
        labels = torch.arange(WAY).repeat_interleave(shot).expand(TASKS, -1)
        return Samples(torch.rand(TASKS, WAY * shot, 1, 1, 28, 28, generator=g), labels, None, torch.zeros_like(labels))

    return Episode(side(SHOT), side(QUERY))


def ours(adjoint: str, *, last: bool = True, bf16: bool = False) -> Callable[[int], Callable[[], list[Tensor]]]:
    """Our meta-gradient, the running statistics that follow the meta-parameters included."""

    def make(steps: int) -> Callable[[], list[Tensor]]:
        net, data = network(last), episode()
        inner = InnerLoop(torchopt.sgd(LR), steps, {"unroll": Unroll(), "recompute": Recompute()}[adjoint])
        learner = MAML(net, inner)

        def run() -> list[Tensor]:
            learner.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                loss = learner(data).loss
            loss.backward()
            learner.end_step()
            return [p.grad for p in net.parameters() if p.grad is not None]

        return run

    return make


def theirs(peer: Library) -> Callable[[int], Callable[[], list[Tensor]]]:
    """A peer's meta-gradient in its own idiom."""

    def make(steps: int) -> Callable[[], list[Tensor]]:
        net, data = network(False), episode()
        tasks = [Task(*task) for task in zip(*data.support.labeled(), *data.query.labeled(), strict=True)]

        def run() -> list[Tensor]:
            net.zero_grad(set_to_none=True)
            peer.meta_gradient(net, Recipe(steps, LR), tasks)
            return [p.grad for p in net.parameters() if p.grad is not None]

        return run

    return make


LIBRARIES: dict[str, Callable[[int], Callable[[], list[Tensor]]]] = {
    "ours": ours("unroll"),
    "ours, Recompute": ours("recompute"),
    "ours, contiguous": ours("unroll", last=False),
    "ours, bf16": ours("unroll", bf16=True),
    **{name: theirs(peer) for name, peer in PEERS.items() if name != "ours"},
}


def times(steps: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each library, round by round, and how far each meta-gradient lies from ours in float32."""
    sides = {name: make(steps) for name, make in LIBRARIES.items()}
    first = {name: torch.cat([g.flatten() for g in run()]) for name, run in sides.items()}
    away = {name: float((g - first["ours"]).norm() / first["ours"].norm()) for name, g in first.items()}
    return interleaved(sides, lambda name: timed(sides[name]), rounds), away


def peak_memory(name: str, steps: int, threads: int) -> tuple[int, int]:
    """Bytes by which two meta-gradients raise the peak of a fresh process (its allocator included), and `tensor_peak`."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (name, steps, threads))


def _peak(name: str, steps: int, threads: int) -> tuple[int, int]:
    torch.set_num_threads(threads)
    run = LIBRARIES[name](steps)
    before = resident("VmRSS")
    run()
    run()
    grown = resident("VmHWM") - before
    return grown, tensor_peak(run)


def main() -> None:
    """Measure every library and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--inner-steps", type=int, nargs="+", default=[3, 5])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, object]] = []
    for steps in arguments.inner_steps:
        result, away = times(steps, arguments.rounds)
        memory = {name: peak_memory(name, steps, arguments.threads) for name in LIBRARIES}
        for name, seconds in result.items():
            ratios = sorted(a / b for a, b in zip(result["ours"], seconds, strict=True))
            quarter = len(ratios) // 4
            rows.append(
                {
                    "library": name,
                    "inner_steps": steps,
                    "tasks": TASKS,
                    "ours_over_this": round(statistics.median(ratios), 4),
                    "ratio_quartiles": [round(ratios[quarter], 4), round(ratios[-1 - quarter], 4)],
                    "rounds": arguments.rounds,
                    "seconds": round(statistics.median(seconds), 4),
                    "process_mb": round(memory[name][0] / 1e6, 1),
                    "tensors_mb": round(memory[name][1] / 1e6, 2),
                    "gradient_distance": float(f"{away[name]:.2e}"),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    write_or_print(arguments.json, rows)


if __name__ == "__main__":
    main()
