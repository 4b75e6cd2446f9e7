"""MoCo's queue: order, wrap around, the filled part alone, saving and loading."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.objectives import Embeddings, MoCo, info_nce


def keys(samples: int, seed: int, tasks: int = 1, dim: int = 3) -> Tensor:
    z = torch.randn(tasks, samples, 2, dim, generator=torch.Generator().manual_seed(seed))
    return z / z.norm(dim=-1, keepdim=True)


def enqueue(objective: MoCo, targets: Tensor) -> None:
    objective.update(Embeddings(targets, targets=targets))


def test_an_empty_queue_gives_no_loss_and_no_gradient() -> None:
    z = keys(4, 0).requires_grad_()
    loss = MoCo(queue=8)(Embeddings(z, targets=keys(4, 1)))
    loss.backward()
    assert loss.item() == 0
    assert z.grad is not None
    assert not z.grad.any()


@pytest.mark.parametrize("size", [5, 6, 7, 8, 30])
def test_the_queue_is_the_last_keys_in_order(size: int) -> None:
    """Against a plain list, over steps of unlike length, some longer than the queue."""
    objective, remembered = MoCo(queue=size), list[list[float]]()
    for step, (tasks, samples) in enumerate([(1, 2), (2, 1), (1, 3), (2, 2), (1, 1), (3, 2), (1, 2)]):
        batch = keys(samples, step, tasks)
        enqueue(objective, 3 * batch)  # stored at length one
        remembered = [*remembered, *batch.flatten(0, 2).tolist()][-size:]
        filled = int(objective.filled)
        assert filled == len(remembered)
        start = int(objective.pointer) if filled == size else 0
        stored = objective.keys.roll(-start, 0)[:filled]
        torch.testing.assert_close(stored, torch.tensor(remembered))


def test_only_the_filled_part_counts() -> None:
    objective, z, t = MoCo(queue=50), keys(4, 0), keys(4, 1)
    enqueue(objective, keys(3, 2))
    short = MoCo(queue=6)
    enqueue(short, keys(3, 2))
    assert objective.keys.shape == (50, 3)
    torch.testing.assert_close(objective(Embeddings(z, targets=t)), short(Embeddings(z, targets=t)))


def test_the_queue_gets_no_gradient_and_old_graphs_survive_an_update() -> None:
    objective, z = MoCo(queue=8), keys(2, 0).requires_grad_()
    enqueue(objective, keys(2, 1).requires_grad_())
    assert not objective.keys.requires_grad
    loss = objective(Embeddings(z, targets=keys(2, 2)))
    (expected,) = torch.autograd.grad(loss, z, retain_graph=True)
    enqueue(objective, keys(2, 3))
    (again,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(again, expected)
    assert again.any()


def test_state_is_saved_and_loaded_at_any_fill() -> None:
    e = Embeddings(keys(4, 0), targets=keys(4, 1))
    for updates in (0, 1, 4):
        old = MoCo(queue=10)
        for step in range(updates):
            enqueue(old, keys(2, step))
        for new in (MoCo(queue=10), copy.deepcopy(old)):
            enqueue(new, keys(5, 99))
            new.load_state_dict(old.state_dict())
            assert new(e) == old(e)
            enqueue(old_next := copy.deepcopy(old), keys(2, 50))
            enqueue(new, keys(2, 50))
            assert all(torch.equal(v, new.state_dict()[k]) for k, v in old_next.state_dict().items())
    with pytest.raises(RuntimeError, match="size mismatch for keys"):
        MoCo(queue=11).load_state_dict(old.state_dict())


def test_a_projector_of_another_width_is_an_error() -> None:
    objective = MoCo(queue=8)
    enqueue(objective, keys(2, 0))
    wide = keys(2, 1, dim=5)
    for call in (objective, objective.update):
        with pytest.raises(InputError, match="width 3, found embeddings of width 5"):
            call(Embeddings(wide, targets=wide))


def test_masked_negatives_are_as_good_as_absent() -> None:
    q, k, n = (keys(4, s)[0, :, 0] for s in range(3))
    valid = torch.tensor([True, False, True, False])
    torch.testing.assert_close(info_nce(q, k, n, valid), info_nce(q, k, n[valid]))
    assert info_nce(q, k, n) != info_nce(q, k, n, valid)
