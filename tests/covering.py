"""Which cells of a cross product the short suite runs; the others are marked as slow and run in the whole suite."""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations, product
from typing import Any

import pytest


def some(values: Collection[Any], kept: Collection[Any]) -> list[Any]:
    """Values of a parameter, those that are not kept marked as slow: where the others have little of their own that is tested.

    >>> [value.values for value in some("abc", "ac") if not value.marks]
    [('a',), ('c',)]
    """
    assert set(kept) <= set(values)
    return [pytest.param(value, marks=() if value in kept else pytest.mark.slow) for value in values]


def covered(*axes: Collection[Any], strength: int = 2) -> list[Any]:
    """Parameters of a test: every cell of a product, the cells outside of a covering array marked as slow.

    A covering array of strength 2 has each pair of values of any two axes in at least one of its rows, one of strength 1
    each value. Use it where a fault shows in one value, or in two together, so that the other cells prove little more.
    The rows are chosen one by one, each the first of those that add most.

    >>> [cell.values for cell in covered("ab", (1, 2, 3), strength=1) if not cell.marks]
    [('a', 1), ('a', 3), ('b', 2)]
    >>> len(covered("ab", "cd", "ef")), sum(not cell.marks for cell in covered("ab", "cd", "ef"))
    (8, 4)
    """
    cells = list(product(*(range(len(axis)) for axis in axes)))
    seen = {cell: set(combinations(enumerate(cell), strength)) for cell in cells}
    left, chosen = set().union(*seen.values()), set()
    while left:
        best = max(cells, key=lambda cell: len(seen[cell] & left))
        chosen.add(best)
        left -= seen[best]
    values = [list(axis) for axis in axes]
    return [
        pytest.param(
            *(own[i] for own, i in zip(values, cell, strict=True)), marks=() if cell in chosen else pytest.mark.slow
        )
        for cell in cells
    ]
