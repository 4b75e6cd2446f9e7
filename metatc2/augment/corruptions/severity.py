"""How strong a corruption is at each severity and size of image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Levels = tuple[tuple[float, ...], ...]

# Sizes for which strengths are published: CIFAR-10-C and ImageNet-C.
_SMALL, _LARGE = 32, 224


@dataclass(frozen=True)
class CorruptionKind:
    """One kind of corruption.

    Args:
        family: ``"noise"``, ``"blur"``, ``"weather"`` or ``"digital"``.
        apply: maps float32 images ``(n, C, H, W)`` in [0, 1], one seed an image and the parameters to such images, up to
            values outside of [0, 1].
        at_32: parameters of the five severities for images of 32 pixels, all positive.
        at_224: those for images of 224 pixels.
        lengths: which parameters are lengths in pixels.
    """

    family: str
    apply: Callable[..., Tensor]
    at_32: Levels
    at_224: Levels
    lengths: tuple[int, ...] = ()

    def parameters(self, severity: int, size: int) -> tuple[float, ...]:
        """Parameters at a severity for images whose shorter side has `size` pixels.

        At 32 and 224 pixels they are the tables'; in between each follows a straight line in the logarithms of size and
        value. Up to 32 pixels those of 32 hold (a blur of a quarter of a pixel would be none). From 224 on lengths grow
        with the image and all else holds.

        >>> noise = CorruptionKind("noise", lambda x, seeds, c: x, ((0.1,),) * 5, ((0.4,),) * 5, lengths=(0,))
        >>> [round(noise.parameters(5, size)[0], 3) for size in (28, 32, 85, 224, 448)]
        [0.1, 0.1, 0.201, 0.4, 0.8]
        """
        share = _log_share(min(max(size, _SMALL), _LARGE))
        pairs = zip(self.at_32[severity - 1], self.at_224[severity - 1], strict=True)
        values = [small ** (1 - share) * large**share for small, large in pairs]
        growth = max(1.0, size / _LARGE)
        return tuple(value * growth if i in self.lengths else value for i, value in enumerate(values))


def _log_share(size: int) -> float:
    return math.log(size / _SMALL) / math.log(_LARGE / _SMALL)


def levels(*columns: tuple[float, ...]) -> Levels:
    """The five rows of a table given by its columns.

    >>> levels((1, 2, 3, 4, 5), (6, 7, 8, 9, 10))[0]
    (1, 6)
    """
    return tuple(zip(*columns, strict=True))
