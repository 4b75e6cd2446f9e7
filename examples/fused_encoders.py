"""Several encoders for one task with few labels: attention over them, a ridge on all features, and each alone.

python examples/fused_encoders.py                     # SimCLR, rotation and an untrained encoder; handwritten digits
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
from metatc2.objectives import SimCLR
from metatc2.objectives.pretexts import Rotation
from metatc2.training import Trainer, TrainerOptions
from metatc2.transfer.fusion.measure import FusionTarget, measure_fusion

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--draws", type=int, default=10)
parser.add_argument("--labels", type=int, nargs="+", default=[2, 10], help="labels a class")
parser.add_argument("--seed", type=int, default=0)
given, _ = parser.parse_known_args()  # a notebook's kernel has words of its own
torch.manual_seed(given.seed)

# %% [markdown]
# Encoders of different pretexts keep different things. An untrained one is among them: does it do harm?

# %%
digits = load("digits")
encoders = {"untrained": Conv4(channels=1, width=32)}
for name, objective in {"SimCLR": SimCLR(0.2), "rotation": Rotation(dim=64)}.items():
    tasks = SplitBatch(digits, Views.glyphs(), tasks=1, batch=32, split="meta-train", seed=given.seed)
    learner = SelfSupervised(Conv4(channels=1, width=32), objective, projector=Projector(32, 128, 64))
    Trainer(learner, tasks, TrainerOptions(steps=given.steps)).fit()
    encoders[name] = learner.encoder

# %% [markdown]
# Features are computed once, of all images. Labels are drawn from one half of the images of classes that no encoder has seen,
# tests are on the other half.

# %%
with torch.no_grad():
    features = {name: encoder.eval()(digits.images / 255) for name, encoder in encoders.items()}
rows = digits.rows("meta-test")
rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(given.seed))]
pool, test = rows.chunk(2)
target = FusionTarget("digits:meta-test", features, digits.labels, pool, test)
result = measure_fusion(
    target,
    labels_per_class=given.labels,
    draws=given.draws,
    attentions=["sample"],
    baselines=["concatenation-ridge"],
    probes=False,
)
for row in result:
    weights = ", ".join(f"{name} {w:.2f}" for name, w in zip(row.encoders, row.weights, strict=False))
    print(
        f"{row.labels_per_class} labels a class, {row.method}: {100 * row.mean:.1f} ± {100 * row.ci95:.1f} %  {weights}"
    )
