"""A module of the user's is after a call what it was before: same modes, same parameters and buffers, same bits."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from metatc2.ops.replacing import derived


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Whatever happens inside, also an error: afterwards every part of `module` has the mode, parameters and buffers it had.

    They are the same objects with the same bits. Parts that write to a weight or a buffer when they are called, in eval mode
    too (a norm that is clamped, a counter), write in vain; buffers that are registered inside are removed. Attributes that
    are neither are left alone, but for weights that a hook computed (`torch.nn.utils.spectral_norm`).

    >>> counter = nn.BatchNorm1d(2)
    >>> with unchanged(counter):
    ...     _ = counter.eval(), counter.running_mean.add_(1)
    >>> counter.training, counter.running_mean.tolist()
    (True, [0.0, 0.0])
    """
    modes = [(part, part.training) for part in module.modules()]
    computed = [(part.__dict__, key, part.__dict__[key]) for part, key in derived(module)]
    slots = [_Slots.of(part) for part, _ in modes if not isinstance(part, torch.jit.ScriptModule)]
    kept = {id(t): _Kept(t, t.data, t.data.clone()) for t in _tensors(module)}
    try:
        yield
    finally:
        _restore_modes(modes)
        for slot in slots:
            slot.restore()
        for each in kept.values():
            each.restore()
        for attributes, key, value in computed:
            attributes[key] = value


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """On leaving, also by an error, every part of `module` is in the mode, training or not, that it was in."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        _restore_modes(modes)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """`module` in eval mode; on leaving it is `unchanged`: a part that was frozen in eval mode stays so, the others train.

    >>> net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
    >>> with evaluation_mode(net):
    ...     [part.training for part in net]
    [False, False]
    >>> [part.training for part in net]
    [True, False]
    """
    with unchanged(module):
        if any(part.training for part in module.modules()):
            module.eval()
        yield


def copied(module: nn.Module, memo: dict[int, Any] | None = None) -> Any:
    """A deep copy, also where a part keeps a tensor that has a graph (hooks of spectral norm do): that is copied by its value.

    Args:
        module: any module.
        memo: as of `copy.deepcopy`.

    >>> hooked = torch.nn.utils.spectral_norm(nn.Linear(2, 2))
    >>> _ = hooked(torch.ones(1, 2))
    >>> copied(hooked).weight.requires_grad
    False
    """
    known = {} if memo is None else memo
    known |= graph_values(module)
    return copy.deepcopy(module, known)


def graph_values(module: nn.Module) -> dict[int, Tensor]:
    """By their identity, copies of the values of tensors with a graph that parts keep in plain attributes."""
    return {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }


def _restore_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    # A `train` of the module's own may do more than set the flag: adapters merge their weights in eval mode.
    for part, training in modes:
        if part.training != training and type(part).train is not nn.Module.train:
            part.train(training)
    # One by one: a part that the user froze in eval mode must stay so under a parent that trains.
    for part, training in modes:
        if part.training != training:
            part.training = training


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    for tensor in (*module.parameters(), *module.buffers()):
        if not is_lazy(tensor) and not tensor.is_meta and tensor.layout == torch.strided:
            yield tensor


@dataclass
class _Slots:
    """Which tensors and parts a part holds under which names."""

    part: nn.Module
    parameters: dict[str, nn.Parameter | None]
    buffers: dict[str, Tensor | None]
    modules: dict[str, nn.Module | None]

    @classmethod
    def of(cls, part: nn.Module) -> _Slots:
        return cls(part, dict(part._parameters), dict(part._buffers), dict(part._modules))

    def restore(self) -> None:
        held: tuple[dict[str, Any], ...] = (self.part._parameters, self.part._buffers, self.part._modules)
        kept: tuple[dict[str, Any], ...] = (self.parameters, self.buffers, self.modules)
        for now, before in zip(held, kept, strict=True):
            same = now.keys() == before.keys() and all(now[name] is before[name] for name in before)
            if not same:
                now.clear()
                now.update(before)


@dataclass
class _Kept:
    """A tensor, its memory, and a copy of what was in it."""

    tensor: Tensor
    memory: Tensor
    copy: Tensor

    def restore(self) -> None:
        # Through `.data`: restoring is no operation that autograd should know of.
        now = self.tensor.data
        moved = now.shape != self.memory.shape or now.stride() != self.memory.stride() or now.dtype != self.memory.dtype
        if moved or now.data_ptr() != self.memory.data_ptr():
            self.tensor.data = self.memory
        if not torch.equal(self.memory, self.copy):
            self.memory.copy_(self.copy)
