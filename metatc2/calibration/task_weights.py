"""Shared factors with weights of each task's own, adapted on its support."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from metatc2.calibration.factor_network import check_factors, orthonormal
from metatc2.calibration.losses import orthogonality, reconstruction
from metatc2.errors import InputError, nearest
from metatc2.inner import Params

WeightScope = Literal["task", "sample", "linear"]


class TaskCalibrator(nn.Module):
    """Calibrate a representation by factors that all tasks share and weights that each task adapts (TC², arXiv 2511.13787).

    With codes ``c = z Vᵀ`` and weights ``w = 2σ(m)``, the calibrated representation is ``z̃ = (c ⊙ w) V``. V, K rows of unit
    norm, is shared by all tasks. What a task adapts is m:

    * ``"task"``: ``m_i`` ``(K,)``, one weight a factor for all samples of task i;
    * ``"sample"``: ``m_i + ĉ_j B_i`` with ``B_i`` ``(K, K)`` and ``ĉ_j`` the code of sample j, scaled to mean square 1: the
      weights differ between samples of a task, in a way that the task adapts;
    * ``"linear"``: ``c ⊙ 2σ(m_i) + c B_i``: a linear weight network of each task's own, ``W_j = f_i(z_j) Vᵀ``, in which a
      weight depends on all codes of its sample.

    m starts at 0 (all weights 1) and B at 0, both meta-learned, as are the rates of adaptation, one a factor (Meta-SGD, Li et
    al. 2017, arXiv 1707.09835). Shapes, form and defaults are our reading: the paper's are not known.

    Args:
        dim: width d of the representation.
        factors: number of factors K < d.
        weights: see above.
        rate: rate of adaptation to start from, see `rates`.
        orthogonality, sparsity, reconstruction: λ_o, λ_s and λ_r of `loss`.
        generator: V is drawn from it.

    Raises:
        InputError: if K ≥ d or a name is unknown.

    >>> calibrator = TaskCalibrator(dim=8, factors=3)
    >>> z = torch.randn(2, 5, 2, 8)                                   # tasks, samples, views, d
    >>> calibrator(z, calibrator.start(tasks=2)).shape
    torch.Size([2, 5, 2, 8])
    """

    def __init__(
        self,
        dim: int,
        factors: int,
        *,
        weights: WeightScope = "linear",
        rate: float = 1.0,
        orthogonality: float = 1.0,
        sparsity: float = 0.0,
        reconstruction: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_factors(dim, factors, 3 * dim // 4)
        if weights not in get_args(WeightScope):
            raise InputError(f"unknown weights {weights!r}; {nearest(weights, get_args(WeightScope))}")
        self.dim, self.weights = dim, weights
        self.lambda_orthogonality, self.lambda_sparsity, self.lambda_reconstruction = (
            orthogonality,
            sparsity,
            reconstruction,
        )
        self.basis = nn.Parameter(orthonormal(dim, factors, generator))
        self.gates = nn.Parameter(torch.zeros(factors))
        self.log_rate = nn.Parameter(torch.full((factors,), math.log(rate)))
        if weights != "task":
            self.mixing = nn.Parameter(torch.zeros(factors, factors))
            # A logit is a sum over K codes: at the rate of the gates it would move K times as far.
            self.log_rate_mixing = nn.Parameter(torch.full((factors,), math.log(rate / factors)))

    def no_weight_decay(self) -> set[str]:
        """Decay would move rates toward 1 and weights toward equality."""
        return {name for name, _ in self.named_parameters()}

    def factors(self) -> Tensor:
        """V ``(K, d)``, rows of unit norm."""
        return nn.functional.normalize(self.basis, dim=-1)

    def start(self, tasks: int) -> Params:
        """What adaptation starts from: by name, with a leading axis of tasks."""
        own = {"gates": self.gates} | ({"mixing": self.mixing} if self.weights != "task" else {})
        return {name: p.expand(tasks, *p.shape) for name, p in own.items()}

    def rates(self, step: int) -> Params:
        """Learned factors of the updates, the same in every step; see `InnerLoop`."""
        own = {"gates": self.log_rate.exp()}
        if self.weights != "task":
            # One a factor that is weighted: a column of B.
            own["mixing"] = self.log_rate_mixing.exp()
        return own

    def weights_of(self, codes: Tensor, adapted: Params) -> Tensor:
        """2σ(m) ``(tasks, samples or 1, views or 1, K)``.

        Args:
            codes: c ``(tasks, samples, views, K)``.
            adapted: as from `start`.
        """
        logits = adapted["gates"][:, None, None]
        if self.weights == "sample":
            scaled = codes * (codes.square().mean(-1, keepdim=True) + 1e-12).rsqrt()
            logits = logits + (scaled.flatten(1, 2) @ adapted["mixing"]).view_as(codes)
        return 2 * logits.sigmoid()

    def forward(self, z: Tensor, adapted: Params) -> Tensor:
        """z̃ ``(tasks, samples, views, d)``.

        Args:
            z: ``(tasks, samples, views, d)``.
            adapted: of as many tasks, see `start`.

        Raises:
            InputError: if z is not of the calibrator's width.
        """
        self.check(z.shape[-1])
        factors = self.factors()
        codes = z @ factors.mT
        weighed = codes * self.weights_of(codes, adapted)
        if self.weights == "linear":
            weighed = weighed + (codes.flatten(1, 2) @ adapted["mixing"]).view_as(codes)
        return weighed @ factors

    def check(self, width: int) -> None:
        """Whether a representation of this width can be calibrated.

        Raises:
            InputError: if it is not d.
        """
        if width != self.dim:
            raise InputError(
                f"TaskCalibrator: the representation has {width} dimensions and the calibrator is for {self.dim}; make it for "
                f"that width, TaskCalibrator({width}, factors={max(1, 3 * width // 4)})"
            )

    def loss(self, z: Tensor) -> Tensor:
        """What V answers for: ``λ_r L_rec + λ_o L_orth``, a scalar. Weights are left out: to weigh a factor less is no error.

        Args:
            z: ``(..., d)``; no gradient flows into it.
        """
        factors = self.factors()
        value = self.lambda_orthogonality * orthogonality(factors)
        if self.lambda_reconstruction:
            still = z.detach()
            value = value + self.lambda_reconstruction * reconstruction(still, still @ factors.mT, factors)
        return value

    def sparsity(self, adapted: Params) -> Tensor:
        """``λ_s mean_k 2σ(m_k)`` of each task's gates, ``(tasks,)``."""
        return self.lambda_sparsity * 2 * adapted["gates"].sigmoid().mean(-1)
