"""Optimizers of the outer loop, and which parameters their weight decay spares."""

from __future__ import annotations

from torch import nn, optim

from metatc2.learners import ParameterGroup
from metatc2.training.options import TrainerOptions


def outer_optimizer(group: ParameterGroup, options: TrainerOptions, spared: set[int]) -> optim.Optimizer:
    """Of one group of a learner's parameters: Adam at the group's own rate, or what the options ask for.

    Args:
        group: see `ParameterGroup`.
        options: see `TrainerOptions`.
        spared: identities of parameters without weight decay, besides biases and norms; see `without_decay`.
    """
    if group.lr is not None:
        return optim.Adam(group.parameters, lr=group.lr)
    decay = [p for p in group.parameters if p.ndim > 1 and id(p) not in spared]
    rest = [p for p in group.parameters if p.ndim <= 1 or id(p) in spared]
    sets = [{"params": decay, "weight_decay": options.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    if options.optimizer == "sgd":
        return optim.SGD(sets, lr=options.lr, momentum=0.9, nesterov=True)
    return optim.AdamW(sets, lr=options.lr)


def without_decay(module: nn.Module) -> set[int]:
    """Identities of the parameters that a part's ``no_weight_decay()`` names, relative to that part.

    >>> import torch
    >>> class Tokens(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.token = nn.Parameter(torch.zeros(1, 1, 8))
    ...     def no_weight_decay(self):
    ...         return {"token"}
    >>> tokens = Tokens()
    >>> without_decay(nn.Sequential(tokens)) == {id(tokens.token)}
    True
    """
    spared = set()
    for part in module.modules():
        names = getattr(part, "no_weight_decay", None)
        if callable(names):
            own = dict(part.named_parameters(remove_duplicate=False))
            spared |= {id(own[name]) for name in names() if name in own}
    return spared
