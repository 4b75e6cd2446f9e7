"""Networks with parts that are shared, recomputed, reparametrized or frozen: each as it would be in plain training."""

from __future__ import annotations

import torch
from libraries import Library, NotOffered, Recipe
from torch import nn

from situations import networks
from situations.gradients import held_against_differences
from situations.situation import Failed, Situation, Way, short, tasks
from situations.state import TOLERANCE

STEPS = 3
TRAINING, LR = 100, 1e-2
# Power iteration follows a weight that moves: plain training leaves up to 1.36 here.
LARGEST = 1.5


def shared_modules(library: Library, recipe: Recipe) -> str:
    """The gradient is right, and predicting again gives the same scores from the same parameters."""

    def make() -> nn.Module:
        return networks.seeded(networks.TwoNames)

    detail = held_against_differences(make, 5)(library, recipe)
    net, task = make(), tasks(5)[0]
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    first, *again = (library.predict(net, recipe, task).detach() for _ in range(3))
    if not all(torch.equal(p, before[name]) for name, p in net.named_parameters()):
        raise Failed("adapted weights stay in the network")
    away = max(float((scores - first).abs().max()) for scores in again)
    if not away <= TOLERANCE:
        raise Failed(f"the same prediction again is {away:.0e} off")
    return detail


def checkpointed(library: Library, recipe: Recipe) -> str:
    """The gradient is right; an error that says what it does not do is no wrong gradient."""
    try:
        return held_against_differences(lambda: networks.seeded(networks.Checkpointed), 5)(library, recipe)
    except Exception as error:
        if isinstance(error, Failed) or "checkpoint" not in str(error):
            raise
        raise NotOffered(f"refused: {short(str(error))}") from error


def frozen_norm(library: Library, recipe: Recipe) -> str:
    """Batch normalization in evaluation mode normalizes by its running statistics, and keeps them."""
    detail = held_against_differences(networks.norm_in_eval, 5)(library, recipe)
    net = networks.norm_in_eval()
    before = {name: b.clone() for name, b in net.named_buffers()}
    _train(library, net, recipe, steps=2)
    if not all(torch.equal(b, before[name]) for name, b in net.named_buffers()):
        raise Failed("its running statistics moved in training")
    if net.get_submodule("1").training:
        raise Failed("it was put into training mode")
    return detail


def singular_values(library: Library, recipe: Recipe) -> str:
    """After meta-training the layers under spectral normalization have a largest singular value of 1."""
    net = networks.bounded()
    _train(library, net, recipe, steps=TRAINING)
    net.eval()
    largest = max(float(torch.linalg.matrix_norm(net[i].weight.detach(), 2)) for i in (0, 2))  # type: ignore[index]
    if not largest <= LARGEST:
        raise Failed(f"a largest singular value of {largest:.1f} after {TRAINING} steps, in place of 1")
    return f"a largest singular value of {largest:.2f} after {TRAINING} steps"


def _train(library: Library, net: nn.Module, recipe: Recipe, steps: int) -> None:
    held, data = library.hold(net, recipe), tasks(5)
    optimizer = torch.optim.Adam(net.parameters(), LR)
    for _ in range(steps):
        library.gradient(held, recipe, data)
        optimizer.step()
        library.after_step(held)


SITUATIONS = (
    Situation("one module under two names", Recipe(STEPS, 0.3), shared_modules),
    Situation("activation checkpointing", Recipe(STEPS, 0.3), checkpointed),
    Situation("spectral norm", Recipe(STEPS, 0.3), singular_values),
    Situation(
        "frozen BatchNorm",
        Recipe(STEPS, 0.3),
        frozen_norm,
        {"ours": [Way('norm="frozen"', {"options": {"norm": "frozen"}})]},
    ),
)
