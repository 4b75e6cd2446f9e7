"""TC² beside learn2learn's MAML: its clone and adapt, our episodes, and TC² on views of the same letters.

What is plugged in is the learner `metatc2.TC2`, in which each task adapts weights of its own: every outer step descends the
sum of MAML's loss and of TC²'s, on one encoder. Without calibration the plain self-supervised loss stands in its place.

python examples/tc2_in_learn2learn.py --calibration tc2   # and --calibration none; Latin letters → Greek, 5-way 1-shot
"""

import argparse

import torch
from torch.nn.functional import cross_entropy

import metatc2 as mt
from metatc2.calibration import TaskCalibrator
from metatc2.contrib import require_learn2learn
from metatc2.contrib.learn2learn import few_shot_accuracy, from_learn2learn, tasks_of
from metatc2.inner import InnerLoop, inner_optimizer
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

    encoder, projector = mt.Conv4(channels=1, width=32), mt.Projector(32, 128, 64)
    maml = require_learn2learn().algorithms.MAML(Classifier(encoder, dim=32, way=5), lr=0.05)
    beside = mt.SelfSupervised(encoder, mt.SimCLR(), projector=projector, per_task=True)
    if arguments.calibration == "tc2":
        inner = InnerLoop(inner_optimizer("sgd", 1.0), steps=3)
        calibrator = TaskCalibrator(32, factors=24)
        beside = mt.TC2(encoder, mt.SimCLR(), projector=projector, calibrator=calibrator, inner=inner)
    # One optimizer of both, in which the encoder stands once; the start of the weights and their rates have their own rate.
    sets = [{"params": list(group.parameters), "lr": group.lr or 2e-3} for group in beside.groups()]
    optimizer = torch.optim.Adam([{"params": list(maml.module.head.parameters()), "lr": 2e-3}, *sets])

    glyphs = mt.load("glyphs")
    tasks = mt.LabeledTasks(glyphs, way=5, shot=1, query=5, tasks=2, split="meta-train", seed=arguments.seed)
    views = mt.SplitBatch(glyphs, mt.Views.glyphs(), tasks=2, batch=32, split="meta-train", seed=arguments.seed)
    for _ in range(arguments.steps):
        optimizer.zero_grad()
        for (x, y), (query_x, query_y) in tasks_of(tasks.sample()):
            clone = maml.clone()
            for _ in range(3):
                clone.adapt(cross_entropy(clone(x), y))
            (cross_entropy(clone(query_x), query_y) / 2).backward()
        beside(views.sample()).loss.backward()
        optimizer.step()
        beside.end_step()

    learner = from_learn2learn(maml, steps=3).eval()
    greek = mt.LabeledTasks(glyphs, way=5, shot=1, query=5, tasks=1, split="greek", seed=1000)
    accuracy, half = mean_interval(few_shot_accuracy(learner, greek, arguments.episodes))
    name = f"learn2learn's MAML, calibration {arguments.calibration}"
    print(f"{name}: Greek 5-way 1-shot {100 * accuracy:.1f} ± {100 * half:.1f} %")


if __name__ == "__main__":
    main()
