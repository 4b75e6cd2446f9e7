"""A module of the user's is left as it was: modes, parameters and buffers, same objects, same bits, also after an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.data.store import ImageStore
from metatc2.diagnostics import diagnose
from metatc2.errors import InputError
from metatc2.models.registry import build_encoder
from metatc2.ops.module_state import evaluation_mode, unchanged
from metatc2.transfer import KNN, FewShot, FineTune, Target, evaluate, extract
from metatc2.transfer.protocols.fine_tune import fine_tune
from metatc2.transfer.protocols.semi_supervised_fine_tune import semi_supervised_fine_tune

from ..covering import covered

LABELS = torch.arange(60) % 3


def images() -> Tensor:
    return torch.randint(0, 256, (60, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()


class Clamping(nn.Module):
    """Writes to its weight and to two buffers whenever it is called, and makes a third."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 5)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(5))
        self.register_buffer("grid", None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.replaced = self.replaced + 1
        self.linear.weight.data = torch.renorm(self.linear.weight.data, 2, 0, 0.1)
        if self.grid is None:
            self.grid = torch.ones(5)
        if not hasattr(self, "late"):
            self.register_buffer("late", torch.ones(1))
        return self.linear(x.flatten(1)) * self.grid


class Merging(nn.Linear):
    """An adapter that merges itself into the weight in eval mode, as LoRA does."""

    def __init__(self) -> None:
        super().__init__(64, 5)
        self.extra = nn.Parameter(torch.randn(5, 64))
        self.merged = False

    def train(self, mode: bool = True) -> Merging:
        super().train(mode)
        if mode == self.merged:
            self.weight.data += self.extra.data * (-1 if mode else 1)
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return nn.functional.linear(x, self.weight if self.merged else self.weight + self.extra, self.bias)


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten())


def shared() -> nn.Module:
    part = nn.Linear(64, 64)
    return nn.Sequential(nn.Flatten(), part, nn.BatchNorm1d(64), part, nn.BatchNorm1d(64))


def spectral() -> nn.Module:
    hook = nn.utils.spectral_norm(nn.Linear(64, 8))
    hook(torch.ones(2, 64))  # from now on it holds a weight that is no leaf
    return nn.Sequential(nn.Flatten(), hook, nn.utils.parametrizations.spectral_norm(nn.Linear(8, 4)))


ZOO: dict[str, Callable[[], nn.Module]] = {
    "batch norm": normed,
    "clamping": Clamping,
    "merging": Merging,
    "shared": shared,
    "spectral norm": spectral,
    "weight norm": lambda: nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(64, 5))),
    "data parallel": lambda: nn.DataParallel(normed()),
    "half": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).bfloat16(),
    "double": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()).double(),
    "frozen": lambda: normed().requires_grad_(False),
    "conv4": lambda: nn.Sequential(
        nn.Upsample(scale_factor=2), build_encoder("conv4", channels=1, image_size=16, width=4)
    ),
}


def by_evaluate(net: nn.Module) -> None:
    store = ImageStore("toy", images(), LABELS)
    evaluate(
        {"encoder": net},
        [Target(store, "all", "toy")],
        protocols=[FewShot(ways=(3,), shots=(1,), episodes=2), KNN(), FineTune(steps=1)],
    )


def parts() -> tuple[Tensor, ...]:
    x = images()
    return x[:30], LABELS[:30], x[30:45], LABELS[30:45], x[45:], LABELS[45:]


QUICK: dict[str, Any] = {"steps": 2, "batch": 8, "rates": (0.01,), "weight_decays": (0.0,)}

ENTRIES: dict[str, Callable[[nn.Module], Any]] = {
    "extract": lambda net: extract(net, images(), batch=7),
    "evaluate": by_evaluate,
    "fine_tune": lambda net: fine_tune(net, *parts(), generator=torch.Generator().manual_seed(0), **QUICK),
    "semi-supervised": lambda net: semi_supervised_fine_tune(
        net, *parts(), generator=torch.Generator().manual_seed(0), fraction=0.5, **QUICK
    ),
    "diagnose": lambda net: diagnose(net, ImageStore("toy", images(), LABELS), views=Views.none()),
}


def state(net: nn.Module) -> tuple[Any, ...]:
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    return (
        [(name, part.training) for name, part in net.named_modules()],
        {name: (id(t), t.data_ptr(), t.dtype, t.requires_grad) for name, t in tensors.items()},
        {name: t.detach().clone().view(torch.uint8).tolist() if t.ndim else t.item() for name, t in tensors.items()},
        [getattr(part, "merged", None) for part in net.modules()],
    )


MODES: dict[str, Callable[[nn.Module], Any]] = {
    "train": lambda net: net.train(),
    "eval": lambda net: net.eval(),
    "norms frozen": lambda net: [
        p.eval() for p in net.train().modules() if isinstance(p, nn.modules.batchnorm._BatchNorm)
    ],
    "inverted": lambda net: [p.train() for p in net.eval().modules() if not list(p.children())],
}


@pytest.mark.parametrize(("entry", "name"), covered(ENTRIES, ZOO, strength=1))
def test_every_call_leaves_a_module_as_it_was(entry: str, name: str) -> None:
    torch.manual_seed(0)
    net = ZOO[name]()
    for mode in MODES if entry != "evaluate" else ["train", "norms frozen"]:
        MODES[mode](net)
        before, gradients = state(net), [p.grad for p in net.parameters()]
        ENTRIES[entry](net)
        assert state(net) == before
        assert [p.grad for p in net.parameters()] == gradients == [None] * len(gradients)


@pytest.mark.parametrize("entry", ENTRIES)
def test_also_after_an_error(entry: str) -> None:
    class Failing(Clamping):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise RuntimeError("no memory of this")

    for mode in MODES.values():
        net = Failing()
        mode(net)
        before = state(net)
        with pytest.raises(InputError, match="no memory of this"):
            ENTRIES[entry](net)
        assert state(net) == before


class Watched(nn.Module):
    """Notes the modes that it runs in; copies note them in the same list."""

    def __init__(self, seen: list[bool]) -> None:
        super().__init__()
        object.__setattr__(self, "seen", seen)

    def __deepcopy__(self, memo: dict[int, Any]) -> Watched:
        return Watched(self.seen).train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(self.training)
        return x


@pytest.mark.parametrize("entry", ["fine_tune", "semi-supervised"])
def test_what_is_in_eval_mode_is_so_during_and_what_trains_trains(entry: str) -> None:
    frozen: list[bool] = []
    free: list[bool] = []
    net = nn.Sequential(Watched(frozen).eval(), Watched(free), nn.Flatten(), nn.Linear(64, 4))
    ENTRIES[entry](net)
    assert not any(frozen)
    assert any(free)
    free.clear()
    ENTRIES[entry](net.eval())
    assert not any(free)


def test_evaluation_mode_ends_with_an_error_too() -> None:
    net = normed()
    net[1].eval()

    def fail() -> None:
        with evaluation_mode(net):
            assert not any(part.training for part in net.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [part.training for part in net] == [True, False, True, True, True]


def test_views_of_a_weight_stay_views() -> None:
    net = nn.Linear(3, 2)
    view = net.weight.data[0]
    with unchanged(net):
        net.weight.data = torch.zeros(2, 3)
        net.bias = nn.Parameter(torch.zeros(2))
    with torch.no_grad():
        net.weight[0, 0] = 7
    assert view[0] == 7
