"""What every objective promises: tasks apart, no state in forward, twice differentiable, full precision, vmap."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from metatc2.errors import InputError
from metatc2.objectives import OBJECTIVES, Custom, Embeddings, MoCo, Objective, build_objective

EVERY = (*OBJECTIVES, "custom")
STATEFUL = ("moco", "lejepa", "visreg")  # a queue, and the count of steps from which directions are drawn


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def make(name: str, dim: int = 4) -> Objective:
    """MoCo comes with a queue two thirds full."""
    if name == "custom":
        return Custom(lambda z1, z2: (z1 * z2).sum().tanh() + z1.var(0).sum())
    objective = build_objective(name, **({"queue": 12} if name == "moco" else {}))
    if isinstance(objective, MoCo):
        keys = random(1, 4, 2, dim, seed=5)
        objective.double().update(Embeddings(keys, targets=keys))
    return objective


def embeddings(tasks: int = 3, samples: int = 5, dim: int = 4, seed: int = 1) -> Embeddings:
    return Embeddings(*(random(tasks, samples, 2, dim, seed=seed + i) for i in range(3)))


def select(e: Embeddings, tasks: slice | list[int]) -> Embeddings:
    return Embeddings(*(None if t is None else t[tasks] for t in (e.projections, e.predictions, e.targets)))


@pytest.mark.parametrize("name", EVERY)
def test_many_tasks_are_the_mean_of_single_tasks(name: str) -> None:
    objective, e = make(name), embeddings()
    single = torch.stack([objective(select(e, slice(i, i + 1))) for i in range(3)])
    torch.testing.assert_close(objective(e), single.mean())
    torch.testing.assert_close(objective.per_task(e), single)


@pytest.mark.parametrize("name", EVERY)
def test_a_task_does_not_see_another(name: str) -> None:
    objective, e, other = make(name), embeddings(), embeddings(seed=50)
    mixed = Embeddings(
        *(
            torch.cat([a[:1], b[1:]])
            for a, b in (
                (e.projections, other.projections),
                (e.predictions, other.predictions),
                (e.targets, other.targets),
            )
        )
    )
    before, after = objective.per_task(e), objective.per_task(mixed)
    torch.testing.assert_close(before[0], after[0])
    assert (before[1:] - after[1:]).abs().min() > 1e-6  # and the change was seen where it was made


@pytest.mark.parametrize("name", OBJECTIVES)
def test_order_of_samples_and_of_views_does_not_matter(name: str) -> None:
    objective, e = make(name), embeddings()
    turned = Embeddings(*(t[:, [2, 0, 4, 1, 3]].flip(2) for t in (e.projections, e.predictions, e.targets)))
    torch.testing.assert_close(objective(e), objective(turned))
    # But pairs belong together.
    shifted = Embeddings(
        *(torch.stack([t[:, :, 0], t[:, :, 1].roll(1, 1)], 2) for t in (e.projections, e.predictions, e.targets))
    )
    assert abs(objective(e) - objective(shifted)) > 1e-4


# VISReg's stop-gradient on the standard deviation, a part of every value, is held constant in test_visreg.py.
@pytest.mark.parametrize("name", [name for name in EVERY if name != "visreg"])
def test_twice_differentiable(name: str) -> None:
    objective, e = make(name, dim=3), embeddings(tasks=2, samples=3, dim=3)
    # The stop-gradients of BYOL, SimSiam and MoCo are no derivative of their value, so those inputs are held constant.
    online = "predictions" if objective.predictor else "projections"
    start = getattr(e, online).requires_grad_()

    def loss(z: Tensor) -> Tensor:
        parts: dict[str, Any] = {"projections": e.projections, "predictions": e.predictions, "targets": e.targets}
        return objective(Embeddings(**{**parts, online: z}))

    assert gradcheck(loss, (start,))
    assert gradgradcheck(loss, (start,))


@pytest.mark.parametrize("name", EVERY)
def test_zero_and_constant_embeddings_have_finite_derivatives_of_both_orders(name: str) -> None:
    objective = make(name)
    for value in (0.0, 1.0):
        z = torch.full((2, 4, 2, 4), value, dtype=torch.float64, requires_grad=True)
        loss = objective(Embeddings(z, z * 1, z.detach()))
        (g,) = torch.autograd.grad(loss, z, create_graph=True)
        (h,) = torch.autograd.grad(g.square().sum(), z, allow_unused=True, materialize_grads=True)
        assert torch.isfinite(loss)
        assert torch.isfinite(g).all()
        assert torch.isfinite(h).all()


@pytest.mark.parametrize("name", ["moco", "byol", "simsiam"])
def test_targets_get_no_gradient(name: str) -> None:
    objective, e = make(name), embeddings()
    for t in (e.projections, e.predictions, e.targets):
        t.requires_grad_()
    objective(e).backward()
    assert e.targets.grad is None
    assert (e.predictions.grad is not None) is objective.predictor
    assert (e.projections.grad is not None) is (name == "moco")


@pytest.mark.parametrize("name", EVERY)
def test_forward_changes_no_state(name: str) -> None:
    objective, e = make(name), embeddings()
    before = copy.deepcopy(objective.state_dict())
    assert objective(e) == objective(e)
    assert all(torch.equal(v, before[k]) for k, v in objective.state_dict().items())
    if name not in STATEFUL:
        assert not before
        objective.update(e)
        assert objective(e) == objective(e)


@pytest.mark.parametrize("name", EVERY)
def test_losses_stay_in_float32_under_bf16_autocast(name: str) -> None:
    objective = make(name).float()
    e = Embeddings(*(random(2, 8, 2, 4, seed=i, dtype=torch.float32) for i in range(3)))
    expected = objective(e)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(e)
    assert loss.dtype == torch.float32
    assert loss == expected  # bit for bit: autocast touches nothing
    half = Embeddings(*(t.bfloat16() for t in (e.projections, e.predictions, e.targets)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(half)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=0.03, abs=0.03)
    assert (
        objective(Embeddings(*(t.double() for t in (e.projections, e.predictions, e.targets)))).dtype == torch.float64
    )


@pytest.mark.parametrize("name", EVERY)
def test_vmap_over_episodes(name: str) -> None:
    objective = make(name)
    z, p, t = (random(4, 2, 5, 2, 4, seed=i) for i in range(3))
    looped = torch.stack([objective(Embeddings(z[i], p[i], t[i])) for i in range(4)])
    mapped = torch.func.vmap(lambda a, b, c: objective(Embeddings(a, b, c)))(z, p, t)
    torch.testing.assert_close(mapped, looped)


@pytest.mark.parametrize("name", EVERY)
def test_too_few_samples_and_wrong_views_are_errors(name: str) -> None:
    objective = make(name)
    objective.check(2)
    with pytest.raises(InputError, match=rf"{name} needs at least 2 samples a task, found 1\.$"):
        objective.check(1)
    with pytest.raises(InputError, match="2 views"):
        objective(Embeddings(*(random(2, 4, 3, 4) for _ in range(3))))


@pytest.mark.parametrize("name", ["moco", "byol", "simsiam"])
def test_what_the_learner_left_out_is_named(name: str) -> None:
    objective = make(name)
    missing = "predictions" if objective.predictor else "targets"
    with pytest.raises(InputError, match=rf"{name} needs Embeddings\.{missing}"):
        objective(Embeddings(random(2, 4, 2, 4)))


def test_flags_say_what_a_learner_must_provide() -> None:
    flags = {name: (build_objective(name).predictor, build_objective(name).momentum) for name in OBJECTIVES}
    assert flags == {
        "simclr": (False, False),
        "moco": (False, True),
        "byol": (True, True),
        "simsiam": (True, False),
        "barlow": (False, False),
        "vicreg": (False, False),
        "lejepa": (False, False),
        "visreg": (False, False),
    }
