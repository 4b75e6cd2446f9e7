"""The processes that train together: what each has of a step, and what they say to each other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from metatc2.errors import InputError, RankLost, RanksDiffer
from metatc2.io.launched import is_first_process


@dataclass(frozen=True)
class Ranks:
    """Some processes, and which of them this is. One alone has nothing to say to others: every method returns what it got.

    Args:
        rank: number of this process, from 0.
        size: how many there are.

    >>> Ranks().gather(torch.ones(2)).tolist(), Ranks(1, 3).part(4)
    ([1.0, 1.0], slice(2, 3, None))
    """

    rank: int = 0
    size: int = 1

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and speaks to people."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Which of `count` things this rank has: consecutive ones, and the first ranks one more where they cannot be even.

        >>> [Ranks(rank, 3).part(4) for rank in range(3)]
        [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
        """
        each, over = divmod(count, self.size)
        begin = self.rank * each + min(self.rank, over)
        return slice(begin, begin + each + (self.rank < over))

    def gather(self, x: Tensor, *, alike: bool = False) -> Tensor:
        """Rows of all ranks in their order, with gradient: a row gets the sum of the gradients that it has on all ranks.

        Args:
            x: ``(n, ...)``; `n` may differ between ranks, all else must not.
            alike: whether `n` is the same on all, so that it need not be asked.

        Returns:
            ``(n of rank 0 + n of rank 1 + ..., ...)``, the same on every rank.
        """
        if self.alone:
            return x
        counts: tuple[int, ...] = (len(x),) * self.size
        if not alike:
            own = torch.tensor([len(x)], device=x.device)
            each = [torch.empty_like(own) for _ in range(self.size)]
            dist.all_gather(each, own)
            counts = tuple(int(c) for c in torch.cat(each))
        gathered: Tensor = _Gather.apply(x, self.rank, counts)
        return gathered

    def gather_cpu(self, x: Tensor) -> Tensor:
        """As `gather`, of a tensor on the CPU and without gradient, whatever the processes talk by."""
        return x if self.alone else self.gather(x.detach().to(_device())).cpu()

    def sum(self, x: Tensor) -> Tensor:
        """The sum over ranks, without gradient."""
        if self.alone:
            return x
        total = x.detach().clone().contiguous()
        dist.all_reduce(total)
        return total

    def mean(self, x: Tensor) -> Tensor:
        """The mean over ranks, without gradient."""
        return x if self.alone else self.sum(x) / self.size

    def mean_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace the gradients of parameters by their mean over ranks, by one message a number format.

        What no rank has a gradient of keeps none; a rank that has none where another one has counts as zero.
        """
        if self.alone:
            return
        with_gradient = [p for p in parameters if p.requires_grad]
        if not with_gradient:
            return
        device = with_gradient[0].device
        used = torch.tensor([p.grad is not None for p in with_gradient], dtype=torch.int32, device=device)
        dist.all_reduce(used, dist.ReduceOp.MAX)
        wanted = [p for p, any_has in zip(with_gradient, used.tolist(), strict=True) if any_has]
        for kind in dict.fromkeys(p.dtype for p in wanted):
            own = [p for p in wanted if p.dtype == kind]
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in own])
            dist.all_reduce(flat)
            flat /= self.size
            for p, part in zip(own, flat.split([p.numel() for p in own]), strict=True):
                # In the layout of the parameter, as backward leaves it.
                p.grad = torch.empty_like(p).copy_(part.view_as(p))

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on some rank."""
        if self.alone:
            return flag
        up = torch.tensor([int(flag)], device=_device())
        dist.all_reduce(up, dist.ReduceOp.MAX)
        return bool(up)

    def from_first(self, x: Tensor) -> Tensor:
        """The tensor of rank 0, without gradient; all ranks give one of its shape."""
        if self.alone:
            return x
        sent = x.detach().clone().contiguous()
        dist.broadcast(sent, 0)
        return sent

    def all(self, what: Any) -> list[Any]:
        """What each rank has: numbers, texts, tensors on the CPU, and lists and dictionaries of them."""
        if self.alone:
            return [what]
        each: list[Any] = [None] * self.size
        dist.all_gather_object(each, what)
        return each

    def first_does(self, work: Callable[[], object]) -> None:
        """Work of the first rank, which the others wait for.

        Raises:
            InputError: on all, where it raises one.
        """
        failed: InputError | None = None
        if self.first:
            try:
                work()
            except InputError as error:
                failed = error
        said = self.all(None if failed is None else str(failed))[0]
        if said is not None:
            raise failed or InputError(said)

    def wait(self) -> None:
        """Go on when all have come here."""
        if not self.alone:
            self.any(False)  # not `barrier`, which takes the wrong device where one process has several

    def share_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the values of rank 0 into tensors, in place, by one message a number format.

        Args:
            tensors: the same names, shapes and formats on every rank.
        """
        if self.alone:
            return
        for kind in dict.fromkeys(t.dtype for t in tensors.values()):
            own = [t for t in tensors.values() if t.dtype == kind]
            sent = self.from_first(torch.cat([t.detach().flatten() for t in own]))
            with torch.no_grad():
                for tensor, values in zip(own, sent.split([t.numel() for t in own]), strict=True):
                    tensor.copy_(values.view_as(tensor))

    def check_same(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Whether tensors have the same bits on every rank.

        Args:
            tensors: by name.
            where: for the error, e.g. ``"step 100"``.

        Raises:
            RanksDiffer: on every rank, naming the first tensor that differs.
        """
        if self.alone:
            return
        own = {name: _digest(tensor) for name, tensor in tensors.items()}
        every = self.all(own)
        for name in every[0]:
            odd = [rank for rank, other in enumerate(every) if other.get(name) != every[0][name]]
            if odd:
                raise RanksDiffer(
                    f"{where}: {name} is not the same on rank {odd[0]} as on rank 0, so what they learn together is undefined; "
                    "something in the learner depends on the rank (random numbers, another version of a library or another "
                    "kind of device), or was moved by one process alone"
                )


#: One process, the default everywhere.
ALONE = Ranks()


def is_first() -> bool:
    """Whether this process will be, or is, the first of those that train together; known before they have met."""
    if dist.is_available() and dist.is_initialized():
        return bool(dist.get_rank() == 0)
    return is_first_process()


@contextmanager
def others_alive(ranks: Ranks) -> Iterator[None]:
    """What torch raises within the block when another process is gone or silent becomes one sentence.

    Raises:
        RankLost: in its place.
    """
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        words = " ".join(str(error).split())
        if ranks.alone or not (isinstance(error, dist.DistError) or any(sign in words for sign in _LOST)):
            raise
        raise RankLost(
            f"rank {ranks.rank} of {ranks.size}: another process has ended or hangs ({words[:160]}); what it said is in its "
            "own output; a run goes on from its last checkpoint with metatc2 pretrain --resume DIR"
        ) from error


#: In what gloo raises, as plain RuntimeError, when a process is gone or silent.
_LOST = ("Connection closed by peer", "Connection reset by peer", "Timed out waiting", "Broken pipe", "gloo/transport")


def split_ranks(tasks: int, ranks: Ranks, who: str) -> slice:
    """The tasks of an episode that a rank has.

    Args:
        tasks: of an episode.
        ranks: see `Ranks`.
        who: for the error.

    Raises:
        InputError: if some rank would have none.
    """
    if ranks.size > tasks:
        raise InputError(
            f"{who}: {ranks.size} processes and {tasks} {'task' if tasks == 1 else 'tasks'} an episode, so some would have "
            f"nothing to do; cut the batch into {ranks.size} tasks or more (episode.tasks, episode.meta_batch), or use at most "
            f"{tasks} devices"
        )
    return ranks.part(tasks)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rank: int, counts: Sequence[int]) -> Tensor:
        ctx.rank, ctx.counts = rank, counts
        # Messages have one length.
        padded = x.new_zeros((max(counts), *x.shape[1:]))
        padded[: len(x)] = x
        each = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(each, padded)
        return torch.cat([part[:count] for part, count in zip(each, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        return _Scatter.apply(slope, ctx.rank, ctx.counts), None, None


class _Scatter(torch.autograd.Function):
    """Adjoint of `_Gather`, and the other way round."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, rank: int, counts: Sequence[int]) -> Tensor:
        ctx.rank, ctx.counts = rank, counts
        total = slope.clone().contiguous()
        dist.all_reduce(total)
        begin = sum(counts[:rank])
        return total[begin : begin + counts[rank]].clone()

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor, None, None]:
        return _Gather.apply(x, ctx.rank, ctx.counts), None, None


def _digest(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().flatten()
    return hashlib.sha256(flat.view(torch.uint8).numpy().data if flat.numel() else b"").hexdigest()


def _device() -> torch.device:
    """Where tensors must lie that are sent around."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
