"""Losses of forwards that were not read yet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Forwards that are remembered at most, for training loops that neither read the losses nor train the module.
MOST = 64


@dataclass(frozen=True)
class Pending:
    """A value: a shallow copy of a module can share it, and neither moves the other's.

    Args:
        owner: id of the module whose forwards these were; a shallow copy must not take them for its own.
        version: of the parameters in those forwards, a number that every optimizer step raises.
        counted: losses of training forwards.
        other: loss of the last forward of another kind, if it came after those.
    """

    owner: int = 0
    version: int = 0
    counted: tuple[Tensor, ...] = ()
    other: Tensor | None = None

    def after_training(self, owner: int, version: int, loss: Tensor) -> Pending:
        """With a training forward; those from before an optimizer step can have no gradient any more and are forgotten."""
        same = owner == self.owner and version == self.version
        return Pending(owner, version, (*(self.counted if same else ()), loss)[-MOST:])

    def after_evaluation(self, owner: int, loss: Tensor) -> Pending:
        """With a forward that is no part of training: what training has left stays."""
        return Pending(owner, self.version, self.counted if owner == self.owner else (), loss)

    def after_replaced(self, owner: int, loss: Tensor) -> Pending:
        """With a training forward under replaced parameters: of the forwards of an inner loop the last alone counts."""
        return Pending(owner, self.version, (), loss)

    def read(self, owner: int, *, training: bool) -> tuple[Tensor | None, Pending]:
        """The mean over the training forwards or the latest other one, and what is left.

        Args:
            owner: see above.
            training: the mode of the module: which kind is looked for first.
        """
        if owner != self.owner:
            return None, Pending()
        if self.other is not None and not (training and self.counted):
            return self.other, Pending(owner, self.version, self.counted)
        return (torch.stack(self.counted).mean() if self.counted else None), Pending()

    def last(self, owner: int) -> Tensor | None:
        """The loss of the last forward, of whatever kind."""
        if owner != self.owner:
            return None
        return self.other if self.other is not None else next(reversed(self.counted), None)
