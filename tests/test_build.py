"""From a configuration to its parts: methods are paired, sizes are checked before anything is written."""

from __future__ import annotations

import pytest
import torch

from metatc2.build import build_fresh_encoder, build_learner, build_sampler, build_views
from metatc2.config import Config, override, read_task
from metatc2.data import load
from metatc2.errors import InputError
from metatc2.learners import TC2, LookAheadTC2, SelfSupervised


def config(*assignments: str) -> Config:
    return override(read_task("digits"), ["encoder.width=24", "episode.batch=32", *assignments])


@pytest.mark.parametrize("other", ["standardise", "tasks", "tc2"])
@pytest.mark.parametrize("objective", ["simclr", "byol"])
def test_methods_of_a_seed_meet_the_same_episodes_from_the_same_start(other: str, objective: str) -> None:
    one, two = (config(f"calibration.name={name}", f"objective.name={objective}") for name in ("none", other))
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


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    build_learner(config("calibration.name=tc2"), 1, 28)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_calibration_has_its_learner() -> None:
    made = {name: build_learner(config(f"calibration.name={name}"), 1, 28) for name in ("none", "standardise", "tasks")}
    assert all(type(learner) is SelfSupervised for learner in made.values())
    assert [made[n].per_task for n in made] == [False, False, True]
    assert [made[n].standardise for n in made] == [False, True, False]
    assert type(build_learner(config("calibration.name=tc2"), 1, 28)) is TC2
    assert type(build_learner(config("calibration.name=tc2", "calibration.look_ahead=true"), 1, 28)) is LookAheadTC2


def test_an_encoder_of_ones_own() -> None:
    own = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 20))
    learner = build_learner(config("calibration.name=tc2"), 1, 28, encoder=own)
    assert learner.encoder is own
    outcome = learner(build_sampler(config(), load("digits")).sample())
    outcome.loss.backward()
    assert own[1].weight.grad is not None


def test_view_overrides() -> None:
    assert build_views(config("views.recipe=natural", "views.flip=0.25"), 28).flip == 0.25
    assert build_views(config("views.recipe=none"), 20).size == 20


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (("calibration.name=tc2", "episode.batch=8", "episode.tasks=4"), "support side has 1"),
        (
            (
                "calibration.name=tc2",
                "episode.batch=8",
                "episode.tasks=4",
                "calibration.gamma=0",
                "calibration.outer_on=query",
            ),
            "query side has 1",
        ),
        (("calibration.name=tc2", "calibration.factors=24"), "24 and the representation has 24"),
        (("objective.options.temprature=1",), "did you mean 'temperature'"),
    ],
)
def test_sizes_are_checked_at_the_door(assignments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_learner(config(*assignments), 1, 28)
