"""ProtoNet, MatchingNet, R2D2, the logistic head and the linear probe against restated papers and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchopt
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from metatc2.data.store import ImageStore
from metatc2.encoders import Conv4
from metatc2.episodes import Episode, LabelledTasks
from metatc2.errors import InputError
from metatc2.inner import InnerLoop
from metatc2.learners import R2D2, LabelledLearner, LinearProbe, LogisticHead, MatchingNet, ProtoNet
from metatc2.learners.r2d2 import ridge
from metatc2.learners.support import logistic_loss, zero_head

from .episodes import differences, flat_gradient, images, vectors

Make = Callable[[nn.Module], LabelledLearner]

VMAP: dict[str, Make] = {
    "protonet": ProtoNet,
    "protonet-cosine": lambda encoder: ProtoNet(encoder, distance="cosine"),
    "matching-net": MatchingNet,
    "r2d2": R2D2,
}
ALL: dict[str, Make] = {
    **VMAP,
    "logistic": lambda encoder: LogisticHead(encoder, InnerLoop(torchopt.sgd(1.0, momentum=0.9), steps=600)),
}


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4))


def first(episode: Episode) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (x, y), (query_x, query_y) = episode.support.labelled(), episode.query.labelled()
    return x[0], y[0], query_x[0], query_y[0]


@pytest.mark.parametrize("name", ALL)
def test_meta_gradient_by_finite_differences(name: str) -> None:
    learner, episode = ALL[name](encoder()).double(), vectors(tasks=2)
    expected = differences(learner, episode)
    torch.testing.assert_close(flat_gradient(learner, episode), expected, rtol=1e-4, atol=1e-7)
    assert expected.abs().max() > 1e-2


@pytest.mark.parametrize("norm", ["batch", "support", "frozen"])
@pytest.mark.parametrize("name", VMAP)
def test_tasks_at_once_give_the_same_gradient(name: str, norm: Any) -> None:
    found = []
    for at_once in (1, 2):
        torch.manual_seed(0)
        learner = VMAP[name](Conv4(1, 4)).double()
        options = {"norm": norm, "at_once": at_once}
        learner = type(learner)(learner.network, **options).double()
        found.append((learner(images()).loss.detach(), flat_gradient(learner, images())))
    torch.testing.assert_close(found[0], found[1], rtol=1e-7, atol=1e-10)


def test_protonet_restated() -> None:
    """Equations 1 and 2: softmax of minus the squared distance to class means."""
    learner = ProtoNet(encoder()).double()
    x, y, query_x, query_y = first(vectors(tasks=1))
    support, queries = (learner.network(t).detach().numpy() for t in (x, query_x))
    means = np.stack([support[y.numpy() == c].mean(0) for c in range(3)])
    logits = -((queries[:, None] - means) ** 2).sum(-1)
    np.testing.assert_allclose(learner.predict(x, y, query_x).numpy(), logits, rtol=1e-10)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss = -log_p[np.arange(len(logits)), query_y.numpy()].mean()
    assert float(learner(vectors(tasks=1)).loss.detach()) == pytest.approx(loss, rel=1e-10)


def test_matching_net_restated() -> None:
    """Equation 1: a convex combination of one-hot labels, attended by cosine."""
    learner = MatchingNet(encoder(), temperature=3.0).double()
    x, y, query_x, _ = first(vectors(tasks=1))
    support, queries = (learner.network(t).detach().numpy() for t in (x, query_x))
    cosines = (queries @ support.T) / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(support, axis=1)
    attention = np.exp(3.0 * cosines) / np.exp(3.0 * cosines).sum(1, keepdims=True)
    np.testing.assert_allclose(learner.predict(x, y, query_x).exp().numpy(), attention @ np.eye(3)[y], rtol=1e-10)


@pytest.mark.parametrize("n", [3, 5, 12])
def test_ridge_is_scikit_learns(n: int) -> None:
    """Below, at and above the width, so both systems are solved."""
    g = np.random.default_rng(0)
    x, y = g.normal(size=(n, 5)), g.normal(size=(n, 2))
    expected = Ridge(alpha=0.7, fit_intercept=False).fit(x, y).coef_.T
    found = ridge(torch.from_numpy(x), torch.from_numpy(y), torch.tensor(0.7, dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-8)


def test_logistic_head_is_scikit_learns() -> None:
    learner = LogisticHead(encoder(), l2=0.05).double()
    x, y, query_x, _ = first(vectors(tasks=1, shot=5))
    support, queries = (nn.functional.normalize(learner.network(t), dim=-1).detach().numpy() for t in (x, query_x))
    # scikit-learn sums over samples and does not regularise its intercept; a constant feature stands for ours.
    support, queries = (np.hstack([t, np.ones((len(t), 1))]) for t in (support, queries))
    theirs = LogisticRegression(C=1 / (0.05 * len(support)), fit_intercept=False, tol=1e-10, max_iter=10000)
    expected = theirs.fit(support, y.numpy()).predict_proba(queries)
    found = learner.predict(x, y, query_x).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_default_loop_of_the_logistic_head_reaches_the_minimum() -> None:
    learner = LogisticHead(nn.Identity())
    g = torch.Generator().manual_seed(0)
    for n, way in ((5, 5), (100, 20)):
        features = torch.randn(n, 32, generator=g)
        y = torch.arange(n) % way
        start = zero_head(features, way)
        end = learner.inner(
            lambda head, f, y: logistic_loss(head, f, y, learner.l2), start, features.requires_grad_(), y
        )
        sizes = []
        for head in (start, end):
            leaves = {name: p.detach().requires_grad_() for name, p in head.items()}
            slopes = torch.autograd.grad(logistic_loss(leaves, features, y, learner.l2), list(leaves.values()))
            sizes.append(float(torch.cat([s.flatten() for s in slopes]).norm()))
        assert sizes[1] < 1e-3 * sizes[0]


@pytest.mark.parametrize("optimizer", [torchopt.adam(0.1), torchopt.rmsprop(0.005), torchopt.sgd(1.0)])
def test_logistic_head_by_any_optimiser(optimizer: Any) -> None:
    x, y, query_x, _ = first(vectors(tasks=1))
    expected = LogisticHead(encoder()).double().predict(x, y, query_x)
    found = LogisticHead(encoder(), InnerLoop(optimizer, steps=800)).double().predict(x, y, query_x)
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=0)


@pytest.mark.parametrize("name", ALL)
def test_order_of_classes_means_nothing_and_prediction_changes_nothing(name: str) -> None:
    learner = ALL[name](encoder()).double()
    x, y, query_x, _ = first(vectors(tasks=1))
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    turn = torch.tensor([2, 0, 1])
    torch.testing.assert_close(learner.predict(x, turn[y], query_x)[:, turn], learner.predict(x, y, query_x))
    assert all(torch.equal(value, before[key]) for key, value in learner.state_dict().items())


@pytest.mark.parametrize("name", ALL)
def test_frozen_parts_stay(name: str) -> None:
    network = encoder()
    network.get_parameter("0.weight").requires_grad_(False)
    learner = ALL[name](network).double()
    learner(vectors(tasks=1)).loss.backward()
    assert network.get_parameter("0.weight").grad is None
    assert network.get_parameter("2.weight").grad is not None


def store(classes: int = 6, each: int = 8) -> ImageStore:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat_interleave(each)
    noise = torch.randint(0, 60, (len(labels), 1, 16, 16), generator=g)
    return ImageStore("toy", (noise + 30 * labels[:, None, None, None]).to(torch.uint8), labels)


def test_linear_probe_trains_on_the_classes_of_the_store() -> None:
    data = store()
    torch.manual_seed(0)
    learner = LinearProbe(Conv4(1, 4), 4, data.labels)
    episode = LabelledTasks(data, way=3, shot=2, query=2, tasks=2).sample()
    rows = torch.cat([episode.support.index.flatten(), episode.query.index.flatten()])
    pictures = torch.cat([episode.support.images.flatten(0, 2), episode.query.images.flatten(0, 2)])
    expected = cross_entropy(learner.classifier(learner.network(pictures)), data.labels[rows])
    torch.testing.assert_close(learner(episode).loss, expected)
    learner(episode).loss.backward()
    assert learner.classifier.weight.grad is not None
    assert learner.network.get_parameter("blocks.0.0.weight").grad is not None


def test_linear_probe_freezes_the_encoder_at_test_time() -> None:
    torch.manual_seed(0)
    learner = LinearProbe(encoder(), 4, torch.arange(3), l2=0.05).double()
    x, y, query_x, _ = first(vectors(tasks=1))
    expected = LogisticHead(learner.network, l2=0.05).double().predict(x, y, query_x)
    torch.testing.assert_close(learner.predict(x, y, query_x), expected)


def test_what_users_get_wrong() -> None:
    with pytest.raises(InputError, match="unknown distance 'euclid'; did you mean 'euclidean'"):
        ProtoNet(encoder(), distance="euclid")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="l2 must be > 0"):
        LogisticHead(encoder(), l2=0.0)
    with pytest.raises(InputError, match="does not work under vmap"):
        LogisticHead(encoder(), at_once=2)
    with pytest.raises(InputError, match="these episodes have none"):
        LinearProbe(encoder(), 4, torch.arange(3)).double()(vectors())
    with pytest.raises(InputError, match="at_once must be at least 1"):
        ProtoNet(encoder(), at_once=0)
