"""Few-shot transfer of a module of one's own, trained in a plain PyTorch loop, beside a random encoder and raw pixels.

python examples/few_shot_of_a_module.py               # Latin letters → Greek, 5-way
"""

# %%
import argparse
import copy

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from metatc2.data import load
from metatc2.transfer import FewShot, evaluate, expand_targets

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--steps", type=int, default=150)
parser.add_argument("--episodes", type=int, default=300)
parser.add_argument("--seed", type=int, default=0)
given, _ = parser.parse_known_args()  # a notebook's kernel has words of its own
generator = torch.Generator().manual_seed(given.seed)
torch.manual_seed(given.seed)

# %% [markdown]
# Any module will do that maps images `(n, channels, height, width)` in [0, 1] to rows of features `(n, d)`.

# %%
encoder = nn.Sequential(
    nn.Conv2d(1, 32, 5, stride=2, padding=2),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 64, 5, stride=2, padding=2),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(3),
    nn.Flatten(),
)
untrained = copy.deepcopy(encoder)

# %% [markdown]
# It is trained in whatever way; here as a classifier of Latin letters.

# %%
glyphs = load("glyphs")
rows = glyphs.rows("meta-train")
classes, labels = glyphs.labels[rows].unique(return_inverse=True)
head = nn.Linear(576, len(classes))
optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=2e-3)
for _ in range(given.steps):
    drawn = torch.randint(len(rows), (64,), generator=generator)
    loss = cross_entropy(head(encoder(glyphs.images[rows[drawn]] / 255)), labels[drawn])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %% [markdown]
# Every encoder meets the same episodes. Features are those of the module in evaluation mode; it is afterwards as it was.

# %%
result, _ = evaluate(
    {"encoder": encoder, "random encoder": untrained},
    expand_targets(glyphs, "greek"),
    protocols=[FewShot(shots=(1, 5), query=5, heads=("cosine",), episodes=given.episodes)],
)
for row in result:
    print(f"{row.features}: Greek {row.way}-way {row.shot}-shot {100 * row.mean:.1f} ± {100 * row.ci95:.1f} %")
