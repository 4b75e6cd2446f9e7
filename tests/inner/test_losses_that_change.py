"""Adjoints that call the loss again refuse one that is another each time; parameters out of its reach stay put."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.inner import (
    EvolutionStrategies,
    Implicit,
    InnerLoop,
    Params,
    Recompute,
    Unroll,
    clip_norm,
    inner_optimizer,
)
from metatc2.inner.adjoints.base import Adjoint
from metatc2.learners import MAML
from tests.learners.episodes import vectors

BATCHES = [torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.5]), torch.tensor([3.0, -2.0])]
AGAIN: list[Adjoint] = [Recompute(), Implicit(proximal=1.0, warn_above=float("inf")), EvolutionStrategies(samples=2)]


def meta_gradient(adjoint: Adjoint, loss: Any, steps: int = 3) -> Tensor:
    start = {"w": torch.tensor([1.0, -1.0], requires_grad=True)}
    adapted = InnerLoop(torchopt.adam(0.1), steps, adjoint)(loss, start)
    return torch.autograd.grad(adapted["w"].square().sum(), start["w"])[0]


def taking_from(batches: Iterator[Tensor]) -> Any:
    return lambda p: (p["w"] - next(batches)).pow(4).sum()


@pytest.mark.parametrize("adjoint", AGAIN, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("more", [0, 100], ids=["exhausted", "endless"])
def test_a_new_batch_at_every_step_is_refused(adjoint: Adjoint, more: int) -> None:
    with pytest.raises(InputError, match="depends on more than .*use the adjoint Unroll"):
        meta_gradient(adjoint, taking_from(iter(BATCHES + [torch.randn(2) for _ in range(more)])))
    assert meta_gradient(Unroll(), taking_from(iter(BATCHES))).isfinite().all()


@pytest.mark.parametrize("adjoint", AGAIN, ids=lambda a: type(a).__name__)
def test_a_generator_of_its_own_is_refused_and_torchs_is_not(adjoint: Adjoint) -> None:
    own = torch.Generator().manual_seed(0)
    with pytest.raises(InputError, match="depends on more than"):
        meta_gradient(adjoint, lambda p: (p["w"] * torch.rand(2, generator=own)).square().sum())
    meta_gradient(adjoint, lambda p: (p["w"] * (1 + 0.01 * torch.rand(2))).square().sum(), steps=20)


def test_a_small_change_of_slope_alone_is_seen() -> None:
    slopes = iter([1.0, 1.0, 1.0, 1.01, 1.01, 1.01])

    def loss(p: Params) -> Tensor:
        return next(slopes) * (p["w"] - p["w"].detach()).sum() + p["w"].square().sum().detach() + p["w"].prod()

    with pytest.raises(InputError, match="came out otherwise"):
        meta_gradient(Recompute(), loss)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.1)),
        ("momentum", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
        ("nesterov", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
        ("adam", lambda p: torch.optim.Adam(p, lr=0.1)),
        ("adamw", lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=1e-2)),
        ("adagrad", lambda p: torch.optim.Adagrad(p, lr=0.1)),
        ("rmsprop", lambda p: torch.optim.RMSprop(p, lr=0.1)),
    ],
)
def test_parameters_out_of_reach_are_left_out_as_in_torch(name: str, theirs: Any) -> None:
    """`b` is reached in every second step, `c` never."""

    def loss(p: Any, step: int) -> Tensor:
        value = (p["a"] - 2.0).square().sum()
        return value + (p["b"] * p["a"].detach()).square().sum() if step % 2 else value

    start = {n: torch.tensor([1.0, -0.5], dtype=torch.float64, requires_grad=True) for n in "abc"}
    mine = {n: p.detach().clone().requires_grad_() for n, p in start.items()}
    optimizer = theirs(list(mine.values()))
    for step in range(6):
        optimizer.zero_grad(set_to_none=True)
        loss(mine, step).backward()
        optimizer.step()
    steps = {"at": -1}

    def counted(p: Params) -> Tensor:
        steps["at"] += 1
        return loss(p, steps["at"] % 6)

    adapted = InnerLoop(inner_optimizer(name, 0.1), 6, Unroll())(counted, start)
    assert torch.equal(adapted["c"], start["c"])
    for key in "ab":
        torch.testing.assert_close(adapted[key], mine[key], rtol=1e-5, atol=1e-6)


def test_left_out_parameters_have_the_gradient_of_the_identity() -> None:
    start = {n: torch.tensor([1.0, -0.5], requires_grad=True) for n in "ab"}
    for adjoint in (Unroll(), Recompute()):
        loop = InnerLoop(clip_norm(1.0).chain(torchopt.adamw(0.1)), 3, adjoint)
        adapted = loop(lambda p: p["a"].square().sum(), start)
        assert torch.equal(torch.autograd.grad(adapted["b"].sum(), start["b"])[0], torch.ones(2))


def test_under_vmap_a_decay_of_what_is_not_reached_is_refused() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.spare = nn.Linear(5, 3), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    for optimizer, refused in ((torchopt.adamw(0.1), True), (torchopt.adam(0.1), False)):
        learner = MAML(Unused().double(), InnerLoop(optimizer, 2), vmap_chunk=2)
        if refused:
            with pytest.raises(InputError, match=r"does not reach 'network\.spare\.(weight|bias)'.*vmap_chunk=1"):
                learner(vectors())
        else:
            learner(vectors()).loss.backward()
        MAML(learner.network, InnerLoop(optimizer, 2))(vectors()).loss.backward()
