"""Situations about what adaptation does to the meta-model, and where it can run."""

from __future__ import annotations

import torch
from libraries import Library, Recipe
from libraries.plain import trained

from situations import networks
from situations.situation import Failed, Situation, Way, tasks

STEPS = 3
TOLERANCE = 1e-9


def buffers_stay(library: Library, recipe: Recipe) -> str:
    """Adapting copies to two tasks leaves the meta-model's running statistics alone."""
    net = networks.normalized()
    before = {name: b.clone() for name, b in net.named_buffers()}
    library.meta_gradient(net, recipe, tasks(5))
    changed = {name for name, b in net.named_buffers() if not torch.equal(b, before[name])}
    if changed:
        calls = int(net.get_buffer("1.num_batches_tracked"))
        raise Failed(f"the meta-model's running statistics moved, by the {calls} batches of the adapted copies")
    return ""


def adapts_without_grad(library: Library, recipe: Recipe) -> str:
    """Under ``torch.no_grad`` a task is learned as plain training learns it."""
    net, task = networks.mlp(), tasks(5)[0]
    expected = trained(networks.mlp(), recipe, task)(task.query_x)
    with torch.no_grad():
        scores = library.predict(net, recipe, task)
    away = float((scores - expected).abs().max())
    if not away <= TOLERANCE:
        raise Failed(f"the scores are {away:.0e} from those of plain training")
    if scores.requires_grad:
        raise Failed("the scores keep a graph")
    return f"scores {away:.0e} from those of plain training"


SITUATIONS = (
    Situation(
        "BatchNorm leak",
        Recipe(STEPS, 0.3),
        buffers_stay,
        {"torchopt": [Way("detach_buffers=True", {"options": {"detach_buffers": True}})]},
    ),
    Situation("evaluation under no_grad", Recipe(STEPS, 0.3), adapts_without_grad),
)
