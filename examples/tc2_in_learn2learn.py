"""TC² inside learn2learn's MAML: its clone and adapt, our calibrated encoder, our episodes.

python examples/tc2_in_learn2learn.py --calibration tc2   # and --calibration none; Latin letters → Greek, 5-way 1-shot
"""

import argparse

import torch
from torch.nn.functional import cross_entropy

from metatc2.calibration import calibrated, named_calibrator
from metatc2.contrib import require_learn2learn
from metatc2.contrib.learn2learn import few_shot_accuracy, from_learn2learn, tasks_of
from metatc2.data import load
from metatc2.episodes import LabeledTasks
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Classifier
from metatc2.transfer import mean_interval


def main() -> None:
    """Train, transfer, print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibration", choices=["none", "tc2"], default="tc2")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    calibrates = arguments.calibration == "tc2"

    encoder = Conv4(channels=1, width=32)
    if calibrates:
        generator = torch.Generator().manual_seed(arguments.seed)
        encoder = calibrated(encoder, named_calibrator(32, 8, generator=generator))
    network = Classifier(encoder, dim=32, way=5)
    maml = require_learn2learn().algorithms.MAML(network, lr=0.05)
    optimizer = torch.optim.Adam(maml.parameters(), lr=2e-3)

    glyphs = load("glyphs")
    tasks = LabeledTasks(glyphs, way=5, shot=1, query=5, tasks=2, split="meta-train", seed=arguments.seed)
    for _ in range(arguments.steps):
        optimizer.zero_grad()
        for (x, y), (query_x, query_y) in tasks_of(tasks.sample()):
            clone = maml.clone()
            for _ in range(3):
                # Clone and calibrator adapt together: L_tc2 of the support stands beside the task's own loss.
                loss = cross_entropy(clone(x), y)
                clone.adapt(loss + clone.module.encoder.calibration_loss() if calibrates else loss)
            judged = cross_entropy(clone(query_x), query_y)
            judged = judged + clone.module.encoder.calibration_loss() if calibrates else judged
            (judged / 2).backward()
        if calibrates:
            with torch.no_grad():
                network(x)  # a plain call in training moves the averages that evaluation uses; clones never do
        optimizer.step()

    learner = from_learn2learn(maml, steps=3).eval()
    greek = LabeledTasks(glyphs, way=5, shot=1, query=5, tasks=1, split="greek", seed=1000)
    accuracy, half = mean_interval(few_shot_accuracy(learner, greek, arguments.episodes))
    name = f"learn2learn's MAML, calibration {arguments.calibration}"
    print(f"{name}: Greek 5-way 1-shot {100 * accuracy:.1f} ± {100 * half:.1f} %")


if __name__ == "__main__":
    main()
