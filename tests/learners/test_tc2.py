"""TC² with weights of each task's own: restated task by task, differentiated exactly, and told nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torchopt
from torch import Tensor, nn

from metatc2.calibration import TaskCalibrator
from metatc2.conditioning import TaskHeads
from metatc2.episodes import Episode, Samples, TaskIdentity
from metatc2.errors import InputError
from metatc2.inner import FirstOrder, InnerLoop, Unroll
from metatc2.learners import TC2, SelfSupervised
from metatc2.models.heads import Predictor, Projector
from metatc2.objectives import SimCLR, build_objective, nt_xent

TASKS, PAIRS, SUPPORT, IN, DIM, K = 3, 6, 3, 5, 4, 3


def episode(seed: int = 0, dtype: torch.dtype = torch.float64) -> Episode:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(TASKS, PAIRS, 2, IN, generator=generator, dtype=dtype)
    whole = Samples(x, None, None, torch.zeros(TASKS, PAIRS, dtype=torch.int64))
    return Episode(whole.map(lambda t: t[:, :SUPPORT]), whole.map(lambda t: t[:, SUPPORT:]))


def learner(
    objective: str = "simclr", *, steps: int = 3, weights: str = "task", seed: int = 0, **options: object
) -> TC2:
    torch.manual_seed(seed)
    smooth: Callable[[], nn.Module] = nn.GELU
    made = build_objective(objective)
    encoder = nn.Sequential(nn.Linear(IN, 8), nn.Tanh(), nn.Linear(8, DIM))
    generator = torch.Generator().manual_seed(seed)
    calibrator = TaskCalibrator(DIM, K, weights=weights, rate=0.7, generator=generator)
    with torch.no_grad():  # off the start, where everything is symmetric
        calibrator.gates += 0.3 * torch.randn(K, generator=generator)
        if weights != "task":
            calibrator.mixing += 0.3 * torch.randn(K, K, generator=generator)
    adjoint = options.pop("adjoint", Unroll())
    return TC2(
        encoder,
        made,
        projector=Projector(DIM, 6, 5, activation=smooth),
        predictor=Predictor(5, 4, activation=smooth) if made.predictor else None,
        calibrator=calibrator,
        inner=InnerLoop(torchopt.sgd(1.0), steps=steps, adjoint=adjoint),  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    ).double()


def one_task(model: TC2, z: Tensor, gates: Tensor, mixing: Tensor | None) -> Tensor:
    """The loss of a single task, from the formulas alone."""
    basis = model.calibrator.basis
    factors = basis / basis.norm(dim=1, keepdim=True)
    codes = z @ factors.T
    logits, added = gates, torch.zeros_like(codes)
    if model.calibrator.weights == "sample":
        logits = gates + codes / (codes.square().mean(-1, keepdim=True) + 1e-12).sqrt() @ mixing
    elif model.calibrator.weights == "linear":
        added = codes @ mixing
    features = (codes * 2 * torch.sigmoid(logits) + added) @ factors
    a, b = model.projector(features[None])[0].unbind(1)
    return nt_xent(a, b, 0.5)


@pytest.mark.parametrize("weights", ["task", "sample", "linear"])
def test_each_task_by_itself_gives_the_same_loss(weights: str) -> None:
    model, given = learner(weights=weights), episode()
    outcome = model(given)
    unit, calibrator = model.sensitivity, model.calibrator
    losses = []
    for images in given.images:
        z = model.encoder(images)
        gates = calibrator.gates
        mixing = None if weights == "task" else calibrator.mixing
        for _ in range(3):
            adapting = [gates] if mixing is None else [gates, mixing]
            gradients = torch.autograd.grad(
                one_task(model, z[:SUPPORT], gates, mixing) / unit, adapting, create_graph=True
            )
            gates = gates - calibrator.log_rate.exp() * gradients[0]
            if mixing is not None:
                mixing = mixing - calibrator.log_rate_mixing.exp() * gradients[1]
        losses.append(one_task(model, z, gates, mixing))
    factors = calibrator.factors()
    expected = torch.stack(losses).mean() + (factors @ factors.T - torch.eye(K)).square().sum() / K
    torch.testing.assert_close(outcome.loss, expected, rtol=1e-10, atol=1e-12)
    mine = torch.autograd.grad(outcome.loss, list(model.encoder.parameters()), retain_graph=True)
    theirs = torch.autograd.grad(expected, list(model.encoder.parameters()))
    for got, want in zip(mine, theirs, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("objective", ["simclr", "barlow", "vicreg"])
def test_gradient_is_exact_through_the_inner_loop(objective: str) -> None:
    model, given = learner(objective), episode()
    model(given)  # settles the unit of the inner loss
    places = [model.encoder[0].weight, model.calibrator.basis, model.calibrator.gates, model.calibrator.log_rate]
    gradients = torch.autograd.grad(model(given).loss, places)
    generator = torch.Generator().manual_seed(1)
    for place, gradient in zip(places, gradients, strict=True):
        direction = torch.randn(place.shape, generator=generator, dtype=torch.float64)
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                place += step * direction
            values.append(float(model(given).loss.detach()))
            with torch.no_grad():
                place -= step * direction
        assert float((gradient * direction).sum()) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-7)


def test_first_order_is_another_gradient() -> None:
    given = episode()
    exact, first = (learner(adjoint=adjoint) for adjoint in (Unroll(), FirstOrder()))
    values = [model(given).loss for model in (exact, first)]
    torch.testing.assert_close(*values)
    found = [torch.autograd.grad(v, m.encoder[0].weight)[0] for v, m in zip(values, (exact, first), strict=True)]
    assert (found[0] - found[1]).norm() > 0.01 * found[0].norm()


def test_a_task_adapts_to_its_own_support_alone() -> None:
    model = learner()
    z = torch.randn(TASKS, SUPPORT, 2, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    model.adapt(z)
    before = model.adapt(z)["gates"]
    changed = z.clone()
    changed[1] += 1.0 + torch.rand(SUPPORT, 2, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    after = model.adapt(changed)["gates"]
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])
    assert (after[1] - before[1]).abs().max() > 1e-3
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(model.adapt(z[order])["gates"], before[order])


def test_nothing_is_taken_from_what_tasks_are_called() -> None:
    given = episode()
    told = replace(given, identity=TaskIdentity(torch.tensor([1, 0, 2]), ("a", "b", "c"), torch.randn(TASKS, 2)))
    torch.testing.assert_close(learner()(given).loss, learner()(told).loss, rtol=0, atol=0)


def test_without_steps_all_tasks_have_the_start() -> None:
    model = learner(steps=0)
    adapted = model.adapt(torch.randn(TASKS, SUPPORT, 2, DIM, dtype=torch.float64))
    torch.testing.assert_close(adapted["gates"], model.calibrator.gates.expand(TASKS, K))


def test_others_are_judged_on_their_queries() -> None:
    model, given = learner(outer_on="others"), episode()
    own = learner()
    found, alone = model(given), own(given)
    with torch.no_grad():
        z = model.encoder(given.images)
        adapted = model.adapt(z[:, :SUPPORT])
        far = []
        for i in range(TASKS):
            for j in range(TASKS):
                if i != j:
                    far.append(one_task(model, z[j, SUPPORT:], adapted["gates"][i], None))
    torch.testing.assert_close(found.loss - alone.loss, torch.stack(far).mean())


def test_the_query_side_alone_is_the_outer_loss_where_that_is_asked_for() -> None:
    model, given = learner(outer_on="query"), episode()
    found = model(given)
    with torch.no_grad():
        z = model.encoder(given.images)
        adapted = model.adapt(z[:, :SUPPORT])
        own = [one_task(model, z[i, SUPPORT:], adapted["gates"][i], None) for i in range(TASKS)]
    torch.testing.assert_close(found.metrics["ssl"], torch.stack(own).mean())


def test_evaluation_settles_no_unit_of_the_inner_loss() -> None:
    model = learner().eval()
    with torch.no_grad():
        model.adapt(model.encoder(episode().support.images))
    assert float(model.sensitivity) == 0.0
    model.train()(episode())
    assert float(model.sensitivity) > 0.0


@pytest.mark.parametrize("objective", ["byol", "moco", "simsiam", "vicreg"])
def test_every_kind_of_objective_steps(objective: str) -> None:
    model = learner(objective)
    for seed in range(3):
        outcome = model(episode(seed))
        outcome.loss.backward()
        model.end_step()
        assert outcome.loss.isfinite()
    assert model.calibrator.log_rate.grad is not None
    assert (objective == "moco") or float(model.calibrator.log_rate.grad.abs().max()) > 0


def test_rates_are_in_units_of_the_gates_for_any_objective() -> None:
    moves = {}
    for objective in ("simclr", "barlow", "vicreg"):
        model = learner(objective, steps=1)
        with torch.no_grad():
            model.calibrator.log_rate.fill_(0.0)
        z = model.encoder(episode().support.images)
        moved = model.adapt(z)["gates"] - model.calibrator.gates
        moves[objective] = float(moved.detach().square().mean().sqrt())
    assert all(size == pytest.approx(1.0) for size in moves.values()), moves


class Conflicting:
    """Vectors of four parts; tasks of kind k share part k, and part 3 in all; the rest is drawn anew."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def sample(self) -> Episode:
        a, b = (torch.randn(3, 16, 4, 3, generator=self.generator) for _ in range(2))
        for kind in range(3):
            b[kind, :, kind] = a[kind, :, kind]
        b[:, :, 3] = a[:, :, 3]
        x = torch.stack([a, b], 2).flatten(-2)
        whole = Samples(x, None, None, torch.zeros(3, 16, dtype=torch.int64))
        return Episode(whole.map(lambda t: t[:, :8]), whole.map(lambda t: t[:, 8:]))


def explained(encoder: nn.Module, seed: int = 9) -> Tensor:
    """R² of each part, read linearly from the representation."""
    x = torch.randn(2000, 12, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        z = torch.cat([encoder(x), torch.ones(2000, 1)], 1).double()
    y = x.double()
    fitted = z @ torch.linalg.lstsq(z, y).solution
    return (1 - (fitted - y).square().mean(0) / y.var(0)).view(4, 3).mean(1)


@pytest.mark.slow
def test_what_only_some_tasks_share_is_kept_where_tasks_adapt() -> None:
    gains = []
    for seed in range(3):  # of one, initialization decides as much
        kept = {}
        for steps in (0, 3):
            torch.manual_seed(seed)
            encoder = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 12))
            model = TC2(
                encoder,
                build_objective("simclr", temperature=0.2),
                projector=Projector(12, 32, 16),
                calibrator=TaskCalibrator(12, 11, generator=torch.Generator().manual_seed(seed)),
                inner=InnerLoop(torchopt.sgd(1.0), steps=steps),
            )
            optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
            sampler = Conflicting(seed)
            for _ in range(60):
                optimizer.zero_grad()
                model(sampler.sample()).loss.backward()
                optimizer.step()
            kept[steps] = float(explained(encoder)[:3].mean())
        gains.append(kept[3] - kept[0])
    assert sum(gains) / len(gains) > 0.1, gains


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"outer_on": "all"}, "unknown outer_on 'all'"),
        ({"statistics": "batch"}, "unknown statistics 'batch'"),
    ],
)
def test_unknown_names_are_told(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        learner(**change)  # type: ignore[arg-type]


def test_as_many_factors_as_dimensions_are_refused() -> None:
    with pytest.raises(InputError, match="K factors must be fewer"):
        TaskCalibrator(4, 4)
    with pytest.raises(InputError, match="unknown weights 'view'"):
        TaskCalibrator(4, 3, weights="view")  # type: ignore[arg-type]
    assert math.isclose(float(TaskCalibrator(4, 3, rate=2.0).rates(0)["gates"][0].detach()), 2.0, rel_tol=1e-6)


def test_a_first_episode_without_a_gradient_is_no_unit() -> None:
    """MoCo's queue is empty in the first step: its loss is 0 and says nothing of how far a rate should move."""
    model = learner("moco")
    model(episode(0)).loss.backward()
    model.end_step()
    assert float(model.sensitivity) == 0.0
    for seed in (1, 2):
        model.zero_grad()
        model(episode(seed)).loss.backward()
        model.end_step()
    assert float(model.sensitivity) > 1e-6
    assert float(model.calibrator.log_rate.grad.abs().max()) > 0  # type: ignore[union-attr]
    adapted = model.adapt(model.encoder(episode(3).support.images), model.encoder(episode(3).support.images).detach())
    assert float(adapted["gates"].detach().abs().max()) < 100


def test_a_side_that_cannot_be_judged_is_told() -> None:
    given = episode()
    one = Episode(given.support, given.query.map(lambda t: t[:, :1]))
    for outer_on in ("query", "others"):
        with pytest.raises(InputError, match="at least 2 samples"):
            learner(outer_on=outer_on)(one)
    alone = Episode(given.support.map(lambda t: t[:1]), given.query.map(lambda t: t[:1]))
    with pytest.raises(InputError, match="needs 2 tasks"):
        learner(outer_on="others")(alone)


def test_what_is_told_is_refused() -> None:
    with pytest.raises(InputError, match="TC² is told nothing"):
        TC2(
            nn.Linear(IN, DIM),
            build_objective("simclr"),
            projector=TaskHeads(DIM, 6, 5, kinds=2),
            calibrator=TaskCalibrator(DIM, K),
            inner=InnerLoop(torchopt.sgd(1.0), steps=1),
        )


def made(encoder: nn.Module, objective: object, width: int, **options: object) -> TC2:
    inner = InnerLoop(torchopt.sgd(1.0), steps=1)
    calibrator = TaskCalibrator(width, factors=2)
    return TC2(encoder, objective, projector=Projector(DIM, 6, 5), calibrator=calibrator, inner=inner, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("objective", "found"),
    [
        (nn.CosineSimilarity(), r"found CosineSimilarity; wrap any loss\(z1, z2\) of two views, Custom\(loss\)"),
        (nt_xent, r"found function; wrap"),
        (SimCLR, r"found the class SimCLR; make one of it, SimCLR\(\.\.\.\)"),
    ],
)
def test_a_loss_that_is_no_objective_is_refused(objective: object, found: str) -> None:
    with pytest.raises(InputError, match=f"^TC2: objective must be one of metatc2.objectives, {found}"):
        made(nn.Linear(IN, DIM), objective, DIM)
    with pytest.raises(InputError, match="^SelfSupervised: objective must be"):
        SelfSupervised(nn.Identity(), objective, projector=nn.Identity())  # type: ignore[arg-type]


class Wide(nn.Linear):
    dim = DIM


def test_a_calibrator_of_another_width_is_refused() -> None:
    said = r"has 4 dimensions and the calibrator is for 7; make it for that width, TaskCalibrator\(4, factors=3\)"
    with pytest.raises(InputError, match=said):
        made(Wide(IN, DIM), SimCLR(), 7)
    silent = made(nn.Linear(IN, DIM), SimCLR(), 7)  # an encoder that does not say its width
    for steps in (0, 1):
        silent.inner = replace(silent.inner, steps=steps)
        with pytest.raises(InputError, match=said):
            silent(episode(dtype=torch.float32))


def test_a_calibrator_behind_the_projector_is_of_its_width() -> None:
    model = made(Wide(IN, DIM), SimCLR(), 5, where="projector")
    assert model(episode(dtype=torch.float32)).loss.isfinite()
