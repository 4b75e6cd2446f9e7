"""What processes say to each other: with gradient, of uneven parts, and what is said when one of them differs or is gone."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from metatc2.errors import InputError, RankLost, RanksDiffer
from metatc2.models.conv4 import Conv4
from metatc2.ops.ranks import Ranks, others_alive, split_ranks
from metatc2.ops.synchronized_norm import SynchronizedNorm

from ..ranks import together

ROWS = 7  # of two ranks one has four, the other three


def rows() -> Tensor:
    return torch.randn(ROWS, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def weighed(z: Tensor) -> Tensor:
    """A function of all rows together, whose gradient is not the same anywhere."""
    flat = z.flatten(1)
    return (flat @ flat.T).logsumexp(1).mean() + flat.std(0).log().sum()


def norm() -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(3).double()
    with torch.no_grad():
        made.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        made.bias.copy_(torch.tensor([1.0, 0.0, -1.0]))
    return made


def on_a_rank(rank: int) -> dict[str, Any]:
    ranks = Ranks(rank, 2)
    own = rows()[ranks.part(ROWS)].requires_grad_()
    # A gradient of the gradient too, which an exact inner loop would need.
    loss = weighed(ranks.gather(own))
    (slope,) = torch.autograd.grad(loss, own, create_graph=True)
    (second,) = torch.autograd.grad(slope.square().sum(), own)
    normal = norm()
    with SynchronizedNorm(ranks):
        normalized = normal(own)
    weighed(ranks.gather(normalized)).backward()
    ranks.mean_gradients(normal.parameters())
    answer = {"slope": slope.detach() / 2, "second": second, "through norm": own.grad, "norm": normal.weight.grad}
    answer |= {"mean": normal.running_mean, "var": normal.running_var, "output": normalized.detach()}
    answer["second through norm"], answer["second of norm"] = curvature(own.detach(), ranks)
    answer["conv4"] = one_step(ranks)
    # Parameters that one rank alone has a gradient of, and that none has.
    parts = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    parts[0].grad = torch.full((2,), float(rank))
    if rank:
        parts[1].grad = torch.full((2,), 4.0)
    ranks.mean_gradients(parts)
    answer["means"] = [None if p.grad is None else p.grad.tolist() for p in parts]
    answer["any"] = [ranks.any(rank == 1), ranks.any(False)]
    answer["first"] = ranks.from_first(torch.tensor([float(rank) + 5])).tolist()
    ranks.check_same({"a": torch.ones(2)}, "step 1")
    try:
        ranks.check_same({"a": torch.ones(2), "b": torch.full((2,), float(rank))}, "step 3")
    except RanksDiffer as error:
        answer["differ"] = str(error)
    return answer


def curvature(x: Tensor, ranks: Ranks) -> list[Tensor]:
    """Slopes, for the values and the weight, of the size of the gradient that values have through a normalization."""
    x, normal = x.requires_grad_(), norm()
    with SynchronizedNorm(ranks):
        (slope,) = torch.autograd.grad(weighed(ranks.gather(normal(x))), x, create_graph=True)
    squares = ranks.gather(slope).square().sum()
    second, of_weight = torch.autograd.grad(squares, [x, normal.weight])
    return [second, ranks.mean(of_weight)]


def operations(x: Tensor) -> set[str]:
    """Names of what a tensor was computed by."""
    names, left = set(), [x.grad_fn]
    while left:
        if (node := left.pop()) is not None:
            names.add(type(node).__name__)
            left += [before for before, _ in node.next_functions]
    return names


def one_step(ranks: Ranks) -> dict[str, Tensor]:
    """Gradients and buffers of Conv-4 on images of which each rank has some, mean over ranks."""
    torch.manual_seed(0)
    encoder = Conv4(channels=3, width=8).double()
    images = torch.rand(ROWS, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with SynchronizedNorm(ranks):
        features = encoder(images[ranks.part(ROWS)])
    assert "_WindowMaxBackward" in operations(features), "the largest maps are made"
    weighed(ranks.gather(features)).backward()
    ranks.mean_gradients(encoder.parameters())
    slopes = {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    return slopes | dict(encoder.named_buffers())


@pytest.fixture(scope="module")
def answers() -> list[dict[str, Any]]:
    return together(2, on_a_rank)


def joined(answers: list[dict[str, Any]], name: str) -> Tensor:
    return torch.cat([answer[name] for answer in answers])


def test_gathered_rows_have_the_gradient_of_one_process(answers: list[dict[str, Any]]) -> None:
    whole = rows().requires_grad_()
    step = 1e-6
    measured = torch.zeros_like(whole)
    with torch.no_grad():
        for i in range(whole.numel()):
            moved = torch.zeros(whole.numel(), dtype=whole.dtype)
            moved[i] = step
            change = moved.view_as(whole)
            measured.view(-1)[i] = (weighed(whole + change) - weighed(whole - change)) / (2 * step)
    torch.testing.assert_close(joined(answers, "slope"), measured, rtol=1e-6, atol=1e-8)


def test_the_gradient_of_the_gradient_too(answers: list[dict[str, Any]]) -> None:
    whole = rows().requires_grad_()
    (slope,) = torch.autograd.grad(weighed(whole), whole, create_graph=True)
    # Each of two ranks has the sum of both ranks' slopes, and its square in both ranks' gradient.
    (second,) = torch.autograd.grad((2 * slope).square().sum(), whole)
    torch.testing.assert_close(joined(answers, "second"), second)


def test_batch_normalization_is_by_the_samples_of_all(answers: list[dict[str, Any]]) -> None:
    whole, normal = rows().requires_grad_(), norm()
    normalized = normal(whole)
    weighed(normalized).backward()
    torch.testing.assert_close(joined(answers, "output"), normalized.detach())
    torch.testing.assert_close(joined(answers, "through norm") / 2, whole.grad)
    for answer in answers:
        torch.testing.assert_close(answer["norm"], normal.weight.grad)
        torch.testing.assert_close(answer["mean"], normal.running_mean)
        torch.testing.assert_close(answer["var"], normal.running_var)


def test_the_second_derivative_through_batch_normalization(answers: list[dict[str, Any]]) -> None:
    second, of_weight = curvature(rows(), Ranks())
    # Each of two ranks has the sum of both ranks' slopes, and its square in both ranks' gradient.
    torch.testing.assert_close(joined(answers, "second through norm") / 8, second)
    for answer in answers:
        torch.testing.assert_close(answer["second of norm"] / 4, of_weight)


def test_conv4_learns_of_the_images_of_all(answers: list[dict[str, Any]]) -> None:
    whole = one_step(Ranks())
    for answer in answers:
        assert answer["conv4"].keys() == whole.keys()
        for name, expected in whole.items():
            torch.testing.assert_close(answer["conv4"][name], expected, msg=lambda m, n=name: f"{n}: {m}")


def test_what_ranks_say_to_each_other(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        assert answer["means"] == [[0.5, 0.5], [2.0, 2.0], None]
        assert answer["any"] == [True, False]
        assert answer["first"] == [5.0]
        assert answer["differ"].startswith("step 3: b is not the same on rank 1 as on rank 0")


def one_leaves(rank: int) -> str:
    ranks = Ranks(rank, 2)
    ranks.wait()
    if rank == 1:
        dist.destroy_process_group()
        return "gone"
    began = time.monotonic()
    try:
        with others_alive(ranks):
            ranks.any(False)
    except RankLost as error:
        assert time.monotonic() - began < 60, "it waited"
        return str(error)
    return "nothing was noticed"


def test_a_process_that_is_gone_is_noticed_and_said() -> None:
    answer = together(2, one_leaves)[0]
    assert answer.startswith("rank 0 of 2: another process has ended or hangs"), answer
    assert "--resume DIR" in answer


def test_every_task_has_one_rank_and_every_rank_a_task() -> None:
    for size in range(1, 6):
        for tasks in range(size, 12):
            parts = [split_ranks(tasks, Ranks(rank, size), "X") for rank in range(size)]
            assert [i for part in parts for i in range(part.start, part.stop)] == list(range(tasks))
            lengths = [part.stop - part.start for part in parts]
            assert max(lengths) - min(lengths) <= 1
    with pytest.raises(InputError, match="X: 3 processes and 2 tasks an episode.*at most 2 devices"):
        split_ranks(2, Ranks(0, 3), "X")


def test_one_alone_says_nothing() -> None:
    ranks, x = Ranks(), torch.ones(2)
    assert ranks.gather(x) is x
    assert ranks.mean(x) is x
    assert ranks.from_first(x) is x
    assert ranks.all(3) == [3]
    assert ranks.any(True)
    assert not ranks.any(False)
    assert "RANK" not in os.environ
