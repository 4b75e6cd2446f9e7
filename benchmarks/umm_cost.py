"""What a step of UMM costs, in passes of the late part: one pass is forward, heads, objective and backward of one batch.

    python benchmarks/umm_cost.py --json benchmarks/results/umm_cost.json

A step of UMM is on two batches, so plain training on the same images costs 2 passes. The early part and the data are left out.
Processor time of one thread, which other processes on the machine change little; interleaved round by round, and each figure is
the median over rounds of the ratio within a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from common import positive, write_or_print
from torch import Tensor

from metatc2.episodes import Episode, Samples
from metatc2.experiment.config import Mode
from metatc2.experiment.umm import ADJOINTS
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.learners import UMM, SelfSupervised
from metatc2.learners.umm import Batch
from metatc2.models.heads import Projector
from metatc2.models.registry import build_encoder
from metatc2.objectives import SimCLR

CASES = [("conv4", "blocks.1", 64, 28, 128), ("resnet18", "layer2", 16, 32, 64)]  # encoder, split, width, pixels, batch


def episode(pixels: int, batch: int) -> Episode:
    """Two batches of noise."""
    sides = (torch.rand(1, batch, 2, 3, pixels, pixels) for _ in range(2))
    support, query = (Samples(images, None, None, torch.arange(batch)[None]) for images in sides)
    return Episode(support, query)


def stage(name: str, split: str, width: int, pixels: int, mode: Mode, beta: float) -> UMM:
    """UMM on an untrained network, which costs what a trained one does."""
    torch.manual_seed(0)
    encoder: Any = build_encoder(name, channels=3, image_size=pixels, width=width)
    learner = SelfSupervised(encoder, SimCLR(), projector=Projector(encoder.dim, 256, 128))
    adjoint = ADJOINTS[mode]
    inner = None if adjoint is None else InnerLoop(inner_optimizer("sgd", 1e-3), 1, adjoint)
    return UMM(learner, split, inner=inner, beta=beta)


def one_pass(umm: UMM, query: Batch) -> Tensor:
    """The plain loss of one batch."""
    return umm.learner.plain_loss(umm.branches(query, umm.late(query.early)))[0]


def loss(umm: UMM, support: Batch | None, query: Batch | None) -> Tensor:
    """Of a step on two batches, or on one."""
    return umm.step_on(support, query).loss


def seconds(umm: UMM, *losses: Callable[[], Tensor]) -> float:
    """Processor time of some losses, each with its gradient."""
    start = time.process_time()
    for each in losses:
        torch.autograd.grad(each(), list(umm.late.parameters()))
    return time.process_time() - start


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="file to write; by default the result is printed")
    parser.add_argument("--rounds", type=positive, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name, split, width, pixels, batch in CASES:
        drawn = episode(pixels, batch)
        for beta in (1.0, 0.0):
            stages = {mode: stage(name, split, width, pixels, mode, beta) for mode in ADJOINTS}
            ratios: dict[Mode, list[float]] = {mode: [] for mode in stages}
            for turn in range(given.rounds + 1):
                plain = stages["exact"]
                support, query = (plain.batch(drawn, side) for side in ("support", "query"))
                unit = seconds(plain, partial(one_pass, plain, query))
                for mode, umm in stages.items():
                    pairs = [(support, None), (None, query)] if mode == "alternate" else [(support, query)]
                    spent = seconds(umm, *(partial(loss, umm, *pair) for pair in pairs))
                    if turn:  # the first is to warm up
                        ratios[mode].append(spent / unit)
            for mode, values in ratios.items():
                passes = statistics.median(values)
                rows.append(
                    {
                        "encoder": name,
                        "split": split,
                        "width": width,
                        "images": f"{batch}x3x{pixels}x{pixels}",
                        "beta": beta,
                        "mode": mode,
                        "passes": round(passes, 2),
                        "over_plain": round(passes / 2, 2),
                        "quartiles": [round(q, 2) for q in statistics.quantiles(values, n=4)[::2]],
                        "rounds": given.rounds,
                    }
                )
                print(json.dumps(rows[-1]), flush=True)
    write_or_print(given.json, rows)


if __name__ == "__main__":
    main()
