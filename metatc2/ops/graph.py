"""What a value was computed from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction


def leaves_of(value: Tensor) -> Iterator[Tensor]:
    """The leaves of the graph of `value`: tensors that require a gradient and were not computed from others."""
    yield from (node.variable for node in _nodes(value) if hasattr(node, "variable"))


def computes_by_own_functions(value: Tensor) -> bool:
    """Whether a `torch.autograd.Function` written in Python is in the graph of `value`."""
    return any(isinstance(node, BackwardCFunction) for node in _nodes(value))


def _nodes(value: Tensor) -> Iterator[Any]:
    seen: set[Any] = set()
    queue: list[Any] = [value.grad_fn]
    while queue:
        node = queue.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            queue.extend(parent for parent, _ in node.next_functions)
