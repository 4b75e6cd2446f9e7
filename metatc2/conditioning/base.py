"""What all projectors have in common that are told which task a sample is from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from metatc2.episodes import TaskIdentity
from metatc2.errors import InputError


class ToldProjector(nn.Module, ABC):
    """A projector that is called with the identity of the tasks: ``projector(z, identity)``.

    Learners know it by its class attribute ``told = True``, pass the episode's identity and add `penalty` to the loss.

    Args:
        kinds: how many kinds of task there are.

    Raises:
        InputError: if there is no kind.
    """

    told: ClassVar[bool] = True

    def __init__(self, kinds: int) -> None:
        super().__init__()
        if kinds < 1:
            raise InputError(f"{type(self).__name__}: kinds must be at least 1, found {kinds}")
        self.kinds = kinds

    @abstractmethod
    def forward(self, z: Tensor, identity: TaskIdentity) -> Tensor:
        """``(tasks, samples, views, d)`` to ``(tasks, samples, views, D)``."""

    def penalty(self) -> Tensor:
        """What is added to the loss, a scalar; zero by default."""
        return next(self.parameters()).new_zeros(())

    def kinds_of(self, z: Tensor, identity: TaskIdentity) -> Tensor:
        """Kinds of the tasks, ``(tasks,)``.

        Args:
            z: ``(tasks, samples, views, d)``.
            identity: of its tasks.

        Raises:
            InputError: if z has other axes, or the identity is of other tasks or other kinds.
        """
        name = type(self).__name__
        if z.ndim != 4:
            raise InputError(f"{name} needs z of shape (tasks, samples, views, d), found {tuple(z.shape)}")
        # The names, for their number is known without a look at the device.
        if len(identity.names) != self.kinds:
            raise InputError(
                f"{name} was built for {self.kinds} kinds of task and the episode knows {len(identity.names)} "
                f"({', '.join(identity.names)}); build it with kinds={len(identity.names)}"
            )
        if identity.kinds.shape != z.shape[:1]:
            raise InputError(
                f"{name}: {len(z)} tasks came with kinds of shape {tuple(identity.kinds.shape)}; give every task its kind"
            )
        return identity.kinds
