"""Isotropy (our own): samples use all directions equally, independently, and alike in all their views."""

from __future__ import annotations

import torch
from torch import Tensor

from metatc2.objectives.regularizers.base import Regularizer, checked
from metatc2.objectives.regularizers.registry import register_regularizer
from metatc2.ops.precision import upcast

_UNSHARED = 0.1  # how much variance that views do not share counts


def isotropy(z: Tensor, factors: Tensor | None = None) -> Tensor:
    """``log(K ‖C‖²_F / s²)``: 0 when samples use all factors equally, independently, and alike in all their views.

    C is the covariance of the codes ``z Vᵀ`` over all samples and views, and s the variance that views of a sample share, the
    trace of the covariance between two of them. `metatc2.calibration.orthogonality` keeps factors apart as directions; this
    keeps them apart as *causes*: independent factors vary independently over the samples. It is no part of calibration: it asks
    something of the encoder, whatever calibrates it.

    ``(s / ‖C‖_F)²`` is the participation ratio ``tr(C)² / ‖C‖²_F``, an effective number of factors, of which only shared
    variance counts: a direction that the views do not share is noise, and is asked to be small, where whitening would have it
    as large as the others. The best variance of a direction is its correlation between views, as in the spectral contrastive
    loss (HaoChen et al. 2021, arXiv 2106.04156), of which this is the logarithm at its best scale. It has no unit, and a
    spectrum far from flat does not outweigh all else as it does in ``‖C − I‖²``. A tenth of the variance counts as shared in
    any case, so that the logarithm stays finite and the codes can begin to spread before their views agree.

    Args:
        z: ``(..., samples, views, d)``, of all tasks. With one view all variance is shared.
        factors: V ``(K, d)``, orthonormal rows; no gradient flows into them, for the encoder is calibrated to the factors and
            not the factors to the encoder: principal axes would satisfy half of the loss and change nothing. Without factors
            V is the identity, and the loss is of the representation itself.

    >>> corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> alike = corners[:, None].expand(4, 2, 2)                        # two causes, the same in both views
    >>> isotropy(alike).item(), round(isotropy(alike[[0, 3]]).exp().item(), 4)       # one cause that both dimensions copy
    (0.0, 2.0)
    >>> unlike = torch.stack([corners, corners * torch.tensor([1.0, 0.0])], 1)       # the second is not shared by the views
    >>> isotropy(unlike).item() > 0.5
    True
    """
    codes = z if factors is None else z @ factors.detach().T
    codes = codes.flatten(0, -3)
    codes = codes - codes.mean((0, 1))
    n, views, k = codes.shape
    flat = codes.flatten(0, 1)
    covariance = flat.T @ flat / len(flat)
    variance = shared = covariance.trace()
    if views > 1:
        # The variance of the sum of the views is that of each and that between every two.
        shared = (codes.sum(1).square().sum() / n - views * variance) / (views * (views - 1))
    least = 0.01 * variance  # the estimate of a small batch can be negative
    shared = torch.maximum(shared + _UNSHARED * variance, least) / (1 + _UNSHARED)
    # Samples that are all alike have no spectrum: log K, and no gradient, in place of NaN.
    return (k * covariance.square().sum().clamp_min(1e-24) / shared.clamp_min(1e-12).square()).log()


@register_regularizer("isotropy")
class Isotropy(Regularizer):
    """`isotropy` of the representation, which learners standardize over the episode first; nothing in it is random.

    >>> Isotropy()(torch.ones(2, 4, 2, 8), step=0).isfinite()
    tensor(True)
    """

    standardized = True

    def forward(self, z: Tensor, step: int) -> Tensor:
        """Of the representation ``(tasks, samples, views, d)``: a scalar, at best 0."""
        with upcast(checked(z)) as (z,):
            return isotropy(z)
