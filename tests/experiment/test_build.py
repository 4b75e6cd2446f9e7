"""From a configuration to its parts: methods are paired, sizes are checked before anything is written."""

from __future__ import annotations

import pytest
import torch

from metatc2.calibration import add, gate, standardize
from metatc2.data import load
from metatc2.episodes import Episode, SplitBatch
from metatc2.errors import InputError
from metatc2.experiment.build import build_fresh_encoder, build_learner, build_sampler, build_views
from metatc2.experiment.config import Config, merge, override, read_task
from metatc2.inner import Adjoint, FirstOrder, Truncated, Unroll
from metatc2.learners import TC2, LookAheadTC2, SelfSupervised, SharedTC2
from metatc2.models.heads import TaskNorm
from metatc2.objectives import OBJECTIVES
from metatc2.objectives.regularizers import Isotropy, isotropy

# Both kinds of TC²: weights that each task adapts, and one calibrator for all.
TASK, SHARED = ("calibration.name=tc2",), ("calibration.name=tc2", "calibration.adapt=shared")
ON_ENCODER = ("learner.name=protonet", "calibration.name=tc2")
ISOTROPY = ("regularizer.name=isotropy",)


def config(*assignments: str) -> Config:
    # Of the task itself, where labeled tasks leave them alone.
    task = merge(read_task("digits"), {"encoder": {"width": 24}, "episode": {"batch": 32}}, "task")
    return override(task, assignments)


@pytest.mark.parametrize(
    "other",
    [("calibration.name=standardize",), ("calibration.name=tasks",), ISOTROPY, TASK, SHARED, (*SHARED, *ISOTROPY)],
    ids=" ".join,
)
@pytest.mark.parametrize("objective", ["simclr", "byol"])
def test_methods_of_a_seed_meet_the_same_episodes_from_the_same_start(other: tuple[str, ...], objective: str) -> None:
    one, two = (config(f"objective.name={objective}", *words) for words in ((), other))
    store = load("digits")
    first, second = build_sampler(one, store), build_sampler(two, store)
    for _ in range(3):
        assert torch.equal(first.sample().images, second.sample().images)
    plain, method = build_learner(one, 1, 28), build_learner(two, 1, 28)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, method.state_dict()[name]), name
    for name, tensor in build_fresh_encoder(two, 1, 28).state_dict().items():
        assert torch.equal(tensor, plain.encoder.state_dict()[name]), name
    seeded = build_learner(config("trainer.seed=1"), 1, 28)
    assert not torch.equal(next(seeded.encoder.parameters()), next(plain.encoder.parameters()))


@pytest.mark.parametrize("tc2", [TASK, SHARED], ids=["task", "shared"])
def test_building_leaves_the_global_generator_alone(tc2: tuple[str, ...]) -> None:
    before = torch.get_rng_state()
    build_learner(config(*tc2), 1, 28)
    assert torch.equal(torch.get_rng_state(), before)


def test_simsiams_projector_ends_in_a_norm_and_no_other() -> None:
    for name in OBJECTIVES:
        learner = build_learner(override(read_task("shapes"), [f"objective.name={name}"]), 3, 32)
        assert isinstance(learner, SelfSupervised)
        assert isinstance(list(learner.projector.children())[-1], TaskNorm) == (name == "simsiam")


def test_every_calibration_has_its_learner() -> None:
    names = ("none", "standardize", "tasks")
    made = [build_learner(config(f"calibration.name={name}"), 1, 28) for name in names]
    assert all(type(learner) is SelfSupervised for learner in made)
    assert [learner.per_task for learner in made] == [False, False, True]
    assert [learner.standardize for learner in made] == [False, True, False]
    assert type(build_learner(config(*TASK), 1, 28)) is TC2
    assert type(build_learner(config(*SHARED), 1, 28)) is SharedTC2
    assert type(build_learner(config(*SHARED, "calibration.look_ahead=true"), 1, 28)) is LookAheadTC2


@pytest.mark.parametrize("calibration", ["none", "standardize", "tasks", "tc2", "shared"])
def test_a_regularizer_goes_with_every_calibration_and_with_none_unless_it_is_named(calibration: str) -> None:
    words = SHARED if calibration == "shared" else (f"calibration.name={calibration}",)
    without, usual, weighed = (
        build_learner(config(*words, *more), 1, 28) for more in ((), ISOTROPY, (*ISOTROPY, "regularizer.weight=0.3"))
    )
    assert isinstance(without, SelfSupervised)
    assert isinstance(usual, SelfSupervised)
    assert isinstance(weighed, SelfSupervised)
    assert (without.regularizer, without.weight) == (None, 0.0)
    assert isinstance(usual.regularizer, Isotropy)
    assert (usual.weight, weighed.weight) == (Isotropy.weight, 0.3)
    with pytest.raises(InputError, match="regularizer.weight is for regularizer.name"):
        config(*words, "regularizer.weight=0.3")


@pytest.mark.parametrize("tc2", [TASK, SHARED], ids=["task", "shared"])
def test_adjoint_of_the_calibration_by_name(tc2: tuple[str, ...]) -> None:
    def adjoint(*assignments: str) -> Adjoint:
        learner = build_learner(config(*tc2, *assignments), 1, 28)
        assert isinstance(learner, (SharedTC2, TC2))
        return learner.inner.adjoint

    assert adjoint() == Unroll()
    assert adjoint("calibration.adjoint=first-order") == FirstOrder()
    assert adjoint("calibration.adjoint=truncated") == Truncated(1)
    assert adjoint("calibration.adjoint=truncated", "calibration.adjoint.last_steps=2") == Truncated(2)


def episode(*assignments: str) -> Episode:
    sampler = build_sampler(config(*assignments), load("digits"))
    assert isinstance(sampler, SplitBatch)
    return sampler.sample()


def test_isotropy_from_configuration_to_loss() -> None:
    """The plain objective of the standardized batch, and the isotropy of it in units of the objective's gradient scale."""
    data = episode()
    control, standardized = (
        build_learner(config("calibration.name=standardize", *more), 1, 28)
        for more in ((*ISOTROPY, "regularizer.weight=0.3"), ())
    )
    ssl = standardized(data).loss.item()
    spread = isotropy(standardize(standardized.branches(data.merged()).raw)).item()
    assert spread > 0.1
    features = standardized.branches(data.merged()).online.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(standardized.objective(standardized.embed(features, None)), features)
    unit = float(gradient.norm() * features.detach().norm())
    assert control(data).loss.item() == pytest.approx(ssl + 0.3 * unit * spread, rel=1e-4)


def test_settings_of_the_outer_loss_reach_tc2() -> None:
    usual = build_learner(config(*SHARED), 1, 28)
    assert isinstance(usual, SharedTC2)
    assert (usual.gamma, usual.statistics, usual.outer_on, usual.standardize) == (0.0, "episode", "whole", True)
    assert (usual.calibrator.compose, usual.calibrator_lr) == (add, 1e-3)
    chosen = [
        "calibration.gamma=0.5",
        "calibration.statistics=task",
        "calibration.outer_on=query",
        "calibration.lr=0.5",
    ]
    made = build_learner(config(*SHARED, "calibration.form=gate", "calibration.standardize=false", *chosen), 1, 28)
    assert isinstance(made, SharedTC2)
    assert (made.gamma, made.statistics, made.outer_on, made.standardize) == (0.5, "task", "query", False)
    assert (made.calibrator.compose, made.calibrator_lr) == (gate, 0.5)


def test_settings_of_the_outer_loss_reach_tc2_whose_tasks_adapt() -> None:
    usual = build_learner(config(*TASK), 1, 28)
    assert isinstance(usual, TC2)
    assert (usual.gamma, usual.statistics, usual.outer_on, usual.standardize) == (1.0, "task", "whole", False)
    assert (usual.calibrator.weights, usual.calibrator_lr) == ("linear", 2e-2)
    assert usual.calibrator.log_rate.exp().tolist() == pytest.approx([1.0] * 18)
    chosen = ["gamma=0.5", "statistics=episode", "outer_on=others", "standardize=true", "lr=0.5", "inner_lr=0.2"]
    weighed = ["weights=sample", "sparsity=0.1", "orthogonality=0.2", "reconstruction=0.3"]
    made = build_learner(config(*TASK, *(f"calibration.{word}" for word in (*chosen, *weighed))), 1, 28)
    assert isinstance(made, TC2)
    assert (made.gamma, made.statistics, made.outer_on, made.standardize) == (0.5, "episode", "others", True)
    calibrator = made.calibrator
    assert (calibrator.weights, made.calibrator_lr) == ("sample", 0.5)
    assert calibrator.log_rate.exp().tolist() == pytest.approx([0.2] * 18)
    assert calibrator.lambda_sparsity == 0.1
    assert (calibrator.lambda_orthogonality, calibrator.lambda_reconstruction) == (0.2, 0.3)


@pytest.mark.parametrize(
    ("assignments", "factors", "dim"),
    [
        ((), 18, 24),
        (("calibration.factors=5",), 5, 24),
        (("encoder.width=10",), 7, 10),
        (("calibration.where=projector", "head.projector_out=32"), 24, 32),
    ],
)
@pytest.mark.parametrize("tc2", [TASK, SHARED, ON_ENCODER], ids=["task", "shared", "labeled"])
def test_factors_are_three_quarters_of_the_width_unless_set(
    tc2: tuple[str, ...], assignments: tuple[str, ...], factors: int, dim: int
) -> None:
    if tc2 == ON_ENCODER and "calibration.where=projector" in assignments:
        pytest.skip("no projector there")
    learner = build_learner(config(*tc2, *assignments), 1, 28)
    if isinstance(learner, TC2):
        shape = learner.calibrator.factors().shape
    else:  # in a learner on labeled tasks it sits on the encoder, and is always shared
        calibrator = learner.calibrator if isinstance(learner, SharedTC2) else learner.network.calibrator
        shape = calibrator.average_factors.shape
    assert shape == (factors, dim)


def test_tasks_may_be_small_where_the_outer_loss_sees_the_episode() -> None:
    small = [*SHARED, "episode.batch=8", "episode.tasks=4", "calibration.outer_on=query"]
    loss = build_learner(config(*small), 1, 28)(episode(*small)).loss
    assert loss.isfinite()
    loss.backward()


@pytest.mark.parametrize("tc2", [TASK, SHARED], ids=["task", "shared"])
def test_an_encoder_of_ones_own(tc2: tuple[str, ...]) -> None:
    own = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 20))
    learner = build_learner(config(*tc2), 1, 28, encoder=own)
    assert learner.encoder is own
    outcome = learner(episode())
    outcome.loss.backward()
    assert own[1].weight.grad is not None


@pytest.mark.parametrize("told", ["condition.name=film", "auxiliary.name=augself"])
def test_views_that_are_all_alike_are_nothing_to_be_told(told: str) -> None:
    with pytest.raises(InputError, match=r"tells how each view was made, and the recipe of \[views\] makes all alike"):
        build_learner(config(told, "views.recipe=none"), 1, 28)
    build_learner(config(told, "views.recipe=none", "views.rotation=5"), 1, 28)
    rendered = override(read_task("shapes"), [told, "episode.tasks_differ_by=factor"])
    with pytest.raises(InputError, match=r"and views of episode\.tasks_differ_by = 'factor' are rendered"):
        build_learner(rendered, 3, 32)


def test_view_overrides() -> None:
    assert build_views(config("views.recipe=natural", "views.flip=0.25"), 28).flip == 0.25
    assert build_views(config("views.recipe=none"), 20).size == 20


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        ((*TASK, "episode.batch=8", "episode.tasks=4"), "support side has 1"),
        ((*SHARED, "episode.batch=8", "episode.tasks=4", "calibration.gamma=1"), "support side has 1"),
        (
            (
                *SHARED,
                "episode.batch=8",
                "episode.tasks=4",
                "calibration.statistics=task",
                "calibration.outer_on=query",
            ),
            "query side has 1",
        ),
        ((*TASK, "calibration.factors=24"), "24 and the representation has 24"),
        ((*SHARED, "calibration.factors=24"), "24 and the representation has 24"),
        (
            (*SHARED, "calibration.look_ahead=true", "calibration.control=random-projection"),
            "learns nothing; leave one of them out",
        ),
        (("objective.temprature=1",), "did you mean 'objective.temperature'"),
        (("objective.temperature=0",), "objective.temperature must be a number > 0"),
    ],
)
def test_sizes_are_checked_at_the_door(assignments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_learner(config(*assignments), 1, 28)
