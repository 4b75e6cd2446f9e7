"""TC² in a plain PyTorch loop with a self-supervised loss of another library: lightly's NT-Xent on two views.

python examples/tc2_in_plain_pytorch.py --calibration tc2   # and --calibration none; Latin letters → Greek, 5-way 1-shot
"""

import argparse

import torch
from lightly.loss import NTXentLoss
from torch import nn

from metatc2.augment import Views
from metatc2.calibration import calibrated, named_calibrator
from metatc2.data import load
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.models.conv4 import Conv4
from metatc2.ops.functional import call
from metatc2.transfer import FewShot, evaluate, expand_targets


def main() -> None:
    """Train, transfer, print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibration", choices=["none", "tc2"], default="tc2")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    calibrates = arguments.calibration == "tc2"

    encoder = Conv4(channels=1, width=32)
    hook = InnerLoop(inner_optimizer("sgd", 0.1, clip=1.0), steps=3)
    module = calibrated(encoder, named_calibrator(32, 8, generator=generator), inner=hook) if calibrates else encoder
    projector = nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 64))
    criterion = NTXentLoss(temperature=0.2)
    optimizer = torch.optim.Adam([*module.parameters(), *projector.parameters()], lr=2e-3)

    glyphs, views = load("glyphs"), Views.glyphs()
    rows = glyphs.rows("meta-train")
    for _ in range(arguments.steps):
        drawn = rows[torch.randint(len(rows), (64,), generator=generator)]
        two, _ = views(glyphs.images[drawn], generator, views=2)
        images = two.transpose(0, 1).flatten(0, 1)  # all first views, then all second ones
        if calibrates:
            # Adapt the calibrator on half of the pairs, judge all of them through it.
            adapted = module.adapt(torch.cat([two[:32, 0], two[:32, 1]]))
            first, second = projector(call(module, adapted, images)).chunk(2)
            loss = criterion(first, second) + module.calibration_loss()
        else:
            first, second = projector(module(images)).chunk(2)
            loss = criterion(first, second)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    found, _ = evaluate(
        {"encoder": encoder},
        expand_targets(glyphs, "greek"),
        protocols=[FewShot(shots=(1,), query=5, heads=("cosine",), episodes=arguments.episodes)],
    )
    for row in found:
        name = f"NT-Xent, calibration {arguments.calibration}" if row.features == "encoder" else row.features
        print(f"{name}: Greek 5-way 1-shot {100 * row.mean:.1f} ± {100 * row.ci95:.1f} %")


if __name__ == "__main__":
    main()
