"""What a calibrator is trained by: ``L_rec + λ_o L_orth + λ_s L_w``."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metatc2.calibration.losses import grouping, orthogonality, overlap, reconstruction, sparsity


@dataclass(frozen=True)
class TC2Loss:
    """``reconstruction + λ_o orthogonality + λ_s sparsity`` (TC², arXiv 2511.13787).

    Args:
        orthogonality, sparsity: λ_o and λ_s.
    """

    orthogonality: float = 1.0
    sparsity: float = 0.05

    def __call__(self, z: Tensor, weights: Tensor, factors: Tensor) -> Tensor:
        """A scalar.

        Args:
            z: the representation that was calibrated, ``(tasks, ..., d)``.
            weights: ``(tasks, ..., K)``.
            factors: ``(K, d)``.
        """
        explained = reconstruction(z, weights, factors)
        return explained + self.orthogonality * orthogonality(factors) + self.sparsity * sparsity(weights)


@dataclass(frozen=True)
class MetaCRLLoss:
    """``reconstruction + λ_o overlap + λ_s grouping``: of the supervised sibling MetaCRL (arXiv 2312.05771).

    It looks at several tasks at once and says little of one. Arguments as those of `TC2Loss`.
    """

    orthogonality: float = 1.0
    sparsity: float = 0.05

    def __call__(self, z: Tensor, weights: Tensor, factors: Tensor) -> Tensor:
        """A scalar; arguments as those of `TC2Loss`."""
        explained = reconstruction(z, weights, factors)
        return explained + self.orthogonality * overlap(factors) + self.sparsity * grouping(weights)
