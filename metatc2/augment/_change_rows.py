"""Apply an operation to some images of a batch and leave the others untouched."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

# On a CPU the temporaries of an operation should stay in the cache: values in a block of images (2¹⁸ floats are 1 MiB).
_BLOCK = 2**18


def change_rows(images: Tensor, chosen: Tensor, operation: Callable[..., Tensor], *parameters: Tensor) -> Tensor:
    """Replace ``images[chosen]`` by ``operation(images[chosen], *parameters[chosen])``, in place where possible.

    Work is spent on the chosen images alone, on a CPU a block of them at a time.

    Args:
        images: ``(N, C, H, W)``, owned by the caller, who goes on with the returned tensor only.
        chosen: bool ``(N,)`` on the CPU, so that no decision has to wait for an accelerator.
        operation: maps ``(n, C, H, W)`` and the parameters' rows to the same shape; may write into its first argument.
        parameters: CPU tensors of shape ``(N, ...)``; `operation` gets their rows.

    >>> import torch
    >>> change_rows(torch.zeros(3, 1, 1, 1), torch.tensor([True, False, True]), lambda x: x + 1).flatten().tolist()
    [1.0, 0.0, 1.0]
    """
    rows = chosen.nonzero().flatten()
    if len(rows) == 0:
        return images
    block = max(1, _BLOCK // images[0].numel()) if images.device.type == "cpu" else len(rows)
    if len(rows) == len(images) <= block:
        return operation(images, *parameters)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        index = part.to(images.device)
        changed = operation(images.index_select(0, index), *(p[part] for p in parameters))
        images.index_copy_(0, index, changed)
    return images
