"""The shared calibrator inside ProtoNet: class means are taken of features calibrated on each task's support.

What is plugged in is `calibrated(encoder, calibrator)`: the earlier form of TC², with one calibrator for all tasks, which the
evidence does not tell apart from one head for all. Weights of each task's own (`metatc2.TC2`) adapt on two views of images,
not on labels; to have them beside a meta-learner's loss, see `tc2_in_learn2learn.py`.

python examples/tc2_in_protonet.py --calibration shared   # and --calibration none; Latin letters → Greek, 5-way 1-shot
"""

import argparse

import torch

from metatc2.calibration import calibrated, named_calibrator
from metatc2.contrib.learn2learn import few_shot_accuracy
from metatc2.data import load
from metatc2.episodes import LabeledTasks
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.learners import ProtoNet
from metatc2.models.conv4 import Conv4
from metatc2.training import Trainer, TrainerOptions
from metatc2.transfer import mean_interval


def main() -> None:
    """Train, transfer, print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibration", choices=["none", "shared"], default="shared")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)

    encoder = Conv4(channels=1, width=32)
    if arguments.calibration == "shared":
        generator = torch.Generator().manual_seed(arguments.seed)
        # The calibrator's own inner loop: three steps on the support's features, differentiated exactly.
        hook = InnerLoop(inner_optimizer("sgd", 0.1, clip=1.0), steps=3)
        encoder = calibrated(encoder, named_calibrator(32, 8, generator=generator), inner=hook)
    learner = ProtoNet(encoder)

    glyphs = load("glyphs")
    tasks = LabeledTasks(glyphs, way=5, shot=1, query=5, tasks=2, split="meta-train", seed=arguments.seed)
    Trainer(learner, tasks, TrainerOptions(steps=arguments.steps, clip=10.0)).fit()

    greek = LabeledTasks(glyphs, way=5, shot=1, query=5, tasks=1, split="greek", seed=1000)
    accuracy, half = mean_interval(few_shot_accuracy(learner.eval(), greek, arguments.episodes))
    print(
        f"ProtoNet, calibration {arguments.calibration}: Greek 5-way 1-shot {100 * accuracy:.1f} ± {100 * half:.1f} %"
    )


if __name__ == "__main__":
    main()
