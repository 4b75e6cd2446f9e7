"""The calibrator: factor network, weight network, and the representation they calibrate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from metatc2.calibration.compose import Compose, add
from metatc2.calibration.criterion import TC2Loss
from metatc2.calibration.factor_network import Factors
from metatc2.ops.precision import without_autocast

CalibrationLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Calibrated:
    """What a calibrator returns.

    Args:
        features: z̃ ``(..., d)``, the calibrated representation.
        weights: W ``(..., K)``.
        factors: V ``(K, d)``.
    """

    features: Tensor
    weights: Tensor
    factors: Tensor


def standardize(h: Tensor, eps: float = 1e-5) -> Tensor:
    """Zero mean and unit variance of every dimension over all samples of the episode.

    Args:
        h: ``(..., d)``.
        eps: added to the variance.

    >>> z = standardize(torch.randn(4, 100, 3) * 5 + 2)
    >>> bool((z.flatten(0, 1).std(0) - 1).abs().max() < 0.01)
    True
    """
    axes = tuple(range(h.ndim - 1))
    variance, mean = torch.var_mean(h, axes, correction=0)
    return (h - mean) * (variance + eps).rsqrt()


class Calibrator(nn.Module):
    """Calibrate a representation by shared factors and sample-wise weights (TC², Guo et al., arXiv 2511.13787).

    ``z̃ = (1 − a) z + a c(z, W, V)``. Shapes, forms and defaults are our reading: the paper's are not known.

    Test time has averages in place of an episode's statistics and factors. Before the first training step they are those of no
    data, as in batch normalization: mean 0, variance 1, and the factors that the factor network starts with.
    They stay in single precision when the module is moved to half, where small changes would be lost.

    Args:
        factors: makes V of an episode's samples: `PooledFactors`, `BasisFactors`, `FixedFactors`.
        weights: makes W of samples and factors: `SampleWeights`, `MeanWeights`, `LinearWeights`.
        compose: c: `add`, `gate` or `project` of `metatc2.calibration.compose`, or a `Shuffled` one as a control.
        criterion: L_tc2 of z, W and V: by default `TC2Loss`; or `MetaCRLLoss`.
        ema: decay of the averages that test time uses.

    >>> from metatc2.calibration import PooledFactors, SampleWeights
    >>> calibrator = Calibrator(PooledFactors(8, 3), SampleWeights(8))
    >>> z = torch.randn(2, 5, 2, 8)                                   # tasks, samples, views, d
    >>> calibrator(z, blend=0.5).features.shape
    torch.Size([2, 5, 2, 8])
    """

    mean: Tensor
    variance: Tensor
    average_factors: Tensor

    def __init__(
        self,
        factors: Factors,
        weights: nn.Module,
        *,
        compose: Compose = add,
        criterion: CalibrationLoss | None = None,
        ema: float = 0.99,
    ) -> None:
        super().__init__()
        self.factor_network, self.weight_network = factors, weights
        self.compose, self.criterion, self.ema = compose, criterion or TC2Loss(), ema
        count, dim = factors.basis.shape
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))
        self.register_buffer("average_factors", torch.zeros(count, dim))

    def forward(self, z: Tensor, blend: float = 1.0, factors: Tensor | None = None) -> Calibrated:
        """Calibrate the samples of an episode.

        Args:
            z: ``(tasks, samples, views, d)`` (or any ``(tasks, ..., d)``).
            blend: a; 0 returns z itself.
            factors: V ``(K, d)`` to use; by default those of `z`.
        """
        factors = self.factor_network(z) if factors is None else factors
        weights = self.weight_network(z, factors)
        composed = self.compose(z, weights, factors)
        features = composed if blend == 1 else (1 - blend) * z + blend * composed
        return Calibrated(features, weights, factors)

    def loss(self, z: Tensor, calibrated: Calibrated) -> Tensor:
        """L_tc2, a scalar: the criterion of what was calibrated.

        Args:
            z: the representation that was calibrated, ``(tasks, ..., d)``.
            calibrated: what `forward` made of it.
        """
        return self.criterion(z, calibrated.weights, calibrated.factors)

    @torch.no_grad()
    def track(self, h: Tensor, factors: Tensor) -> None:
        """Move the averages for test time: statistics of the raw representation and the factors.

        Args:
            h: ``(..., d)`` before standardization.
            factors: V ``(K, d)``.
        """
        variance, mean = torch.var_mean(h.detach().flatten(0, -2).float(), 0, correction=0)
        # The first call replaces the starting values, which are no data. No branch: Python never waits for the device.
        later = self.average_factors.any()
        for average, value in ((self.mean, mean), (self.variance, variance), (self.average_factors, factors.detach())):
            average.lerp_(value.to(average.dtype), 1 - self.ema * later.to(average.dtype))

    def test_features(self, h: Tensor, *, standardized: bool, blend: float = 1.0) -> Tensor:
        """Calibrated representation at test time, one image by itself: averages in place of episode statistics.

        Args:
            h: ``(N, d)`` from the encoder.
            standardized: whether training standardized the representation.
            blend: a.

        Returns:
            ``(N, d)`` in the wider dtype of `h` and the calibrator; half precision is computed in single.
        """
        with without_autocast(h):
            z, factors = self.at_test(self.widened(h), standardized=standardized)
            calibrated: Calibrated = self(z, blend, factors)
        return calibrated.features[:, 0].to(self.result_dtype(h))

    def test_weights(self, h: Tensor, *, standardized: bool) -> Tensor:
        """W at test time ``(N, K)``; see `test_features`."""
        z, factors = self.at_test(h, standardized=standardized)
        calibrated: Calibrated = self(z, 1.0, factors)
        return calibrated.weights[:, 0]

    def at_test(self, h: Tensor, *, standardized: bool) -> tuple[Tensor, Tensor]:
        """What `forward` calibrates at test time: the representation ``(N, 1, d)``, and the average factors ``(K, d)``.

        Args:
            h, standardized: see `test_features`.
        """
        mean, variance, average = (t.to(h.dtype) for t in (self.mean, self.variance, self.average_factors))
        z = (h - mean) * (variance + 1e-5).rsqrt() if standardized else h
        # Zeros stand for "no averages yet". Chosen without a branch, so that the module can be traced and exported.
        factors = torch.where(
            average.any(), nn.functional.normalize(average, dim=-1), self.factor_network.start(h.dtype)
        )
        # Each image is a task of its own, so that no image changes another's features.
        return z[:, None], factors

    def result_dtype(self, h: Tensor) -> torch.dtype:
        """The wider of the dtypes of features `h` and of this module, as in torch's type promotion."""
        return torch.promote_types(h.dtype, self.factor_network.basis.dtype)

    def widened(self, h: Tensor) -> Tensor:
        """`h` in the dtype that is computed in: `result_dtype`, half precision in single."""
        return h.to(torch.promote_types(self.result_dtype(h), torch.float32))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        averages = {name: b for name, b in self._buffers.items() if b is not None}
        result: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, before in averages.items():
            now: Any = self._buffers[name]
            if now.dtype in (torch.float16, torch.bfloat16) and before.dtype not in (torch.float16, torch.bfloat16):
                self._buffers[name] = now.to(before.dtype) if before.is_meta else before.to(now.device)
        return result
