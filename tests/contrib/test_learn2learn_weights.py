"""What the real learn2learn MAML has trained, under our learner: the same predictions, the same meta-gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from metatc2.contrib.learn2learn import few_shot_accuracy, from_learn2learn, require_learn2learn, strip_module, tasks_of
from metatc2.data import ImageStore, load
from metatc2.episodes import Episode, FromIterable, LabeledTasks, Samples, SinusoidTasks
from metatc2.errors import InputError
from metatc2.inner import InnerLoop
from metatc2.learners import MAML
from metatc2.transfer import Episodes, adapted_few_shot, mean_interval

WAY = 3


@pytest.fixture(scope="module")
def digits() -> ImageStore:
    return load("digits", image_size=28)


def episodes(digits: ImageStore, seed: int, tasks: int = 2) -> Episode:
    episode = LabeledTasks(digits, way=WAY, shot=2, query=4, tasks=tasks, seed=seed).sample()
    return Episode(
        *(side.map(lambda t: t.double() if t.is_floating_point() else t) for side in (episode.support, episode.query))
    )


def model(seed: int = 0) -> Any:
    """learn2learn's own convolutional network, batch normalization with running statistics included."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        networks = require_learn2learn().vision.models
        return networks.CNN4(WAY, hidden_size=6, layers=2, channels=1, embedding_size=6).double()


def theirs_adapted(maml: Any, x: Tensor, y: Tensor, steps: int) -> Any:
    learner = maml.clone()
    for _ in range(steps):
        learner.adapt(cross_entropy(learner(x), y))
    return learner


def trained(digits: ImageStore, first_order: bool) -> Any:
    """A few steps of learn2learn's loop on our episodes."""
    maml = require_learn2learn().algorithms.MAML(model(), lr=0.4, first_order=first_order)
    optimizer = torch.optim.Adam(maml.parameters(), lr=0.01)
    for seed in range(3):
        optimizer.zero_grad()
        for (x, y), (query_x, query_y) in tasks_of(episodes(digits, seed)):
            cross_entropy(theirs_adapted(maml, x, y, 2)(query_x), query_y).backward()
        optimizer.step()
    return maml


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_predictions_are_those_of_clone_and_adapt(digits: ImageStore, first_order: bool, steps: int) -> None:
    maml = trained(digits, first_order)
    ours = from_learn2learn(maml, steps=steps).eval()
    for (x, y), (query_x, _) in tasks_of(episodes(digits, 7)):
        found = ours.predict(x, y, query_x)
        maml.train()  # ours.eval() reached the shared module, and learn2learn goes by the batch in training mode
        expected = theirs_adapted(maml, x, y, steps)(query_x)
        ours.eval()
        torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-11)
        if steps:
            assert (found - ours.network(query_x)).abs().max() > 0.01  # it did adapt


@pytest.mark.parametrize("first_order", [False, True])
def test_meta_gradients_are_theirs(digits: ImageStore, first_order: bool) -> None:
    maml = trained(digits, first_order)
    episode = episodes(digits, 8)
    maml.zero_grad()
    for (x, y), (query_x, query_y) in tasks_of(episode):
        (cross_entropy(theirs_adapted(maml, x, y, 3)(query_x), query_y) / 2).backward()
    expected = [p.grad.clone() for p in maml.module.parameters()]
    ours = from_learn2learn(maml, steps=3)
    ours.zero_grad()
    ours(episode).loss.backward()
    for p, g in zip(maml.module.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-8, atol=1e-10)
    if first_order:
        other = from_learn2learn(maml, steps=3).inner.adjoint
        assert type(other).__name__ == "FirstOrder"


def test_their_running_statistics_move_and_ours_stay(digits: ImageStore) -> None:
    maml = trained(digits, False)
    (x, y), (query_x, _) = next(tasks_of(episodes(digits, 7)))
    before = {name: b.clone() for name, b in maml.module.named_buffers()}
    assert before
    from_learn2learn(maml, steps=2).predict(x, y, query_x)
    assert all(torch.equal(b, before[name]) for name, b in maml.module.named_buffers())
    theirs_adapted(maml, x, y, 2)(query_x)
    assert not all(torch.equal(b, before[name]) for name, b in maml.module.named_buffers())


def test_frozen_parameters_stay(digits: ImageStore) -> None:
    network = model()
    network.features.requires_grad_(False)
    maml = require_learn2learn().algorithms.MAML(network, lr=0.4, allow_nograd=True)
    (x, y), (query_x, _) = next(tasks_of(episodes(digits, 7)))
    ours = from_learn2learn(maml, steps=4)
    assert ours.adapted == ("network.classifier.weight", "network.classifier.bias")
    expected = theirs_adapted(maml, x, y, 4)(query_x)
    torch.testing.assert_close(ours.predict(x, y, query_x), expected.detach(), rtol=1e-9, atol=1e-11)


def test_evaluation_mode_is_the_policy_frozen(digits: ImageStore) -> None:
    maml = trained(digits, False).eval()
    (x, y), (query_x, _) = next(tasks_of(episodes(digits, 7)))
    expected = theirs_adapted(maml, x, y, 3)(query_x).detach()
    torch.testing.assert_close(
        from_learn2learn(maml, steps=3, norm="frozen").predict(x, y, query_x), expected, rtol=1e-9, atol=1e-11
    )
    assert not torch.allclose(from_learn2learn(maml, steps=3).predict(x, y, query_x), expected)


def test_other_learners_are_refused() -> None:
    algorithms = require_learn2learn().algorithms
    with pytest.raises(InputError, match=r"expected a learn2learn.algorithms.MAML, got .*MetaSGD"):
        from_learn2learn(algorithms.MetaSGD(nn.Linear(2, 2), lr=0.1), steps=1)
    with pytest.raises(InputError, match=r"got torch.*Linear; .* strip_module"):
        from_learn2learn(nn.Linear(2, 2), steps=1)


def test_a_saved_checkpoint_loads_into_the_network(digits: ImageStore, tmp_path: Path) -> None:
    maml = trained(digits, False)
    torch.save(maml.state_dict(), tmp_path / "maml.pt")
    state = torch.load(tmp_path / "maml.pt")
    assert all(name.startswith("module.") for name in state)
    network = model(seed=1)
    network.load_state_dict(strip_module(state))
    for (name, b), own in zip(network.state_dict().items(), maml.module.state_dict().values(), strict=True):
        assert torch.equal(b, own), name
    assert strip_module(network.state_dict()).keys() == network.state_dict().keys()
    # One prefix comes off: what is inside may be a wrapper itself.
    assert list(strip_module({"module.module.weight": torch.zeros(1)})) == ["module.weight"]


def test_a_checkpoint_of_another_learner_is_refused() -> None:
    meta_sgd = require_learn2learn().algorithms.MetaSGD(nn.Linear(2, 2), lr=0.1)
    with pytest.raises(InputError, match=r"'lrs.0' does not start with 'module.'"):
        strip_module(meta_sgd.state_dict())


@pytest.mark.slow
def test_accuracy_is_that_of_our_protocol(digits: ImageStore) -> None:
    """On rows of a store `adapted_few_shot` measures the same; and an oracle by hand, learn2learn's own loop."""
    maml = trained(digits, False)
    ours = from_learn2learn(maml, steps=3)
    sampler = LabeledTasks(digits, way=WAY, shot=2, query=4, tasks=4, seed=5)
    given = [sampler.sample() for _ in range(2)]
    double = [
        Episode(*(side.map(lambda t: t.double() if t.is_floating_point() else t) for side in (e.support, e.query)))
        for e in given
    ]
    found = few_shot_accuracy(ours, FromIterable(double), 6)
    assert found.shape == (6,)
    assert found.dtype == torch.float64
    support, query = (
        torch.cat([getattr(e, side).index for e in given]).view(8, WAY, -1)[:6] for side in ("support", "query")
    )
    maml.module.float()
    rows = Episodes(torch.zeros(6, WAY, dtype=torch.int64), support, query)
    assert torch.equal(adapted_few_shot(ours, digits.images, rows), found)
    maml.module.double()
    by_hand = [
        float((theirs_adapted(maml, x, y, 3)(query_x).argmax(1) == query_y).double().mean())
        for episode in double
        for (x, y), (query_x, query_y) in tasks_of(episode)
    ]
    assert found.tolist() == pytest.approx(by_hand[:6])
    mean, half = mean_interval(found)
    assert 0 < mean <= 1
    assert half >= 0


def test_accuracy_of_a_perfect_and_of_a_wrong_predictor() -> None:
    labels = torch.tensor([[0, 1, 2]])
    side = Samples(torch.eye(3)[None, :, None], labels, None, labels)

    class Says:
        def __init__(self, shift: int) -> None:
            self.shift = shift

        def predict(self, x: Tensor, y: Tensor, query_x: Tensor, way: int | None = None) -> Tensor:
            return query_x.roll(self.shift, 1)

    for shift, expected in ((0, 1.0), (1, 0.0)):
        endless = FromIterable(iter(lambda: Episode(side, side), None))
        assert few_shot_accuracy(Says(shift), endless, 5).tolist() == [expected] * 5


def test_accuracy_needs_labels_and_a_number() -> None:
    learner = MAML(nn.Linear(1, 1), InnerLoop(torchopt.sgd(0.1), steps=1))
    with pytest.raises(InputError, match="episodes must be at least 1, got 0"):
        few_shot_accuracy(learner, SinusoidTasks(), 0)
    with pytest.raises(InputError, match="regression tasks"):
        few_shot_accuracy(learner, SinusoidTasks(), 1)
