"""Have the embeddings collapsed? RankMe and standard deviation, and the sentence that goes to the log."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from metatc2.ops.rows import BLOCK, checked, unit_rows

# The rank may fall to this share of what n samples in D dimensions allow, but not below the absolute figure.
RANK_SHARE, RANK_LEAST = 0.05, 2.0
# Standard deviation of unit rows as a share of 1/√D, which rows in all directions have. At 0.02 the mean cosine is about
# 0.9996; untrained networks, whose features are alike but not collapsed, stay above 0.03.
STD_SHARE = 0.02
# Singular values are taken of so many rows at most: a watch must cost less than what it watches.
MOST_ROWS = 1024


def rankme(features: Tensor) -> float:
    """RankMe: exponential of the entropy of the singular values (Garrido et al., ICML 2023, arXiv 2210.02885, eq. 1).

    Features are not centered; `metatc2.diagnostics.effective_rank` is another quantity, of the covariance matrix. The paper's
    ε of 1e-7, which only guards the logarithm, is left out; singular values that are rounding alone are zero.

    Args:
        features: floating point ``(N, d)``, N at least 2.

    Returns:
        Between 1 and min(N, d); 0 where all features are zero.

    Raises:
        InputError: if the shape is another or a row is not finite.

    >>> round(rankme(torch.eye(8)), 3), round(rankme(torch.ones(8, 4)), 3)
    (8.0, 1.0)
    """
    return _rank(checked(features, "RankMe"))


def entropy_rank(values: Tensor) -> float:
    """``exp(−Σ p_k log p_k)`` with ``p = values / Σ values`` (Roy & Vetterli, EUSIPCO 2007, eq. 3).

    Args:
        values: ``(k,)``, none negative.

    Returns:
        k for k equal values, 1 for a single one, 0 where all are zero.

    >>> round(entropy_rank(torch.ones(5)), 9), entropy_rank(torch.zeros(5))
    (5.0, 0.0)
    """
    total = values.sum()
    return float(torch.special.entr(values / total).sum().exp()) if bool(total > 0) else 0.0


def _rank(z: Tensor) -> float:
    # On the smaller Gram matrix: far cheaper than a singular value decomposition, and exact enough in float64. The rank does
    # not depend on the scale, which is that of the largest value, so that no square overflows.
    largest = z.abs().max()
    if not bool(largest > 0):
        return 0.0
    parts = [part.double() / largest.double() for part in z.split(BLOCK)]
    if z.shape[1] <= len(z):
        gram = torch.stack([part.mT @ part for part in parts]).sum(0) if len(parts) > 1 else parts[0].mT @ parts[0]
    else:
        rows = torch.cat(parts)
        gram = rows @ rows.mT
    squares = torch.linalg.eigvalsh(gram)
    floor = squares[-1].clamp_min(0) * max(z.shape) * torch.finfo(torch.float64).eps
    return entropy_rank(squares.where(squares > floor, torch.zeros_like(squares)).sqrt())


@torch.no_grad()
def rank_summary(z: Tensor) -> dict[str, float]:
    """How much room the embeddings take.

    Args:
        z: ``(..., D)``; all leading axes are rows. Of more than 1 024 rows an even selection is looked at.

    Returns:
        ``rankme``: RankMe, see `rankme`.
        ``centered_rank``: the same after the mean is subtracted, which a common offset (that of ReLU features) cannot
        hide.
        ``unit_std``: standard deviation of the rows at length one, averaged over dimensions; about 1/√D when rows point
        everywhere, 0 when they coincide (SimSiam's measure, arXiv 2011.10566, section 4.1).

    >>> {k: round(v, 2) for k, v in rank_summary(torch.cat([torch.eye(4), -torch.eye(4)])).items()}
    {'rankme': 4.0, 'centered_rank': 4.0, 'unit_std': 0.5}
    """
    rows = z.detach().reshape(-1, z.shape[-1])
    rows = rows[:: -(-len(rows) // MOST_ROWS) or 1].to("cpu", torch.float64)
    if not bool(rows.isfinite().all()):
        return dict.fromkeys(("rankme", "centered_rank", "unit_std"), float("nan"))
    unit = unit_rows(rows)
    return {
        "rankme": _rank(rows),
        "centered_rank": _rank(rows - rows.mean(0)),
        "unit_std": float(unit.std(0, correction=0).mean()),
    }


def collapsed(z: Tensor, *, summary: Mapping[str, float] | None = None) -> str | None:
    """One sentence when the embeddings have collapsed, None when they are healthy.

    They have when all rows coincide (``unit_std`` below 2 % of 1/√D) or when few directions are left (``centered_rank``
    below the larger of 2 and 5 % of min(n, D)). Fewer than 8 rows or 4 dimensions say too little about the rank.

    Args:
        z: ``(..., D)``; all leading axes are rows.
        summary: that of `rank_summary`, when it is at hand.

    >>> collapsed(torch.ones(64, 16))
    'embeddings have collapsed to one point: the standard deviation of unit rows is 0, healthy is about 0.25'
    >>> collapsed(torch.randn(64, 16, generator=torch.Generator().manual_seed(0)))
    """
    dim = z.shape[-1]
    n = min(z.numel() // max(dim, 1), MOST_ROWS)
    if n < 2:
        return None
    ranks = rank_summary(z) if summary is None else summary
    if ranks["unit_std"] != ranks["unit_std"]:
        return "embeddings are not finite"
    healthy = dim**-0.5
    if ranks["unit_std"] < STD_SHARE * healthy:
        return (
            "embeddings have collapsed to one point: the standard deviation of unit rows is "
            f"{ranks['unit_std']:.2g}, healthy is about {healthy:.2g}"
        )
    least = max(RANK_LEAST, RANK_SHARE * min(n, dim))
    if n >= 8 and dim >= 4 and ranks["centered_rank"] < least:
        return (
            f"embeddings have lost rank: their RankMe about the mean is {ranks['centered_rank']:.1f} "
            f"of {min(n, dim)} possible, below {least:.1f}"
        )
    return None
