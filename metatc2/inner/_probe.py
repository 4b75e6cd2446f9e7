"""Try a torchopt transformation on three numbers, to know its traps before they cost a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torchopt
from torch import Tensor


@dataclass(frozen=True)
class Traits:
    """What `probe` found out.

    Attributes:
        singular_at_zero: the derivative of the update is not finite at a gradient of exactly zero.
        derivative_is_right: the derivative by autograd agrees with central differences in float64.
        hidden_state: two runs from a fresh state differ.
        fused: torchopt's fused operator takes part in the update.
    """

    singular_at_zero: bool
    derivative_is_right: bool
    hidden_state: bool
    fused: bool


# Two steps, since one step of Adam hardly depends on the gradient (it is close to its sign).
_GRADIENTS = torch.tensor([[0.3, -0.7, 1.1], [0.5, 0.2, -0.4]], dtype=torch.float64)
# The large scale finds clipping at whatever norm, which small gradients would not reach.
_SCALES = (1.0, 1e4)
_STEP = 1e-5
_TOLERANCE = 1e-4


def probe(optimizer: torchopt.base.GradientTransformation) -> Traits:
    """Run two steps from a fresh state a few times and compare.

    >>> probe(torchopt.sgd(0.1))
    Traits(singular_at_zero=False, derivative_is_right=True, hidden_state=False, fused=False)
    >>> probe(torchopt.adam(0.1)).singular_at_zero
    True
    """
    # A user may build the loop inside no_grad (evaluation); the probe still needs gradients.
    with torch.enable_grad():
        first, second = _run(optimizer, _GRADIENTS), _run(optimizer, _GRADIENTS)
        at_zero = _derivative(optimizer, torch.zeros_like(_GRADIENTS))
        right = all(_derivative_is_right(optimizer, scale) for scale in _SCALES)
        node = _run(optimizer, _GRADIENTS.clone().requires_grad_()).grad_fn
    return Traits(
        singular_at_zero=at_zero is not None and not bool(at_zero.isfinite().all()),
        derivative_is_right=right,
        hidden_state=not torch.equal(first, second),
        fused="MuOpBackward" in _node_names(node),
    )


def _derivative_is_right(optimizer: torchopt.base.GradientTransformation, scale: float) -> bool:
    gradients = _GRADIENTS * scale
    exact = _derivative(optimizer, gradients)
    if exact is None:
        return False
    measured = _central_differences(optimizer, gradients, _STEP * scale)
    along = (_DIRECTIONS * exact).sum((1, 2))
    size = (_DIRECTIONS * exact).abs().sum((1, 2)).maximum(measured.abs())
    return bool(((along - measured).abs() <= _TOLERANCE * size).all())


def _node_names(node: Any) -> set[str]:
    seen, queue = set(), [node]
    while queue:
        if (here := queue.pop()) is not None and here not in seen:
            seen.add(here)
            queue.extend(parent for parent, _ in here.next_functions)
    return {here.name() for here in seen}


def _run(optimizer: torchopt.base.GradientTransformation, gradients: Tensor) -> Tensor:
    params = {"w": torch.ones(3, dtype=torch.float64)}
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update({"w": gradient.clone()}, state, params=params, inplace=False)
        params = {"w": params["w"] + updates["w"]}
    return params["w"]


# Different weights on the outputs, so that errors of opposite sign cannot cancel.
_WEIGHTS = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)


def _derivative(optimizer: torchopt.base.GradientTransformation, gradients: Tensor) -> Tensor | None:
    leaf = gradients.clone().requires_grad_()
    out = _run(optimizer, leaf) @ _WEIGHTS
    return torch.autograd.grad(out, leaf)[0] if out.requires_grad else None


# Through every entry: a loop is made often, and entry by entry takes three times as many runs.
_DIRECTIONS = torch.tensor(
    [[[0.61, -0.83, 0.97], [-0.89, 0.72, 0.53]], [[-0.47, 0.68, 0.91], [0.95, 0.77, -0.58]]], dtype=torch.float64
)


def _central_differences(optimizer: torchopt.base.GradientTransformation, gradients: Tensor, step: float) -> Tensor:
    """Along each of the directions."""
    slopes = []
    for direction in _DIRECTIONS:
        up, down = (_run(optimizer, gradients + shift * direction) for shift in (step, -step))
        slopes.append((up - down) @ _WEIGHTS / (2 * step))
    return torch.stack(slopes)
