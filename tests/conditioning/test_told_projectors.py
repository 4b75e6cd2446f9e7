"""Every projector that is told: the equation restated, the start, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metatc2.conditioning import (
    TOLD,
    ConditionedProjector,
    FixedMasks,
    LearnedMasks,
    SeparateEncoders,
    TaskHeads,
    ToldSettings,
    TrunkAndHeads,
    build_told,
    random_masks,
    split_masks,
)
from metatc2.conditioning.by_kind import KindNorm
from metatc2.episodes import TaskIdentity
from metatc2.errors import InputError
from metatc2.learners import SelfSupervised
from metatc2.learners.side_information import SideInformation
from metatc2.models.heads import Projector, TaskNorm
from metatc2.training import without_decay
from tests.conditioning.told_episodes import DIM, NAMES, OUT, WIDTH, body, episode, heads, identity, z

from ..covering import covered

KINDS = [2, 0, 0, 1, 2]


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().double()


def told(name: str, seed: int = 0, **options: object) -> nn.Module:
    base = {"kinds": len(NAMES), "conditions": 4, "generator": torch.Generator().manual_seed(3)}
    return seeded(lambda: build_told(name, ToldSettings(DIM, WIDTH, OUT, **{**base, **options})), seed)


def plain(**options: object) -> nn.Module:
    """The shared projector of the same seed."""
    return seeded(lambda: Projector(DIM, WIDTH, OUT, **options))


def shaken(module: nn.Module, seed: int = 5) -> nn.Module:
    """Parameters away from a symmetric start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return module


@pytest.mark.parametrize("options", [{}, {"layers": 3, "norm_out": True, "activation": nn.GELU}, {"layers": 1}])
def test_heads_are_a_loop_over_projectors(options: dict[str, object]) -> None:
    own = seeded(lambda: TaskHeads(DIM, WIDTH, OUT, kinds=3, **options))
    loop = seeded(lambda: nn.ModuleList([Projector(DIM, WIDTH, OUT, **options) for _ in range(3)]))
    x, y = z(5).requires_grad_(), z(5).requires_grad_()
    found = own(x, identity(KINDS))
    expected = torch.cat([loop[k](y[i : i + 1]) for i, k in enumerate(KINDS)])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weight = z(5, dim=OUT, seed=1)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-10, atol=1e-12)
    for name, p in own.parts.named_parameters():
        place = name.split(".", 1)
        singles = torch.stack([dict(head[int(place[0])].named_parameters())[place[1]].grad for head in loop])
        torch.testing.assert_close(p.grad, singles, rtol=1e-10, atol=1e-12)


def test_running_averages_are_those_of_batch_normalization() -> None:
    own = KindNorm([TaskNorm(WIDTH).double() for _ in range(3)])
    peer = nn.BatchNorm1d(WIDTH).double()
    for step in range(4):
        x = z(2, dim=WIDTH, seed=step).flatten(1, 2)
        own(x, torch.tensor([1, 2]))
        peer(x[0])
    start, rows = 0.9**4, x.shape[1]  # torch's variance is the unbiased one
    torch.testing.assert_close(own.running_mean[1], peer.running_mean)
    torch.testing.assert_close(own.running_var[1], start + (peer.running_var - start) * (rows - 1) / rows)
    assert own.running_mean[0].abs().max() == 0
    assert bool((own.running_var[0] == 1).all())
    own.eval()
    before = own.running_mean.clone()
    own(x, torch.tensor([1, 2]))
    assert torch.equal(before, own.running_mean)


def test_two_tasks_of_a_kind_count_as_their_mean() -> None:
    own = KindNorm([TaskNorm(WIDTH).double() for _ in range(2)])
    x = z(3, dim=WIDTH).flatten(1, 2)
    own(x, torch.tensor([1, 0, 1]))
    torch.testing.assert_close(own.running_mean[1], 0.1 * (x[0].mean(0) + x[2].mean(0)) / 2)
    torch.testing.assert_close(own.running_mean[0], 0.1 * x[1].mean(0))
    before = own.running_mean.clone()
    own(x, torch.tensor([1, 0, 1]))
    torch.testing.assert_close(own.running_mean, 1.9 * before)


@pytest.mark.parametrize("layer", ["hidden", "output"])
def test_reader_restated(layer: str) -> None:
    own = seeded(lambda: TaskHeads(DIM, WIDTH, OUT, kinds=3))
    for step in range(3):
        own(z(5, seed=step), identity(KINDS))
    encoder = body().eval()
    images = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = TrunkAndHeads(encoder, own, layer)(images).detach().numpy()
    h = encoder(images).detach().numpy()
    first, norm, _, last = own.parts
    parts = [h]
    for k in range(3):
        w, g, b, mean, var = (
            t[k].detach().numpy() for t in (first.weight, norm.weight, norm.bias, *own_averages(norm))
        )
        hidden = np.maximum((h @ w.T - mean) / np.sqrt(var + 1e-5) * g + b, 0)
        parts.append(
            hidden if layer == "hidden" else hidden @ last.weight[k].detach().numpy().T + last.bias[k].detach().numpy()
        )
    np.testing.assert_allclose(found, np.concatenate(parts, 1), rtol=1e-10)
    # An image stands alone.
    np.testing.assert_allclose(TrunkAndHeads(encoder, own, layer)(images[:1]).detach().numpy(), found[:1], rtol=1e-10)


def own_averages(norm: KindNorm) -> tuple[Tensor, Tensor]:
    return norm.running_mean, norm.running_var


@pytest.mark.parametrize("statistics", ["episode", "task"])
@pytest.mark.parametrize("on", ["kind", "conditions"])
def test_film_starts_as_no_conditioning_and_restated(on: str, statistics: str) -> None:
    film = told("film" if on == "kind" else "film-conditions", statistics=statistics)
    x = z(5)
    merged = x.flatten(0, 1)[None] if statistics == "episode" else x
    expected = plain()(merged).view(5, 7, 2, OUT)
    assert torch.equal(film(x, identity(KINDS)), expected)
    shaken(film)
    c = np.eye(3)[KINDS] if on == "kind" else identity(KINDS).conditions.double().numpy()
    linear, norm, _, last = (part for part in film.projector)
    h = x.numpy() @ linear.weight.detach().numpy().T
    axes = (0, 1, 2) if statistics == "episode" else (1, 2)
    h = (h - h.mean(axes, keepdims=True)) / np.sqrt(h.var(axes, keepdims=True) + 1e-5)
    h = h * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    both = c @ film.film.weight.detach().numpy().T + film.film.bias.detach().numpy()
    gamma, beta = (part[:, None, None] for part in np.split(both, 2, axis=1))
    h = np.maximum((1 + gamma) * h + beta, 0)
    expected = h @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    np.testing.assert_allclose(film(x, identity(KINDS)).detach().numpy(), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("on", ["kind", "conditions"])
def test_concatenation_restated(on: str) -> None:
    own = told("concatenate" if on == "kind" else "concatenate-conditions")
    c = torch.eye(3).double()[KINDS] if on == "kind" else identity(KINDS).conditions.double()
    joined = torch.cat([z(5), c[:, None, None].expand(5, 7, 2, -1)], -1)
    expected = own.projector(joined.flatten(0, 1)[None]).view(5, 7, 2, OUT)
    found = own(z(5), identity(KINDS))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, own(z(5), identity([0, 0, 1, 2, 2])))


def test_a_norm_within_the_task_would_undo_concatenation() -> None:
    """Why its statistics are of the episode: within a task what is appended has no effect whatever."""
    projector = seeded(lambda: Projector(DIM + 3, WIDTH, OUT))
    outs = []
    for kinds in ([0, 1, 2], [2, 2, 0]):
        c = torch.eye(3).double()[kinds]
        outs.append(projector(torch.cat([z(3), c[:, None, None].expand(3, 7, 2, -1)], -1)))
    torch.testing.assert_close(outs[0], outs[1])
    with pytest.raises(InputError, match="norms within a task subtract"):
        ConditionedProjector(DIM, WIDTH, OUT, kinds=3, statistics="task")


def test_unconditioned_is_a_projector_over_the_episode() -> None:
    found = told("unconditioned")(z(5), identity(KINDS))
    assert torch.equal(found, plain()(z(5).flatten(0, 1)[None]).view(5, 7, 2, OUT))


@pytest.mark.parametrize("how", ["sigmoid", "softmax", "sparse"])
def test_masks_start_at_one(how: str) -> None:
    masked = told(f"mask-{how}")
    assert torch.allclose(masked.masks(), torch.ones(3, DIM, dtype=torch.float64))
    torch.testing.assert_close(masked(z(5), identity(KINDS)), plain()(z(5)))


@pytest.mark.parametrize("how", ["sigmoid", "softmax", "sparse"])
@pytest.mark.parametrize("factors", [None, 4])
def test_masks_restated(how: str, factors: int | None) -> None:
    l1 = 0.0 if how == "softmax" else 0.2
    masked = shaken(told(f"mask-{how}", factors=factors, l1=l1, orthogonality=0.7))
    a = 10 * masked.logits.detach().numpy()
    if how == "sigmoid":
        m = 2 / (1 + np.exp(-a))
    elif how == "sparse":
        m = np.maximum(a, 0)
        assert (m == 0).any()
    else:
        m = a.shape[1] * np.exp(a) / np.exp(a).sum(1, keepdims=True)
    x = z(5).numpy()
    penalty = l1 * np.abs(m).mean()
    if factors is None:
        changed = x * m[KINDS][:, None, None]
    else:
        v = masked.basis.detach().numpy()
        v = v / np.linalg.norm(v, axis=1, keepdims=True)
        changed = np.einsum("tsvd,kd,tk,ke->tsve", x, v, m[KINDS], v)
        penalty += 0.7 * ((v @ v.T - np.eye(factors)) ** 2).sum() / factors
    torch.testing.assert_close(masked(z(5), identity(KINDS)), masked.projector(torch.from_numpy(changed)))
    np.testing.assert_allclose(masked.penalty().item(), penalty, rtol=1e-10)


def test_factors_start_orthonormal_and_from_their_generator() -> None:
    one, two = (told("mask-sigmoid", factors=4).factors() for _ in range(2))
    assert torch.equal(one, two)
    torch.testing.assert_close(one @ one.T, torch.eye(4, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["split", "random-masks"])
def test_fixed_masks_restated(name: str) -> None:
    fixed = told(name)
    expected = plain()(z(5) * fixed.masks[KINDS][:, None, None])
    torch.testing.assert_close(fixed(z(5), identity(KINDS)), expected)
    assert "masks" in fixed.state_dict()


@pytest.mark.parametrize(("dim", "kinds", "shared"), [(64, 4, 0.25), (10, 3, 0.0), (11, 3, 0.5)])
def test_split_covers_every_dimension(dim: int, kinds: int, shared: float) -> None:
    seen = split_masks(dim, kinds, shared).sum(0)
    own = int((seen == 1).sum())
    assert set(seen.tolist()) <= {1.0, float(kinds)}
    assert own % kinds == 0
    assert 0 <= (dim - own) - round(shared * dim) < kinds


@pytest.mark.parametrize("name", TOLD)
def test_tasks_and_kinds_in_another_order(name: str) -> None:
    """A task is computed by its kind, wherever it stands; with another kind it comes out otherwise."""
    projector = shaken(told(name)).eval()
    order = [3, 1, 4, 0, 2]
    x, who = z(5), identity(KINDS)
    mixed = projector(x[order], TaskIdentity(who.kinds[order], NAMES, who.conditions[order]))
    torch.testing.assert_close(mixed, projector(x, who)[order])
    if name != "unconditioned":
        assert not torch.allclose(projector(x, who), projector(x, identity([0, 1, 1, 2, 0])))


@pytest.mark.parametrize(("name", "objective"), covered(TOLD, ("simclr", "byol", "moco"), strength=1))
def test_learner_tells_projectors(name: str, objective: str) -> None:
    """The loss, the momentum branch too, is that of a learner without identities whose projector knows them."""

    class Knows(nn.Module):
        def __init__(self, projector: nn.Module) -> None:
            super().__init__()
            self.projector = projector

        def forward(self, x: Tensor) -> Tensor:
            return self.projector(x, identity([1, 0, 2]))

        def penalty(self) -> Tensor:
            return self.projector.penalty()

    losses = []
    for projector in (told(name), Knows(told(name))):
        learner = SelfSupervised(body(), **heads(objective), projector=projector, per_task=True)
        values = []
        for step in range(2):
            learner.zero_grad(set_to_none=True)
            loss = learner(episode([1, 0, 2], seed=step)).loss
            loss.backward()
            values.append(loss.item())
            with torch.no_grad():
                for p in learner.parameters():
                    if p.grad is not None:
                        p.sub_(0.05 * p.grad)
            learner.end_step()
        losses.append(values)
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_targets_are_those_of_their_own_kind() -> None:
    learner = SelfSupervised(body(), **heads("byol"), projector=told("heads"), per_task=True)
    shaken(learner.target_projector)
    who = identity([1, 0, 2])
    found = learner.embed(z(3), z(3, seed=1), SideInformation(who))
    assert torch.equal(found.targets, learner.target_projector(z(3, seed=1), who))
    assert torch.equal(found.projections, learner.projector(z(3), who))


def test_penalty_joins_the_loss() -> None:
    losses = []
    for l1 in (0.0, 0.5):
        learner = SelfSupervised(body(), **heads("simclr"), projector=told("mask-sigmoid", l1=l1), per_task=True)
        losses.append(learner(episode([1, 0, 2])).loss.item())
    assert losses[1] - losses[0] == pytest.approx(0.5)  # masks of one


@pytest.mark.parametrize("name", TOLD)
def test_decay_is_as_in_a_plain_projector(name: str) -> None:
    """What has no axis but that of kinds beside its own is decayed no more than a bias or a norm."""
    projector = told(name, factors=4)
    spared = without_decay(projector)
    for parameter, p in projector.named_parameters():
        norm = parameter.endswith(("parts.1.weight", "projector.1.weight"))
        assert (p.ndim > 1 and id(p) not in spared) == (parameter.endswith("weight") and not norm), parameter


def test_separate_encoders_route_and_concatenate() -> None:
    encoders = [body(seed).eval() for seed in range(3)]
    both = SeparateEncoders(encoders)
    images = episode(KINDS).images
    expected = torch.stack([encoders[k](images[i].flatten(0, 1)).view(8, 2, DIM) for i, k in enumerate(KINDS)])
    torch.testing.assert_close(both.routed(images, torch.tensor(KINDS)), expected)
    flat = images.flatten(0, 2)
    torch.testing.assert_close(both(flat), torch.cat([encoder(flat) for encoder in encoders], 1))


ERRORS: dict[str, tuple[Callable[[], object], str]] = {
    "other kinds": (
        lambda: told("heads", kinds=2)(z(2), identity([0, 1])),
        "built for 2 kinds of task and the episode knows 3",
    ),
    "axes": (lambda: told("heads")(z(2)[0], identity([0, 1])), "found (7, 2, 6)"),
    "tasks": (lambda: told("split")(z(2), identity([0, 1, 1])), "2 tasks came with kinds of shape (3,)"),
    "conditions": (lambda: told("film-conditions", conditions=5)(z(2), identity([0, 1])), "build it with conditions=4"),
    "no conditions": (lambda: told("film-conditions", conditions=0), "there are no conditions"),
    "no norm": (lambda: told("film", layers=1), "a projector of one layer has none"),
    "how": (lambda: LearnedMasks(nn.Identity(), 4, kinds=2, how="sigmoids"), "did you mean 'sigmoid'"),  # type: ignore[arg-type]
    "factors": (lambda: told("mask-sigmoid", factors=9), "factors must be 1 to 6"),
    "l1": (lambda: told("mask-softmax", l1=0.1), "fixed sum"),
    "negative": (lambda: told("mask-sparse", l1=-0.1), "l1 must be at least 0"),
    "speed": (lambda: told("mask-sparse", speed=0.0), "speed must be above 0"),
    "kinds": (lambda: told("heads", kinds=0), "kinds must be at least 1"),
    "parameters": (lambda: told("heads", activation=nn.PReLU), "PReLU has parameters"),
    "split": (lambda: split_masks(6, 4, 0.5), "leave none for each of 4"),
    "shared": (lambda: split_masks(6, 2, 1.0), "below 1"),
    "kept": (lambda: random_masks(6, 2, 0.0), "kept must be above 0"),
    "width": (
        lambda: FixedMasks(nn.Identity(), torch.ones(3, 4))(z(2), identity([0, 1])),
        "for 4 dimensions and z has 6",
    ),
    "vector": (lambda: FixedMasks(nn.Identity(), torch.ones(4)), "masks must be (kinds, d)"),
    "one row": (lambda: told("heads")(z(2)[:, :1, :1], identity([0, 1])), "at least 2 rows a task"),
    "hidden": (lambda: TaskHeads(4, 4, 4, kinds=2, layers=1).read(torch.ones(2, 4)), "no hidden one"),
    "layer": (lambda: TrunkAndHeads(nn.Identity(), TaskHeads(4, 4, 4, kinds=2), "last"), "unknown layer"),  # type: ignore[arg-type]
    "no encoder": (lambda: SeparateEncoders([]), "there is no encoder"),
    "no identity": (
        lambda: SelfSupervised(body(), **heads("simclr"), projector=told("heads"), per_task=True)(episode(None)),
        "the episode does not say",
    ),
    "one task": (lambda: SelfSupervised(body(), **heads("simclr"), projector=told("heads")), "use per_task=True"),
    "place": (
        lambda: SelfSupervised(body(), **heads("simclr"), projector=told("heads"), per_task=True, where="projector"),
        "where='backbone'",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_one_sentence(case: str) -> None:
    make, words = ERRORS[case]
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
