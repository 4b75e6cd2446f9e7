"""The loss of one task is the learner's own, and looking at it leaves no trace."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metatc2.calibration import TaskCalibrator, named_calibrator
from metatc2.diagnostics import task_gradients, task_loss, transfer_gains
from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.learners import TC2, Learner, LookAheadTC2, Outcome, SelfSupervised, SharedTC2
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Predictor, Projector
from metatc2.objectives import BYOL, Embeddings, MoCo, Objective, SimCLR, nt_xent

from ..covering import covered


def episode(tasks: int = 2, samples: int = 8, seed: int = 0) -> Episode:
    images = torch.rand(tasks, samples, 2, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    whole = Samples(images, None, None, torch.arange(tasks * samples).view(tasks, samples))
    half = samples // 2
    return Episode(whole.map(lambda t: t[:, :half]), whole.map(lambda t: t[:, half:]))


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def learner(objective: Objective, kind: type[SelfSupervised] = SelfSupervised, **options: Any) -> SelfSupervised:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, projector = Conv4(channels=1, width=8), Projector(8, 16, 12)
        predictor = Predictor(12, 16) if objective.predictor else None
    if issubclass(kind, SharedTC2):
        options["calibrator"] = named_calibrator(8, 3, generator=torch.Generator().manual_seed(1))
        options["inner"] = InnerLoop(inner_optimizer("sgd", 0.1, clip=1.0), 1)
    if issubclass(kind, TC2):
        options["calibrator"] = TaskCalibrator(8, 3, generator=torch.Generator().manual_seed(1))
        options["inner"] = InnerLoop(inner_optimizer("sgd", 1.0), 1)
    return kind(encoder, objective, projector=projector, predictor=predictor, **options)


def trained(objective: Objective, kind: type[SelfSupervised] = SelfSupervised, **options: Any) -> SelfSupervised:
    """A learner that has seen two episodes: statistics, queues and averages are not at their start."""
    made = learner(objective, kind, **options)
    for step in range(2):
        made.begin_step(step, 2)
        made(episode(seed=5 + step)).loss.backward()
        made.end_step()
    return made


def test_it_is_the_objective_of_the_task_by_itself() -> None:
    made = learner(SimCLR())
    images = episode().images
    loss, params = task_loss(made)
    for task in images:
        z = made.projector(made.encoder(task.flatten(0, 1)).unflatten(0, task.shape[:2])[None])
        torch.testing.assert_close(loss(params, task), nt_xent(z[0, :, 0], z[0, :, 1]))
    again = {name: p + 0.1 for name, p in params.items()}
    for name, p in made.encoder.named_parameters():
        p.data = again[name]
    torch.testing.assert_close(
        loss(again, images[0]),
        made(
            Episode(
                *(
                    Samples(side[:1], None, None, torch.zeros(1, side.shape[1]))
                    for side in (images[:, :4], images[:, 4:])
                )
            )
        ).loss,
    )


@pytest.mark.parametrize("objective", [SimCLR, BYOL, MoCo])
def test_calibrated_it_is_the_loss_of_the_look_ahead(objective: type[Objective]) -> None:
    made = trained(objective(), LookAheadTC2)
    assert isinstance(made, LookAheadTC2)
    # Factors that depend on the samples, and a momentum branch that is not yet where the encoder is.
    made.calibrator.factor_network.value_out.data += random(8, 8)
    if made.objective.momentum:
        for p in made.target_encoder.parameters():
            p.data += 0.3 * random(*p.shape)
    loss, params = task_loss(made)
    plain, _ = task_loss(made, calibrated=False)
    task = episode(seed=3).images[0]
    with torch.no_grad():
        expected = made._task_loss(params, images=task[None], omega=made.omega())
        torch.testing.assert_close(loss(params, task), expected)
        assert abs(float(plain(params, task) - expected)) > 1e-4


def test_running_statistics_make_it_a_function_of_each_image() -> None:
    class Mean(Objective):
        name = "mean"

        def per_task(self, e: Embeddings) -> Tensor:
            return e.projections.mean((1, 2, 3))

    made = trained(SimCLR())
    made.objective, made.projector = Mean(), nn.Identity()
    loss, params = task_loss(made, norm="running")
    task = episode().images[0]
    parts = torch.stack([loss(params, task[i : i + 2]) for i in range(0, 8, 2)])
    torch.testing.assert_close(loss(params, task), parts.mean())
    torch.testing.assert_close(loss(params, task), made.encoder.eval()(task.flatten(0, 1)).mean())
    by_batch, _ = task_loss(made)
    assert (by_batch(params, task) - loss(params, task)).abs() > 1e-5


@pytest.mark.parametrize(
    ("kind", "objective"), covered((SelfSupervised, TC2, SharedTC2), (SimCLR, BYOL, MoCo), strength=1)
)
def test_nothing_in_the_learner_changes(objective: type[Objective], kind: type[SelfSupervised]) -> None:
    made = trained(objective(), kind)
    made(episode(seed=9))  # embeddings of an unfinished step are kept for `end_step`
    made.encoder.blocks[1].eval()  # type: ignore[operator, union-attr]
    pending = made._embeddings
    before = copy.deepcopy(made.state_dict())
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in made.named_parameters()}
    modes = [part.training for part in made.modules()]
    wants = [p.requires_grad for p in made.parameters()]
    state = torch.get_rng_state()

    loss, params = task_loss(made)
    gradients = task_gradients(loss, params, episode().support.images)
    transfer_gains(loss, params, gradients, episode().query.images, lr=0.1)

    assert list(before) == list(made.state_dict())
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in before.items())
    for name, p in made.named_parameters():
        assert (p.grad is None) if grads[name] is None else torch.equal(p.grad, grads[name])
    assert modes == [part.training for part in made.modules()]
    assert wants == [p.requires_grad for p in made.parameters()]
    assert made._embeddings is pending
    assert torch.equal(state, torch.get_rng_state())


def test_modes_come_back_after_an_error() -> None:
    made = learner(SimCLR())
    loss, params = task_loss(made)
    with pytest.raises(InputError, match="at least 2 samples a task, found 1"):
        loss(params, episode().images[0][:1])
    assert all(part.training for part in made.modules())


def test_dropout_is_off() -> None:
    made = learner(SimCLR())
    made.encoder = nn.Sequential(made.encoder, nn.Dropout(0.5))
    loss, params = task_loss(made)
    task = episode().images[0]
    assert loss(params, task) == loss(params, task)


def test_frozen_parameters_are_left_out() -> None:
    made = learner(SimCLR())
    made.encoder.blocks[0].requires_grad_(False)  # type: ignore[operator, union-attr]
    loss, params = task_loss(made)
    assert "blocks.1.0.weight" in params
    assert not any(name.startswith("blocks.0") for name in params)
    assert set(task_gradients(loss, params, episode().images)) == set(params)
    made.encoder.requires_grad_(False)
    with pytest.raises(InputError, match="every parameter of the encoder is frozen"):
        task_loss(made)


def test_other_learners_and_words_are_refused() -> None:
    class Other(Learner):
        def forward(self, episode: Episode) -> Outcome:
            return Outcome(torch.zeros(()))

    with pytest.raises(InputError, match="Other has no self-supervised task loss"):
        task_loss(Other())
    with pytest.raises(InputError, match="unknown norm 'runing'; did you mean 'running'"):
        task_loss(learner(SimCLR()), norm="runing")  # type: ignore[arg-type]
