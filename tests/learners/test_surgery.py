"""Gradient surgery and its neighbors: the mean is plain training, each aggregator's own law, uncertainty, separation."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metatc2.conditioning import TaskHeads, ToldSettings, build_told
from metatc2.episodes import Episode
from metatc2.errors import InputError, MissingPackage
from metatc2.learners import GradientSurgery, Learner, SelfSupervised, SeparateLearner, UncertaintyWeighting
from metatc2.learners.aggregators.registry import AGGREGATORS, build_aggregator
from metatc2.models.heads import Projector
from metatc2.objectives.regularizers import Isotropy
from metatc2.training import Trainer, TrainerOptions
from tests.conditioning.told_episodes import DIM, OUT, WIDTH, body, episode, heads

from ..covering import covered
from ..two_views import TWO_VIEWS

torchjd = pytest.importorskip("torchjd")


def projector(kind: str = "plain") -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        if kind == "plain":
            return Projector(DIM, WIDTH, OUT).double()
        return build_told(kind, ToldSettings(DIM, WIDTH, OUT, kinds=3, l1=0.1 * (kind == "mask-sigmoid"))).double()


def surgery(aggregator: str, objective: str = "simclr", kind: str = "plain", **options: Any) -> GradientSurgery:
    made = heads(objective)
    return GradientSurgery(body(), **made, projector=projector(kind), aggregator=aggregator, **options)


def gradients(learner: Learner, e: Episode) -> dict[str, Tensor | None]:
    learner.zero_grad(set_to_none=True)
    learner(e).loss.backward()
    return {name: p.grad for name, p in learner.named_parameters() if p.requires_grad}


def alone(objective: str, e: Episode, kind: str = "plain") -> np.ndarray[Any, Any]:
    """The gradient of each task's loss, by a backward from the start for each."""
    rows = []
    for i in range(len(e.images)):
        learner = SelfSupervised(body(), **heads(objective), projector=projector(kind), per_task=True)
        branches = learner.branches(e)
        learner.objective.per_task(learner.embed(branches.online, branches.target, branches.told))[i].backward()
        rows.append(torch.cat([_of(p) for p in learner.parameters() if p.requires_grad]).numpy())
    return np.stack(rows)


def _of(p: nn.Parameter) -> Tensor:
    return (torch.zeros_like(p) if p.grad is None else p.grad).flatten()


def direction(learner: Learner, e: Episode) -> np.ndarray[Any, Any]:
    gradients(learner, e)
    return torch.cat([_of(p) for p in learner.parameters() if p.requires_grad]).numpy()


@pytest.mark.parametrize(("objective", "kind"), covered(TWO_VIEWS, ("plain", "heads", "mask-sigmoid"), strength=1))
def test_mean_is_plain_training(objective: str, kind: str) -> None:
    options = {"regularizer": Isotropy(), "weight": 0.1, "standardize": True} if objective == "simclr" else {}
    own = surgery("mean", objective, kind, **options)
    plain = SelfSupervised(body(), **heads(objective), projector=projector(kind), per_task=True, **options)
    for step in range(2):
        e = episode([0, 2, 1], seed=step)
        found, expected = gradients(own, e), gradients(plain, e)
        assert found.keys() == expected.keys()
        for name, g in expected.items():
            if g is None:
                assert found[name] is None, name
            else:
                torch.testing.assert_close(found[name], g, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(own(e).loss, plain(e).loss)  # moves the statistics of both once more
        for learner in (own, plain):
            learner.end_step()
    for (name, ours), (_, theirs) in zip(own.named_buffers(), plain.named_buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_what_no_task_reaches_has_no_gradient() -> None:
    learner = surgery("mean")
    learner.encoder.spare = nn.Linear(1, 1)
    learner.encoder.forward = lambda x: learner.encoder[:4](x)
    found = gradients(learner, episode([0, 1, 2]))
    assert {name for name, g in found.items() if g is None} == {"encoder.spare.weight", "encoder.spare.bias"}


def test_batch_statistics_move_once_a_step() -> None:
    learner = surgery("upgrad")
    gradients(learner, episode([0, 1, 2]))
    assert int(learner.encoder[1].num_batches_tracked) == 1


def opposed(e: Episode) -> np.ndarray[Any, Any]:
    rows = alone("simclr", e)
    assert (rows @ rows.T)[np.triu_indices(len(rows), 1)].min() < 0
    return rows


def conflicting(tasks: int) -> Episode:
    """The first episode with tasks whose gradients oppose each other."""
    for seed in range(50):
        e = episode(None, tasks=tasks, seed=seed)
        rows = alone("simclr", e)
        if (rows @ rows.T)[np.triu_indices(tasks, 1)].min() < 0:
            return e
    raise AssertionError


def test_pcgrad_restated_for_two_tasks() -> None:
    e = conflicting(2)
    g = opposed(e)
    inner = g[0] @ g[1]
    first, second = g[0] - inner / (g[1] @ g[1]) * g[1], g[1] - inner / (g[0] @ g[0]) * g[0]
    learner = surgery("pcgrad")
    np.testing.assert_allclose(direction(learner, e), (first + second) / 2, rtol=1e-7, atol=1e-10)


def test_pcgrad_restated_for_three_tasks_in_some_order() -> None:
    e = conflicting(3)
    g = opposed(e)
    results = []
    for choice in range(8):  # each gradient meets the other two in one of two orders
        total = np.zeros_like(g[0])
        for i in range(3):
            others = [j for j in range(3) if j != i][:: -1 if choice >> i & 1 else 1]
            own = g[i].copy()
            for j in others:
                if (inner := own @ g[j]) < 0:
                    own -= inner / (g[j] @ g[j]) * g[j]
            total += own
        results.append(total / 3)
    torch.manual_seed(0)
    learner = surgery("pcgrad")
    found = direction(learner, e)
    assert min(np.abs(found - result).max() for result in results) < 1e-8


def test_upgrad_harms_no_task() -> None:
    e = conflicting(3)
    g = opposed(e)
    learner = surgery("upgrad")
    found = direction(learner, e)
    # Each row projected to the cone {x: G x >= 0}, by its dual: minimise over w >= 0 |g_i + Gᵀ w|.
    from scipy.optimize import nnls

    projected = np.mean([row + g.T @ nnls(g.T, -row)[0] for row in g], axis=0)
    np.testing.assert_allclose(found, projected, rtol=2e-2, atol=2e-3 * np.abs(projected).max())  # torchjd regularizes
    size = np.linalg.norm(g, axis=1) * np.linalg.norm(found)
    assert ((g @ found) / size).min() > -1e-3


def test_nash_is_the_bargain() -> None:
    """``J Jᵀ α = 1 / α`` has one solution, the minimum of ½ αᵀ J Jᵀ α − Σ log α; the direction has length 1."""
    e = conflicting(3)
    g = opposed(e)
    gram = g @ g.T
    from scipy.optimize import minimize

    start = np.log(1 / np.sqrt(np.diag(gram)))
    alpha = np.exp(minimize(lambda a: np.exp(a) @ gram @ np.exp(a) / 2 - a.sum(), start, tol=1e-14).x)
    np.testing.assert_allclose(gram @ alpha * alpha, 1, rtol=1e-4)
    expected = alpha @ g / np.linalg.norm(alpha @ g)
    learner = surgery("nash-mtl")
    found = direction(learner, e)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_nash_does_not_ask_for_the_size(size: float) -> None:
    g = torch.randn(4, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    g[1] *= 5
    nash = AGGREGATORS["nash-mtl"]
    torch.testing.assert_close(nash(size * g), nash(g), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_tasks_without_a_gradient(name: str) -> None:
    """A queue that is still empty leaves all tasks without one."""
    g = torch.zeros(3, 4)
    assert torch.equal(AGGREGATORS[name](g), torch.zeros(4))
    g[1, 2] = 2.0
    found = AGGREGATORS[name](g)
    assert found[2] > 0
    assert torch.equal(found[[0, 1, 3]], torch.zeros(3))


@pytest.mark.parametrize(("name", "objective"), covered(AGGREGATORS, ("byol", "moco"), strength=1))
def test_runs_are_finite_and_alike(name: str, objective: str) -> None:
    """Also after a copy in the middle, plain or pickled: no aggregator remembers anything."""
    learner = surgery(name, objective)
    twins = [copy.deepcopy(learner), pickle.loads(pickle.dumps(learner))]
    state = torch.get_rng_state()
    found = []
    for each in (learner, *twins):
        torch.set_rng_state(state)
        for step in range(2):
            got = direction(each, episode(None, tasks=2, seed=step))
            each.end_step()
        found.append(got)
    assert np.isfinite(found[0]).all()
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_metrics_say_how_opposed_the_tasks_are() -> None:
    e = conflicting(3)
    g = opposed(e)
    g = g / np.linalg.norm(g, axis=1, keepdims=True)
    cosines = (g @ g.T)[np.triu_indices(3, 1)]
    metrics = surgery("pcgrad")(e).metrics
    assert float(metrics["cosine"]) == pytest.approx(cosines.mean(), rel=1e-6)
    assert float(metrics["opposed"]) == pytest.approx((cosines < 0).mean())
    assert 0 < float(metrics["kept"]) <= 1 + 1e-9
    assert float(surgery("mean")(e).metrics["kept"]) == pytest.approx(1)


def test_without_gradients_there_is_the_loss_alone() -> None:
    with torch.no_grad():
        outcome = surgery("pcgrad")(episode([0, 1, 2]))
    plain = SelfSupervised(body(), **heads("simclr"), projector=projector(), per_task=True)
    torch.testing.assert_close(outcome.loss, plain(episode([0, 1, 2])).loss.detach())


@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "nash-mtl")) for name in AGGREGATORS]
)
def test_trains(name: str) -> None:
    class Same:
        def sample(self) -> Episode:
            return episode([0, 1, 2]).to("cpu")

    torch.manual_seed(0)
    options = TrainerOptions(steps=12, lr=0.02, log_every=1, accelerator="cpu")
    history = Trainer(surgery(name), Same(), options).fit()
    assert history[-1]["ssl"] < history[0]["ssl"] - 0.05


def test_what_is_not_finite_is_for_the_trainer_to_report() -> None:
    learner = surgery("upgrad")
    with torch.no_grad():
        learner.encoder[0].weight.fill_(float("nan"))
    assert not torch.isfinite(learner(episode([0, 1, 2])).loss)


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(MissingPackage, match=r"pip install 'metatc2\[surgery\]'") as caught:
        build_aggregator("pcgrad")
    assert "\n" not in str(caught.value)


def test_looking_for_the_package_draws_nothing() -> None:
    state = torch.get_rng_state()
    build_aggregator("pcgrad")
    assert torch.equal(state, torch.get_rng_state())


def test_surgery_refuses() -> None:
    with pytest.raises(InputError, match="did you mean 'upgrad'"):
        surgery("upgrd")
    with pytest.raises(InputError, match="one gradient alone"):
        surgery("mean", per_task=False)
    with pytest.raises(InputError, match="at least 2 tasks"):
        surgery("mean")(episode(None, tasks=1))


def uncertain(**options: Any) -> UncertaintyWeighting:
    return UncertaintyWeighting(body(), **heads("simclr"), projector=projector(), kinds=3, **options).double()


def test_uncertainty_restated() -> None:
    e = episode([0, 2, 2])
    plain = SelfSupervised(body(), **heads("simclr"), projector=projector(), per_task=True)
    branches = plain.branches(e)
    losses = plain.objective.per_task(plain.embed(branches.online, branches.target)).detach().numpy()
    learner = uncertain()
    assert learner(e).loss.item() == pytest.approx(losses.mean())
    s = np.array([0.3, 9.0, -0.4])
    with torch.no_grad():
        learner.log_variance.copy_(torch.from_numpy(s))
    own = s[[0, 2, 2]]
    found = gradients(learner, e)["log_variance"]
    assert learner(e).loss.item() == pytest.approx((np.exp(-own) * losses + own).mean())
    parts = (1 - np.exp(-own) * losses) / 3
    np.testing.assert_allclose(found.numpy(), [parts[0], 0, parts[1] + parts[2]], rtol=1e-9)
    assert learner(e).metrics["weight texture"].item() == pytest.approx(np.exp(0.4))


def test_uncertainty_has_its_own_group() -> None:
    encoder, own = uncertain(lr=0.5).groups()
    assert own.lr == 0.5
    assert [p.shape for p in own.parameters] == [(3,)]
    assert len(encoder.parameters) + 1 == len(list(uncertain().parameters()))


def test_uncertainty_refuses() -> None:
    with pytest.raises(InputError, match="does not say what its tasks are"):
        uncertain()(episode(None))
    with pytest.raises(InputError, match="kinds of task and it has 3"):
        UncertaintyWeighting(body(), **heads("simclr"), projector=projector(), kinds=2)(episode([0, 1, 1]))
    with pytest.raises(InputError, match="at least 1"):
        UncertaintyWeighting(body(), **heads("simclr"), projector=projector(), kinds=0)
    with pytest.raises(InputError, match="one loss alone"):
        uncertain(per_task=False)


def separate(objective: str = "simclr") -> SeparateLearner:
    return SeparateLearner([body(i) for i in range(3)], **heads(objective), projector=projector("heads"))


@pytest.mark.parametrize("objective", ["simclr", "byol"])
def test_separate_encoders_share_nothing(objective: str) -> None:
    """The gradients are those of three runs that know nothing of each other."""
    kinds = [1, 0, 0]
    e = episode(kinds)
    learner = separate(objective)
    gradients(learner, e)
    for kind in range(2):
        rows = [i for i, k in enumerate(kinds) if k == kind]
        single = SelfSupervised(body(kind), **heads(objective), projector=_head(kind), per_task=True)
        part = Episode(*(side.map(lambda t, rows=rows: t[rows]) for side in (e.support, e.query)))
        (single(part).loss * len(rows) / 3).backward()
        for p, q in zip(learner.encoder.encoders[kind].parameters(), single.encoder.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-13)
    assert all(p.grad is None for p in learner.encoder.encoders[2].parameters())  # no task of its kind
    assert [int(each[1].num_batches_tracked) for each in learner.encoder.encoders] == [1, 1, 0]
    learner.end_step()
    assert learner.exports()["encoder"](e.images.flatten(0, 2)).shape == (48, 3 * DIM)


def _head(kind: int) -> nn.Module:
    """The head of a kind by itself."""
    own = projector("heads")
    assert isinstance(own, TaskHeads)
    single = Projector(DIM, WIDTH, OUT).double()
    with torch.no_grad():
        for name, p in single.named_parameters():
            p.copy_(dict(own.parts.named_parameters())[name][kind])
    return single


def test_separate_refuses() -> None:
    with pytest.raises(InputError, match="does not say"):
        separate()(episode(None))
    with pytest.raises(InputError, match="for all tasks alike"):
        SeparateLearner([body()], **heads("simclr"), projector=projector())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 encoders and TaskHeads is for 3 kinds"):
        SeparateLearner([body(), body()], **heads("simclr"), projector=projector("heads"))  # type: ignore[arg-type]
    wide = SeparateLearner([body(), body(), body(width=7)], **heads("simclr"), projector=projector("heads"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one width to be trained"):
        wide(episode([0, 1, 2]))
