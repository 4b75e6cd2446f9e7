"""Task conflict against a naive loop over tasks, and its null where the truth is known."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from metatc2.diagnostics import (
    blocks,
    conflict_rate,
    task_conflict,
    task_gradients,
    task_loss,
    transfer_gains,
    transferability,
)
from metatc2.diagnostics.resplits import resplit
from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError
from metatc2.inner import Params
from metatc2.learners import SelfSupervised
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Projector
from metatc2.models.resnet import resnet
from metatc2.objectives import MoCo, SimCLR, nt_xent


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cut(x: Tensor, support: int) -> Episode:
    """``(tasks, samples, ...)`` as an episode."""
    whole = Samples(x, None, None, torch.zeros(x.shape[:2], dtype=torch.int64))
    return Episode(whole.map(lambda t: t[:, :support]), whole.map(lambda t: t[:, support:]))


def regression(params: Params, samples: Tensor) -> Tensor:
    """Squared error of a two-layer network; the last column is the target."""
    hidden = (samples[:, :-1] @ params["first.w"] + params["first.b"]).tanh()
    return (hidden @ params["second.w"] - samples[:, -1]).square().mean()


def network(seed: int = 0) -> Params:
    g = seeded(seed)
    return {
        "first.w": torch.randn(4, 6, generator=g) / 2,
        "first.b": torch.randn(6, generator=g) / 2,
        "second.w": torch.randn(6, generator=g) / 50,  # an output near 0, between the targets of opposed tasks
    }


def tasks_of(kind: str, seed: int, tasks: int = 3, samples: int = 12) -> Tensor:
    """Regression tasks: the same law for all (``"iid"``), or targets of opposite sign (``"opposed"``)."""
    g = seeded(seed)
    x = torch.randn(tasks, samples, 4, generator=g)
    sign = torch.tensor([1.0, -1.0]).repeat(tasks)[:tasks] if kind == "opposed" else torch.ones(tasks)
    y = sign[:, None] * (x[..., 0] / 2 + 2) + 0.1 * torch.randn(tasks, samples, generator=g)
    return torch.cat([x, y[..., None]], -1)


def test_a_naive_loop_finds_the_same(few_draws: int) -> None:
    """SimCLR on a Conv-4: copies of the encoder, ``backward``, a step by hand."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, projector = Conv4(channels=1, width=6).double(), Projector(6, 12, 8).double()
    learner = SelfSupervised(encoder, SimCLR(), projector=projector)
    images = torch.rand(3, 10, 2, 1, 16, 16, generator=seeded()).double()
    support, query, lr = images[:, :6], images[:, 6:], 0.1

    def loss_of(net: nn.Module, task: Tensor) -> Tensor:
        z = projector(net(task.flatten(0, 1)).unflatten(0, task.shape[:2])[None])
        return nt_xent(z[0, :, 0], z[0, :, 1])

    grads, gains = [], torch.zeros(3, 3)
    for i in range(3):
        net = copy.deepcopy(encoder)
        loss_of(net, support[i]).backward()
        grads.append({name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None})
        with torch.no_grad():
            before = torch.stack([loss_of(copy.deepcopy(encoder), q) for q in query])
            for name, p in net.named_parameters():
                p -= lr * grads[i][name]
            gains[i] = before - torch.stack([loss_of(net, q) for q in query])

    loss, params = task_loss(learner)
    found = task_conflict(loss, params, cut(images, 6), generator=seeded(), lr=lr, resplits=few_draws)
    torch.testing.assert_close(torch.tensor(found.gains), gains, atol=2e-6, rtol=1e-4)
    others = [gains[i, j].item() for i in range(3) for j in range(3) if i != j]
    assert found.transferability.value == pytest.approx(sum(others) / 6, abs=1e-6)
    assert found.conflict_rate.value == sum(x < 0 for x in others) / 6
    assert found.own_gain.value == pytest.approx(gains.diagonal().mean().item(), abs=1e-6)

    assert list(found.cosine) == ["all", "blocks.0", "blocks.1", "blocks.2", "blocks.3"]
    for block, value in found.cosine.items():
        flat = [
            torch.cat([v.flatten() for k, v in g.items() if block == "all" or k.startswith(block + ".")]) for g in grads
        ]
        pairs = list(itertools.combinations(flat, 2))
        cosine = [torch.cosine_similarity(a, b, 0).item() for a, b in pairs]
        alike = [(2 * a.norm() * b.norm() / (a.norm() ** 2 + b.norm() ** 2)).item() for a, b in pairs]
        assert value.value == pytest.approx(sum(cosine) / 3, abs=1e-5)
        assert found.cosine_below_zero[block].value == pytest.approx(sum(c < 0 for c in cosine) / 3)
        assert found.magnitude_similarity[block].value == pytest.approx(sum(alike) / 3, abs=1e-5)


def test_tasks_that_oppose_each_other_stand_out_from_the_null(seed_offset: int) -> None:
    """Six episodes of one pair each: the cosine of a single pair of mixed tasks may be anything."""
    episodes = [cut(tasks_of("opposed", seed_offset + i, tasks=2, samples=24), 12) for i in range(6)]
    found = task_conflict(regression, network(), episodes, generator=seeded(seed_offset))
    assert found.transferability.outside
    assert found.transferability.value < 0
    assert abs(found.transferability.null_mean) < -found.transferability.value / 4  # tasks of both kinds mixed
    assert found.transferability.z is not None
    assert found.transferability.z < -5
    assert found.conflict_rate.value > 0.8
    assert found.cosine["all"].value < -0.5
    assert found.cosine["all"].outside
    assert abs(found.cosine["all"].null_mean) < 0.3
    assert found.own_gain.value > 0


@pytest.mark.slow  # a draw is asserted exactly below, and that it is the same samples
def test_tasks_of_one_law_are_inside_the_null_as_often_as_promised(seed_offset: int) -> None:
    runs = [
        task_conflict(regression, network(), cut(tasks_of("iid", seed, tasks=2, samples=8), 4), generator=seeded(seed))
        for seed in range(seed_offset, seed_offset + 24)
    ]
    outside = sum(run.transferability.outside for run in runs), sum(run.cosine["all"].outside for run in runs)
    assert max(outside) <= 4  # 24 times 5 % is 1.2
    assert 0.3 < sum(run.transferability.quantile for run in runs) / 24 < 0.7


def test_the_null_deals_the_same_samples_anew(seed_offset: int) -> None:
    x = torch.arange(24.0).view(3, 8, 1)
    episode, generator = cut(x, 3), seeded(seed_offset)
    dealt = [torch.cat(resplit(episode, generator), 1) for _ in range(50)]
    for deal in dealt:
        assert deal.shape == (3, 8, 1)
        assert torch.equal(deal.flatten().sort().values, x.flatten())
    firsts = {deal[0, 0].item() for deal in dealt}
    assert len(firsts) > 15  # any sample may come anywhere, from either side of any task


def test_each_draw_of_the_null_is_the_figure_of_a_deal() -> None:
    episode, params = cut(tasks_of("opposed", 0), 4), network()
    generator, draws = seeded(5), []
    for _ in range(39):
        support, query = resplit(episode, generator)
        gains = transfer_gains(regression, params, task_gradients(regression, params, support), query, lr=0.05)
        draws.append((gains.sum() - gains.trace()).item() / 6)
    found = task_conflict(regression, params, episode, generator=seeded(5)).transferability
    assert found.null_mean == pytest.approx(sum(draws) / 39)
    assert (found.null_low, found.null_high) == (pytest.approx(min(draws)), pytest.approx(max(draws)))


@pytest.mark.slow
def test_several_episodes_are_averaged() -> None:
    episodes = [cut(tasks_of("opposed", seed, tasks=2), 6) for seed in range(3)]
    single = [task_conflict(regression, network(), episode, generator=seeded()) for episode in episodes]
    joint = task_conflict(regression, network(), episodes, generator=seeded())
    assert joint.episodes == 3
    for pick in (lambda c: c.transferability, lambda c: c.conflict_rate, lambda c: c.cosine["first"]):
        assert pick(joint).value == pytest.approx(sum(pick(c).value for c in single) / 3)
    assert joint.transferability.null_std < max(c.transferability.null_std for c in single)


def test_the_same_generator_gives_the_same_null() -> None:
    episode = cut(tasks_of("iid", 0, tasks=2), 6)
    one, two, three = (task_conflict(regression, network(), episode, generator=seeded(s)) for s in (1, 1, 2))
    assert one == two
    assert one.transferability.null_mean != three.transferability.null_mean
    assert one.transferability.value == three.transferability.value


def test_t_and_c_leave_out_the_diagonal() -> None:
    gains = torch.tensor([[-9.0, 1.0, -2.0], [4.0, -9.0, 5.0], [-6.0, 7.0, -9.0]])
    assert transferability(gains) == pytest.approx((1 - 2 + 4 + 5 - 6 + 7) / 6)
    assert conflict_rate(gains) == pytest.approx(2 / 6)


def test_blocks_of_encoders() -> None:
    names = [name for name, _ in resnet("resnet18", width=4, image_size=32).named_parameters()]
    assert list(blocks(names)) == ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]
    assert list(blocks(names, r"layer\d\.\d"))[:2] == ["layer1.0", "layer1.1"]
    assert list(blocks(["weight", "bias"])) == ["weight", "bias"]
    assert list(blocks(["token", "net.0.w", "net.1.w"])) == ["token", "net"]
    assert blocks(["a.b.w", "a.b.v"]) == {"a.b": ["a.b.w", "a.b.v"]}


def test_blocks_without_gradient_are_named() -> None:
    params = {**network(), "unused.w": torch.ones(3)}
    found = task_conflict(regression, params, cut(tasks_of("iid", 0), 6), generator=seeded())
    assert found.without_gradient == ("unused",)
    assert list(found.cosine) == ["all", "first", "second"]


def test_gradients_where_nobody_asked_for_them() -> None:
    params = network()
    with torch.no_grad():
        found = task_gradients(regression, params, tasks_of("iid", 0))
    assert found["first.w"].shape == (3, 4, 6)
    assert not any(p.requires_grad or p.grad is not None for p in params.values())


def run(x: Tensor, loss: Callable[[Params, Tensor], Tensor] = regression, **options: object) -> None:
    task_conflict(loss, network(), cut(x, 6), **{"generator": seeded(), **options})  # type: ignore[arg-type]


def test_what_cannot_be_measured_is_refused() -> None:
    x = tasks_of("iid", 0)
    with pytest.raises(InputError, match="at least 2 tasks with a query side, got 1 with 6"):
        run(x[:1])
    with pytest.raises(InputError, match="at least 2 tasks with a query side, got 3 with 0"):
        run(x[:, :6])
    with pytest.raises(InputError, match="at least one episode"):
        task_conflict(regression, network(), [], generator=seeded())
    with pytest.raises(InputError, match="all of the same sizes"):
        task_conflict(regression, network(), [cut(x, 6), cut(x, 5)], generator=seeded())
    with pytest.raises(InputError, match="resplits must be at least 39"):
        run(x, resplits=38)
    with pytest.raises(InputError, match="lr must be above 0, got 0"):
        run(x, lr=0.0)
    with pytest.raises(InputError, match="after a step of lr 1e\\+30 is NaN or infinite"):
        run(x, loss=lambda p, s: (s[:, :-1] @ p["first.w"]).square().mean(), lr=1e30)
    with pytest.raises(InputError, match="loss of task 1 must be a finite scalar .* got nan"):
        run(torch.stack([x[0], x[1] * float("nan"), x[2]]))
    with pytest.raises(InputError, match="finite scalar .* without gradient"):
        run(x, loss=lambda p, s: s.mean())
    with pytest.raises(InputError, match="'third' matches the start of no parameter's name; there are first.w"):
        run(x, pattern="third")
    with pytest.raises(InputError, match="is no regular expression"):
        run(x, pattern="(")


def test_an_empty_queue_says_that_there_is_no_gradient() -> None:
    learner = SelfSupervised(Conv4(channels=1, width=8), MoCo(queue=8), projector=nn.Identity())
    images = torch.rand(2, 4, 2, 1, 16, 16, generator=seeded())
    with pytest.raises(InputError, match="gradient of a task is exactly zero; a MoCo queue that is empty"):
        task_conflict(*task_loss(learner), cut(images, 2), generator=seeded())
