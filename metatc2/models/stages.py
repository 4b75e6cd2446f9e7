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


def consecutive_stages(encoder: nn.Module) -> dict[str, nn.Module]:
    """The encoder as a chain: what its stages do one after the other is what the encoder does.

    Args:
        encoder: one with a method ``stages()`` that says so (ours have it), or an `nn.Sequential`, whose parts they are.

    Returns:
        By dotted name, in order; they share their parts with the encoder.

    Raises:
        InputError: if the encoder does not say.

    >>> list(consecutive_stages(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))))
    ['0', '1']
    """
    told: Any = getattr(encoder, "stages", None)
    if callable(told):
        return dict(told())
    if isinstance(encoder, nn.Sequential):
        return dict(encoder.named_children())
    raise InputError(
        f"{type(encoder).__name__} does not say which stages it consists of; use conv4, a ResNet, or an encoder with a method "
        "stages() that gives modules by name whose chain it is"
    )


def split_after(encoder: nn.Module, stage: str) -> tuple[nn.Sequential, nn.Sequential]:
    """An encoder as two that follow one another and share its parts: up to a stage, and from there on.

    Args:
        encoder: see `consecutive_stages`.
        stage: the last one of the first part.

    Raises:
        InputError: if there is no such stage, none follows it, or what follows has nothing to train.

    >>> early, late = split_after(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "0")
    >>> len(early), late
    (1, Sequential(
      (0): Linear(in_features=4, out_features=2, bias=True)
    ))
    """
    stages = consecutive_stages(encoder)
    names = list(stages)
    if stage not in names:
        raise InputError(
            f"{type(encoder).__name__} has no stage {stage!r} to split after; {nearest(stage, names[:-1])}"
        )
    first = names.index(stage) + 1
    early, late = (nn.Sequential(*(stages[name] for name in part)) for part in (names[:first], names[first:]))
    if next(late.parameters(), None) is None:
        raise InputError(
            f"nothing to train follows the stage {stage!r} of {type(encoder).__name__}; split after one of "
            f"{', '.join(names[:-1])}"
        )
    return early, late


def pooled(features: Tensor, stage: str) -> Tensor:
    """``(N, D)`` from what a stage gives: maps ``(N, C, H, W)`` averaged over positions, tokens ``(N, T, D)`` over tokens.

    Args:
        features: of a stage.
        stage: its name, for the error.

    Raises:
        InputError: if they are of another shape.
    """
    return _pooled(features, len(features), stage)
