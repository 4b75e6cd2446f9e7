"""Gradients of tasks, and how they point: cosines and magnitudes between tasks, block by block."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metatc2.diagnostics.task_loss import TaskLoss
from metatc2.errors import InputError
from metatc2.inner import Params

#: Name of the block of all parameters.
ALL = "all"


def task_gradients(loss: TaskLoss, params: Params, tasks: Tensor) -> Params:
    """Gradient of every task's loss, one backward a task.

    Args:
        loss: of one task.
        params: by name, where the gradient is taken.
        tasks: ``(M, samples, ...)``, the samples of every task.

    Returns:
        By name ``(M, *shape)``; zero where the loss does not depend on a parameter.

    Raises:
        InputError: if a loss is not a finite scalar that depends on the parameters.

    >>> gradients = task_gradients(lambda p, x: (p["w"] * x).sum(), {"w": torch.ones(2)}, torch.ones(3, 4, 2))
    >>> gradients["w"].shape
    torch.Size([3, 2])
    """
    names = list(params)
    rows = []
    for i, samples in enumerate(tasks):
        at = {name: p.detach().requires_grad_() for name, p in params.items()}
        with torch.enable_grad():
            value = loss(at, samples)
        if value.ndim or not value.requires_grad or not bool(value.isfinite()):
            raise InputError(
                f"task conflict: the loss of task {i} must be a finite scalar that depends on the parameters, got "
                f"{value.item() if value.numel() == 1 else tuple(value.shape)}"
                f"{'' if value.requires_grad else ' without gradient'}; check the learner's weights and the loss"
            )
        rows.append(torch.autograd.grad(value, list(at.values()), allow_unused=True))
    columns = zip(*rows, strict=True)
    return {
        name: torch.stack([torch.zeros_like(params[name]) if g is None else g for g in column])
        for name, column in zip(names, columns, strict=True)
    }


def blocks(names: Sequence[str], pattern: str | None = None) -> dict[str, list[str]]:
    """Parameters by block.

    Args:
        names: dotted names of parameters.
        pattern: regular expression; what it matches at the start of a name is the name of its block, and a parameter that it
            does not match is in none. By default the top-level children; where there is one alone, its children.

    Raises:
        InputError: if the pattern is no regular expression, or matches no name.

    >>> blocks(["net.0.weight", "net.0.bias", "net.1.weight"])
    {'net.0': ['net.0.weight', 'net.0.bias'], 'net.1': ['net.1.weight']}
    >>> list(blocks(["layer1.0.conv.weight", "layer1.1.conv.weight"], r"layer\\d"))
    ['layer1']
    """
    if pattern is None:
        return _children(names)
    try:
        matches = {name: re.match(pattern, name) for name in names}
    except re.error as error:
        raise InputError(f"task conflict: blocks {pattern!r} is no regular expression ({error})") from error
    groups: dict[str, list[str]] = {}
    for name, match in matches.items():
        if match and match.group():
            groups.setdefault(match.group(), []).append(name)
    if not groups:
        raise InputError(
            f"task conflict: blocks {pattern!r} matches the start of no parameter's name; there are {', '.join(names[:6])}"
            f"{', ...' if len(names) > 6 else ''}"
        )
    return groups


def _children(names: Sequence[str]) -> dict[str, list[str]]:
    paths = {name: name.split(".") for name in names}
    depth, deepest = 1, max(map(len, paths.values()))
    # The last part is the parameter itself, which is a block only where it belongs to no child.
    while depth < deepest - 1 and len({tuple(path[:depth]) for path in paths.values()}) == 1:
        depth += 1
    groups: dict[str, list[str]] = {}
    for name, path in paths.items():
        groups.setdefault(".".join(path[:depth]), []).append(name)
    return groups


def grams(gradients: Params, groups: Mapping[str, Sequence[str]], others: Params | None = None) -> dict[str, Tensor]:
    """Inner products of the tasks' gradients, float64 ``(M, M)`` a block, and of all parameters under ``"all"``.

    Args:
        gradients: by name ``(M, *shape)``, the rows.
        groups: parameters by block.
        others: gradients of the columns, e.g. of other samples of the same tasks; by default `gradients`.

    >>> grams({"a": torch.eye(2), "b": torch.ones(2, 1)}, {"a": ["a"]})["all"].tolist()
    [[2.0, 1.0], [1.0, 2.0]]
    """
    single = {}
    for name, gradient in gradients.items():
        columns = gradient if others is None else others[name]
        single[name] = gradient.flatten(1).double() @ columns.flatten(1).double().mT
    per_block = {block: torch.stack([single[name] for name in names]).sum(0) for block, names in groups.items()}
    return {ALL: torch.stack(list(single.values())).sum(0), **per_block}


def cosines(gram: Tensor) -> Tensor:
    """Cosines between tasks i < j, ``(M (M − 1) / 2,)``; 0 where a gradient is zero.

    >>> cosines(torch.tensor([[4.0, 2.0], [2.0, 1.0]])).tolist()
    [1.0]
    """
    lengths = gram.diagonal().clamp_min(0).sqrt()
    return _pairs(gram / _positive(lengths[:, None] * lengths)).clamp(-1, 1)


def magnitude_similarity(gram: Tensor) -> Tensor:
    """``2 |g_i| |g_j| / (|g_i|² + |g_j|²)`` for tasks i < j: 1 for equal lengths (Yu et al., NeurIPS 2020, PCGrad, arXiv
    2001.06782, definition 2).

    >>> magnitude_similarity(torch.tensor([[1.0, 0.0], [0.0, 9.0]])).tolist()
    [0.6000000238418579]
    """
    squares = gram.diagonal().clamp_min(0)
    lengths = squares.sqrt()
    return _pairs(2 * lengths[:, None] * lengths / _positive(squares[:, None] + squares))


def _pairs(matrix: Tensor) -> Tensor:
    i, j = torch.triu_indices(len(matrix), len(matrix), 1, device=matrix.device)
    return matrix[i, j]


def _positive(x: Tensor) -> Tensor:
    return x.where(x > 0, torch.ones_like(x))
