"""What `calibrated` costs in a loop of one's own: time of a step against the plain encoder, interleaved in one run.

    python benchmarks/calibrated_cost.py --json benchmarks/results/calibrated_cost.json

A step is forward, backward and Adam on SimCLR of two views of a batch. *Called* is ``module(images)``: no inner loop.
*Adapted* is ``module.adapt(half)`` and then ``call(module, adapted, images)``: the encoder runs on the half twice, which the
learner `TC2` spares. Each ratio is the median over rounds of (calibrated step / plain step) within one round.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from common import interleaved, positive, timed, write_or_print
from torch import Tensor, nn

from metatc2.calibration import CalibratedModule, calibrated, named_calibrator
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.models import Conv4
from metatc2.models.heads import Projector
from metatc2.objectives import Embeddings, SimCLR
from metatc2.ops.functional import call

WIDTH, SIZE, BATCH, FACTORS = 64, 28, 128, 48
PLAIN, CALLED = "plain", "called"


def step_of(name: str, images: Tensor) -> Callable[[], None]:
    """A step of the side of a name: `PLAIN`, `CALLED`, or the number of inner steps of an adapted one."""
    torch.manual_seed(0)
    encoder: nn.Module = Conv4(channels=3, width=WIDTH)
    projector, objective = Projector(WIDTH, 256, 128), SimCLR()
    if name != PLAIN:
        steps = 3 if name == CALLED else int(name)
        inner = InnerLoop(inner_optimizer("sgd", 0.1, clip=1.0), steps)
        encoder = calibrated(encoder, named_calibrator(WIDTH, FACTORS), inner=inner)
    optimizer = torch.optim.Adam([*encoder.parameters(), *projector.parameters()], lr=2e-3)
    half = images[: len(images) // 2]

    def step() -> None:
        if name in (PLAIN, CALLED):
            z = encoder(images)
        else:
            assert isinstance(encoder, CalibratedModule)
            z = call(encoder, encoder.adapt(half), images)
        loss = objective(Embeddings(projector(z.view(1, BATCH, 2, WIDTH))))
        if isinstance(encoder, CalibratedModule):
            loss = loss + encoder.calibration_loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    """Measure and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--rounds", type=positive, default=21)
    arguments = parser.parse_args()
    images = torch.rand(2 * BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    names = [PLAIN, CALLED, "1", "3", "10"]
    sides = {name: step_of(name, copy.deepcopy(images)) for name in names}
    result = interleaved(sides, lambda name: timed(sides[name]), arguments.rounds, warm_up=1)
    rows: list[dict[str, object]] = []
    for name in names[1:]:
        ratios = sorted(a / b for a, b in zip(result[name], result[PLAIN], strict=True))
        quarter = len(ratios) // 4
        rows.append(
            {
                "encoder": "conv4",
                "width": WIDTH,
                "image": f"3x{SIZE}x{SIZE}",
                "batch": BATCH,
                "use": name if name == CALLED else "adapted",
                "inner_steps": 0 if name == CALLED else int(name),
                "ratio": round(statistics.median(ratios), 4),
                "ratio_quartiles": [round(ratios[quarter], 4), round(ratios[-1 - quarter], 4)],
                "rounds": arguments.rounds,
                "plain_seconds": round(statistics.median(result[PLAIN]), 5),
            }
        )
    write_or_print(arguments.json, rows)


if __name__ == "__main__":
    main()
