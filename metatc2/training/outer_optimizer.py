"""Optimizers of the outer loop, their learning rates, and which parameters their weight decay spares."""

from __future__ import annotations

import math
from typing import Any

from torch import nn, optim

from metatc2.errors import InputError, kind_of
from metatc2.learners import ParameterGroup
from metatc2.training.lars import LARS
from metatc2.training.options import TrainerOptions


def outer_optimizer(group: ParameterGroup, options: TrainerOptions, spared: set[int]) -> optim.Optimizer:
    """Of one group of a learner's parameters: Adam at the group's own rate, or what the options ask for.

    Args:
        group: see `ParameterGroup`.
        options: see `TrainerOptions`.
        spared: identities of parameters without weight decay, besides biases and norms; see `without_decay`.

    Raises:
        InputError: if a factory makes no optimizer of these parameters.
    """
    if group.lr is not None:
        return optim.Adam(group.parameters, lr=group.lr)
    decay = [p for p in group.parameters if p.ndim > 1 and id(p) not in spared]
    rest = [p for p in group.parameters if p.ndim <= 1 or id(p) in spared]
    sets = [{"params": decay, "weight_decay": options.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    if callable(options.optimizer):
        return _own(options.optimizer([each for each in sets if each["params"]]), group)
    if options.optimizer == "sgd":
        return optim.SGD(sets, lr=options.lr, momentum=0.9, nesterov=True)
    return LARS(sets, lr=options.lr) if options.optimizer == "lars" else optim.AdamW(sets, lr=options.lr)


def _own(made: Any, group: ParameterGroup) -> optim.Optimizer:
    fix = "return an optimizer of the sets that it is given, as lambda sets: torch.optim.RMSprop(sets, lr=0.01)"
    if not isinstance(made, optim.Optimizer):
        raise InputError(f"TrainerOptions.optimizer made {kind_of(made)}; {fix}")
    taken = [id(p) for each in made.param_groups for p in each["params"]]
    if sorted(taken) != sorted(map(id, group.parameters)):
        raise InputError(
            f"TrainerOptions.optimizer made one of {len(taken)} tensors, and the group {group.name!r} has "
            f"{len(group.parameters)}; {fix}"
        )
    return made


class LearningRates:
    """What sets the learning rates of an optimizer, step by step.

    Args:
        optimizer: of a group of parameters.
        group: its own constant rate stays.
        options: a schedule by name is a function of the step alone; one of a factory has a state.

    Raises:
        InputError: if a factory makes no scheduler of torch, or one that is led by a measured value.
    """

    def __init__(self, optimizer: optim.Optimizer, group: ParameterGroup, options: TrainerOptions) -> None:
        self.optimizer, self.options = optimizer, options
        self.constant = group.lr is not None
        # Those of an own optimizer are scaled; for ours they are the options' own.
        own = callable(options.optimizer) and not self.constant
        self.peaks = [float(each["lr"]) for each in optimizer.param_groups] if own else None
        self.scheduler: optim.lr_scheduler.LRScheduler | None = None
        if callable(options.schedule) and not self.constant:
            made = options.schedule(optimizer)
            if isinstance(made, optim.lr_scheduler.ReduceLROnPlateau) or not isinstance(
                made, optim.lr_scheduler.LRScheduler
            ):
                raise InputError(
                    f"TrainerOptions.schedule made {kind_of(made)}; return a scheduler of torch.optim.lr_scheduler "
                    "that counts steps, as lambda optimizer: CosineAnnealingLR(optimizer, 600)"
                )
            self.scheduler = made

    def before(self, step: int) -> None:
        """Set them for a step."""
        if self.constant or self.scheduler is not None:
            return
        rate = self.options.learning_rate(step)
        for index, parameters in enumerate(self.optimizer.param_groups):
            parameters["lr"] = rate if self.peaks is None else self.peaks[index] * rate / self.options.lr

    def after(self) -> None:
        """A step was made."""
        if self.scheduler is not None:
            self.scheduler.step()

    @property
    def now(self) -> float:
        """That of the first set of parameters."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Of the scheduler, if there is one: its numbers, texts and lists of them."""
        if self.scheduler is None:
            return {}
        state = self.scheduler.state_dict()
        return {key: value for key, value in state.items() if isinstance(value, int | float | str | list | None)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: if it is not that of such a scheduler, which takes whatever it is given for its attributes.
        """
        if self.scheduler is None:
            return
        own = self.state_dict()
        # What this version of torch has no more, such as `verbose`, is left out; the name of a method is no number of one.
        state = {key: value for key, value in state.items() if key in own or hasattr(self.scheduler, key)}
        if odd := [key for key, value in state.items() if key not in own or not _alike(value, own[key])]:
            raise ValueError(f"the scheduler's {odd[0]} is {state[odd[0]]!r} and was {own.get(odd[0])!r}")
        self.scheduler.load_state_dict({**self.scheduler.state_dict(), **state})


def _alike(value: Any, own: Any) -> bool:
    """Whether two values are both numbers, or of one kind; of lists each item. What is None may be a number later."""
    if isinstance(value, list) and isinstance(own, list):
        return len(value) == len(own) and all(map(_alike, value, own))
    number = isinstance(value, int | float) and math.isfinite(value)
    return (
        number
        if isinstance(own, int | float)
        else (own is None and (number or value is None)) or type(value) is type(own)
    )


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
