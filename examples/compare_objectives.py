"""Is pre-training worth it, and by which objective? Each against raw pixels, paired over the same episodes.

python examples/compare_objectives.py                 # handwritten digits, 3-way 1-shot, digits never seen
"""

# %%
import argparse

import torch

from metatc2.augment import Views
from metatc2.data import load
from metatc2.episodes import SplitBatch
from metatc2.learners import SelfSupervised
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Projector
from metatc2.objectives import BarlowTwins, SimCLR, VISReg
from metatc2.training import Trainer, TrainerOptions
from metatc2.transfer import FewShot, evaluate, expand_targets, mean_interval

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--episodes", type=int, default=300)
parser.add_argument("--seed", type=int, default=0)
given, _ = parser.parse_known_args()  # a notebook's kernel has words of its own

# %% [markdown]
# One budget for all: the same steps, batches, views and start. A random encoder is the control of zero steps.

# %%
digits, width = load("digits"), 32


def fresh() -> Conv4:
    """The encoder before training, the same for every objective."""
    torch.manual_seed(given.seed)
    return Conv4(channels=1, width=width)


encoders = {"random encoder": fresh()}
for name, objective in {"SimCLR": SimCLR(0.2), "Barlow Twins": BarlowTwins(0.02), "VISReg": VISReg()}.items():
    tasks = SplitBatch(digits, Views.glyphs(), tasks=1, batch=64, split="meta-train", seed=given.seed)
    learner = SelfSupervised(fresh(), objective, projector=Projector(width, 128, 64))
    Trainer(learner, tasks, TrainerOptions(steps=given.steps)).fit()
    encoders[name] = learner.encoder

# %% [markdown]
# Differences are taken episode by episode, so that the hardness of an episode cancels. Their interval says nothing about
# another training: for a claim, repeat with three seeds or more.

# %%
rows, accuracy = evaluate(
    encoders,
    expand_targets(digits, "meta-test"),
    protocols=[FewShot(ways=(3,), shots=(1,), query=5, heads=("cosine",), episodes=given.episodes)],
)
pixels = next(accuracy[row.key] for row in rows if row.features == "raw pixels")
for row in rows:
    difference, half = mean_interval((accuracy[row.key] - pixels).tolist())
    print(f"{row.features}: {100 * row.mean:.1f} %, over raw pixels {100 * difference:+.1f} ± {100 * half:.1f}")
