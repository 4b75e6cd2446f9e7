"""R2D2 and the logistic head: scikit-learn, finite differences, and autograd through the normal equations."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torchopt
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, one_hot

from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.inner import FirstOrder, Implicit, InnerLoop, Unroll, clip_norm
from metatc2.learners import R2D2, LabeledLearner, LogisticHead
from metatc2.learners._heads import head_loop, logistic_loss, zero_head
from metatc2.learners.r2d2 import ridge
from metatc2.models.conv4 import Conv4

from .episodes import assert_exact_gradient, flat_gradient, images, vectors

Make = Callable[..., LabeledLearner]
HEADS: dict[str, Make] = {
    "r2d2": partial(R2D2, strength=0.5, scale=4.0),
    "logistic": partial(LogisticHead, inner=dataclasses.replace(head_loop(0.05), steps=30), l2=0.05, scale=2.0),
}


def encoder(width: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, width)).double()


def conv() -> nn.Module:
    torch.manual_seed(0)
    return Conv4(1, 4).double()


def tasks_of(episode: Episode) -> list[tuple[Tensor, ...]]:
    return list(zip(*episode.support.labeled(), *episode.query.labeled(), strict=True))


def with_one(t: Tensor) -> Tensor:
    return torch.cat([t, torch.ones(len(t), 1, dtype=t.dtype)], 1)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# R2D2.


@pytest.mark.parametrize("n", [3, 5, 6, 12])
def test_both_forms_of_the_ridge_agree_with_scikit_learn(n: int) -> None:
    """5 features: the n × n system below and at 5 rows, the d × d system above. Values and derivatives."""
    x, y, strength = numbers(n, 5), numbers(n, 2, seed=1), torch.tensor(0.3, dtype=torch.float64)
    inputs = [t.requires_grad_() for t in (x, y, strength)]
    eye = torch.eye(max(n, 5), dtype=torch.float64)
    wide = x.T @ torch.linalg.inv(x @ x.T + strength * eye[:n, :n]) @ y
    tall = torch.linalg.inv(x.T @ x + strength * eye[:5, :5]) @ x.T @ y
    found = ridge(x, y, strength)
    weights = numbers(5, 2, seed=2)
    slopes = [torch.autograd.grad((form * weights).sum(), inputs) for form in (found, wide, tall)]
    for form, slope in zip((wide, tall), slopes[1:], strict=True):
        torch.testing.assert_close(found, form, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(slopes[0], slope, rtol=1e-8, atol=1e-10)
    theirs = Ridge(alpha=0.3, fit_intercept=False).fit(x.detach().numpy(), y.detach().numpy()).coef_.T
    np.testing.assert_allclose(found.detach().numpy(), theirs, rtol=1e-8)


@pytest.mark.parametrize(("n", "size"), [(3, 3), (5, 5), (6, 5), (12, 5)])
def test_the_smaller_system_is_solved(n: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    solve, seen = torch.linalg.solve, []
    monkeypatch.setattr(torch.linalg, "solve", lambda a, b: seen.append(len(a)) or solve(a, b))
    ridge(numbers(n, 5), numbers(n, 2), torch.tensor(1.0, dtype=torch.float64))
    assert seen == [size]


@pytest.mark.parametrize("width", [3, 40])
def test_r2d2_restated(width: int) -> None:
    """Equations 4 to 6 by the normal equations, for 6 support samples: scores, loss, and all gradients by autograd."""
    learner, episode = HEADS["r2d2"](encoder(width)).double(), vectors(tasks=3)
    losses = []
    for x, y, query_x, query_y in tasks_of(episode):
        support, queries = with_one(learner.network(x)), with_one(learner.network(query_x))
        system = support.T @ support + learner.log_strength.exp() * torch.eye(width + 1, dtype=torch.float64)
        w = torch.linalg.inv(system) @ support.T @ one_hot(y, 3).double()
        scores = learner.scale * queries @ w + learner.shift
        torch.testing.assert_close(learner.predict(x, y, query_x), scores.detach(), rtol=1e-7, atol=1e-9)
        losses.append(cross_entropy(scores, query_y))
    loss = torch.stack(losses).mean()
    torch.testing.assert_close(learner(episode).loss.detach(), loss.detach())
    expected = torch.autograd.grad(loss, list(learner.parameters()))
    torch.testing.assert_close(
        flat_gradient(learner, episode), torch.cat([g.flatten() for g in expected]), rtol=1e-6, atol=1e-9
    )


def test_r2d2_learns_its_own_numbers_and_keeps_the_ridge_positive(seed_offset: int) -> None:
    learner = R2D2(encoder(seed=seed_offset), strength=1e-3, scale=1).double()
    assert float(learner.log_strength.detach().exp()) == pytest.approx(1e-3)
    assert any(learner.log_strength is p for group in learner.groups() for p in group.parameters)
    optimizer, episode = torch.optim.SGD([learner.log_strength, learner.scale], lr=1.0), vectors(seed=seed_offset)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        outcome = learner(episode)
        outcome.loss.backward()
        optimizer.step()
        losses.append(float(outcome.loss.detach()))
        assert float(learner.log_strength.detach().exp()) > 0
    assert losses[-1] < losses[0]
    # A number added to the scores of all classes leaves the softmax as it is.
    assert learner.shift.grad is not None
    assert abs(float(learner.shift.grad)) < 1e-12


# The logistic head.


def slope(head: dict[str, Tensor], features: Tensor, y: Tensor, l2: float) -> float:
    leaves = {name: p.detach().requires_grad_() for name, p in head.items()}
    found = torch.autograd.grad(logistic_loss(leaves, features, y, l2), list(leaves.values()))
    return float(torch.cat([g.flatten() for g in found]).norm())


@pytest.mark.parametrize(("n", "way", "offset"), [(5, 5, 0.0), (25, 5, 3.0), (100, 20, 0.0)])
def test_default_loop_finds_scikit_learns_minimum(n: int, way: int, offset: float) -> None:
    """`offset` puts all features into one direction, where the problem is conditioned worst."""
    features, y = numbers(n, 32) + offset, torch.arange(n) % way
    start = zero_head(features, way)
    end = head_loop(0.02)(lambda head, f: logistic_loss(head, f, y, 0.02), start, features)
    assert slope(end, features, y, 0.02) < 5e-6 * slope(start, features, y, 0.02)
    # scikit-learn sums over samples and does not regularize its intercept; a constant feature stands for ours.
    inputs = with_one(normalize(features, dim=-1)).numpy()
    theirs = LogisticRegression(C=1 / (0.02 * n), fit_intercept=False, tol=1e-12, max_iter=10000)
    coefficients = theirs.fit(inputs, y.numpy()).coef_
    ours = torch.cat([end["weight"], end["bias"][:, None]], 1).detach().numpy()
    np.testing.assert_allclose(ours, coefficients, atol=3e-6)


@pytest.mark.parametrize("l2", [0.005, 0.1, 4.0])
def test_default_loop_suits_other_regularization(l2: float) -> None:
    features, y = numbers(25, 32) + 3.0, torch.arange(25) % 5
    start = zero_head(features, 5)
    end = head_loop(l2)(lambda head, f: logistic_loss(head, f, y, l2), start, features)
    assert slope(end, features, y, l2) < 1e-2 * slope(start, features, y, l2)


def test_logistic_scores_and_loss_restated() -> None:
    learner, episode = LogisticHead(encoder(), l2=0.05, scale=2.0).double(), vectors(tasks=2, shot=4)
    losses = []
    for x, y, query_x, query_y in tasks_of(episode):
        support, queries = (with_one(normalize(learner.network(t), dim=-1)).detach().numpy() for t in (x, query_x))
        theirs = LogisticRegression(C=1 / (0.05 * len(support)), fit_intercept=False, tol=1e-12, max_iter=10000)
        scores = 2.0 * theirs.fit(support, y.numpy()).decision_function(queries)
        np.testing.assert_allclose(learner.predict(x, y, query_x).numpy(), scores, atol=1e-5)
        p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(len(p)), query_y.numpy()]).mean())
    assert float(learner(episode).loss.detach()) == pytest.approx(np.mean(losses), rel=1e-5)


def test_logistic_gradient_is_that_of_the_minimum() -> None:
    """By default settings: finite differences of the loss, and ordinary autograd through many steps on the plain mean."""
    torch.manual_seed(0)
    learner, episode = LogisticHead(nn.Sequential(nn.Linear(5, 3), nn.Tanh())).double(), vectors(tasks=1)
    found = flat_gradient(learner, episode)
    assert_exact_gradient(learner, episode, rtol=1e-4, atol=5e-6, step=1e-5)
    losses = []
    for x, y, query_x, query_y in tasks_of(episode):
        support, queries = (with_one(normalize(learner.network(t), dim=-1)) for t in (x, query_x))
        w = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
        for _ in range(320):  # the curvature is below 1.02
            inner = cross_entropy(support @ w.T, y) + 0.01 * w.square().sum()
            w = w - 1.9 * torch.autograd.grad(inner, w, create_graph=True)[0]
        losses.append(cross_entropy(learner.scale * queries @ w.T, query_y))
    expected = torch.autograd.grad(torch.stack(losses).mean(), list(learner.parameters()))
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in expected]), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        torchopt.adam(0.05),
        torchopt.rmsprop(0.004),
        torchopt.adamw(0.05, weight_decay=0.0),
        clip_norm(1.0).chain(torchopt.sgd(1.0)),
    ],
    ids=["adam", "rmsprop", "adamw", "clipped"],
)
def test_any_optimizer_gives_the_same_meta_gradient(optimizer: Any) -> None:
    """It depends on the minimum alone; what they differ by is how near to it they came."""
    expected = flat_gradient(LogisticHead(encoder(), l2=0.5).double(), vectors(tasks=1))
    learner = LogisticHead(encoder(), InnerLoop(optimizer, 150, Unroll()), l2=0.5).double()
    assert isinstance(learner.inner.adjoint, Implicit)
    found = flat_gradient(learner, vectors(tasks=1))
    assert float((found - expected).norm() / expected.norm()) < 2e-2


@pytest.mark.slow
def test_more_steps_at_test_time() -> None:
    x, y, query_x, _ = tasks_of(vectors(tasks=1))[0]
    far = LogisticHead(encoder()).double().predict(x, y, query_x)
    short = InnerLoop(torchopt.sgd(1.0), 2)
    assert (LogisticHead(encoder(), short).double().predict(x, y, query_x) - far).abs().max() > 0.1
    learner = LogisticHead(encoder(), short, test_steps=300).double()
    for mode in (True, False):
        torch.testing.assert_close(learner.train(mode).predict(x, y, query_x), far, atol=1e-4, rtol=0)


def test_a_loop_that_stops_short_says_so() -> None:
    learner = LogisticHead(encoder(), InnerLoop(torchopt.sgd(0.01), 2)).double()
    with pytest.warns(RuntimeWarning, match="stopped short of a minimum"):
        learner(vectors(tasks=1))


def test_logistic_head_on_an_encoder_that_is_frozen_as_a_whole() -> None:
    learner, free = LogisticHead(encoder().requires_grad_(False)).double(), LogisticHead(encoder()).double()
    for each in (learner, free):
        each(vectors()).loss.backward()
    torch.testing.assert_close(learner.scale.grad, free.scale.grad)
    assert all(p.grad is None for p in learner.network.parameters())


# Both.


@pytest.mark.parametrize("norm", ["batch", "support", "frozen"])
def test_three_tasks_at_once(norm: Any) -> None:
    """The logistic head refuses, as implicit differentiation does not work under vmap."""
    found = []
    for vmap_chunk in (1, 3):
        learner = R2D2(conv(), norm=norm, vmap_chunk=vmap_chunk).double()
        found.append((learner(images()).loss.detach(), flat_gradient(learner, images())))
    torch.testing.assert_close(found[0], found[1], rtol=1e-7, atol=1e-10)
    with pytest.raises(InputError, match="does not work under vmap; set vmap_chunk to 1"):
        LogisticHead(conv(), norm=norm, vmap_chunk=3)


@pytest.mark.parametrize("name", HEADS)
def test_batch_norm_policies_buffers_and_no_grad(name: str) -> None:
    x, y, query_x, _ = tasks_of(images(query=1))[0]
    scores = {}
    for norm in ("batch", "support", "frozen"):
        learner = HEADS[name](conv(), norm=norm).double().train()
        before = {key: value.clone() for key, value in learner.state_dict().items()}
        scores[norm] = learner.predict(x, y, query_x)
        alone = torch.cat([learner.predict(x, y, one[None]) for one in query_x])
        assert torch.allclose(alone, scores[norm], rtol=1e-6, atol=1e-8) == (norm != "batch")
        with torch.no_grad():
            assert learner(images(tasks=1)).loss.isfinite()
        assert all(torch.equal(value, before[key]) for key, value in learner.state_dict().items())
    assert not torch.allclose(scores["support"], scores["frozen"], rtol=1e-2)


@pytest.mark.parametrize("name", HEADS)
def test_labels_of_both_sides_count(name: str) -> None:
    learner, (x, y, query_x, query_y) = HEADS[name](encoder()).double(), tasks_of(vectors(tasks=1))[0]
    turn, scores = torch.tensor([2, 0, 1]), learner.predict(x, y, query_x)
    torch.testing.assert_close(learner.predict(x, turn[y], query_x)[:, turn], scores)
    assert not torch.allclose(learner.predict(x, turn[y], query_x), scores)
    losses = [learner.task_loss(learner.theta(), x, y, query_x, t, 3)[0] for t in (query_y, turn[query_y])]
    assert abs(float((losses[0] - losses[1]).detach())) > 1e-3


@pytest.mark.parametrize("name", HEADS)
def test_frozen_weights_stay_and_the_others_learn_as_before(name: str) -> None:
    free, frozen = HEADS[name](encoder()).double(), HEADS[name](encoder()).double()
    for part in ("network.0.weight", "scale"):
        frozen.get_parameter(part).requires_grad_(False)
    for learner in (free, frozen):
        learner(vectors()).loss.backward()
    assert frozen.get_parameter("network.0.weight").grad is None
    assert frozen.get_parameter("scale").grad is None
    found = [each.get_parameter("network.2.weight").grad for each in (frozen, free)]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", HEADS)
def test_numbers_of_the_head_are_taken_from_theta(name: str) -> None:
    learner, (x, y, query_x, _) = HEADS[name](encoder()).double(), tasks_of(vectors(tasks=1))[0]
    theta = {key: p.detach() for key, p in learner.theta().items()}
    found = [learner.fit({**theta, "scale": factor * theta["scale"]}, x, y, 3)(query_x) for factor in (1, 3)]
    torch.testing.assert_close(found[1], 3 * found[0])


@pytest.mark.parametrize("name", HEADS)
def test_mixed_precision_leaves_the_head_in_float32(name: str) -> None:
    """Features in float32 have to give the same scores, with and without autocast, to the last bit."""
    learner = HEADS[name](nn.Identity())
    x, y, query_x, _ = (t.float() if t.is_floating_point() else t for t in tasks_of(vectors(tasks=1))[0])
    expected = learner.predict(x, y, query_x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(learner.predict(x, y, query_x), expected)
        rough = learner.predict(x.bfloat16(), y, query_x.bfloat16())
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, learner.predict(x.bfloat16().float(), y, query_x.bfloat16().float()))


@pytest.mark.parametrize("name", HEADS)
def test_features_that_are_all_zero_have_a_finite_gradient(name: str) -> None:
    dead = nn.Sequential(nn.Linear(5, 4), nn.ReLU())
    with torch.no_grad():
        dead.get_parameter("0.bias").fill_(-100.0)
    learner = HEADS[name](dead).double()
    assert flat_gradient(learner, vectors()).isfinite().all()
    assert float(learner(vectors()).loss.detach()) == pytest.approx(np.log(3), rel=1e-6)


def test_what_users_get_wrong() -> None:
    for strength in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="R2D2: strength must be > 0"):
            R2D2(encoder(), strength=strength)
    with pytest.raises(InputError, match="LogisticHead: l2 must be > 0"):
        LogisticHead(encoder(), l2=-1.0)
    x, y, query_x, _ = tasks_of(vectors(tasks=1))[0]
    for name in HEADS:
        with pytest.raises(InputError, match="needs class labels .* for regression use MAML"):
            HEADS[name](encoder()).double().predict(x, y.double(), query_x)


def test_the_default_loop_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flat_gradient(LogisticHead(encoder()).double(), vectors())
    assert isinstance(head_loop(0.02).adjoint, FirstOrder)
