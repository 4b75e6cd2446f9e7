"""MAML and its relatives: meta-gradients against finite differences and restated papers, and what users may get wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.inner import FirstOrder, InnerLoop, InnerLoopDiverged, Recompute, Truncated
from metatc2.learners import ANIL, BOIL, MAML, LabeledLearner, MAMLPlusPlus, MetaSGD, Reptile
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Classifier

from ..covering import covered
from .episodes import assert_exact_gradient, differences, flat_gradient, images, mlp, side, vectors

SGD = InnerLoop(torchopt.sgd(0.3), steps=2)
INNERS = {
    "sgd": SGD,
    "momentum": InnerLoop(torchopt.sgd(0.2, momentum=0.9), steps=3),
    "adam": InnerLoop(torchopt.adam(0.05, eps_root=1e-8), steps=2),
    "rmsprop": InnerLoop(torchopt.rmsprop(0.05, eps=1e-2), steps=2),
}
EXACT = {"maml": MAML, "anil": ANIL, "boil": BOIL, "meta-sgd": MetaSGD, "maml++": MAMLPlusPlus}
FAMILY = {**EXACT, "reptile": Reptile}


@pytest.mark.parametrize(("name", "inner"), covered(EXACT, INNERS, strength=1))
def test_meta_gradient_by_finite_differences(name: str, inner: str) -> None:
    assert_exact_gradient(EXACT[name](mlp(), INNERS[inner]), vectors())


def test_meta_gradient_entry_by_entry() -> None:
    learner, episode = MAML(mlp(width=2), SGD), vectors(tasks=1)
    torch.testing.assert_close(flat_gradient(learner, episode), differences(learner, episode), rtol=1e-5, atol=1e-8)


def test_maml_is_the_paper_restated() -> None:
    """Algorithm 2 of Finn et al. 2017 by plain autograd: one graph over all tasks."""
    network, episode = mlp(), vectors()
    (x, y), (query_x, query_y) = episode.support.labeled(), episode.query.labeled()
    weights = list(network.parameters())

    def scores(w: list[Tensor], inputs: Tensor) -> Tensor:
        return torch.tanh(inputs @ w[0].T + w[1]) @ w[2].T + w[3]

    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(x)):
        adapted = weights
        for _ in range(2):
            gradient = torch.autograd.grad(cross_entropy(scores(adapted, x[i]), y[i]), adapted, create_graph=True)
            adapted = [w - 0.3 * g for w, g in zip(adapted, gradient, strict=True)]
        total = total + cross_entropy(scores(adapted, query_x[i]), query_y[i]) / len(x)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(total, weights)])
    learner = MAML(network, SGD)
    outcome = learner(episode)
    torch.testing.assert_close(outcome.loss.detach(), total.detach())
    torch.testing.assert_close(flat_gradient(learner, episode), expected, rtol=1e-10, atol=1e-12)


def test_first_order_drops_the_second_derivative_alone() -> None:
    """FOMAML: the query gradient at θ', taken as the gradient at θ (section 5.2)."""
    network, episode = mlp(), vectors(tasks=1)
    learner = MAML(network, dataclasses.replace(SGD, adjoint=FirstOrder()))
    (x, y), (query_x, query_y) = episode.support.labeled(), episode.query.labeled()
    start, rest = learner.split(learner.theta(), 3)
    adapted = {n: p.detach().requires_grad_() for n, p in SGD(learner.support_loss(x[0], y[0], 3), start, rest).items()}
    loss = learner.support_loss(query_x[0], query_y[0], 3)(adapted, rest)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(adapted.values()))])
    torch.testing.assert_close(flat_gradient(learner, episode), expected, rtol=1e-10, atol=1e-12)
    exact = flat_gradient(MAML(network, SGD), episode)
    assert (exact - expected).norm() > 0.05 * exact.norm()


@pytest.mark.parametrize("adjoint", [Recompute(), Truncated(2)])
def test_adjoints_that_are_exact_agree(adjoint: Any) -> None:
    episode = vectors()
    a, b = (flat_gradient(MAML(mlp(), loop), episode) for loop in (SGD, dataclasses.replace(SGD, adjoint=adjoint)))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_anil_and_boil_are_maml_on_a_part() -> None:
    episode = vectors()
    for kind, adapt in ((ANIL, "head.*"), (BOIL, "encoder.*")):
        a = flat_gradient(kind(mlp(), SGD), episode)
        b = flat_gradient(MAML(mlp(), SGD, adapt=adapt), episode)
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_reptile_moves_towards_the_end_of_training_on_all_samples() -> None:
    """Algorithm 2 of Nichol et al. 2018: the gradient is the mean of θ − θ' over tasks."""
    network, episode = mlp(), vectors()
    learner = Reptile(network, SGD)
    (x, y), (query_x, query_y) = episode.support.labeled(), episode.query.labeled()
    theta = torch.cat([p.detach().flatten() for p in network.parameters()])
    moves = []
    for i in range(len(x)):
        weights = [p.detach().clone().requires_grad_() for p in network.parameters()]
        every_x, every_y = torch.cat([x[i], query_x[i]]), torch.cat([y[i], query_y[i]])
        for _ in range(2):
            scores = torch.tanh(every_x @ weights[0].T + weights[1]) @ weights[2].T + weights[3]
            gradient = torch.autograd.grad(cross_entropy(scores, every_y), weights)
            weights = [(w - 0.3 * g).detach().requires_grad_() for w, g in zip(weights, gradient, strict=True)]
        moves.append(theta - torch.cat([w.detach().flatten() for w in weights]))
    torch.testing.assert_close(flat_gradient(learner, episode), torch.stack(moves).mean(0), rtol=1e-10, atol=1e-12)


def test_meta_sgd_starts_as_maml_and_learns_rates() -> None:
    episode = vectors()
    learner = MetaSGD(mlp(), SGD)
    torch.testing.assert_close(learner(episode).loss, MAML(mlp(), SGD)(episode).loss)
    assert {group.name: group.lr for group in learner.groups()} == {"learner": None, "rates": 1e-2}
    flat_gradient(learner, episode)
    assert all(float(factor.grad.abs().max()) > 0 for factor in learner.factors)  # type: ignore[union-attr]


def test_multi_step_loss_fades_to_the_last_step() -> None:
    learner = MAMLPlusPlus(mlp(), InnerLoop(torchopt.sgd(0.3), steps=3), annealing=0.5)
    assert learner.step_weights(3) == pytest.approx([1 / 3] * 3)
    learner.begin_step(25, 100)
    assert learner.step_weights(3) == pytest.approx([1 / 6, 1 / 6, 2 / 3])
    learner.begin_step(50, 100)
    assert learner.step_weights(3) == [0, 0, 1]
    torch.testing.assert_close(
        learner(vectors()).loss, MAML(mlp(), InnerLoop(torchopt.sgd(0.3), steps=3))(vectors()).loss
    )


def test_multi_step_loss_restated() -> None:
    learner, episode = MAMLPlusPlus(mlp(), SGD), vectors(tasks=1)
    expected = sum(float(MAML(mlp(), dataclasses.replace(SGD, steps=k))(episode).loss.detach()) / 2 for k in (1, 2))
    assert float(learner(episode).loss.detach()) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("name", "norm"), covered(FAMILY, ("batch", "support", "frozen"), strength=1))
def test_tasks_at_once_give_the_same_gradient(name: str, norm: Any) -> None:
    """3 tasks in chunks of 2: the last chunk is smaller."""
    results = []
    for vmap_chunk in (1, 2):
        torch.manual_seed(0)
        learner = FAMILY[name](Classifier(Conv4(1, 4), 4, 3), SGD, norm=norm, vmap_chunk=vmap_chunk).double()
        episode = images()
        outcome = learner(episode)
        results.append((outcome.loss.detach(), outcome.metrics["accuracy"], flat_gradient(learner, episode)))
    (loss, accuracy, gradient), (other_loss, other_accuracy, other) = results
    torch.testing.assert_close(loss, other_loss, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(accuracy, other_accuracy)
    torch.testing.assert_close(gradient, other, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("inner", INNERS)
def test_tasks_at_once_under_every_optimizer(inner: str) -> None:
    a, b = (flat_gradient(MAML(mlp(), INNERS[inner], vmap_chunk=vmap_chunk), vectors()) for vmap_chunk in (1, 3))
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FAMILY)
def test_frozen_parameters_and_buffers_stay(name: str) -> None:
    torch.manual_seed(0)
    network = Classifier(Conv4(1, 4), 4, 3).double()
    network.encoder.get_parameter("blocks.0.0.weight").requires_grad_(False)
    learner, episode = FAMILY[name](network, SGD), images()
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    learner(episode).loss.backward()
    assert network.encoder.get_parameter("blocks.0.0.weight").grad is None
    x, y = (t[0] for t in episode.support.labeled())
    learner.predict(x, y, x)
    learner.eval().predict(x, y, x)
    after = learner.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_running_statistics_follow_the_meta_parameters_once_a_step() -> None:
    torch.manual_seed(0)
    network = Classifier(Conv4(1, 4), 4, 3).double()
    learner, episode = MAML(network, SGD), images()
    first = episode.support.labeled()[0][0]
    expected = Conv4(1, 4).double()
    expected.load_state_dict(network.encoder.state_dict())
    expected.train()(first)
    learner.train()(episode).loss.backward()
    learner.end_step()
    for (_, a), (name, b) in zip(network.encoder.named_buffers(), expected.named_buffers(), strict=True):
        assert torch.equal(a, b), name
    frozen = MAML(network, SGD, norm="frozen")
    before = {name: b.clone() for name, b in network.named_buffers()}
    frozen.train()(episode)
    frozen.end_step()
    assert all(torch.equal(b, before[name]) for name, b in network.named_buffers())


def test_memory_does_not_grow_with_the_tasks() -> None:
    """The graph of a task is gone before the next one begins: at most one is alive."""
    alive: list[int] = []

    class Watched(MAML):
        def task_loss(self, *arguments: Any) -> tuple[Tensor, Tensor]:
            alive.append(sum(node() is not None for node in nodes))
            loss, scores = super().task_loss(*arguments)
            nodes.append(weakref.ref(saved[-1]))
            return loss, scores

    import weakref

    nodes: list[Any] = []
    saved: list[Tensor] = []

    class Keeps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out = x.exp()
            saved[:] = [out]
            return out

    network = Classifier(nn.Sequential(nn.Linear(5, 6), Keeps()), 6, 3).double()
    Watched(network, SGD)(vectors(tasks=5))
    saved.clear()
    assert alive == [0, 1, 1, 1, 1]  # the newest is held by `saved` itself


def test_head_with_fewer_or_shared_rows() -> None:
    torch.manual_seed(0)
    wide = MAML(mlp(way=5), SGD)
    assert flat_gradient(wide, vectors(way=3)).isfinite().all()
    x = torch.randn(6, 5, dtype=torch.float64)
    assert wide.predict(x, torch.tensor([0, 1, 2, 0, 1, 2]), x).shape == (6, 3)
    with pytest.raises(InputError, match=r"head has 5 outputs and a task has 6 classes; .*episode.way=6"):
        wide.predict(x, torch.arange(6), x)
    shared = MAML(Classifier(nn.Linear(5, 2), 2, 3, shared=True).double(), SGD)
    for way in (3, 6):
        episode = vectors(tasks=1, way=way)
        torch.testing.assert_close(flat_gradient(shared, episode), differences(shared, episode), rtol=1e-5, atol=1e-8)


def test_shared_row_makes_the_order_of_classes_meaningless() -> None:
    learner = MAML(Classifier(nn.Linear(5, 4), 4, 3, shared=True).double(), SGD)
    x, y = (t[0] for t in vectors(tasks=1).support.labeled())
    turn = torch.tensor([2, 0, 1])
    torch.testing.assert_close(learner.predict(x, turn[y], x)[:, turn], learner.predict(x, y, x))


def test_regression_with_float_targets() -> None:
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    x = torch.rand(2, 5, 1, 1, generator=g, dtype=torch.float64)
    inputs = side(x[:, :, 0], x[:, :, 0, 0].sin())
    episode = Episode(inputs, inputs)
    network = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    learner = MAML(network, SGD, criterion=mse_loss)
    torch.testing.assert_close(flat_gradient(learner, episode), differences(learner, episode), rtol=1e-5, atol=1e-9)
    assert learner(episode).metrics == {}
    assert learner.predict(x[0, :, 0], x[0, :, 0, 0].sin(), x[0, :, 0]).shape == (5,)


def test_more_steps_at_test_time(seed_offset: int) -> None:
    episode = vectors(tasks=1, seed=seed_offset)
    x, y = (t[0] for t in episode.support.labeled())
    few, many = (
        cross_entropy(MAML(mlp(seed=seed_offset), SGD, test_steps=steps).predict(x, y, x), y) for steps in (None, 20)
    )
    assert many < few


# Modules whose kernels have no second derivative, unless others are chosen.


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.unflatten(-1, (3, 4))
        return self.out(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(4, 4, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(x.unflatten(-1, (3, 4)))[0][:, -1])


@pytest.mark.parametrize("kind", [Attention, Recurrent])
def test_attention_and_recurrence_in_second_order(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    assert_exact_gradient(MAML(kind().double(), SGD), vectors(tasks=2, dim=12))


def test_dead_relu_under_adam_has_a_finite_meta_gradient() -> None:
    torch.manual_seed(0)
    network = Classifier(nn.Sequential(nn.Linear(5, 6), nn.ReLU()), 6, 3).double()
    with torch.no_grad():
        network.encoder.get_parameter("0.bias")[:3] = -100.0
    learner = MAML(network, InnerLoop(torchopt.adam(0.05), steps=3))
    assert flat_gradient(learner, vectors()).isfinite().all()


# What users may get wrong.


def bad(episode: Episode, **changes: Any) -> Episode:
    return Episode(dataclasses.replace(episode.support, **changes), episode.query)


def test_labels_that_are_not_task_local_name_the_task() -> None:
    episode, learner = vectors(), MAML(mlp(), SGD)
    labels = episode.support.labels
    assert labels is not None
    shifted = labels.clone()
    shifted[1] += 1
    with pytest.raises(InputError, match=r"task 0 .*0 to 3 with each class present, got \[0, 1, 2\]; renumber"):
        learner(bad(episode, labels=shifted))
    lacking = labels.clone()
    lacking[2][lacking[2] == 1] = 0
    with pytest.raises(InputError, match=r"task 2 .*got \[0, 2\]"):
        learner(bad(episode, labels=lacking))
    asked = dataclasses.replace(episode.query, labels=torch.full_like(episode.query.labels, 7))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="task 0 .*query labels must be among those of its support"):
        learner(Episode(episode.support, asked))
    with pytest.raises(InputError, match="needs labeled episodes"):
        learner(bad(episode, labels=None))


def test_divergence_names_the_task() -> None:
    episode = vectors()
    inputs = episode.support.images.clone()
    inputs[1] *= float("nan")
    with pytest.raises(
        InnerLoopDiverged, match="task 1 of the episode: the inner loss is NaN or infinite at step 1 of 2"
    ):
        MAML(mlp(), SGD)(bad(episode, images=inputs))
    with pytest.raises(InnerLoopDiverged, match="task 1 of the episode: the loss on its queries is NaN"):
        MAML(mlp(), SGD, vmap_chunk=3)(bad(episode, images=inputs))


def test_nothing_adapts() -> None:
    with pytest.raises(InputError, match=r"adapt: no trainable parameter matches classifier\.\*; there are: encoder"):
        MAML(mlp(), SGD, adapt="classifier.*")


def test_too_few_outputs() -> None:
    learner = MAML(nn.Linear(5, 2).double(), SGD)
    with pytest.raises(InputError, match=r"must give scores \(N, 3\) for a 3-way task, got \(6, 2\)"):
        learner(vectors())


def test_inner_loss_apart_from_the_parameters() -> None:
    learner = MAML(mlp(), SGD, criterion=lambda scores, labels: scores.detach().mean())
    with pytest.raises(InputError, match="inner loss does not depend on the adapted parameters"):
        learner(vectors())


def test_optimizer_without_a_derivative() -> None:
    with pytest.raises(InputError, match="derivative of this optimizer's update is missing or wrong"):
        InnerLoop(torchopt.chain(torchopt.clip_grad_norm(1.0), torchopt.sgd(0.1)), steps=1)


def test_boil_under_a_shared_row() -> None:
    with pytest.raises(InputError, match="all classes would score alike"):
        BOIL(Classifier(nn.Linear(5, 4), 4, 3, shared=True), SGD)


@pytest.mark.slow
def test_compiled_network() -> None:
    with pytest.raises(InputError, match=r"torch\.compile cannot be used inside an inner loop"):
        MAML(torch.compile(nn.Linear(2, 2)), SGD)  # type: ignore[arg-type]


def test_a_learner_of_ones_own_in_four_lines() -> None:
    class NearestMean(LabeledLearner):
        def fit(self, theta: Any, x: Tensor, y: Tensor, way: int) -> Any:
            means = torch.stack([self.call(theta, x)[y == c].mean(0) for c in range(way)])
            return lambda query: -torch.cdist(self.call(theta, query), means)

    torch.manual_seed(0)
    learner, episode = NearestMean(nn.Linear(5, 2).double()), vectors()
    torch.testing.assert_close(flat_gradient(learner, episode), differences(learner, episode), rtol=1e-5, atol=1e-9)


def test_a_prediction_takes_the_steps_of_test_time_in_whatever_mode() -> None:
    drawn = vectors()
    (x, y), (query_x, _) = drawn.support.labeled(), drawn.query.labeled()
    task = x[0], y[0], query_x[0]
    few, many = (MAML(mlp(), dataclasses.replace(SGD, steps=steps)).predict(*task) for steps in (2, 9))
    learner = MAML(mlp(), dataclasses.replace(SGD, steps=2), test_steps=9)
    for mode in (True, False):
        learner.train(mode)
        assert torch.equal(learner.predict(*task), many)
        assert all(part.training is mode for part in learner.modules())
    assert not torch.allclose(few, many)
