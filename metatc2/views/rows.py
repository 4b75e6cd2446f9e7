"""Apply an operation to some images of a batch and leave the others untouched."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def change_rows(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *parameters: Tensor) -> Tensor:
    """Replace ``images[chosen]`` by ``operation(images[chosen], *parameters[chosen])``, in place where possible.

    Work is spent on the chosen images alone.

    Args:
        images: ``(N, C, H, W)``, owned by the caller, who goes on with the returned tensor only.
        chosen: bool ``(N,)`` on the CPU, so that no decision has to wait for an accelerator.
        operation: maps ``(n, C, H, W)`` and the parameters' rows to the same shape; may write into its first argument.
        parameters: CPU tensors of shape ``(N, ...)``; `operation` gets their rows.

    >>> import torch
    >>> change_rows(torch.zeros(3, 1, 1, 1), torch.tensor([True, False, True]), lambda x: x + 1).flatten().tolist()
    [1.0, 0.0, 1.0]
    """
    index = chosen.nonzero().flatten()
    if len(index) == 0:
        return images
    if len(index) == len(images):
        return operation(images, *parameters)
    parameters = tuple(p[index] for p in parameters)
    index = index.to(images.device)
    return images.index_copy_(0, index, operation(images.index_select(0, index), *parameters))
