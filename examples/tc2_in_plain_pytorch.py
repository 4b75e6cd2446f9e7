"""TC² in a plain PyTorch loop with a self-supervised loss of another library: lightly's NT-Xent on two views.

What is plugged in is the learner `metatc2.TC2`, in which each task adapts weights of its own: `Custom` takes the loss,
`Episode.of_views` cuts the batch of two views into tasks. Without calibration it is the plain loss, in the same loop.

python examples/tc2_in_plain_pytorch.py --calibration tc2   # and --calibration none; Latin letters → Greek, 5-way 1-shot
"""

import argparse

import torch
from lightly.loss import NTXentLoss

import metatc2 as mt
from metatc2.calibration import TaskCalibrator
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.transfer import FewShot, expand_targets


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

    encoder, projector, loss = mt.Conv4(channels=1, width=32), mt.Projector(32, 128, 64), NTXentLoss(temperature=0.2)
    if arguments.calibration == "tc2":
        learner = mt.TC2(
            encoder,
            mt.Custom(loss),
            projector=projector,
            calibrator=TaskCalibrator(32, factors=24),
            inner=InnerLoop(inner_optimizer("sgd", 1.0), steps=3),
        )
        # The start of the weights and their rates have a learning rate of their own; the rest takes the optimizer's.
        sets = [{"params": list(group.parameters), "lr": group.lr or 2e-3} for group in learner.groups()]
        optimizer = torch.optim.Adam(sets)
    else:
        optimizer = torch.optim.Adam([*encoder.parameters(), *projector.parameters()], lr=2e-3)

    glyphs, views = mt.load("glyphs"), mt.Views.glyphs()
    rows = glyphs.rows("meta-train")
    for _ in range(arguments.steps):
        drawn = rows[torch.randint(len(rows), (64,), generator=generator)]
        two, _ = views(glyphs.images[drawn], generator, views=2)
        first, second = two.unbind(1)  # your loader's two views of each image
        optimizer.zero_grad()
        if arguments.calibration == "tc2":
            learner(mt.Episode.of_views(first, second, tasks=2)).loss.backward()
        else:
            z = projector(encoder(torch.cat([first, second]))[None])[0]  # (tasks, rows, D) with one task
            loss(*z.chunk(2)).backward()
        optimizer.step()
        if arguments.calibration == "tc2":
            learner.end_step()

    result, _ = mt.evaluate(
        {"encoder": encoder},
        expand_targets(glyphs, "greek"),
        protocols=[FewShot(shots=(1,), query=5, heads=("cosine",), episodes=arguments.episodes)],
    )
    for row in result:
        name = f"NT-Xent, calibration {arguments.calibration}" if row.features == "encoder" else row.features
        print(f"{name}: Greek 5-way 1-shot {100 * row.mean:.1f} ± {100 * row.ci95:.1f} %")


if __name__ == "__main__":
    main()
