"""What every objective promises: tasks apart, no state in forward, twice differentiable, full precision, vmap."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from metatc2.errors import InputError
from metatc2.objectives import OBJECTIVES, Custom, Embeddings, MoCo, Objective, build_objective
from metatc2.ops.random_state import seeded

from ..covering import some

EVERY = (*OBJECTIVES, "custom")
# Their options, so that one projection is answered by 16 numbers and heads are small.
PRETEXTS: dict[str, dict[str, int]] = {
    "rotation": {},
    "jigsaw": {"grid": 2, "permutations": 5, "hidden": 6},
    "relative-position": {"hidden": 6},
    "colorization": {"grid": 2, "bins": 2},
}
STATEFUL = ("moco", "lejepa", "visreg")  # a queue, and the count of steps from which directions are drawn


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def make(name: str, dim: int = 4) -> Objective:
    """MoCo comes with a queue two thirds full, pretexts with small heads."""
    if name == "custom":
        return Custom(lambda z1, z2: (z1 * z2).sum().tanh() + z1.var(0).sum())
    if name in PRETEXTS:
        with seeded(0):
            return build_objective(name, dim=dim, **PRETEXTS[name]).double()
    objective = build_objective(name, **({"queue": 12} if name == "moco" else {}))
    if isinstance(objective, MoCo):
        keys = random(1, 4, 2, dim, seed=5)
        objective.double().update(Embeddings(keys, targets=keys))
    return objective


def embeddings(
    objective: Objective, tasks: int = 3, samples: int = 5, dim: int = 4, seed: int = 1, views: int | None = None
) -> Embeddings:
    """Random ones of as many views as the objective looks at, and answers to what it asks."""
    views = views or getattr(objective, "views", 2)
    answers = random(tasks, samples, views, 16, seed=seed + 9).unflatten(-1, (8, 2)).softmax(-1).flatten(-2)
    return Embeddings(*(random(tasks, samples, views, dim, seed=seed + i) for i in range(3)), answers)


def tensors(e: Embeddings) -> tuple[Tensor, ...]:
    return tuple(t for t in (e.projections, e.predictions, e.targets, e.answers) if t is not None)


def mapped(e: Embeddings, f: Callable[[Tensor], Tensor]) -> Embeddings:
    return Embeddings(*map(f, tensors(e)))


@pytest.mark.parametrize("name", EVERY)
def test_many_tasks_are_the_mean_of_single_tasks(name: str) -> None:
    objective = make(name)
    e = embeddings(objective)
    single = torch.stack([objective(mapped(e, lambda t, i=i: t[i : i + 1])) for i in range(3)])
    torch.testing.assert_close(objective(e), single.mean())
    torch.testing.assert_close(objective.per_task(e), single)


@pytest.mark.parametrize("name", EVERY)
def test_a_task_does_not_see_another(name: str) -> None:
    objective = make(name)
    e, other = embeddings(objective), embeddings(objective, seed=50)
    mixed = Embeddings(*(torch.cat([a[:1], b[1:]]) for a, b in zip(tensors(e), tensors(other), strict=True)))
    before, after = objective.per_task(e), objective.per_task(mixed)
    torch.testing.assert_close(before[0], after[0])
    assert (before[1:] - after[1:]).abs().min() > 1e-6  # and the change was seen where it was made


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in PRETEXTS])
def test_order_of_samples_and_of_views_does_not_matter(name: str) -> None:
    objective = make(name)
    e = embeddings(objective)
    turned = Embeddings(*(t[:, [2, 0, 4, 1, 3]].flip(2) for t in (e.projections, e.predictions, e.targets)))
    torch.testing.assert_close(objective(e), objective(turned))
    # But pairs belong together.
    shifted = Embeddings(
        *(torch.stack([t[:, :, 0], t[:, :, 1].roll(1, 1)], 2) for t in (e.projections, e.predictions, e.targets))
    )
    assert abs(objective(e) - objective(shifted)) > 1e-4


# VISReg's stop-gradient on the standard deviation, a part of every value, is held constant in test_visreg.py.
@pytest.mark.parametrize(
    "name",
    some([n for n in EVERY if n != "visreg"], ("simclr", "byol", "moco", "vicreg", "barlow", "rotation")),
)
def test_twice_differentiable(name: str) -> None:
    objective = make(name, dim=3)
    e = embeddings(objective, tasks=2, samples=3, dim=3)
    # The stop-gradients of BYOL, SimSiam and MoCo are no derivative of their value, so those inputs are held constant.
    online = "predictions" if objective.predictor else "projections"
    start = getattr(e, online).requires_grad_()

    def loss(z: Tensor) -> Tensor:
        return objective(replace(e, **{online: z}))

    assert gradcheck(loss, (start,))
    assert gradgradcheck(loss, (start,))


@pytest.mark.parametrize("name", EVERY)
def test_zero_and_constant_embeddings_have_finite_derivatives_of_both_orders(name: str) -> None:
    objective = make(name)
    for value in (0.0, 1.0):
        e = embeddings(objective, tasks=2, samples=4)
        z = torch.full_like(e.projections, value).requires_grad_()
        loss = objective(Embeddings(z, z * 1, z.detach(), e.answers))
        (g,) = torch.autograd.grad(loss, z, create_graph=True)
        (h,) = torch.autograd.grad(g.square().sum(), z, allow_unused=True, materialize_grads=True)
        assert torch.isfinite(loss)
        assert torch.isfinite(g).all()
        assert torch.isfinite(h).all()


@pytest.mark.parametrize("name", ["moco", "byol", "simsiam"])
def test_targets_get_no_gradient(name: str) -> None:
    objective = make(name)
    e = embeddings(objective)
    for t in (e.projections, e.predictions, e.targets):
        t.requires_grad_()
    objective(e).backward()
    assert e.targets.grad is None
    assert (e.predictions.grad is not None) is objective.predictor
    assert (e.projections.grad is not None) is (name == "moco")


@pytest.mark.parametrize("name", EVERY)
def test_forward_changes_no_state(name: str) -> None:
    objective = make(name)
    e = embeddings(objective)
    before = copy.deepcopy(objective.state_dict())
    assert objective(e) == objective(e)
    assert all(torch.equal(v, before[k]) for k, v in objective.state_dict().items())
    if name not in STATEFUL:
        assert before.keys() == dict(objective.named_parameters()).keys()
        objective.update(e)
        assert objective(e) == objective(e)


@pytest.mark.parametrize("name", EVERY)
def test_losses_stay_in_float32_under_bf16_autocast(name: str) -> None:
    objective = make(name).float()
    e = mapped(embeddings(objective, tasks=2, samples=8), Tensor.float)
    expected = objective(e)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(e)
    assert loss.dtype == torch.float32
    assert loss == expected  # bit for bit: autocast touches nothing
    half = mapped(e, Tensor.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(half)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=0.03, abs=0.03)
    assert objective.double()(mapped(e, Tensor.double)).dtype == torch.float64


@pytest.mark.parametrize("name", EVERY)
def test_vmap_over_episodes(name: str) -> None:
    objective = make(name)
    stacked = mapped(embeddings(objective, tasks=8), lambda t: t.unflatten(0, (4, 2)))
    looped = torch.stack([objective(mapped(stacked, lambda t, i=i: t[i])) for i in range(4)])
    at_once = torch.func.vmap(lambda *parts: objective(Embeddings(*parts)))(*tensors(stacked))
    torch.testing.assert_close(at_once, looped)


@pytest.mark.parametrize("name", EVERY)
def test_too_few_samples_and_wrong_views_are_errors(name: str) -> None:
    objective = make(name)
    objective.check(2)
    with pytest.raises(InputError, match=rf"{name} needs at least 2 samples a task, found 1\.$"):
        objective.check(1)
    with pytest.raises(InputError, match=rf"{getattr(objective, 'views', 2)} views"):
        objective(embeddings(objective, views=3))


@pytest.mark.parametrize("name", [name for name, kind in OBJECTIVES.items() if kind.two_views])
@pytest.mark.parametrize("part", ["predictions", "targets"])
def test_flags_say_what_a_learner_must_provide(name: str, part: str) -> None:
    objective = make(name)
    whole = embeddings(objective)
    lacking = replace(whole, **{part: None})
    if objective.predictor if part == "predictions" else objective.momentum:
        with pytest.raises(InputError, match=rf"{name} needs Embeddings\.{part}"):
            objective(lacking)
    else:
        assert torch.equal(make(name)(lacking), objective(whole))


def test_pretexts_alone_make_images_of_their_own() -> None:
    assert {name for name, kind in OBJECTIVES.items() if not kind.two_views} == PRETEXTS.keys()
