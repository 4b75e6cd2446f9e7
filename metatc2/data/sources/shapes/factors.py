"""`GenerativeFactors`: what images were made from, known exactly because they were rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from metatc2.errors import InputError, nearest

Kind = Literal["categorical", "linear", "circular"]


@dataclass(frozen=True, eq=False)
class GenerativeFactors:
    """True values of the factors behind N images.

    Args:
        values: float64 ``(N, F)``; of a categorical factor whole numbers from 0, of a circular one turns (0 and 1 are the
            same), of a linear one any unit.
        names: F names.
        kinds: F of ``"categorical"``, ``"linear"`` and ``"circular"``.

    Raises:
        InputError: if the shape, a name, a kind or a value does not fit.

    >>> known = GenerativeFactors(torch.tensor([[0.0, 0.25], [1.0, 0.5]]), ("shape", "hue"), ("categorical", "circular"))
    >>> known.select("hue").values.flatten().tolist(), known.take(torch.tensor([1])).values.tolist()
    ([0.25, 0.5], [[1.0, 0.5]])
    """

    values: Tensor
    names: tuple[str, ...]
    kinds: tuple[Kind, ...]

    def __post_init__(self) -> None:
        shape = tuple(self.values.shape)
        if len(shape) != 2 or not shape[1] or not shape[1] == len(self.names) == len(self.kinds):
            raise InputError(
                f"generative factors: values must be (N, F) with F names and F kinds, got {shape}, {len(self.names)} names "
                f"and {len(self.kinds)} kinds; give one of each a column"
            )
        if len(set(self.names)) < len(self.names):
            raise InputError(
                f"generative factors: names must differ, got {', '.join(self.names)}; rename the double one"
            )
        for kind in self.kinds:
            if kind not in get_args(Kind):
                raise InputError(f"generative factors: unknown kind {kind!r}; {nearest(kind, get_args(Kind))}")
        object.__setattr__(self, "values", self.values.double())
        if not bool(self.values.isfinite().all()):
            raise InputError("generative factors: values must be finite, got NaN or infinity; leave such images out")
        for name, kind, column in zip(self.names, self.kinds, self.values.unbind(1), strict=True):
            if kind == "categorical" and not bool(((column >= 0) & (column == column.floor())).all()):
                raise InputError(
                    f"generative factors: {name} is categorical, so its values must be whole numbers from 0; call it linear "
                    "if it is not one of a list"
                )

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Tensor) -> GenerativeFactors:
        """The factors of some images: int64 ``(n,)`` rows, e.g. those of a split of the store."""
        return GenerativeFactors(self.values[rows], self.names, self.kinds)

    def select(self, *names: str) -> GenerativeFactors:
        """Some of the factors, in the order named.

        Raises:
            InputError: if there is no such factor.
        """
        for name in names:
            if name not in self.names:
                raise InputError(f"generative factors: unknown factor {name!r}; {nearest(name, self.names)}")
        columns = [self.names.index(name) for name in names]
        return GenerativeFactors(self.values[:, columns], tuple(names), tuple(self.kinds[c] for c in columns))

    def permuted(self, generator: torch.Generator) -> GenerativeFactors:
        """Rows in random order: the factors stay as they are among themselves, and say nothing about the images any more."""
        order = torch.randperm(len(self), generator=generator, device=generator.device)
        return self.take(order.to(self.values.device))
