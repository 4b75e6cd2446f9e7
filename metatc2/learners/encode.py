"""How an encoder runs on the images of a step: all at once or a part at a time, on one process or on several."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from metatc2.errors import InputError
from metatc2.models.encoding import rows_from
from metatc2.ops.ranks import Ranks
from metatc2.ops.replacing import replaced
from metatc2.ops.synchronized_norm import SynchronizedNorm


def encode(encoder: nn.Module, images: Tensor, ranks: Ranks, parts: int = 1) -> Tensor:
    """Features of the images of this process.

    Batch normalization is by the images of all processes, of one part at a time.

    Args:
        encoder: images → ``(n, d)``.
        images: ``(n, C, H, W)``.
        ranks: that train together.
        parts: how many parts the images are cut into. With more than one the backward pass runs the encoder again on one part
            after the other, so that the activations of one part alone are held at a time (gradient caching, Gao et al. 2021,
            arXiv 2101.06983); the loss is of all features as before.

    Raises:
        InputError: if a part would have fewer than two images, or the encoder makes no rows ``(n, d)``.

    >>> encode(nn.Flatten(), torch.zeros(4, 1, 2, 2), Ranks(), parts=2).shape
    torch.Size([4, 4])
    """
    if parts == 1:
        return _run(encoder, images, ranks)
    if len(images) < 2 * parts:
        raise InputError(
            f"trainer.accumulate = {parts}: {len(images)} images cannot be cut into so many parts of two or more; ask for at "
            f"most {max(1, len(images) // 2)}"
        )
    # As many on every rank, whatever each has: they meet in batch normalization.
    cut = images.tensor_split(parts)
    if not torch.is_grad_enabled():
        return torch.cat([_run(encoder, part, ranks) for part in cut])
    return torch.cat(
        [
            checkpoint(
                _run,
                encoder,
                part,
                ranks,
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), _FrozenBuffers(encoder)),
            )
            for part in cut
        ]
    )


def widened(features: Tensor) -> Tensor:
    """In single precision at least, which losses and statistics are computed in."""
    return features.float() if features.dtype in (torch.bfloat16, torch.float16) else features


def merged(x: Tensor, support: int) -> Tensor:
    """All tasks as one, ``(1, tasks · samples, ...)``: the support of all of them, then their queries.

    As `metatc2.episodes.Episode.merged` has it.

    Args:
        x: ``(tasks, samples, ...)``.
        support: how many of each task's samples are on its support side.
    """
    return torch.cat([x[:, :support].flatten(0, 1), x[:, support:].flatten(0, 1)])[None]


def _run(encoder: nn.Module, images: Tensor, ranks: Ranks) -> Tensor:
    together: AbstractContextManager[object] = nullcontext() if ranks.alone else SynchronizedNorm(ranks)
    with together:
        features: Tensor = encoder(images)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
        rows_from(features, len(images), "the encoder")  # says what came, and how to make rows of it
    return features


class _FrozenBuffers(AbstractContextManager[None]):
    """Context in which copies of a module's buffers stand in their place, with the values that they have now.

    What is computed again must compute with them, and must not move them twice; with a graph that is kept it can be again and
    again.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module, self.values = module, {name: buffer.clone() for name, buffer in module.named_buffers()}
        self._entered: list[AbstractContextManager[object]] = []

    def __enter__(self) -> None:
        context = replaced(self.module, {name: value.clone() for name, value in self.values.items()})
        context.__enter__()
        self._entered.append(context)

    def __exit__(self, *raised: Any) -> None:
        self._entered.pop().__exit__(*raised)
