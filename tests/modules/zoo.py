"""Modules that are awkward to call with other parameters; each maps ``(N, 1, 4, 4)`` to ``(N, 5)``, in float64."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils import spectral_norm as hook_spectral_norm

IN, OUT = 16, 5


def mlp(*between: nn.Module, width: int = 8) -> nn.Sequential:
    """Two linear layers and what stands between them."""
    return nn.Sequential(nn.Flatten(), nn.Linear(IN, width), *between, nn.Tanh(), nn.Linear(width, OUT))


class Custom(nn.Module):
    """A network by its parts and a forward that is given them."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x.flatten(1))


def shared_module() -> nn.Module:
    part = nn.Linear(8, 8)
    return nn.Sequential(nn.Flatten(), nn.Linear(IN, 8), part, nn.Tanh(), part, nn.Tanh(), nn.Linear(8, OUT))


def two_paths() -> nn.Module:
    backbone = nn.Sequential(nn.Linear(IN, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 9))
    features = nn.Sequential(*list(backbone.children())[:-1])
    return Custom(
        lambda m, x: m.head(m.features(x)), backbone=backbone, features=features, head=nn.Linear(8, OUT)
    ).requires_grad_()


def tied_tensors() -> nn.Module:
    net = mlp(nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
    net[5].weight = net[3].weight
    return net


def tied_transposed() -> nn.Module:
    return Custom(lambda m, x: m.b(torch.tanh(m.a(x)) @ m.a.weight), a=nn.Linear(IN, 8), b=nn.Linear(IN, OUT))


def tied_buffers() -> nn.Module:
    class Scale(nn.Module):
        def __init__(self, count: Tensor, moves: bool) -> None:
            super().__init__()
            self.register_buffer("count", count)
            self.moves = moves

        def forward(self, x: Tensor) -> Tensor:
            if self.moves and self.training:
                self.count.add_(1)
            return x * (1 + 0.1 * self.count)

    count = torch.zeros(())
    return mlp(Scale(count, True), Scale(count, False))


def shared_memory() -> nn.Module:
    net = mlp(nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)).double()
    net[5].weight = nn.Parameter(net[3].weight.data)
    return net


class Symmetric(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + x.T) / 2


def parametrized() -> nn.Module:
    net = mlp(nn.Tanh(), nn.Linear(8, 8))
    parametrize.register_parametrization(net[3], "weight", Symmetric())
    return net


def spectral_by_hook() -> nn.Module:
    net = mlp()
    net[1] = hook_spectral_norm(net[1])
    return net


def spectral_parametrization() -> nn.Module:
    net = mlp()
    net[1] = parametrizations.spectral_norm(net[1])
    return net


def weight_norm_by_hook() -> nn.Module:
    net = mlp()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net[1] = torch.nn.utils.weight_norm(net[1])
    return net


def weight_norm_parametrization() -> nn.Module:
    net = mlp()
    net[1] = parametrizations.weight_norm(net[1])
    return net


def pruned() -> nn.Module:
    net = mlp()
    prune.random_unstructured(net[1], "weight", amount=0.3)
    return net


def frozen_norm() -> nn.Module:
    net = mlp(nn.BatchNorm1d(8))
    net[2].running_mean.normal_()
    net[2].eval()
    return net


def frozen_part() -> nn.Module:
    net = mlp()
    net[1].requires_grad_(False)
    return net


def recurrent() -> nn.Module:
    return Custom(
        lambda m, x: m.b(m.a(x.view(-1, 4, 4))[0][:, -1]), a=nn.LSTM(4, 6, batch_first=True), b=nn.Linear(6, OUT)
    )


def attention() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        x = x.view(-1, 4, 4)
        return m.b(m.a(x, x, x, need_weights=False)[0].flatten(1))

    return Custom(run, a=nn.MultiheadAttention(4, 2, batch_first=True), b=nn.Linear(IN, OUT))


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    return Custom(lambda m, x: m.b(m.a(x.view(-1, 4, 4)).flatten(1)), a=layer, b=nn.Linear(IN, OUT))


def hook_changes_output() -> nn.Module:
    net = mlp()
    net[1].register_forward_hook(lambda m, args, out: out * m.weight.mean())
    return net


def weights_renewed_in_forward() -> nn.Module:
    """Moves its own weights in every forward, in evaluation too."""

    def run(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            m.a.bias.data.mul_(0.9)
        return m.b(torch.tanh(m.a(x)))

    return Custom(run, a=nn.Linear(IN, 8), b=nn.Linear(8, OUT))


class Counting(nn.Module):
    """A buffer that is assigned anew, in training and in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return x


class AuxiliaryLoss(nn.Module):
    """Leaves a tensor with a graph in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.latest: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.latest = x.square().mean()
        return x


class Buffers(nn.Module):
    """Buffers of many kinds: whole numbers, Booleans, complex numbers, not saved, empty, none."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(8))
        self.register_buffer("mask", torch.arange(8) % 3 > 0)
        self.register_buffer("phase", torch.polar(torch.ones(8), torch.arange(8.0)))
        self.register_buffer("unsaved", torch.ones(8), persistent=False)
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("none", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.unsaved.mul_(1.01)
        return x[:, self.order] * self.mask * self.phase.real * self.unsaved


class Listed(nn.Module):
    """Parameters in a list and a dictionary, modules in a plain list and behind a bound method."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ParameterList([torch.ones(8), torch.ones(8)])
        self.shifts = nn.ParameterDict({"a": torch.zeros(8)})
        self.a, self.b = nn.Linear(IN, 8), nn.Linear(8, OUT)
        self.first = [self.a]
        self.last = self.b.forward

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first[0](x.flatten(1)))
        return self.last(h * self.scales[0] * self.scales[1] + self.shifts["a"])


def by_closure() -> nn.Module:
    a, b = nn.Linear(IN, 8), nn.Linear(8, OUT)
    return Custom(lambda m, x: b(torch.tanh(nn.functional.linear(x, a.weight, a.bias))), a=a, b=b)


def volumes() -> nn.Module:
    return Custom(
        lambda m, x: m.b(m.a(x.view(-1, 1, 4, 2, 2)).flatten(1)), a=nn.Conv3d(1, 2, 2, padding=1), b=nn.Linear(90, OUT)
    )


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, OUT)
    )


def initialized_lazily() -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(OUT))
    net(torch.zeros(2, 1, 4, 4))
    return net


def traced_by_fx() -> nn.Module:
    return torch.fx.symbolic_trace(mlp(nn.BatchNorm1d(8)))


MODULES: dict[str, Callable[[], nn.Module]] = {
    "plain": mlp,
    "shared module": shared_module,
    "two paths": two_paths,
    "tied tensors": tied_tensors,
    "tied transposed": tied_transposed,
    "tied buffers": tied_buffers,
    "parametrized": parametrized,
    "spectral norm by hook": spectral_by_hook,
    "spectral norm as parametrization": spectral_parametrization,
    "weight norm by hook": weight_norm_by_hook,
    "weight norm as parametrization": weight_norm_parametrization,
    "pruned": pruned,
    "batch norm": lambda: mlp(nn.BatchNorm1d(8)),
    "batch norm, cumulative": lambda: mlp(nn.BatchNorm1d(8, momentum=None)),
    "batch norm without statistics": lambda: mlp(nn.BatchNorm1d(8, track_running_stats=False)),
    "frozen batch norm": frozen_norm,
    "batch norm shared": lambda: mlp(*[nn.BatchNorm1d(8)] * 2),
    "layer norm": lambda: mlp(nn.LayerNorm(8)),
    "instance norm": lambda: nn.Sequential(nn.InstanceNorm2d(1, affine=True, track_running_stats=True), mlp()),
    "group norm": lambda: mlp(nn.GroupNorm(2, 8)),
    "transformer": transformer,
    "dropout": lambda: mlp(nn.Dropout(0.3)),
    "frozen part": frozen_part,
    "recurrent": recurrent,
    "attention": attention,
    "hook on the output": hook_changes_output,
    "weights moved in forward": weights_renewed_in_forward,
    "buffer assigned": lambda: mlp(Counting()),
    "auxiliary loss": lambda: mlp(AuxiliaryLoss()),
    "buffers of many kinds": lambda: mlp(Buffers()),
    "lists": Listed,
    "closure": by_closure,
    "volumes": volumes,
    "convolutional": convolutional,
    "data parallel": lambda: nn.DataParallel(mlp(nn.BatchNorm1d(8))),
    "lazy, initialized": initialized_lazily,
    "fx": traced_by_fx,
}


def build(name: str) -> nn.Module:
    """A module of the zoo in float64 and training mode, but for what its maker froze."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODULES[name]().double()


def snapshot(module: nn.Module) -> list[tuple[str, int, bytes, Any]]:
    """Names, identities and bits of all tensors, and the modes of all parts."""
    tensors = [
        (f"{path}.{name}", id(t), t.detach().clone().contiguous().view(-1).view(torch.uint8).numpy().tobytes(), t.shape)
        for path, part in module.named_modules(remove_duplicate=False)
        for name, t in (*part._parameters.items(), *part._buffers.items())
        if t is not None
    ]
    return [*tensors, *((path, id(part), b"", part.training) for path, part in module.named_modules())]
