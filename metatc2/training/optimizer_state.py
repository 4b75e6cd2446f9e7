"""The state of an optimizer as a checkpoint holds it, taken over if a step can be made with it."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

# How an optimizer computes, which is for the machine that it works on; and what has the shape of its parameter, of those in
# `torch.optim`, and of those elsewhere that use these names.
_HOW = ("foreach", "fused", "capturable", "differentiable")
_AS_PARAMETER = (
    "exp_avg",
    "exp_avg_sq",
    "max_exp_avg_sq",
    "exp_inf",
    "momentum_buffer",
    "momentum",
    "square_avg",
    "grad_avg",
)


def load_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Go on from a saved state.

    Options must be of the kind that the optimizer has now, and switches the same: both come from the configuration. Torch
    itself takes any, and fails, or goes another way, at a later step.

    Args:
        optimizer: of the same parameters.
        saved: its ``state_dict()``.

    Raises:
        ValueError, TypeError, KeyError: if it is of other parameters, or no step can be made with it.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=1.0)
    >>> saved = optimizer.state_dict()
    >>> saved["param_groups"][0]["maximize"] = True
    >>> load_optimizer(optimizer, saved)
    Traceback (most recent call last):
    ValueError: the optimizer's maximize is True and was False
    """
    before = [dict(group) for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(saved)
        for group, own in zip(optimizer.param_groups, before, strict=True):
            for name, value in own.items():
                if name in _HOW or name not in group:
                    group[name] = value
                elif name != "params":
                    _check_option(name, group[name], value)
        _check_states(optimizer)
    except Exception:
        # What is not taken over must not be what the next state is held against.
        for group, own in zip(optimizer.param_groups, before, strict=True):
            group.update(own)
        raise


def _check_states(optimizer: Optimizer) -> None:
    kept = [
        (p, optimizer.state[p]) for group in optimizer.param_groups for p in group["params"] if p in optimizer.state
    ]
    names = {name for _, state in kept if isinstance(state, dict) for name in state}
    if isinstance(optimizer, Adam | AdamW) and names and not names >= {"step", "exp_avg", "exp_avg_sq"}:
        raise KeyError(f"the optimizer's state holds {', '.join(sorted(names))} alone")
    for parameter, state in kept:
        if not isinstance(state, dict) or (state and state.keys() != names):
            raise TypeError("the optimizer's state is not the same for all parameters")
        for name, value in state.items():
            _check_state(name, value, parameter)


def _check_option(name: str, value: Any, own: Any) -> None:
    several = isinstance(own, tuple | list)
    if several and not (isinstance(value, tuple | list) and len(value) == len(own)):
        raise ValueError(f"the optimizer's {name} is {value!r} and was {own!r}")
    for one, ours in zip(value, own, strict=True) if several else ((value, own),):
        number = isinstance(ours, int | float) and not isinstance(ours, bool)
        if number and not (_is_number(one) and math.isfinite(one)):
            raise ValueError(f"the optimizer's {name} is {one!r} and no finite number")
        if (ours is None or isinstance(ours, bool | str)) and (type(one) is not type(ours) or one != ours):
            raise ValueError(f"the optimizer's {name} is {one!r} and was {ours!r}")


def _check_state(name: str, value: Any, parameter: Tensor) -> None:
    if name == "step":
        count = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        if not (_is_number(count) and math.isfinite(count) and count >= 0):
            raise ValueError("the optimizer's step is no number of steps")
    elif name in _AS_PARAMETER and not (value is None and name == "momentum_buffer"):
        shape = tuple(value.shape) if isinstance(value, Tensor) else None
        if shape != tuple(parameter.shape):
            raise ValueError(f"the optimizer's {name} has the shape {shape} and its parameter {tuple(parameter.shape)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
