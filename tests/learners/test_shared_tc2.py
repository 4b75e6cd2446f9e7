"""TC² with one calibrator for all: identity with the baseline, one encoder pass a step, exact gradients, every switch."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metatc2.calibration import Calibrated, Calibrator, PooledFactors, SampleWeights, named_calibrator
from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError
from metatc2.inner import FirstOrder, InnerLoop, inner_optimizer
from metatc2.learners import LookAheadTC2, SelfSupervised, SharedTC2
from metatc2.learners.gradient_scale import gradient_scale
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Predictor, Projector
from metatc2.objectives import BYOL, BarlowTwins, Embeddings, MoCo, Objective, SimCLR
from metatc2.objectives.regularizers import Isotropy
from metatc2.training import Trainer, TrainerOptions

from ..covering import covered, some

# A few steps on noise: embeddings and factors are not healthy, and need not be.
pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")


def episode(tasks: int = 2, samples: int = 8, seed: int = 0) -> Episode:
    g = torch.Generator().manual_seed(seed)
    images = torch.rand(tasks, samples, 2, 1, 16, 16, generator=g)
    index = torch.arange(tasks * samples).view(tasks, samples)
    half = samples // 2
    return Episode(
        Samples(images[:, :half], None, None, index[:, :half]), Samples(images[:, half:], None, None, index[:, half:])
    )


class Episodes:
    """A sampler of a user: new random images every step."""

    def __init__(self, tasks: int) -> None:
        self.tasks, self.step = tasks, 0

    def sample(self) -> Episode:
        self.step += 1
        return episode(self.tasks, seed=self.step)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


def isotropy(weight: float) -> dict[str, Any]:
    """Arguments of a learner that is asked for isotropy."""
    return {"regularizer": Isotropy(), "weight": weight}


def parts(objective: Objective, dim: int = 8, seed: int = 0) -> dict[str, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {
            "encoder": Conv4(channels=1, width=dim),
            "objective": objective,
            "projector": Projector(dim, 16, 12),
            "predictor": Predictor(12, 16) if objective.predictor else None,
        }


def tc2(
    objective: Objective | None = None,
    steps: int = 2,
    kind: type[SharedTC2] = SharedTC2,
    adjoint: Any = None,
    seed: int = 0,
    **options: Any,
) -> SharedTC2:
    names = ("form", "factor_network", "weights", "control")
    calibrator = {k: options.pop(k) for k in names if k in options}
    dim = 12 if options.get("where") == "projector" else 8
    return kind(
        **parts(objective or SimCLR(), seed=seed),
        calibrator=named_calibrator(dim, 3, generator=torch.Generator().manual_seed(seed + 1), **calibrator),
        inner=InnerLoop(inner_optimizer("sgd", 0.1, clip=1.0), steps, *([adjoint] if adjoint else [])),
        **options,
    )


@pytest.mark.parametrize("make", some([SimCLR, BYOL, MoCo], [BYOL]))
def test_without_calibration_it_is_the_baseline_bit_for_bit(make: type[Objective]) -> None:
    plain = SelfSupervised(**parts(make()))
    calibrated = tc2(make(), steps=0, blend=0.0, standardize=False)
    options = TrainerOptions(steps=4, lr=1e-2, log_every=1)
    first = Trainer(plain, Episodes(1), options).fit()
    second = Trainer(calibrated, Episodes(1), options).fit()
    assert [r["ssl"] for r in first] == [r["ssl"] for r in second]
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, calibrated.state_dict()[name]), name
    # The control can fail: with a blend, the runs part.
    for change in ({"blend": 0.5, "blend_warmup": 0.0}, isotropy(0.5)):
        other = tc2(make(), **{"steps": 0, "blend": 0.0, "standardize": False, **change})
        third = Trainer(other, Episodes(1), options).fit()
        assert [r["ssl"] for r in first] != [r["ssl"] for r in third]


class Counting(nn.Module):
    """Counts forward passes of an encoder, and backward passes by its input's gradient."""

    def __init__(self, encoder: Conv4) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, encoder.dim
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += 1
        features: Tensor = self.encoder(images)

        def count(gradient: Tensor) -> None:
            self.backwards += 1

        features.register_hook(count)
        return features


@pytest.mark.parametrize(("tasks", "steps"), [(1, 0), (2, 1), (4, 5)])
def test_encoder_runs_once_forward_and_once_backward(tasks: int, steps: int) -> None:
    learner = tc2(steps=steps)
    counting = Counting(learner.encoder)  # type: ignore[arg-type]
    learner.encoder = counting
    Trainer(learner, Episodes(tasks), TrainerOptions(steps=3)).fit()
    assert (counting.forwards, counting.backwards) == (3, 3)


class Frozen(Calibrator):
    """The calibrator with every stop-gradient of the formulas written as what it means: a constant of the start."""

    start: Tensor

    def forward(self, z: Tensor, blend: float = 1.0, factors: Tensor | None = None) -> Calibrated:
        return super().forward(z, blend, self.factor_network(self.start[:, : z.shape[1]]))

    def loss(self, z: Tensor, calibrated: Calibrated) -> Tensor:
        return super().loss(self.start[:, : z.shape[1]], calibrated)


def in_double(**options: Any) -> SharedTC2:
    """A learner in float64, its calibrator away from the zeros of the start."""
    learner = tc2(**options).double()
    with torch.no_grad():
        for p in learner.calibrator.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()), dtype=p.dtype))
    return learner


def doubles(tasks: int = 2, seed: int = 0) -> Episode:
    data = episode(tasks, seed=seed)
    return Episode(*(s.map(lambda t: t.double() if t.is_floating_point() else t) for s in (data.support, data.query)))


def isotropy_of(z: Tensor, factors: Tensor | None = None) -> float:
    """``log(K |C|² / s²)`` in numpy."""
    used = z.detach().numpy()
    used = used if factors is None else used @ factors.detach().numpy().T
    one, two = (used[..., view, :].reshape(-1, used.shape[-1]) for view in (0, 1))
    both = np.concatenate([one, two])
    covariance = np.cov(both, rowvar=False, bias=True)
    between = ((one - both.mean(0)) * (two - both.mean(0))).sum(1).mean()
    shared = max(between + 0.1 * np.trace(covariance), 0.01 * np.trace(covariance)) / 1.1
    return float(np.log(used.shape[-1] * (covariance**2).sum() / shared**2))


@pytest.mark.parametrize(("gamma", "statistics"), covered((0.0, 1.0), ("episode", "task"), strength=1))
def test_gradient_of_the_encoder_is_exact_through_the_inner_loop(gamma: float, statistics: str) -> None:
    learner, data = in_double(steps=3, gamma=gamma, statistics=statistics, **isotropy(0.7)), doubles()
    learner.scale.fill_(1.3)  # of earlier steps
    weight = next(p for p in learner.encoder.parameters() if p.ndim == 4)
    gradient = torch.autograd.grad(learner(data).loss, weight)[0].flatten()
    # L_tc2(ω) stands apart from θ, and running averages do not move without end_step.
    start = learner.branches(data).online.detach()
    adapted = learner.adapt(learner.omega(), start[:, :4], None)
    factors = learner.calibrate(adapted, start).factors.detach()
    frozen = Frozen(PooledFactors(8, 3), SampleWeights(8)).double()
    frozen.load_state_dict(learner.calibrator.state_dict())
    frozen.start = start
    learner.calibrator = frozen

    here, g = weight.detach().clone(), torch.Generator().manual_seed(2)

    def outer(shift: Tensor) -> float:
        with torch.no_grad():
            weight.copy_(here + shift)
        return float(learner(data).metrics["ssl"]) + 0.7 * 1.3 * isotropy_of(learner.branches(data).online, factors)

    h = 1e-7  # so near that no ReLU and no maximum of a window changes sides: with 1e-5 some do
    for _ in range(3):
        direction = torch.randn(weight.shape, generator=g, dtype=weight.dtype)
        measured = (outer(h * direction) - outer(-h * direction)) / (2 * h)
        assert float(gradient @ direction.flatten()) == pytest.approx(measured, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_first_order_leaves_out_the_second_order(gamma: float) -> None:
    exact, first = (
        torch.autograd.grad(made(episode()).loss, next(made.encoder.parameters()))[0]
        for made in (tc2(steps=3, gamma=gamma), tc2(steps=3, gamma=gamma, adjoint=FirstOrder()))
    )
    assert not torch.allclose(exact, first)


def nt_xent(projections: Tensor, temperature: float = 0.5) -> float:
    """SimCLR's loss of ``(samples, views, D)`` in numpy."""
    p = projections.detach().numpy()
    p = p / np.linalg.norm(p, axis=-1, keepdims=True)
    views = np.concatenate([p[:, 0], p[:, 1]])
    n, likeness = len(p), np.exp(views @ views.T / temperature)
    np.fill_diagonal(likeness, 0.0)
    partner = np.roll(np.arange(2 * n), n)
    return float(-np.log(likeness[np.arange(2 * n), partner] / likeness.sum(1)).mean())


@pytest.mark.parametrize("outer_on", ["whole", "query"])
@pytest.mark.parametrize("statistics", ["episode", "task"])
def test_outer_loss_is_the_sum_of_its_parts(statistics: str, outer_on: str) -> None:
    """SimCLR on the calibrated samples, L_tc2(ω), and isotropy in units of the average of SimCLR's gradient scale on them."""
    learner, scale = in_double(gamma=1.0, statistics=statistics, outer_on=outer_on, **isotropy(0.7)), 0.0
    for step in range(3):
        data = doubles(tasks=3, seed=step)
        z = learner.branches(data).online
        omega = learner.omega()
        adapted = learner.calibrate(learner.adapt(omega, z[:, :4], None), z)
        judged = adapted.features[:, 4 if outer_on == "query" else 0 :]
        # The projector normalizes within what it takes for a task.
        tasks = [torch.cat(list(judged))] if statistics == "episode" else list(judged)
        ssl = np.mean([nt_xent(learner.projector(task[None])[0]) for task in tasks])
        own = learner.calibrator.loss(z, learner.calibrate(omega, z)).item()
        features = judged.detach().requires_grad_()
        groups = features.flatten(0, 1)[None] if statistics == "episode" else features
        objective = learner.objective(Embeddings(learner.projector(groups)))
        pulls = float(torch.autograd.grad(objective, features)[0].norm() * features.detach().norm())
        unit = scale if step else pulls  # a first step has no average yet
        outcome = learner(data)
        assert outcome.metrics["ssl"].item() == pytest.approx(ssl)
        assert outcome.metrics["isotropy"].item() == pytest.approx(isotropy_of(z, adapted.factors))
        assert outcome.loss.item() == pytest.approx(ssl + own + 0.7 * unit * isotropy_of(z, adapted.factors))
        learner.end_step()
        scale = pulls if step == 0 else 0.9 * scale + 0.1 * pulls
        assert learner.scale.item() == pytest.approx(scale)


def test_isotropy_asks_the_encoder_and_neither_heads_nor_calibrator() -> None:
    with_it, without = (in_double(gamma=1.0, **asked) for asked in (isotropy(0.7), {}))
    for learner in (with_it, without):
        learner(doubles()).loss.backward()
    moved = {
        name.split(".")[0]
        for (name, p), other in zip(with_it.named_parameters(), without.parameters(), strict=True)
        if p.grad is not None and other.grad is not None and not torch.equal(p.grad, other.grad)
    }
    assert moved == {"encoder"}


@pytest.mark.parametrize("make", some([SimCLR, BarlowTwins, BYOL, MoCo], [BarlowTwins, BYOL]))
def test_statistics_of_the_episode_or_of_each_task(make: type[Objective]) -> None:
    """Without calibration they are the plain objective on the whole batch, and the control "tasks only"."""
    options, found = TrainerOptions(steps=3, lr=1e-2, log_every=1), []
    for statistics in ("episode", "task"):
        plain = SelfSupervised(**parts(make()), per_task=statistics == "task")
        uncalibrated = tc2(make(), steps=0, blend=0.0, standardize=False, statistics=statistics)
        runs = [Trainer(learner, Episodes(2), options).fit() for learner in (plain, uncalibrated)]
        first, second = ([float(r["ssl"]) for r in run] for run in runs)
        # Merging takes the samples in another order, which rounds differently.
        assert first == pytest.approx(second, rel=1e-3)
        found.append(first)
    assert abs(found[0][-1] - found[1][-1]) > 0.01


@pytest.mark.parametrize(
    ("acts", "options"),
    [
        (False, {}),
        (False, {"factor_network": "parameter", **isotropy(0.3)}),
        (True, {"gamma": 1.0}),
        (True, {"statistics": "task"}),
        (True, {"weights": "task"}),
    ],
    ids=["default", "factors as parameters", "gamma", "statistics", "weights by task"],
)
def test_where_the_cut_into_tasks_acts(acts: bool, options: dict[str, Any]) -> None:
    # The same support and query images, as one task, two or four.
    whole, found = episode(1, 16), []

    def cut(side: Samples, tasks: int) -> Samples:
        images, index = (x.unflatten(1, (tasks, -1)).squeeze(0) for x in (side.images.double(), side.index))
        return Samples(images, None, None, index)

    for tasks in (1, 2, 4):
        learner = tc2(**options).double().train()
        learner.scale = torch.ones(())  # as if steps had gone before
        learner(Episode(cut(whole.support, tasks), cut(whole.query, tasks))).loss.backward()
        found.append(torch.cat([p.grad.flatten() for p in learner.encoder.parameters() if p.grad is not None]))
    differ = [float((a - found[0]).norm() / found[0].norm()) for a in found[1:]]
    assert all(d > 1e-3 if acts else d < 1e-9 for d in differ), differ


@pytest.mark.parametrize("make", some([SimCLR, BYOL, MoCo], [SimCLR]))
def test_a_single_task_is_the_episode(make: type[Objective]) -> None:
    options = TrainerOptions(steps=2, lr=1e-2, log_every=1)
    for tasks in (1, 2):
        one, two = (
            [r["loss"] for r in Trainer(tc2(make(), statistics=s), Episodes(tasks), options).fit()]
            for s in ("episode", "task")
        )
        assert (one == two) == (tasks == 1)


def test_isotropy_without_factors_for_the_plain_objective() -> None:
    learner = SelfSupervised(**parts(SimCLR()), standardize=True, **isotropy(0.3))
    for step in range(2):
        outcome = learner(episode(seed=step))
        ssl = outcome.metrics["ssl"].item()
        z = learner.branches(episode(seed=step).merged()).online
        objective = learner.objective(learner.embed(z, None))
        unit = learner.scale.item() if step else float(torch.autograd.grad(objective, z)[0].norm() * z.detach().norm())
        assert outcome.loss.item() == pytest.approx(ssl + 0.3 * unit * isotropy_of(z), rel=1e-5)
        learner.end_step()


def test_pull_is_blind_to_what_does_not_act() -> None:
    x = torch.tensor([3.0, 4.0], requires_grad=True)
    assert gradient_scale(x.square().sum() / 2, x).item() == pytest.approx(25)  # ‖x‖ times the gradient, x
    assert gradient_scale(x.square().sum() / 2 + 100, x).item() == pytest.approx(25)
    assert gradient_scale(torch.tensor(-7.0), x.detach()).item() == 7  # no gradient there: its magnitude


class Brightness(Episodes):
    """Views share an image's brightness, which nearly all of their variance is, and a pattern of 4 × 4 squares."""

    def __init__(self, seed: int) -> None:
        super().__init__(1)
        self.seed = seed

    def sample(self) -> Episode:
        self.step += 1
        g = torch.Generator().manual_seed(self.seed + self.step)
        bright, pattern, noise = (
            torch.rand(1, 16, *shape, generator=g) for shape in ((1, 1, 1, 1), (1, 1, 4, 4), (2, 1, 16, 16))
        )
        pattern = pattern.repeat_interleave(4, -1).repeat_interleave(4, -2)
        images, index = 0.9 * bright + 0.07 * pattern + 0.03 * noise, torch.arange(16)[None]
        return Episode(*(Samples(images[:, s], None, None, index[:, s]) for s in (slice(8), slice(8, 16))))


@pytest.mark.slow
def test_training_with_isotropy_lowers_it(seed_offset: int) -> None:
    """Without, the features spread about as unevenly as what the views share; the mean of three runs, far apart."""
    options = TrainerOptions(steps=20, lr=1e-2, log_every=10)
    ends = {
        weight: np.mean(
            [
                Trainer(tc2(seed=seed, **isotropy(weight)), Brightness(seed), options).fit()[-1]["isotropy"]
                for seed in (seed_offset, seed_offset + 100, seed_offset + 200)
            ]
        )
        for weight in (0.0, 0.3)
    }
    assert ends[0.3] < 0.6 * ends[0.0]


def test_unknown_statistics() -> None:
    with pytest.raises(InputError, match="unknown statistics 'episodes'; did you mean 'episode'"):
        tc2(statistics="episodes")


def test_gamma_counts_in_units_of_the_average_magnitude() -> None:
    found = []
    for gamma, scale in ((1.0, 2.0), (0.5, 1.0), (0.5, 0.0), (0.5, 2.0)):
        learner = in_double(gamma=gamma)
        learner.scale.fill_(scale)
        z = learner.branches(doubles()).online[:, :4]
        found.append(torch.cat([p.flatten() for p in learner.adapt(learner.omega(), z, None).values()]))
    torch.testing.assert_close(found[0], found[1])
    assert torch.equal(found[1], found[2])  # no average yet: 1
    assert not torch.allclose(found[2], found[3])


def test_inner_loop_lowers_the_support_loss_and_leaves_omega_alone(seed_offset: int) -> None:
    learner = tc2(steps=20, gamma=0.0, seed=seed_offset)
    before = copy.deepcopy(learner.calibrator.state_dict())
    z = learner.branches(episode(seed=seed_offset)).online[:, :4]
    omega = dict(learner.calibrator.named_parameters())
    adapted = learner.adapt(omega, z, None)
    first, last = (learner.calibrator.loss(z, learner.calibrate(p, z)).item() for p in (omega, adapted))
    assert last < 0.95 * first
    assert all(torch.equal(v, before[k]) for k, v in learner.calibrator.state_dict().items())


def test_the_calibrator_is_meta_learned() -> None:
    learner = tc2(steps=1)
    outcome = learner(episode())
    outcome.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.calibrator.parameters())
    names = [group.name for group in learner.groups()]
    assert names == ["encoder", "calibrator"]
    both = [id(p) for group in learner.groups() for p in group.parameters]
    assert len(both) == len(set(both))


SWITCHES: list[dict[str, Any]] = [
    {"form": "gate"},
    {"form": "blend"},
    {"factor_network": "parameter"},
    {"factor_network": "fixed"},
    {"weights": "task"},
    {"control": "shuffle"},
    {"control": "random-projection"},
    {"where": "projector"},
    {"outer_on": "query"},
    isotropy(0.3),
    {"standardize": False},
    {"gamma": 1.0},
    {"steps": 0},
    {"kind": LookAheadTC2},
]


def losses(make: type[Objective], **options: Any) -> list[float]:
    run = TrainerOptions(steps=2, log_every=1)
    return [float(record["loss"]) for record in Trainer(tc2(make(), **options), Episodes(2), run).fit()]


@cache
def losses_without_a_switch(make: type[Objective]) -> list[float]:
    return losses(make)


@pytest.mark.parametrize(("make", "options"), covered((SimCLR, BYOL, MoCo), SWITCHES, strength=1), ids=str)
def test_every_switch_trains_and_changes_the_run(make: type[Objective], options: dict[str, Any]) -> None:
    switched = losses(make, **options)
    assert torch.tensor(switched).isfinite().all()
    assert losses_without_a_switch(make) != switched


def test_look_ahead_judges_omega_by_the_other_tasks() -> None:
    learner = tc2(kind=LookAheadTC2, steps=0)
    assert isinstance(learner, LookAheadTC2)
    data = episode(tasks=3)
    omega = dict(learner.calibrator.named_parameters())
    buffers = copy.deepcopy(dict(learner.encoder.named_buffers()))
    value, gradient = learner.look_ahead_loss(data, omega)
    assert all(torch.equal(b, buffers[k]) for k, b in learner.encoder.named_buffers())
    name = "weight_network.b1"
    h = 1e-2
    shifted = []
    for sign in (1, -1):
        moved = {k: p.detach().clone().requires_grad_() for k, p in omega.items()}
        with torch.no_grad():
            moved[name][0] += sign * h
        shifted.append(learner.look_ahead_loss(data, moved)[0].item())
    assert gradient[name][0].item() == pytest.approx((shifted[0] - shifted[1]) / (2 * h), rel=0.05, abs=2e-4)
    # θ does not see the judgment: its gradient is that of the objective alone.
    learner.zero_grad()
    learner(data).loss.backward()
    own = [p.grad.clone() for p in learner.encoder.parameters() if p.grad is not None]
    branches = learner.branches(data)
    constant = {k: p.detach() for k, p in omega.items()}
    alone = torch.autograd.grad(learner.outcome(constant, {}, branches, 0).loss, list(learner.encoder.parameters()))
    for a, b in zip(own, alone, strict=True):
        torch.testing.assert_close(a, b)
    assert value.isfinite()


def test_an_alarm_is_raised_when_factors_explain_nothing() -> None:
    learner = tc2()
    learner.begin_step(50, 100)
    assert learner.alarms({"unexplained": 0.9})
    assert not learner.alarms({"unexplained": 0.1})
    learner.begin_step(5, 100)
    assert not learner.alarms({"unexplained": 0.9})


def test_blend_warms_up() -> None:
    learner = tc2(blend=0.8, blend_warmup=0.5)
    seen = []
    for step in range(10):
        learner.begin_step(step, 10)
        seen.append(round(learner.blend, 6))
    assert seen == [0.0, 0.16, 0.32, 0.48, 0.64, 0.8, 0.8, 0.8, 0.8, 0.8]
