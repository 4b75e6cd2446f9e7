"""Optimizers, schedules and averages of the outer loop, each against a restatement; runs with them resume in the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightly.utils.lars import LARS as LightlyLARS
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.learners import Learner, Outcome
from metatc2.training import LARS, Trainer, TrainerOptions

# What is trained here is measured by no command.
pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.own_run.NotForCommands")


class Small(Learner):
    """A smooth loss of an encoder with buffers."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4))

    def forward(self, episode: Episode) -> Outcome:
        z = self.encoder(episode.images.flatten(0, 2))
        return Outcome((z - episode.images.mean()).pow(4).mean() + self.encoder[1].weight.square().mean())


class Noise:
    """Episodes that can be resumed."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def sample(self) -> Episode:
        x, qx = (torch.rand(1, 4, 1, 4, 4, generator=self.generator) for _ in range(2))
        return Episode.of(x, torch.arange(2).repeat(1, 2), qx, torch.arange(2).repeat(1, 2))

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])


def lars_by_hand(
    w: list[float], g: list[float], v: list[float], lr: float, decay: float
) -> tuple[list[float], list[float]]:
    """Algorithm 1 of You et al. in plain Python, m = 0.9, η = 0.001."""
    rate = 1.0
    if decay:
        length, slope = sum(x * x for x in w) ** 0.5, sum(x * x for x in g) ** 0.5
        rate = 0.001 * length / (slope + decay * length)
    v = [0.9 * old + rate * (gi + decay * wi) for old, gi, wi in zip(v, g, w, strict=True)]
    return [wi - lr * vi for wi, vi in zip(w, v, strict=True)], v


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lars_is_the_algorithm_of_its_paper(decay: float) -> None:
    g = torch.Generator().manual_seed(0)
    ours, theirs = (nn.Parameter(torch.linspace(-1, 2, 6, dtype=torch.float64)) for _ in range(2))
    by_hand, v = ours.tolist(), [0.0] * 6
    optimizer = LARS([{"params": [ours], "weight_decay": decay}], lr=1.0)
    lightly = LightlyLARS([theirs], lr=1.0, momentum=0.9, weight_decay=decay, eps=0.0)
    for step in range(4):
        lr = 1.0 / (step + 1)
        gradient = torch.randn(6, generator=g, dtype=torch.float64)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.param_groups[0]["lr"] = lightly.param_groups[0]["lr"] = lr
        by_hand, v = lars_by_hand(by_hand, gradient.tolist(), v, lr, decay)
        optimizer.step()
        lightly.step()
        torch.testing.assert_close(ours.detach(), torch.tensor(by_hand, dtype=torch.float64), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_lars_moves_tensors_of_zeros_and_passes_over_those_without_gradient() -> None:
    zeros, still = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([zeros, still], lr=0.5, weight_decay=0.1)
    zeros.grad = torch.ones(2, 2)
    assert optimizer.step(lambda: torch.tensor(3.0)) == 3.0
    assert torch.equal(zeros.detach(), torch.full((2, 2), -0.5))
    assert torch.equal(still.detach(), torch.ones(2, 2))


def rates(options: TrainerOptions) -> list[float]:
    return [record["lr"] for record in Trainer(Small(), Noise(), options).fit()]


def test_a_constant_rate_is_constant_after_its_rise() -> None:
    options = TrainerOptions(steps=10, lr=0.1, warmup=0.3, schedule="constant", log_every=1)
    assert rates(options) == pytest.approx([0.1 * k / 4 for k in (1, 2, 3)] + [0.1] * 7)


def test_rates_of_an_own_optimizer_are_scaled_and_of_an_own_schedule_its_own() -> None:
    made: list[torch.optim.Optimizer] = []

    def sgd(sets: list[dict[str, Any]]) -> torch.optim.Optimizer:
        assert [len(each["params"]) for each in sets] == [1, 3]  # a matrix; its bias, and the norm
        assert [each["weight_decay"] for each in sets] == [1e-4, 0.0]
        made.append(torch.optim.SGD([{**sets[0], "lr": 0.2}, {**sets[1], "lr": 0.4}], lr=0.2))
        return made[-1]

    options = TrainerOptions(steps=6, lr=5.0, warmup=0.0, optimizer=sgd, log_every=1)
    named = TrainerOptions(steps=6, lr=1.0, warmup=0.0, log_every=1)
    assert rates(options) == pytest.approx([0.2 * named.learning_rate(step) for step in range(6)])
    last = named.learning_rate(5)  # each set has its own peak
    assert [each["lr"] for each in made[0].param_groups] == pytest.approx([0.2 * last, 0.4 * last])
    cycle = TrainerOptions(
        steps=6, optimizer=sgd, schedule=lambda o: OneCycleLR(o, max_lr=0.3, total_steps=7), log_every=1
    )
    weights = [nn.Parameter(torch.ones(1)) for _ in range(4)]
    reference = sgd([{"params": weights[:1], "weight_decay": 1e-4}, {"params": weights[1:], "weight_decay": 0.0}])
    scheduler, expected = OneCycleLR(reference, max_lr=0.3, total_steps=7), []
    for _ in range(6):
        expected.append(reference.param_groups[0]["lr"])
        reference.step()
        scheduler.step()
    assert rates(cycle) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "adam"}, "unknown optimizer 'adam'; did you mean 'adamw'"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
        ({"optimizer": lambda sets: None}, "made a NoneType; return an optimizer"),
        (
            {"optimizer": lambda sets: torch.optim.SGD(sets[:1], lr=0.1)},
            "made one of 1 tensors, and the group 'learner' has 4",
        ),
        ({"schedule": lambda optimizer: ReduceLROnPlateau(optimizer)}, "made a ReduceLROnPlateau"),
        ({"ema": 1.0}, "ema must be from 0 to below 1"),
        ({"ema": 0.9, "swa_from": 0.5}, "two averages"),
        ({"validate_every": 0}, "validate_every must be at least 1"),
    ],
)
def test_what_cannot_work_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Trainer(Small(), Noise(), TrainerOptions(steps=2, **options))


def states(options: TrainerOptions) -> tuple[Trainer, list[dict[str, Tensor]]]:
    """The encoder's state after every step."""
    seen: list[dict[str, Tensor]] = []

    class Keep:
        def on_step(self, trainer: Trainer, outcome: Outcome) -> None:
            seen.append({name: t.double().clone() for name, t in trainer.learner.encoder.state_dict().items()})  # type: ignore[union-attr, operator]

    trainer = Trainer(Small(), Noise(), options, callbacks=[Keep()])
    trainer.fit()
    return trainer, seen


def test_the_moving_average_is_that_of_every_step() -> None:
    trainer, seen = states(TrainerOptions(steps=8, lr=0.05, ema=0.7))
    expected = seen[0]
    for state in seen[1:]:
        expected = {name: 0.7 * old + 0.3 * state[name] for name, old in expected.items()}
    made = trainer.encoder.state_dict()  # type: ignore[union-attr]
    for name in ("1.weight", "1.bias", "2.weight", "2.running_mean", "2.running_var"):
        torch.testing.assert_close(made[name].double(), expected[name], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(made["1.weight"], trainer.learner.encoder[1].weight)  # type: ignore[index, union-attr]


def test_the_equal_average_is_that_of_the_last_steps() -> None:
    trainer, seen = states(TrainerOptions(steps=8, lr=0.05, swa_from=0.5))
    mean = torch.stack([state["1.weight"] for state in seen[4:]]).mean(0)
    torch.testing.assert_close(trainer.encoder.state_dict()["1.weight"].double(), mean, rtol=1e-4, atol=1e-6)  # type: ignore[union-attr]
    before = Trainer(Small(), Noise(), TrainerOptions(steps=8, swa_from=0.5))
    before.fit(until=2)
    assert before.encoder is before.learner.encoder  # there is no average yet


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "lars", "lr": 0.5},
        {"ema": 0.8},
        {"swa_from": 0.3},
        {"schedule": lambda o: OneCycleLR(o, max_lr=0.01, total_steps=10)},
        {"optimizer": lambda sets: torch.optim.RMSprop(sets, lr=0.01)},
    ],
    ids=lambda options: next(iter(options)),
)
def test_cut_and_resumed_ends_in_the_same_bits(options: dict[str, Any], tmp_path: Path) -> None:
    asked = TrainerOptions(steps=9, checkpoint_every=4, log_every=3, **options)
    whole = Trainer(Small(), Noise(), asked, run=tmp_path / "whole")
    whole.fit()
    Trainer(Small(), Noise(), asked, run=tmp_path / "cut").fit(until=6)
    again = Trainer(Small(), Noise(seed=1), asked, run=tmp_path / "cut")
    assert again.resume() == 4
    again.fit()
    for one, two in ((whole.learner, again.learner), (whole.encoder, again.encoder)):
        assert one is not None
        assert two is not None
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, two.state_dict()[name]), name
    assert [r["lr"] for r in whole.history] == [r["lr"] for r in again.history]
