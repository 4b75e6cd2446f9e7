"""Regression on frozen features: ridge in closed form, a small network, and R² by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from metatc2.errors import InputError
from metatc2.metrics.ridge_path import RidgePath

#: Strengths of the ridge, in units of the mean variance of the features along their principal axes.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1e3)
_HIDDEN, _STEPS, _EVERY, _RATE = 256, 300, 20, 2e-3


@dataclass(frozen=True, eq=False)
class RidgeFit:
    """Ridge regression of features ``(N, D)`` to ``(N, C)`` at one strength for each part of the columns; see `fit_ridge`.

    Args:
        path: at all strengths.
        penalty: of each column, ``(C,)``, in the units of `RidgePath`.
        strengths: what validation chose, one a part.
    """

    path: RidgePath
    penalty: Tensor
    strengths: tuple[float, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Of features ``(N, D)``."""
        return self.path.predict(self.path.rotate(x), self.penalty)


@dataclass(frozen=True, eq=False)
class MLP:
    """A network of three layers on standardized features; see `fit_mlp`.

    Args:
        network: features to standardized values.
        mean, scale: of the values, ``(C,)``.
        chosen: what validation chose, by name.
    """

    network: nn.Module
    mean: Tensor
    scale: Tensor
    chosen: Mapping[str, float]

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Of features ``(N, D)``."""
        out: Tensor = self.network(x.float()).double() * self.scale + self.mean
        return out


def r2_by_row(predicted: Tensor, truth: Tensor) -> Tensor:
    """What each row adds to R² of each column, float64 ``(N, C)``; the mean over rows is R².

    Args:
        predicted: ``(N, C)``.
        truth: ``(N, C)``; every column varies.

    Raises:
        InputError: if shapes differ, or a column does not vary.

    >>> truth = torch.tensor([[0.0], [1.0], [2.0]])
    >>> r2_by_row(truth, truth).mean(0).item(), r2_by_row(torch.ones(3, 1), truth).mean(0).item()
    (1.0, 0.0)
    """
    if predicted.shape != truth.shape or truth.ndim != 2:
        raise InputError(
            f"R²: needs predictions and truth (N, C), got {tuple(predicted.shape)} and {tuple(truth.shape)}"
        )
    predicted, truth = predicted.double(), truth.double()
    spread = (truth - truth.mean(0)).square().mean(0)
    if bool((spread <= 0).any()):
        raise InputError(f"R²: column {int((spread <= 0).nonzero()[0])} of the truth does not vary")
    return 1 - (predicted - truth).square() / spread


def fit_ridge(
    x: Tensor, y: Tensor, validation: Tensor, validation_y: Tensor, widths: Sequence[int] | None = None
) -> RidgeFit:
    """Ridge regression on standardized features, the strength of each part that with the best mean R² on validation.

    Args:
        x: float ``(N, D)``.
        y: float ``(N, C)``.
        validation: float ``(V, D)``.
        validation_y: float ``(V, C)``.
        widths: columns of each part, C together; by default all columns are one.

    >>> x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> y = x @ torch.ones(3, 1, dtype=torch.float64)
    >>> fitted = fit_ridge(x[:40], y[:40], x[40:], y[40:])
    >>> round(r2_by_row(fitted(x[40:]), y[40:]).mean().item(), 3), fitted.strengths
    (1.0, (0.0001,))
    """
    path = RidgePath(x, y)
    unit = path.variances.sum() / min(x.shape)
    rotated = path.rotate(validation)
    tried = torch.stack([r2_by_row(path.predict(rotated, s * unit[None]), validation_y).mean(0) for s in STRENGTHS])
    sizes = [tried.shape[1]] if widths is None else list(widths)
    scores = [part.mean(1).tolist() for part in tried.split(sizes, 1)]
    strengths = [STRENGTHS[each.index(max(each))] for each in scores]
    penalty = torch.tensor(strengths, dtype=torch.float64).repeat_interleave(torch.tensor(sizes)).to(unit) * unit
    return RidgeFit(path, penalty, tuple(strengths))


def _scale(x: Tensor) -> Tensor:
    """Standard deviation of each column; 1 where it is that of rounding, for what is constant here may not be elsewhere."""
    deviation = x.std(0)
    return torch.where(deviation > 1e-6 * x.abs().amax(0), deviation, torch.ones_like(deviation))


def fit_mlp(x: Tensor, y: Tensor, validation: Tensor, validation_y: Tensor, *, seed: int = 0) -> MLP:
    """A network of three layers with batch normalization, by Adam; the number of steps is the best on validation.

    Args:
        x, y, validation, validation_y: as in `fit_ridge`.
        seed: of its start and batches.
    """
    generator = torch.Generator().manual_seed(seed)
    mean, scale = x.mean(0), _scale(x)
    middle, unit = y.double().mean(0), _scale(y.double())
    network = nn.Sequential(
        _Fixed(mean, scale),
        *_layer(x.shape[1], generator),
        *_layer(_HIDDEN, generator),
        _linear(_HIDDEN, y.shape[1], generator),
    )
    wanted, batch = ((y.double() - middle) / unit).float(), min(512, len(x))
    optimizer = torch.optim.Adam(network.parameters(), lr=_RATE)
    best, rows = (-torch.inf, 0, network.state_dict()), x.float()
    for step in range(1, _STEPS + 1):
        some = torch.randint(len(rows), (batch,), generator=generator)
        network.train()
        optimizer.zero_grad()
        mse_loss(network(rows[some]), wanted[some]).backward()
        optimizer.step()
        if step % _EVERY == 0:
            fitted = MLP(network.eval(), middle, unit, {})
            score = float(r2_by_row(fitted(validation), validation_y).mean())
            if score > best[0]:
                best = (score, step, {name: value.clone() for name, value in network.state_dict().items()})
    network.load_state_dict(best[2])
    return MLP(network.eval(), middle, unit, {"steps": float(best[1])})


class _Fixed(nn.Module):
    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", scale.float())

    mean: Tensor
    scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


def _layer(width: int, generator: torch.Generator) -> list[nn.Module]:
    return [_linear(width, _HIDDEN, generator), nn.BatchNorm1d(_HIDDEN), nn.ReLU()]


def _linear(columns: int, out: int, generator: torch.Generator) -> nn.Linear:
    """With weights from a generator of its own, not torch's."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, columns, out)
    with torch.no_grad():
        bound = columns**-0.5
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.zero_()
    return layer
