"""What a value was computed from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor


def leaves_of(value: Tensor) -> Iterator[Tensor]:
    """The leaves of the graph of `value`: tensors that require a gradient and were not computed from others."""
    seen: set[Any] = set()
    queue: list[Any] = [value.grad_fn]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        queue.extend(parent for parent, _ in node.next_functions)
