"""What every figure of factor recovery asks of its two sides."""

from __future__ import annotations

from torch import Tensor

from metatc2.data.sources.shapes.factors import GenerativeFactors
from metatc2.errors import InputError
from metatc2.metrics.rows import checked


def both_checked(
    codes: Tensor, factors: GenerativeFactors, what: str, *, fewest_codes: int = 1
) -> tuple[Tensor, GenerativeFactors]:
    """Codes in float64 and factors, both on the CPU, if they can be of the same images.

    Args:
        codes: ``(N, K)``.
        factors: of N images.
        what: name of the figure, for errors.
        fewest_codes: smallest K.

    Raises:
        InputError: if codes are not finite rows, there are too few, rows do not match, or a factor does not vary.
    """
    x = checked(codes, what).double().cpu()
    if len(x) != len(factors):
        raise InputError(
            f"{what}: codes are of {len(x)} images and factors of {len(factors)}; give the factors of the same rows"
        )
    if x.shape[1] < fewest_codes:
        raise InputError(
            f"{what}: needs at least {fewest_codes} codes, since it is a gap between two, got {x.shape[1]}"
        )
    values = factors.values.cpu()
    for name, column in zip(factors.names, values.unbind(1), strict=True):
        if bool((column == column[0]).all()):
            raise InputError(
                f"{what}: factor {name} is the same in all images; leave it out (GenerativeFactors.select)"
            )
    return x, GenerativeFactors(values, factors.names, factors.kinds)
