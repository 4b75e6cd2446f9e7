"""Small networks in float64, the same every time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint

from situations.situation import WAY


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` gives from a fixed seed, in float64 and training mode."""
    torch.manual_seed(0)
    return make().double().train()


def mlp() -> nn.Module:
    """Smooth, on 5 numbers."""
    return seeded(lambda: nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, WAY)))


def normalized() -> nn.Module:
    """With batch normalization."""
    return seeded(lambda: nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, WAY)))


def frozen() -> nn.Module:
    """The first bias does not learn."""
    net = mlp()
    next(p for name, p in net.named_parameters() if name == "0.bias").requires_grad_(False)
    return net


def dead() -> nn.Module:
    """A ReLU that no input reaches: the gradient of its weights is exactly zero."""
    net = seeded(lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, WAY)))
    with torch.no_grad():
        net.get_parameter("0.bias")[0] = -100.0
    return net


def dropped() -> nn.Module:
    """Half of the features dropped."""
    return seeded(lambda: nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Dropout(0.5), nn.Linear(12, WAY)))


def norm_in_eval() -> nn.Module:
    """Batch normalization that its user has frozen: in evaluation mode, with statistics that are not the batch's."""
    net = normalized()
    norm = net.get_submodule("1")
    with torch.no_grad():
        net.get_buffer("1.running_mean").fill_(0.3)
        net.get_buffer("1.running_var").fill_(2.0)
    norm.eval()
    return net


def bounded() -> nn.Module:
    """Two layers whose largest singular value is held at 1 by `torch.nn.utils.parametrizations.spectral_norm`."""
    return seeded(
        lambda: nn.Sequential(
            spectral_norm(nn.Linear(5, 8)), nn.Tanh(), spectral_norm(nn.Linear(8, 8)), nn.Tanh()
        ).append(nn.Linear(8, WAY))
    )


class TwoNames(nn.Module):
    """One layer that runs twice, and all layers under two names, as where a user keeps the features of a backbone."""

    def __init__(self) -> None:
        super().__init__()
        again = nn.Linear(6, 6)
        self.backbone = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), again, nn.Tanh(), again, nn.Tanh())
        self.features = nn.Sequential(*self.backbone)
        self.head = nn.Linear(6, WAY)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 5)`` to scores."""
        scores: Tensor = self.head(self.features(x))
        return scores


class Checkpointed(nn.Module):
    """Its body is computed again in the backward pass, by `torch.utils.checkpoint` as torch recommends it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh())
        self.head = nn.Linear(6, WAY)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 5)`` to scores."""
        scores: Tensor = self.head(checkpoint(self.body, x, use_reentrant=False))
        return scores


class Attention(nn.Module):
    """Self-attention over 4 tokens of 6 numbers, by `torch.nn.MultiheadAttention`."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, WAY)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 4, 6)`` to scores."""
        scores: Tensor = self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))
        return scores


class Recurrent(nn.Module):
    """`torch.nn.LSTM` over 4 steps of 6 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, batch_first=True)
        self.head = nn.Linear(5, WAY)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 4, 6)`` to scores."""
        scores: Tensor = self.head(self.lstm(x)[0][:, -1])
        return scores
