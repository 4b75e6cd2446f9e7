"""`Recompute`: exact like `Unroll`, with memory that does not grow with the number of steps."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torchopt
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import batch_norm, instance_norm
from torch.overrides import TorchFunctionMode

from metatc2.errors import InputError
from metatc2.inner.adjoints.base import Adjoint
from metatc2.inner.adjoints.registry import register_adjoint
from metatc2.inner.solver import (
    Descent,
    Given,
    Params,
    check_finite,
    descend,
    trainable,
)
from metatc2.ops import in_transform
from metatc2.ops.precision import autocast_as_now
from metatc2.ops.twice import math_attention

Inputs = tuple[Params, Any]


@register_adjoint("recompute")
@dataclass(frozen=True)
class Recompute(Adjoint):
    """Exact: forget what a step computed, and do the step again when the backward pass comes to it.

    Between the passes only the parameters and the optimizer's state of each step are kept (gradient checkpointing, Chen et al.
    2016, arXiv 1604.06174, with one segment a step), at the price of a second forward pass through every step. What is done
    again draws the same random numbers (dropout) and leaves the running statistics of batch normalization alone.

    Raises:
        InputError: under ``vmap``, where torch has no hooks on saved tensors; in the backward pass, if a step comes out
            otherwise when it is done again, as where each call of the loss takes the next mini-batch.

    >>> from metatc2.inner import InnerLoop
    >>> loop = InnerLoop(torchopt.sgd(lr=0.25), steps=2, adjoint=Recompute())
    >>> start = torch.tensor(2.0, requires_grad=True)
    >>> adapted = loop(lambda p: p["w"] ** 2, {"w": start})["w"]      # halves w twice
    >>> adapted.item(), torch.autograd.grad(adapted, start)[0].item()
    (0.5, 0.25)
    """

    differentiates_update: ClassVar[bool] = True

    def path(self, descent: Descent, params: Params, given: Sequence[Given]) -> tuple[Params, ...]:
        """See `Adjoint.path`."""
        if in_transform():
            raise InputError(
                "the adjoint Recompute does not work under vmap; take tasks one by one (vmap_chunk=1), or use Unroll"
            )
        if not torch.is_grad_enabled():
            return descend(descent, params, given, graph=lambda k: False)
        tape = _Tape()
        path, values = [], []
        with math_attention():
            current, state = trainable(params), descent.begin(params)
            for k in range(descent.steps):
                step = _Step(descent, k, given, current, state, tape)
                current, state, value = step.forward(current, state)
                path.append(current)
                values.append(value.detach())
        check_finite(values)
        return tuple(path)


class _Tape:
    """Which step was done again last; the others hold nothing."""

    def __init__(self) -> None:
        # Steps hold their tape, and what holds itself is only freed when Python comes to look for it.
        self._latest: weakref.ref[_Step] | None = None

    @property
    def started(self) -> bool:
        """Whether the backward pass has begun."""
        return self._latest is not None

    def turn_to(self, step: _Step) -> None:
        """The backward pass has come to `step` and left the one before."""
        if self._latest is not None and (before := self._latest()) is not None:
            before.forget()
        self._latest = weakref.ref(step)


class _Step:
    """One inner step; the graph holds numbers in place of its tensors, which are made again when they are asked for."""

    def __init__(
        self, descent: Descent, k: int, given: Sequence[Given], params: Params, state: Any, tape: _Tape
    ) -> None:
        self._run: Callable[[Params, Any], tuple[Params, Any, Tensor]] = lambda p, s: descent.step(
            k, p, s, given, graph=True
        )
        self._k, self._tape = k, tape
        self._start: Inputs = _detached((params, state))
        self._surroundings = _Surroundings(next(iter(params.values())).device)
        self._saved: dict[int, Tensor] = {}

    def forward(self, params: Params, state: Any) -> tuple[Params, Any, Tensor]:
        with saved_tensors_hooks(_keep(self._saved, lambda t: t), self._fetch):
            result = self._run(params, state)
        self.forget()
        self._end = {name: p.detach() for name, p in result[0].items()}
        self._value = result[2].detach()
        return result

    def forget(self) -> None:
        self._saved.clear()

    def _fetch(self, number: int) -> Tensor:
        # Inside `forward` the inner gradient reads what it needs; afterwards the backward pass reads each tensor once.
        if number not in self._saved:
            self._again()
        if number not in self._saved:
            raise self._another()
        return self._saved.pop(number) if self._tape.started else self._saved[number]

    def _again(self) -> None:
        self._tape.turn_to(self)
        saved: dict[int, Tensor] = {}
        # What is kept must not hold the graph of this run: its nodes hold the hooks, and those what is kept.
        hooks = saved_tensors_hooks(_keep(saved, Tensor.detach), saved.__getitem__)
        with self._surroundings, math_attention(), _LeaveStatisticsAlone(), hooks:
            try:
                end, _, value = self._run(*_detached(self._start))
            except StopIteration:
                raise self._another() from None
        if not _agree(self._start[0], (self._end, self._value), (end, value)):
            raise self._another()
        self._saved = saved

    def _another(self) -> InputError:
        return InputError(
            f"Recompute: step {self._k + 1} of the inner loop came out otherwise when it was done again for the backward "
            "pass, so the loss depends on more than its arguments (a mini-batch taken from an iterator, a random generator "
            "of its own, a buffer that it moves); make it a function of its arguments, or use the adjoint Unroll"
        )


@torch.no_grad()
def _agree(start: Params, one: tuple[Params, Tensor], other: tuple[Params, Tensor]) -> bool:
    """Whether two runs of a step from `start` came out alike, up to what sums in another order can change."""
    small = torch.finfo(one[1].dtype).eps ** 0.5
    moved, apart, size = (
        torch.stack([(a[name] - b[name]).norm() if b else a[name].norm() for name in start]).norm()
        for a, b in ((one[0], start), (one[0], other[0]), (one[0], {}))
    )
    same_path = apart <= small * (moved + small * size)
    return bool(same_path & torch.isclose(one[1], other[1], rtol=small, atol=small**2, equal_nan=True))


def _keep(saved: dict[int, Tensor], as_kept: Callable[[Tensor], Tensor]) -> Callable[[Tensor], int]:
    count = itertools.count()

    def pack(tensor: Tensor) -> int:
        number = next(count)
        saved[number] = as_kept(tensor)
        return number

    return pack


def _detached(inputs: Inputs) -> Inputs:
    """The same values without their history; what required a gradient still does."""

    def alone(t: Any) -> Any:
        return t.detach().requires_grad_(t.requires_grad) if isinstance(t, Tensor) else t

    tree: Any = inputs
    detached: Any = torchopt.pytree.tree_map(alone, tree)
    return detached[0], detached[1]


class _Surroundings:
    """Random states and autocast as they were when this was made; as a context, as they were then."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._random = torch.get_rng_state()
        self._on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self._autocast = autocast_as_now(device)
        self._stack = ExitStack()

    def __enter__(self) -> None:
        enter = self._stack.enter_context
        enter(torch.random.fork_rng([self._device] if self._on_device is not None else []))
        torch.set_rng_state(self._random)
        if self._on_device is not None:
            torch.cuda.set_rng_state(self._on_device, self._device)
        enter(torch.enable_grad())
        enter(self._autocast())

    def __exit__(self, *error: Any) -> None:
        self._stack.close()


class _LeaveStatisticsAlone(TorchFunctionMode):
    """Normalization inside writes its running statistics to copies, and does not count its batches."""

    def __init__(self) -> None:
        super().__init__()
        # Counters that the replayed code made itself are its own; kept, so that no other takes their place in memory.
        self._made: list[Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function in (batch_norm, instance_norm):
            copies = [t.clone() if isinstance(t, Tensor) else t for t in args[1:3]]
            args = (args[0], *copies, *args[3:])
            for name in ("running_mean", "running_var"):
                if isinstance(kwargs.get(name), Tensor):
                    kwargs[name] = kwargs[name].clone()
        elif function is Tensor.add_ and _counts(args[0]) and not any(args[0] is t for t in self._made):
            return args[0]  # num_batches_tracked, as torch's modules count it
        result = function(*args, **kwargs)
        if isinstance(result, Tensor) and _counts(result):
            self._made.append(result)
        return result


def _counts(t: Tensor) -> bool:
    return t.dtype == torch.int64 and t.ndim == 0
