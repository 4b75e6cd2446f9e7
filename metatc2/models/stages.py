"""Any layer of an encoder as an encoder of its own, so that which layer is evaluated is explicit."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from metatc2.errors import InputError, nearest

OUTPUT = "output"


def stage_names(encoder: nn.Module) -> tuple[str, ...]:
    """What `AtStage` takes: ``"output"`` and every sub-module by its dotted name, in the order of registration.

    >>> stage_names(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    ('output', '0', '1')
    """
    return (OUTPUT, *(name for name, _ in encoder.named_modules() if name))


class AtStage(nn.Module):
    """Features at an inner stage of an encoder.

    Feature maps ``(N, C, H, W)`` are averaged over positions, sequences of tokens ``(N, T, D)`` over tokens; ``(N, D)``
    stays as it is.

    Args:
        encoder: maps images to features; shared, not copied.
        stage: dotted name of a sub-module (see `stage_names`) that is called once in a forward pass.

    Raises:
        InputError: if there is no such stage; when called, if the stage was not called exactly once or did not return
            such a tensor.

    >>> import torch
    >>> encoder = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5))
    >>> AtStage(encoder, "1")(torch.rand(2, 1, 4, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(self, encoder: nn.Module, stage: str) -> None:
        super().__init__()
        names = stage_names(encoder)[1:]
        if stage not in names:
            raise InputError(
                f"layer {stage!r} is no part of {type(encoder).__name__}; {nearest(stage, (OUTPUT, *names))}"
            )
        self.encoder = encoder
        self.stage = stage

    def extra_repr(self) -> str:
        """The stage: part of the checksum that cached features are kept under."""
        return f"stage={self.stage!r}"

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, D)``."""
        outputs: list[Tensor] = []
        handle = self.encoder.get_submodule(self.stage).register_forward_hook(
            lambda module, inputs, output: outputs.append(_pooled(output, len(images), self.stage))
        )
        try:
            self.encoder(images)
        finally:
            handle.remove()
        if len(outputs) != 1:
            raise InputError(
                f"layer {self.stage!r} was called {len(outputs)} times in one forward pass; name a module that is called "
                "once, e.g. the block around it"
            )
        return outputs[0]


def _pooled(output: Any, n: int, stage: str) -> Tensor:
    # A copy in every case, made at once: the next module may work in place (ReLU).
    if isinstance(output, Tensor) and len(output) == n:
        if output.ndim == 2:
            return output.clone()
        if output.ndim == 3:
            return output.mean(1)
        if output.ndim == 4:
            return output.mean((2, 3))
    got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InputError(f"layer {stage!r} gives {got}, not (N, D), (N, T, D) or (N, C, H, W); name another layer")


def at_stage(encoder: nn.Module, stage: str) -> nn.Module:
    """`encoder` itself for ``"output"``, else its `AtStage`.

    >>> encoder = nn.Flatten()
    >>> at_stage(encoder, "output") is encoder
    True
    """
    return encoder if stage == OUTPUT else AtStage(encoder, stage)
