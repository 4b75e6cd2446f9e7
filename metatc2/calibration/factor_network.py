"""The factor network: a basis V of K factors that all tasks share."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from metatc2.calibration.weight_network import WIDEST
from metatc2.errors import InputError, nearest

FactorKind = Literal["pooled", "parameter", "fixed"]


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


class FactorNetwork(nn.Module):
    """Extract the shared factors from the samples of an episode: ``V = rownorm(V0 + Aᵀ value(sg z))``.

    ``A = softmax over samples of key(sg z)``, so every factor looks at the samples that speak for it (TC²'s factor extraction
    network; this form is our reading). V0 starts with orthonormal rows and the last layer of ``value`` at zero, so V starts as
    a plain learned basis and becomes dependent on the data.

    Args:
        dim: width d of the representation.
        factors: number of factors K < d.
        kind: ``"pooled"`` as above; ``"parameter"``: rownorm(V0) alone; ``"fixed"``: V0 stays as drawn (a control).
        generator: V0 is drawn from it.

    Raises:
        InputError: if K ≥ d or the kind is unknown.

    >>> network = FactorNetwork(8, 3)
    >>> network(torch.randn(2, 5, 8)).shape
    torch.Size([3, 8])
    """

    def __init__(
        self, dim: int, factors: int, *, kind: FactorKind = "pooled", generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        check_factors(dim, factors, dim // 4)
        if kind not in get_args(FactorKind):
            raise InputError(f"unknown factor network {kind!r}; {nearest(kind, get_args(FactorKind))}")
        self.kind = kind
        basis = orthonormal(dim, factors, generator)
        if kind == "fixed":
            self.register_buffer("basis", basis)
        else:
            self.basis = nn.Parameter(basis)
        if kind == "pooled":
            # Drawn from the generator too: a module's own initialisation would use the global one.
            self.key = nn.Parameter(torch.randn(dim, factors, generator=generator) / dim**0.5)
            hidden = min(dim, WIDEST)
            self.value_in = nn.Parameter(torch.randn(dim, hidden, generator=generator) / dim**0.5)
            self.value_out = nn.Parameter(torch.zeros(hidden, dim))

    def forward(self, z: Tensor) -> Tensor:
        """Unit-norm factors ``(K, d)`` from the samples of all tasks.

        Args:
            z: ``(..., d)``; no gradient flows into it. Its dtype is the one that is computed in.
        """
        basis = self.basis.to(z.dtype)
        if self.kind != "pooled":
            return nn.functional.normalize(basis, dim=-1)
        key, value_in, value_out = (p.to(z.dtype) for p in (self.key, self.value_in, self.value_out))
        samples = z.detach().flatten(0, -2)
        attention = (samples @ key).softmax(0)
        # Pool before the output layer: it is linear, so K rows are multiplied in place of all samples.
        pooled = attention.T @ nn.functional.gelu(samples @ value_in)
        return nn.functional.normalize(torch.addmm(basis, pooled, value_out), dim=-1)

    def start(self, dtype: torch.dtype) -> Tensor:
        """rownorm(V0) ``(K, d)``, the factors before any data, without a gradient."""
        return nn.functional.normalize(self.basis.detach().to(dtype), dim=-1)
