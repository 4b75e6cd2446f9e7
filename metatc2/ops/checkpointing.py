"""Activation checkpointing and adapted parameters do not go together."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from metatc2.errors import InputError
from metatc2.ops.twice import exact

SENTENCE = (
    "activation checkpointing (torch.utils.checkpoint) cannot be used in a network that is called with adapted parameters: the "
    "backward pass would compute again with the network's own; switch it off (timm: set_grad_checkpointing(False)), and save "
    "memory by the adjoint Recompute or by fewer samples a task"
)


class RefuseCheckpointing(TorchFunctionMode):
    """Context of a call under replaced parameters: no operation inside may belong to a checkpointed region.

    A region that surrounds the whole call is computed again with the call's parameters, and so is right.

    Raises:
        InputError: at the first operation in such a region, where gradients are on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._grad, self._hooks = torch.is_grad_enabled(), _saving_hooks()
        self._caller: int | None = None

    def __enter__(self) -> Any:
        self._caller = id(sys._getframe(1))
        return super().__enter__()  # type: ignore[no-untyped-call]  # torch leaves it without types

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.check()
        return exact(function)(*args, **(kwargs or {}))

    def check(self) -> None:
        """Look whether this is such a region; cheap where nothing about it differs from the surroundings."""
        # A region has its own hooks on saved tensors, or (use_reentrant=True) runs without a graph.
        if not self._grad or (torch.is_grad_enabled() and _same(self._hooks, _saving_hooks())):
            return
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and id(frame) != self._caller:
            if frame.f_globals.get("__name__") == "torch.utils.checkpoint":
                raise InputError(SENTENCE)
            frame = frame.f_back


def _saving_hooks() -> Any:
    # torch has no public way to ask; 2.6 has none at all, so there every operation looks.
    ask = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return object() if ask is None else ask(False)


def _same(one: Any, other: Any) -> bool:
    pairs = isinstance(one, tuple) and isinstance(other, tuple)
    return one is other or (pairs and one[0] is other[0])
