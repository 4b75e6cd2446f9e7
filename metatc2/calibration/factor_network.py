"""The factor network: a basis V of K factors that all tasks share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from metatc2.calibration.weight_network import WIDEST
from metatc2.errors import InputError


def check_factors(dim: int, factors: int, usual: int) -> None:
    """Whether K factors of a representation of width d leave anything out.

    Args:
        dim, factors: d and K.
        usual: a K to suggest.

    Raises:
        InputError: if K ≥ d.
    """
    if not 1 <= factors < dim:
        raise InputError(
            f"calibration.factors is {factors} and the representation has {dim} dimensions; K factors must be fewer "
            f"than that: use calibration.factors = {max(1, usual)} or a wider encoder"
        )


def orthonormal(dim: int, factors: int, generator: torch.Generator | None = None) -> Tensor:
    """K orthonormal rows ``(K, d)`` at random.

    >>> v = orthonormal(8, 3)
    >>> bool((v @ v.T - torch.eye(3)).abs().max() < 1e-5)
    True
    """
    rows: Tensor = torch.linalg.qr(torch.randn(dim, factors, generator=generator)).Q.T.contiguous()
    return rows


class Factors(nn.Module, ABC):
    """K factors of unit norm that all tasks of an episode share; ``basis`` is V0 ``(K, d)``, which starts orthonormal."""

    basis: Tensor

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """Unit-norm factors ``(K, d)`` from the samples of all tasks.

        Args:
            z: ``(..., d)``; no gradient flows into it. Its dtype is the one that is computed in.
        """

    def start(self, dtype: torch.dtype) -> Tensor:
        """rownorm(V0) ``(K, d)``, the factors before any data, without a gradient."""
        return nn.functional.normalize(self.basis.detach().to(dtype), dim=-1)


class BasisFactors(Factors):
    """``V = rownorm(V0)``: a learned basis that looks at no sample.

    Args:
        dim: width d of the representation.
        factors: number of factors K < d.
        generator: V0 is drawn from it.

    Raises:
        InputError: if K ≥ d.

    >>> BasisFactors(8, 3)(torch.randn(2, 5, 8)).shape
    torch.Size([3, 8])
    """

    def __init__(self, dim: int, factors: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        check_factors(dim, factors, dim // 4)
        self.basis = nn.Parameter(orthonormal(dim, factors, generator))

    def forward(self, z: Tensor) -> Tensor:
        """See `Factors`."""
        return nn.functional.normalize(self.basis.to(z.dtype), dim=-1)


class FixedFactors(Factors):
    """V0 as it was drawn: a control that learns nothing. Arguments and errors as those of `BasisFactors`."""

    def __init__(self, dim: int, factors: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        check_factors(dim, factors, dim // 4)
        self.register_buffer("basis", orthonormal(dim, factors, generator))

    def forward(self, z: Tensor) -> Tensor:
        """See `Factors`."""
        return nn.functional.normalize(self.basis.to(z.dtype), dim=-1)


class PooledFactors(Factors):
    """Extract the shared factors from the samples of an episode: ``V = rownorm(V0 + Aᵀ value(sg z))``.

    ``A = softmax over samples of key(sg z)``, so every factor looks at the samples that speak for it (TC²'s factor extraction
    network, arXiv 2511.13787; this form is our reading). The last layer of ``value`` starts at zero, so V starts as a plain
    learned basis and becomes dependent on the data.

    Args:
        dim: width d of the representation.
        factors: number of factors K < d.
        generator: all parameters are drawn from it.

    Raises:
        InputError: if K ≥ d.

    >>> PooledFactors(8, 3)(torch.randn(2, 5, 8)).shape
    torch.Size([3, 8])
    """

    def __init__(self, dim: int, factors: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        check_factors(dim, factors, dim // 4)
        self.basis = nn.Parameter(orthonormal(dim, factors, generator))
        # Drawn from the generator too: a module's own initialization would use the global one.
        self.key = nn.Parameter(torch.randn(dim, factors, generator=generator) / dim**0.5)
        hidden = min(dim, WIDEST)
        self.value_in = nn.Parameter(torch.randn(dim, hidden, generator=generator) / dim**0.5)
        self.value_out = nn.Parameter(torch.zeros(hidden, dim))

    def forward(self, z: Tensor) -> Tensor:
        """See `Factors`."""
        basis, key, value_in, value_out = (p.to(z.dtype) for p in (self.basis, self.key, self.value_in, self.value_out))
        samples = z.detach().flatten(0, -2)
        attention = (samples @ key).softmax(0)
        # Pool before the output layer: it is linear, so K rows are multiplied in place of all samples.
        pooled = attention.T @ nn.functional.gelu(samples @ value_in)
        return nn.functional.normalize(torch.addmm(basis, pooled, value_out), dim=-1)
