"""Whether an encoder's weights are numbers that features can be computed with."""

from __future__ import annotations

from torch import nn

from metatc2.errors import InputError
from metatc2.ops.finite import all_finite

_STATISTICS = ("running_mean", "running_var")


def check_weights(encoder: nn.Module, name: str) -> None:
    """Nothing, where all parameters and running statistics are finite and no running variance is below 0.

    Other buffers are not looked at: masks of attention hold infinities on purpose.

    Args:
        encoder: any module.
        name: of the encoder, for the error.

    Raises:
        InputError: that names the first tensor at fault.

    >>> layer = nn.BatchNorm2d(4)
    >>> layer.running_mean[2] = float("nan")
    >>> check_weights(layer, "runs/a")
    Traceback (most recent call last):
    metatc2.errors.InputError: runs/a: 1 of 4 values of its running_mean are not finite; load an earlier checkpoint
    """
    statistics = [(key, one) for key, one in encoder.named_buffers() if key.rpartition(".")[2] in _STATISTICS]
    for key, tensor in (*encoder.named_parameters(), *statistics):
        if tensor.is_floating_point() and not all_finite(tensor.detach()):
            bad = int((~tensor.detach().isfinite()).sum())
            raise InputError(
                f"{name}: {bad} of {tensor.numel()} values of its {key} are not finite; load an earlier checkpoint"
            )
        if key.endswith("running_var") and bool((tensor < 0).any()):
            raise InputError(f"{name}: its {key} holds a variance below 0; the file is damaged, so restore it")
