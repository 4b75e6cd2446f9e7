"""Directions of factors in a representation, and which rows of a basis lie along them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from metatc2.data.sources.shapes.factors import GenerativeFactors
from metatc2.errors import InputError
from metatc2.metrics.disentanglement.checks import both_checked
from metatc2.metrics.disentanglement.encoding import columns
from metatc2.ops.rows import unit_rows


@dataclass(frozen=True, eq=False)
class FactorDirections:
    """Where factors lie in a representation of width d.

    Args:
        names: one each, ``"size"``, or ``"shape=3"`` for a category.
        bases: float64 ``(r, d)`` each: r = 1 of a linear factor or a category; 2 (cosine, sine) of a circular one, which
            moves in a plane and has no direction of its own in it.
    """

    names: tuple[str, ...]
    bases: tuple[Tensor, ...]


def factor_directions(
    features: Tensor, factors: GenerativeFactors, *, ridge: float = 1e-3, patterns: bool = False
) -> FactorDirections:
    """Least-squares directions of the factors in features.

    Args:
        features: ``(N, d)``, in the space of the rows that are to be matched (standardized if those are).
        factors: of the same N images, drawn independently of each other.
        ridge: penalty, as a share of the features' mean variance.
        patterns: how features move with a factor (the features' regression on it) in place of what to weigh them by to read
            it off (its ridge regression on the features). The two differ where features are correlated; a basis that
            features are rebuilt from holds patterns (Haufe et al., NeuroImage 2014).

    Raises:
        InputError: if features are not finite, rows do not match, a factor does not vary, or `ridge` is not above 0.

    >>> values = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    >>> known = GenerativeFactors(values, ("x", "hue"), ("linear", "circular"))
    >>> recovered = factor_directions(torch.cat([values, values], 1), known)
    >>> recovered.names, [tuple(basis.shape) for basis in recovered.bases]
    (('x', 'hue'), [(1, 4), (2, 4)])
    """
    if not ridge > 0:
        raise InputError(f"factor directions: ridge must be above 0, got {ridge}")
    x, known = both_checked(features, factors, "factor directions")
    x = x - x.mean(0)
    covariance = x.mT @ x / len(x)
    penalty = ridge * covariance.diagonal().mean().clamp_min(torch.finfo(x.dtype).tiny)
    names, bases = [], []
    for name, kind, values in zip(known.names, known.kinds, known.values.unbind(1), strict=True):
        moved = x.mT @ columns(values, kind) / len(x)  # (d, columns)
        weights = moved if patterns else torch.linalg.solve(covariance + penalty * torch.eye(len(moved)).to(x), moved)
        if kind == "categorical":
            names += [f"{name}={category:g}" for category in values.unique().tolist()]
            bases += list(weights.mT.split(1))
        else:
            names.append(name)
            bases.append(weights.mT)
    return FactorDirections(tuple(names), tuple(bases))


@dataclass(frozen=True, eq=False)
class Matches:
    """Which row lies along which direction.

    Args:
        cosines: absolute cosine of each direction with its row ``(U,)``; NaN where rows were too few.
        rows: position of that row, int64 ``(U,)``; −1 where there is none.
    """

    cosines: Tensor
    rows: Tensor

    @property
    def mean(self) -> float:
        """Over the matched directions."""
        return float(self.cosines.nanmean())


def best_match_cosine(rows: Tensor, directions: Tensor | Sequence[Tensor]) -> Matches:
    """Absolute cosines of the one-to-one assignment of rows to directions that makes their sum largest (Kuhn 1955).

    With a plane the cosine is that to the nearest direction in it, so it is larger by chance than with a line: compare
    with the null.

    Args:
        rows: ``(K, d)``, e.g. the factors V of a calibrator.
        directions: ``(U, d)``, or bases as in `FactorDirections`.

    Raises:
        InputError: if widths differ, or a row is not finite.

    >>> matches = best_match_cosine(torch.eye(3)[[2, 0]], torch.tensor([[1.0, 0, 0], [0, 0, -2]]))
    >>> matches.cosines.tolist(), matches.rows.tolist()
    ([1.0, 1.0], [1, 0])
    """
    bases = [basis.detach().double().cpu().reshape(-1, basis.shape[-1]) for basis in directions]
    v = rows.detach().double().cpu()
    if v.ndim != 2 or not len(v) or not bases or any(basis.shape[1] != v.shape[1] for basis in bases):
        widths = sorted({basis.shape[1] for basis in bases})
        raise InputError(
            f"best match: rows must be (K, d) and directions as wide, got {tuple(rows.shape)} and widths {widths}; take both "
            "from one representation"
        )
    if not bool(v.isfinite().all()) or not all(bool(basis.isfinite().all()) for basis in bases):
        raise InputError("best match: rows and directions must be finite; load an earlier checkpoint")
    unit = unit_rows(v)
    cosine = torch.stack([(unit @ _orthonormal(basis).mT).norm(dim=1) for basis in bases], 1).clamp_max(1)
    chosen, matched = linear_sum_assignment(cosine.numpy(), maximize=True)
    cosines = torch.full((len(bases),), float("nan"), dtype=torch.float64)
    matches = torch.full((len(bases),), -1)
    return Matches(
        cosines.index_put((torch.as_tensor(matched),), cosine[chosen, matched]),
        matches.index_put((torch.as_tensor(matched),), torch.as_tensor(chosen)),
    )


def _orthonormal(basis: Tensor) -> Tensor:
    """Rows that span the same, orthonormal; none of it for what is zero."""
    _, size, right = torch.linalg.svd(basis, full_matrices=False)
    spanned: Tensor = right[size > 1e-12 * size.max().clamp_min(torch.finfo(size.dtype).tiny)]
    return spanned
