"""The settings of objects that a program made, as one line of text: what tells two methods apart that have the same name."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import torch
import torchopt
from torch import Tensor, nn

from metatc2.data import ImageStore

#: What differs between the seeds, processes and moments of one method; an encoder has a name elsewhere.
_OF_A_RUN = {
    "seed",
    "rank",
    "ranks",
    "training",
    "device",
    "generator",
    "step",
    "epoch",
    "epochs",
    "position",
    "encoder",
}
_LONG = 8
_DEPTH = 4
_LONGEST = 2000
#: Steps of an inner optimizer that are told by what they do, since torchopt hides its settings.
_STEPS = 2


def described(thing: Any) -> str:
    """The class of an object and its public settings, those of its parts within; nothing that training changes.

    Args:
        thing: a learner, a sampler, or a part of one.

    >>> from metatc2.objectives import SimCLR
    >>> described(SimCLR(temperature=0.1))
    'SimCLR(temperature=0.1)'
    >>> described(torchopt.sgd(0.5))
    'optimizer(gradient of 1: -0.5, -0.5)'
    """
    text = _described(thing, _DEPTH) or type(thing).__name__
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… ({hashlib.sha256(text.encode()).hexdigest()})"


def _described(thing: Any, depth: int) -> str:
    """Empty where there is nothing to say of it."""
    if isinstance(thing, torchopt.base.GradientTransformation):
        return _by_its_steps(thing)
    if thing is None or isinstance(thing, bool | int | float | str):
        return repr(thing)
    if isinstance(thing, tuple | list):
        if len(thing) > _LONG:
            return f"({_described(thing[0], depth - 1)} to {_described(thing[-1], depth - 1)}, {len(thing)} of them)"
        parts = [_described(part, depth - 1) for part in thing]
        return f"({', '.join(parts)})" if parts and all(parts) else ""
    if isinstance(thing, Tensor | torch.Generator | ImageStore | Mapping | torch.device) or depth == 0:
        return ""
    if isinstance(thing, type | FunctionType):
        return thing.__qualname__
    if not hasattr(thing, "__dict__"):
        return ""
    return _of_its_parts(thing, depth)


def _of_its_parts(thing: Any, depth: int) -> str:
    parts = dict(vars(thing))
    if isinstance(thing, nn.Module):
        if type(thing).__module__.startswith("torch.nn"):
            return f"{type(thing).__name__} of {sum(p.numel() for p in thing.parameters())} parameters"
        own = sum(p.numel() for p in thing.parameters(recurse=False))
        parts |= {**dict(thing.named_children()), **({"parameters": own} if own else {})}
    parts = {n: part for n, part in parts.items() if not n.startswith("_") and n not in _OF_A_RUN and part is not None}
    usual = _defaults(thing)
    said = {name: _described(value, depth - 1) for name, value in sorted(parts.items())}
    given = [f"{name}={text}" for name, text in said.items() if text and text != usual.get(name)]
    return f"{type(thing).__name__}({', '.join(given)})"


def _defaults(thing: Any) -> dict[str, str]:
    """Of a data class, as text: what is not said."""
    if not dataclasses.is_dataclass(thing):
        return {}
    fields = dataclasses.fields(thing)
    return {field.name: repr(field.default) for field in fields if field.default is not dataclasses.MISSING}


def _by_its_steps(optimizer: torchopt.base.GradientTransformation) -> str:
    weights = (torch.zeros(1, dtype=torch.float64),)
    with torch.no_grad():
        state = optimizer.init(weights)
        moves = []
        for _ in range(_STEPS):
            updates, state = optimizer.update(
                (torch.ones(1, dtype=torch.float64),), state, params=weights, inplace=False
            )
            weights = (weights[0] + updates[0],)
            moves.append(f"{float(updates[0]):.6g}")
    return f"optimizer(gradient of 1: {', '.join(moves)})"
