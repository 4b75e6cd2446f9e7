"""`Recompute` against `Unroll`: the same bits of gradient, the same random numbers and buffers, flat memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor, nn
from torch.func import functional_call

from metatc2.errors import InputError
from metatc2.inner import Adjoint, InnerLoop, InnerLoopDiverged, Params, Recompute, Unroll

OPTIMIZERS = {
    "momentum": torchopt.sgd(0.1, momentum=0.9),
    "adam": torchopt.adam(0.05, eps_root=1e-8),
    "rmsprop": torchopt.rmsprop(0.05),
}


class Net(nn.Module):
    """Everything that a replay could get wrong: dropout, batch statistics, a branch on nothing."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def meta_gradient(
    adjoint: Adjoint, optimizer: Any, *, steps: int = 4, dropout: float = 0.3
) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
    """Gradient for parameters and for a tensor that the loss sees through its closure; buffers; the random state after."""
    torch.manual_seed(0)
    net = Net(dropout).double().train()
    x, y = torch.randn(12, 4, dtype=torch.float64), torch.randint(3, (12,))
    scale = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    hidden = (scale**2) * x  # not a leaf: its graph starts before the loop

    def loss(params: Params) -> Tensor:
        return nn.functional.cross_entropy(functional_call(net, params, (hidden,)), y)

    start = dict(net.named_parameters())
    torch.manual_seed(1)
    adapted = InnerLoop(optimizer, steps, adjoint)(loss, start)
    outer = nn.functional.cross_entropy(functional_call(net, adapted, (x.flip(0),)), y)
    gradients = list(torch.autograd.grad(outer, [*start.values(), scale]))
    return gradients, {name: b.clone() for name, b in net.named_buffers()}, torch.get_rng_state()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_unroll_to_the_bit(name: str) -> None:
    (a, a_buffers, a_random), (b, b_buffers, b_random) = (
        meta_gradient(adjoint, OPTIMIZERS[name]) for adjoint in (Unroll(), Recompute())
    )
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert max(float(x.abs().max()) for x in a) > 1e-3
    # Running statistics and their counters moved once a step, not twice; the random state goes on from the same place.
    assert all(torch.equal(a_buffers[key], b_buffers[key]) for key in a_buffers)
    assert a_buffers["body.1.num_batches_tracked"] == 5
    assert torch.equal(a_random, b_random)


def test_backward_twice_over_a_kept_graph() -> None:
    start = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    adapted = InnerLoop(torchopt.sgd(0.1), 3, Recompute())(lambda p: (p["w"] ** 4).sum(), {"w": start})["w"]
    first = torch.autograd.grad(adapted.sum(), start, retain_graph=True)[0]
    second = torch.autograd.grad(adapted.sum(), start)[0]
    assert torch.equal(first, second)


def test_every_iterate_of_the_path_is_differentiable() -> None:
    def total(adjoint: Adjoint) -> Tensor:
        start = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
        path = InnerLoop(torchopt.sgd(0.1), 4, adjoint).path(lambda p: (p["w"] ** 4).sum(), {"w": start})
        return torch.autograd.grad(torch.stack([p["w"].square().sum() for p in path]).sum(), start)[0]

    assert torch.equal(total(Recompute()), total(Unroll()))


def peak_bytes(adjoint: Adjoint, steps: int) -> int:
    """Most bytes of tensors alive at once, by torch's own record of allocations."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    x, start = torch.randn(512, 64), dict(net.named_parameters())
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as record:
        adapted = InnerLoop(torchopt.sgd(0.1), steps, adjoint)(
            lambda p: functional_call(net, p, (x,)).square().mean(), start
        )
        torch.autograd.grad(functional_call(net, adapted, (x,)).square().mean(), list(start.values()))
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]  # type: ignore[union-attr]
    now, most = 0, 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.slow
def test_memory_is_flat_in_the_number_of_steps() -> None:
    assert peak_bytes(Recompute(), 24) < 1.5 * peak_bytes(Recompute(), 6)
    assert peak_bytes(Unroll(), 24) > 3 * peak_bytes(Unroll(), 6)


def test_autocast_is_the_same_in_the_replay() -> None:
    def gradient(adjoint: Adjoint) -> Tensor:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        x, start = torch.randn(6, 4), dict(net.named_parameters())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            adapted = InnerLoop(torchopt.sgd(0.1), 3, adjoint)(
                lambda p: functional_call(net, p, (x,)).float().square().mean(), start
            )
            outer = functional_call(net, adapted, (x,)).float().square().mean()
        return torch.cat([g.flatten() for g in torch.autograd.grad(outer, list(start.values()))])

    assert torch.equal(gradient(Recompute()), gradient(Unroll()))


def test_without_gradients_it_only_descends() -> None:
    start = {"w": torch.tensor(2.0)}
    with torch.no_grad():
        adapted = InnerLoop(torchopt.sgd(0.25), 2, Recompute())(lambda p: p["w"] ** 2, start)
    assert adapted["w"].item() == 0.5
    assert not adapted["w"].requires_grad


def test_vmap_is_refused() -> None:
    loop = InnerLoop(torchopt.sgd(0.1), 1, Recompute())
    with pytest.raises(InputError, match="does not work under vmap"):
        torch.func.vmap(lambda w: loop(lambda p: (p["w"] ** 2).sum(), {"w": w})["w"])(torch.ones(2, 3))


@pytest.mark.parametrize("adjoint", [Unroll(), Recompute()])
def test_a_loss_that_diverges_names_the_step(adjoint: Adjoint) -> None:
    start = {"w": torch.tensor(1e6, requires_grad=True)}
    with pytest.raises(InnerLoopDiverged, match="NaN or infinite at step 2 of 5; use a smaller inner learning rate"):
        InnerLoop(torchopt.sgd(1.0), 5, adjoint)(lambda p: p["w"] ** 4, start)
    with pytest.raises(InnerLoopDiverged, match="not even the start is finite"):
        InnerLoop(torchopt.sgd(1.0), 5, adjoint)(lambda p: p["w"] * float("nan"), start)
