"""UMM: signs, gradients by every mode against central differences, and an early part that keeps its bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache

import pytest
import torch
import torchopt
from torch import Tensor, nn

from metatc2.calibration import TaskCalibrator
from metatc2.episodes import Episode, Samples
from metatc2.inner import Adjoint, FiniteDifference, FirstOrder, InnerLoop, Unroll
from metatc2.learners import TC2, UMM, SelfSupervised
from metatc2.learners.umm import alignment_loss
from metatc2.models.heads import Predictor, Projector
from metatc2.objectives import BYOL, SimCLR
from metatc2.ops.coding_rate import pair_rates, rate_reduction
from metatc2.ops.functional import Functional
from metatc2.ops.precision import unit

from ..covering import covered

MODES: dict[str, Adjoint | None] = {
    "exact": Unroll(),
    "finite-difference": FiniteDifference(),
    "first-order": FirstOrder(),
    "alternate": None,
}


def encoder() -> nn.Sequential:
    """Smooth, with batch normalization on both sides of the split."""
    parts = [nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh()]
    return nn.Sequential(*parts, nn.Linear(4, 3))


def learner(
    mode: str, *, beta: float = 1.0, gamma: float = 1.0, lr: float = 0.1, start: type[SelfSupervised] = SelfSupervised
) -> UMM:
    torch.manual_seed(0)
    projector = Projector(3, 6, 4, activation=nn.Tanh)
    if start is TC2:
        calibrator, own = TaskCalibrator(3, 2, rate=0.7), InnerLoop(torchopt.sgd(1.0), steps=2, adjoint=Unroll())
        plain = TC2(encoder(), SimCLR(), projector=projector, calibrator=calibrator, inner=own).double()
        plain.sensitivity.fill_(3.0)  # a finished run has one; smaller ones make the loss too curved for differences
    else:
        plain = SelfSupervised(encoder(), SimCLR(), projector=projector).double()
    adjoint = MODES[mode]
    inner = None if adjoint is None else InnerLoop(torchopt.sgd(lr), steps=1, adjoint=adjoint)
    return UMM(plain, "3", inner=inner, beta=beta, gamma=gamma)


def episode(seed: int = 0) -> Episode:
    g = torch.Generator().manual_seed(seed)

    def side() -> Samples:
        base = torch.rand(1, 6, 1, 1, 2, 3, generator=g, dtype=torch.float64)
        views = base + 0.3 * torch.rand(1, 6, 2, 1, 2, 3, generator=g, dtype=torch.float64)
        return Samples(views, None, None, torch.arange(6)[None])

    return Episode(side(), side())


def directions(late: nn.Module) -> list[dict[str, Tensor]]:
    """One through each parameter of the late part, and one through all."""
    g = torch.Generator().manual_seed(4)
    whole = {name: torch.randn(p.shape, generator=g, dtype=p.dtype) for name, p in late.named_parameters()}
    return [*({name: d} for name, d in whole.items()), whole]


def central(f: Callable[[], float], late: nn.Module, h: float = 1e-5) -> list[float]:
    """Central differences of a scalar along each direction."""
    found, parameters = [], dict(late.named_parameters())
    kept = {name: p.detach().clone() for name, p in parameters.items()}
    with torch.no_grad():
        for direction in directions(late):
            values = []
            for sign in (h, -h):
                for name, d in direction.items():
                    parameters[name].copy_(kept[name] + sign * d)
                values.append(f())
            for name in direction:
                parameters[name].copy_(kept[name])
            found.append((values[0] - values[1]) / (2 * h))
    return found


def assert_gradients(late: nn.Module, wanted: Iterable[float]) -> None:
    gradients = {name: p.grad for name, p in late.named_parameters()}
    for direction, slope in zip(directions(late), wanted, strict=True):
        got = sum(float((gradients[name] * d).sum()) for name, d in direction.items())  # type: ignore[operator]
        assert got == pytest.approx(slope, rel=1e-5, abs=1e-7), list(direction)


def outer_of(umm: UMM, moved: dict[str, Tensor] | None = None) -> Callable[[], float]:
    """The outer loss by parameters of the late part alone; `moved` is an inner step that is a constant."""

    def value() -> float:
        theta = dict(umm.late.named_parameters())
        if moved is not None:
            theta = {name: p + moved[name] for name, p in theta.items()}
        return umm.outer_loss(theta, umm.batch(episode(), "query")).loss.item()

    return value


@cache
def bilevel_slopes(start: type[SelfSupervised]) -> list[float]:
    reference, data = learner("exact", start=start), episode()

    def loss() -> float:
        with torch.enable_grad():  # the inner step is one by gradients
            return reference(data).loss.item()

    return central(loss, reference.late)


@pytest.mark.parametrize(("start", "mode"), covered((SelfSupervised, TC2), ("exact", "finite-difference"), strength=1))
def test_bilevel_gradient_is_that_of_central_differences(mode: str, start: type[SelfSupervised]) -> None:
    umm = learner(mode, start=start)
    umm(episode()).loss.backward()
    assert_gradients(umm.late, bilevel_slopes(start))


def test_tasks_of_a_calibrated_start_adapt_their_weights() -> None:
    umm = learner("exact", start=TC2)
    support, model = umm.batch(episode(), "support"), umm.learner
    assert isinstance(model, TC2)
    z = umm.late(support.early).unflatten(0, support.episode.images.shape[:3])
    calibrated = model.calibrate(z, model.adapt(z))
    assert (calibrated - model.calibrate(z, model.calibrator.start(1))).abs().max() > 1e-3
    loss, _ = model.plain_loss(umm.branches(support, z.flatten(0, 2)))
    torch.testing.assert_close(loss, model.objective(model.embed(calibrated, None)))


def test_the_momentum_branch_of_a_calibrated_start_is_weighed_too() -> None:
    torch.manual_seed(0)
    own = InnerLoop(torchopt.sgd(1.0), steps=1, adjoint=Unroll())
    heads = {"projector": Projector(3, 6, 4), "predictor": Predictor(4, 4), "calibrator": TaskCalibrator(3, 2)}
    model = TC2(encoder(), BYOL(), inner=own, **heads).double()
    umm = UMM(model, "3", inner=None)
    branches = umm.branches(batch := umm.batch(episode(), "support"), umm.late(batch.early))
    z, target = model.objective_inputs(branches.online, branches.target, branches.told)
    assert branches.target is not None
    assert (target - branches.target).abs().max() > 1e-3
    torch.testing.assert_close(model.plain_loss(branches)[1], model.objective(model.embed(z, target)))


def test_first_order_gradient_takes_the_inner_step_for_a_constant() -> None:
    umm = learner("first-order")
    umm(episode()).loss.backward()
    start = dict(umm.late.named_parameters())
    support = umm.batch(episode(), "support")
    adapted = learner("first-order").inner(lambda p: umm.inner_loss(p, support)[0], start)  # type: ignore[misc]
    moved = {name: (adapted[name] - p).detach() for name, p in start.items()}
    assert max(float(step.abs().max()) for step in moved.values()) > 1e-3
    assert_gradients(umm.late, central(outer_of(umm, moved), umm.late))


def test_alternating_steps_are_on_the_inner_and_on_the_outer_loss() -> None:
    umm = learner("alternate")
    support = umm.batch(episode(), "support")
    losses = {0: lambda: umm.inner_loss(dict(umm.late.named_parameters()), support)[0].item(), 1: outer_of(umm)}
    for step, value in losses.items():
        umm.begin_step(step, 2)
        umm.zero_grad()
        umm(episode()).loss.backward()
        assert_gradients(umm.late, central(torch.enable_grad()(value), umm.late))


def test_alignment_has_a_gradient_for_the_late_part() -> None:
    umm = learner("exact")
    support, theta = umm.batch(episode(), "support"), dict(umm.late.named_parameters())
    early = support.early.requires_grad_()
    branches = umm.branches(support, Functional(umm.late)(theta, early))
    (slopes,) = torch.autograd.grad(umm.learner.plain_loss(branches)[0], early, create_graph=True)
    value = alignment_loss(slopes)
    gradients = torch.autograd.grad(value, list(theta.values()), allow_unused=True)
    assert value.item() > 1e-4
    assert max(float(g.norm()) for g in gradients if g is not None) > 1e-4


def test_alignment_is_the_divergence_of_inverse_lengths_from_uniform() -> None:
    g = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = 1 / g.norm(dim=1)
    p, u = p / p.sum(), torch.full((7,), 1 / 7, dtype=torch.float64)
    m = (p + u) / 2
    wanted = ((p * (p / m).log()).sum() + (u * (u / m).log()).sum()) / 2
    assert alignment_loss(1e-20 * g).item() == pytest.approx(wanted.item(), rel=1e-9)
    none = torch.zeros(64, 2, requires_grad=True)  # a late part that says nothing
    alignment_loss(none).backward()
    assert alignment_loss(none).item() == pytest.approx(0, abs=1e-6)
    assert none.grad is not None
    assert bool((none.grad == 0).all())


@pytest.mark.parametrize(("eps2", "wanted"), [(0.01, 63.88), (0.1, 31.25), (0.5, 13.20)])
def test_rate_reduction_of_random_pairs(eps2: float, wanted: float) -> None:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(64, 32, generator=g, dtype=torch.float64)
    other = z + torch.randn(64, 32, generator=g, dtype=torch.float64)
    p, q = unit(z), unit(other)
    assert rate_reduction(p, q, eps2).item() == pytest.approx(wanted, rel=5e-3)
    # Each pair a class of MCR²: the d × d determinants, in place of 2 × 2 ones.
    a = 32 / (2 * eps2)
    whole = [torch.stack([x, y]) for x, y in zip(p, q, strict=True)]
    rates = [torch.logdet(torch.eye(32, dtype=p.dtype) + a * pair.mT @ pair) / 2 for pair in whole]
    assert torch.allclose(pair_rates(p, q, eps2), torch.stack(rates))
    same = unit(z[:1]).expand(64, 32)
    assert rate_reduction(same, same, eps2).item() == pytest.approx(0, abs=1e-3)


def test_an_outer_step_raises_the_rate_reduction() -> None:
    umm = learner("exact", beta=0.0, gamma=1e3, lr=1e-6)
    before = umm(episode())
    before.loss.backward()
    with torch.no_grad():
        for p in umm.late.parameters():
            assert p.grad is not None
            p -= 1e-4 * p.grad / p.grad.norm().clamp_min(1e-9)
    assert float(umm(episode()).metrics["rate_reduction"]) > float(before.metrics["rate_reduction"])


@pytest.mark.parametrize("mode", MODES)
def test_the_early_part_keeps_its_bits(mode: str) -> None:
    umm = learner(mode)
    early = {name: t.clone() for name, t in umm.early.state_dict().items()}
    late = {name: t.clone() for name, t in umm.late.state_dict().items()}
    heads = {name: t.clone() for name, t in umm.learner.projector.state_dict().items()}
    optimizer = torch.optim.AdamW(umm.groups()[0].parameters, lr=1e-2)
    for step in range(2):
        umm.begin_step(step, 2)
        optimizer.zero_grad()
        umm(episode(step)).loss.backward()
        optimizer.step()
        umm.end_step()
    assert all(torch.equal(t, umm.early.state_dict()[name]) for name, t in early.items())
    assert all(torch.equal(t, umm.learner.projector.state_dict()[name]) for name, t in heads.items())
    assert not any(torch.equal(t, umm.late.state_dict()[name]) for name, t in late.items() if "bias" not in name)
    assert all(p.grad is None for p in umm.early.parameters())
    assert math.isfinite(umm(episode()).loss.item())


def test_random_numbers_are_the_same_in_both_gradients_of_a_difference() -> None:
    dropout = torch.nn.Dropout(0.5)
    start = torch.linspace(0.5, 2, 8, dtype=torch.float64, requires_grad=True)
    slopes = []
    for adjoint in (FiniteDifference(), Unroll()):
        torch.manual_seed(0)
        loop = InnerLoop(torchopt.sgd(lr=0.25), steps=1, adjoint=adjoint)
        adapted = loop(lambda p: (dropout(p["w"]) ** 2).sum() / 2, {"w": start})["w"]
        slopes.append(torch.autograd.grad(adapted.sum(), start)[0])
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-5, atol=1e-7)
