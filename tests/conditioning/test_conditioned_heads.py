"""Heads that are told how views were made: each formula restated, the control, and what learners do with them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchopt
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.augment.descriptor import DESCRIPTOR, DESCRIPTOR_SIZE
from metatc2.calibration import TaskCalibrator
from metatc2.conditioning.views import (
    CONDITIONS,
    ConditionedHead,
    DescriptorNetwork,
    HeadSizes,
    RunningStandardization,
    condition_options,
)
from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError
from metatc2.inner import InnerLoop
from metatc2.learners import TC2, SelfSupervised
from metatc2.models.heads import Predictor, Projector
from metatc2.objectives import build_objective

TASKS, SAMPLES, SUPPORT, IN, DIM, OUT = 2, 6, 3, 7, 5, 4
SIZES = HeadSizes(dim=DIM, hidden=6, out=OUT, code_hidden=8)
#: Width of the code, of the ways that leave it open.
CODE = {name: {"code": 3} for name in ("concatenate", "film", "hypernetwork")}


def head(name: str, seed: int = 0, **changes: object) -> ConditionedHead:
    """One whose parameters have left their start, where some are zero."""
    torch.manual_seed(seed)
    made = CONDITIONS[name](HeadSizes(**{**vars(SIZES), **changes}), **CODE.get(name, {})).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return made


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def descriptors(tasks: int = TASKS, samples: int = SAMPLES, seed: int = 0) -> Tensor:
    drawn = Views.natural().sample(tasks * samples * 2, torch.Generator().manual_seed(seed))
    return drawn.view(tasks, samples, 2, DESCRIPTOR_SIZE).double()


def norm(x: np.ndarray, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> np.ndarray:
    """Over all axes but the last."""
    flat = x.reshape(-1, x.shape[-1])
    scaled = (x - flat.mean(0)) / np.sqrt(flat.var(0) + eps)
    found: np.ndarray = scaled * weight.detach().numpy() + bias.detach().numpy()
    return found


def projected(x: np.ndarray, projector: Projector, first: np.ndarray | None = None) -> np.ndarray:
    """Two layers, normalized within each task; `first` stands for the first layer's output."""
    linear, task_norm, _, last = projector
    x = x @ linear.weight.detach().numpy().T if first is None else first
    x = np.stack([norm(task, task_norm.weight, task_norm.bias) for task in x])
    found: np.ndarray = np.maximum(x, 0) @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    return found


def with_film(z: np.ndarray, code: np.ndarray, made: ConditionedHead) -> np.ndarray:
    linear, task_norm, _, last = made.head
    x = np.stack([norm(t, task_norm.weight, task_norm.bias) for t in z @ linear.weight.detach().numpy().T])
    both = code @ made.film.weight.detach().numpy().T + made.film.bias.detach().numpy()
    x = x * (1 + both[..., :6]) + both[..., 6:]
    found: np.ndarray = np.maximum(x, 0) @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    return found


def with_hypernetwork(z: np.ndarray, code: np.ndarray, made: ConditionedHead) -> np.ndarray:
    strengths = code @ made.strength.weight.detach().numpy().T + made.strength.bias.detach().numpy()
    up, down, w = (layer.weight.detach().numpy() for layer in (made.up, made.down, made.head[0]))
    # A matrix of every view's own, as a hypernetwork makes it.
    own = w + np.einsum("hr,...r,rd->...hd", up, strengths, down)
    return projected(z, made.head, np.einsum("...hd,...d->...h", own, z))


RESTATED: dict[str, Callable[[np.ndarray, np.ndarray, ConditionedHead], np.ndarray]] = {
    "concatenate": lambda z, c, made: projected(np.concatenate([z, c], -1), made.head),
    "add": lambda z, c, made: projected(z + c, made.head),
    "multiply": lambda z, c, made: projected(z * c, made.head),
    "film": with_film,
    "hypernetwork": with_hypernetwork,
}


def test_every_way_is_restated() -> None:
    assert RESTATED.keys() == set(CONDITIONS)


@pytest.mark.parametrize("name", CONDITIONS)
def test_formula(name: str) -> None:
    made = head(name)
    code = made.encode(descriptors())
    assert code.shape == (TASKS, SAMPLES, 2, DIM if name in ("add", "multiply") else 3)
    z = draw(TASKS, SAMPLES, 2, DIM)
    oracle = RESTATED[name](z.numpy(), code.detach().numpy(), made)
    np.testing.assert_allclose(made(z, code).detach().numpy(), oracle, atol=1e-10)


@pytest.mark.parametrize("name", ["film", "hypernetwork"])
def test_what_is_added_starts_as_nothing(name: str) -> None:
    torch.manual_seed(0)
    made = CONDITIONS[name](SIZES, **CODE[name])  # type: ignore[arg-type]
    z = draw(TASKS, SAMPLES, 2, DIM).float()
    torch.testing.assert_close(made(z, made.encode(descriptors())), made.head(z))


def test_a_code_that_starts_at_zero_is_learned_from_there() -> None:
    torch.manual_seed(0)
    made = CONDITIONS["concatenate"](SIZES, zero_start=True)  # type: ignore[call-arg]
    z, code = draw(TASKS, SAMPLES, 2, DIM).float(), made.encode(descriptors())
    torch.testing.assert_close(made(z, code), made(z, torch.zeros_like(code)))
    made(z, code).square().sum().backward()
    assert made.head[0].weight.grad[:, DIM:].any()
    other = CONDITIONS["concatenate"](SIZES)
    assert not torch.allclose(other(z, code), other(z, torch.zeros_like(code)))


def test_network_is_that_of_the_paper() -> None:
    torch.manual_seed(1)
    network = DescriptorNetwork(DESCRIPTOR_SIZE, 64).double()
    linear = [part for part in network if isinstance(part, nn.Linear)]
    assert [(part.in_features, part.out_features) for part in linear] == [(DESCRIPTOR_SIZE, 64), *[(64, 64)] * 5]
    assert not any(part.bias is not None for part in linear)
    assert isinstance(network[-1], nn.BatchNorm1d)
    x = descriptors(1, 20)[0, :, 0]
    h = x.numpy()
    deviation = h.std(0)
    h = np.where(deviation > 1e-6, (h - h.mean(0)) / np.where(deviation > 1e-6, deviation, 1), 0)
    batch_norms = [part for part in network if isinstance(part, nn.BatchNorm1d)]
    for i, (layer, batch_norm) in enumerate(zip(linear, batch_norms, strict=True)):
        h = norm(h @ layer.weight.detach().numpy().T, batch_norm.weight, batch_norm.bias)
        h = np.maximum(h, 0) if i < 5 else h
    np.testing.assert_allclose(network(x).detach().numpy(), h, atol=1e-8)


def test_running_statistics_are_those_of_all_batches_and_stay_in_eval_mode() -> None:
    layer = RunningStandardization(3).double()
    batches = [
        draw(50, 3, seed=seed) * torch.tensor([1.0, 5.0, 0.0]) + torch.tensor([0.0, 2.0, 7.0]) for seed in range(4)
    ]
    for batch in batches:
        out = layer(batch)
    every = torch.cat(batches)
    torch.testing.assert_close(layer.mean.double(), every.mean(0))
    torch.testing.assert_close(layer.variance.double(), every.var(0, unbiased=False), atol=1e-8, rtol=1e-6)
    assert not out[:, 2].any()  # what does not vary tells nothing
    before = layer.mean.clone()
    layer.eval()(draw(9, 3, seed=9) + 100)
    assert torch.equal(layer.mean, before)


def test_raw_descriptors_are_led_by_the_blur_and_standardized_ones_are_not() -> None:
    raw = descriptors(4, 100).flatten(0, 2)
    raw[:, DESCRIPTOR["blur"]] *= 30  # σ in pixels of a large image
    shares = raw.var(0) / raw.var(0).sum()
    assert float(shares[DESCRIPTOR["blur"]].sum()) > 0.9
    even = RunningStandardization(DESCRIPTOR_SIZE).double()(raw).var(0)
    assert float((even[DESCRIPTOR["blur"]] / even.sum()).sum()) < 0.12


@pytest.mark.parametrize("name", ["concatenate", "multiply"])
def test_control_has_the_descriptors_of_another_image(name: str) -> None:
    own, control = head(name), head(name, shuffle=True).eval()
    for seed in range(30):  # running statistics of γ
        own.encode(descriptors(seed=seed))
    control.load_state_dict(own.eval().state_dict())
    given = descriptors()
    flat = given.flatten(0, 1)
    # Each view another image's: two views with descriptors of one image could be told to belong together.
    moved = torch.stack([flat[[i - 1 for i in range(len(flat))], 0], flat[[i - 2 for i in range(len(flat))], 1]], 1)
    torch.testing.assert_close(control.encode(given), own.encode(moved.view_as(given)))
    assert not torch.isclose(control.encode(given), own.encode(given)).all(-1).any()


def test_what_was_measured_on_the_image_is_not_told_unless_asked_for() -> None:
    """Jitter's change of the means and the view's own means give those of the image, by which a head could recognize it."""
    made, all_told = head("concatenate").eval(), head("concatenate", parts=tuple(DESCRIPTOR)).eval()
    for each in (made, all_told):
        each.train()
        for seed in range(5):
            each.encode(descriptors(seed=seed) + torch.rand(DESCRIPTOR_SIZE).double())
        each.eval()
    given = descriptors()
    changed = given.clone()
    changed[..., DESCRIPTOR["color_diff"]] += 0.3
    assert torch.equal(made.encode(given), made.encode(changed))
    assert not torch.allclose(all_told.encode(given), all_told.encode(changed))
    with pytest.raises(InputError, match="ConcatenateCode: parts must be of blur, color, .*, at least one, got colour"):
        head("concatenate", parts=("colour",))


def test_bad_descriptors_and_sizes() -> None:
    with pytest.raises(InputError, match=r"needs descriptors of shape \(tasks, samples, views, 19\), found"):
        head("concatenate").encode(torch.zeros(2, 3, 19))
    with pytest.raises(InputError, match="has none; use 2 layers or more"):
        head("film", layers=1)
    with pytest.raises(InputError, match="depth must be at least 1"):
        DescriptorNetwork(4, 4, depth=0)
    with pytest.raises(InputError, match="unknown condition 'concat'; did you mean 'concatenate'"):
        condition_options("concat")


# In learners -----------------------------------------------------------------------------------------------------------


def episode(seed: int = 0, told: bool = True) -> Episode:
    whole = Samples(
        draw(TASKS, SAMPLES, 2, IN, seed=seed),
        None,
        descriptors(seed=seed) if told else None,
        torch.zeros(TASKS, SAMPLES, dtype=torch.int64),
    )
    return Episode(whole.map(lambda t: t[:, :SUPPORT]), whole.map(lambda t: t[:, SUPPORT:]))


def encoder() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(IN, 8), nn.Tanh(), nn.Linear(8, DIM)).double()


def predictor(name: str | None = None) -> nn.Module:
    if name is not None:
        return head(name, seed=5, dim=OUT)
    torch.manual_seed(4)
    return Predictor(OUT, 6).double()


@pytest.mark.parametrize("name", CONDITIONS)
def test_learner_gives_each_head_its_code(name: str) -> None:
    learner = SelfSupervised(
        encoder(), build_objective("byol"), projector=head(name), predictor=predictor(name), per_task=True
    )
    with torch.no_grad():  # the momentum branch is another network by now
        for p in learner.target_projector.parameters():
            p.mul_(1.1)
    e = episode()
    parts = [copy.deepcopy(part) for part in (learner.projector, learner.predictor, learner.target_projector)]
    loss = learner(e).loss
    z = learner.encoder(e.images.flatten(0, 2)).unflatten(0, (TASKS, SAMPLES, 2))
    projections = parts[0](z, parts[0].encode(e.descriptors))
    predictions = parts[1](projections, parts[1].encode(e.descriptors))
    targets = parts[2](z, parts[2].encode(e.descriptors))
    p, t = nn.functional.normalize(predictions, dim=-1), nn.functional.normalize(targets, dim=-1)
    cosines = (p[:, :, 0] * t[:, :, 1]).sum(-1), (p[:, :, 1] * t[:, :, 0]).sum(-1)
    torch.testing.assert_close(loss, (4 - 2 * cosines[0] - 2 * cosines[1]).mean(), atol=1e-8, rtol=1e-6)


def tc2(projector: nn.Module, **options: object) -> TC2:
    calibrator = TaskCalibrator(DIM, 3, weights="task", rate=0.7, generator=torch.Generator().manual_seed(0))
    return TC2(
        encoder(),
        build_objective("simclr"),
        projector=projector,
        calibrator=calibrator,
        inner=InnerLoop(torchopt.sgd(1.0), steps=2),
        **options,  # type: ignore[arg-type]
    ).double()


@pytest.mark.parametrize("statistics", ["task", "episode"])
@pytest.mark.parametrize("outer_on", ["whole", "query", "others"])
def test_calibrated_tasks_see_the_codes_of_their_own_samples(outer_on: str, statistics: str) -> None:
    # In eval mode a code depends on its own descriptor alone, so that tasks can be taken one by one.
    projector = head("concatenate")
    projector.encode(descriptors(seed=7))
    projector.eval()
    model, e = tc2(projector, outer_on=outer_on, statistics=statistics), episode()
    model.eval()
    code = projector.encode(e.descriptors)
    seen: list[tuple[Tensor, Tensor]] = []
    model.projector.forward = lambda z, c: (seen.append((z, c)), ConditionedForward(projector, z, c))[1]  # type: ignore[method-assign]
    model(e)
    support, rest = code[:, :SUPPORT], {"whole": code, "query": code[:, SUPPORT:], "others": code}[outer_on]
    rest = rest.flatten(0, 1)[None] if statistics == "episode" else rest
    # The unit of the first episode, two inner steps, then the outer loss.
    expected = [support, support, support, rest] + [code[:, SUPPORT:]] * (outer_on == "others")
    assert [c.shape for _, c in seen] == [c.shape for c in expected]
    for (_, found), wanted in zip(seen, expected, strict=True):
        torch.testing.assert_close(found, wanted)


def ConditionedForward(projector: nn.Module, z: Tensor, code: Tensor) -> Tensor:
    return type(projector).forward(projector, z, code)


def test_hypergradient_through_a_conditioned_projector() -> None:
    model, e = tc2(head("hypernetwork")), episode()
    model(e)  # the unit of the inner losses is that of the first episode
    model.eval()  # buffers stay, so that the loss is a function of the parameters alone
    model(e).loss.backward()
    p = model.encoder[0].weight
    exact, step = p.grad[0, 0].item(), 1e-6
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            p[0, 0] += sign * step
        values.append(model(e).loss.item())
        with torch.no_grad():
            p[0, 0] -= sign * step
    assert exact == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_without_descriptors_it_says_so() -> None:
    learner = SelfSupervised(encoder(), build_objective("simclr"), projector=head("add"))
    with pytest.raises(InputError, match="the episode has no descriptors; sample views by"):
        learner(episode(told=False))


def test_nothing_of_it_is_exported() -> None:
    learner = SelfSupervised(encoder(), build_objective("simclr"), projector=head("film"))
    assert list(learner.exports()) == ["encoder"]
    assert learner.exports()["encoder"] is learner.encoder
