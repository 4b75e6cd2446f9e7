"""What a module is made of: put other tensors in their places for a while, or guarantee that a call leaves it as it was.

Every function here works on *places* (a sub-module and the name of one of its tensors). A sub-module that can be reached by
two paths has its places once, and a tensor that stands in two places (tied weights) is replaced in both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from metatc2.errors import InputError


@dataclass(frozen=True)
class Place:
    """Where a tensor stands in a module.

    Args:
        store: the sub-module's dictionary of parameters or of buffers.
        key: name in it.
        tensor: what stood there when the place was found.
    """

    store: Any
    key: str
    tensor: Tensor

    def put(self, tensor: Tensor) -> None:
        """Let `tensor` stand here."""
        self.store[self.key] = tensor


def places(module: nn.Module) -> list[Place]:
    """All places of a module, those of a sub-module that is reached by several paths once.

    >>> shared = nn.Linear(2, 2)
    >>> len(places(nn.Sequential(shared, nn.ReLU(), shared)))
    2
    """
    return [
        Place(store, key, tensor)
        for part in module.modules()
        for store in (part._parameters, part._buffers)
        for key, tensor in store.items()
        if tensor is not None
    ]


@contextmanager
def replaced(module: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Let other tensors stand for parameters and buffers of a module; on leaving, also by an error, its own are back.

    `torch.func.functional_call` (of torch 2.6 to 2.14) swaps a place twice where a sub-module can be reached by two paths,
    and then leaves the replacement behind.

    Args:
        module: any module. Several threads must not do this to the same one at a time.
        tensors: by any of the names that ``named_parameters(remove_duplicate=False)`` and ``named_buffers`` give; a tensor
            that has several names is replaced under all of them.

    Raises:
        InputError: if the module has no tensor of a name, or two names of one tensor are given different replacements.

    >>> linear = nn.Linear(1, 1, bias=False)
    >>> with replaced(linear, {"weight": torch.ones(1, 1)}):
    ...     linear(torch.tensor([3.0])).item()
    3.0
    """
    found = places(module)
    by_tensor = _replacements(module, tensors)
    derived = [(part.__dict__, key, part.__dict__[key]) for part, key in _derived(module)]
    try:
        for place in found:
            if id(place.tensor) in by_tensor:
                place.put(by_tensor[id(place.tensor)])
        yield
    finally:
        for place in found:
            place.put(place.tensor)
        for attributes, key, value in derived:
            attributes[key] = value


@contextmanager
def untouched(*modules: nn.Module) -> Iterator[None]:
    """Whatever happens inside: on leaving, also by an error, the modules are what they were.

    Their parameters and buffers are the same objects with the same bits, and every part is in the mode that it was in.
    Costs a copy of all tensors and a comparison. Lazy parameters that are given their shape inside keep it.

    >>> norm = nn.BatchNorm1d(2)
    >>> with untouched(norm):
    ...     _ = norm.eval().train()(torch.rand(4, 2))
    >>> norm.running_mean.tolist(), norm.num_batches_tracked.item()
    ([0.0, 0.0], 0)
    """
    found = [place for module in modules for place in places(module)]
    kept = {id(place.tensor): _copy(place.tensor) for place in found}
    modes = [(part, part.training) for module in modules for part in module.modules()]
    derived = [(part.__dict__, key, part.__dict__[key]) for module in modules for part, key in _derived(module)]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for place in found:
            place.put(place.tensor)
            _restore(place.tensor, kept[id(place.tensor)])
        for attributes, key, value in derived:
            attributes[key] = value


@contextmanager
def modes_kept(*modules: nn.Module) -> Iterator[None]:
    """On leaving, also by an error, every part of the modules is in the mode, training or not, that it was in."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def refuse_uninitialized(module: nn.Module, what: str) -> None:
    """Refuse lazy layers that have no shape yet.

    Args:
        module: any module.
        what: whose argument it is, for the error.

    Raises:
        InputError: naming the first such parameter.
    """
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name in (name for name, tensor in tensors if is_lazy(tensor)):
        raise InputError(
            f"{what}: {name!r} belongs to a lazy layer that has no shape yet; call the module once on a batch of its "
            "inputs first"
        )


def refuse_shared_memory(module: nn.Module, what: str) -> None:
    """Refuse parameters that overlap another tensor of the module in memory without being the same object.

    Training in place moves the two together; with other tensors in their places they would go apart.

    Args:
        module: any module.
        what: whose argument it is, for the error.

    Raises:
        InputError: naming the first such pair.
    """
    named = [*module.named_parameters(), *module.named_buffers()]
    ranges = sorted(
        (start, start + _extent(t), name, isinstance(t, nn.Parameter))
        for name, t in named
        if not is_lazy(t) and t.layout is torch.strided and t.numel() and (start := t.data_ptr())
    )
    for (_, end, one, first), (start, _, other, second) in itertools.pairwise(ranges):
        if start < end and (first or second):
            one, other = sorted((one, other), key=[name for name, _ in named].index)
            raise InputError(
                f"{what}: {one!r} and {other!r} share memory and are two variables to autograd; let one parameter stand in "
                "both places (second.weight = first.weight), or clone one"
            )


def _extent(tensor: Tensor) -> int:
    """Bytes from a tensor's first number to the end of its last."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


def _replacements(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """New tensors by the identity of the old."""
    own: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    own |= dict(module.named_buffers(remove_duplicate=False))
    by_tensor: dict[int, Tensor] = {}
    for name, tensor in tensors.items():
        if name not in own:
            raise InputError(
                f"{type(module).__name__} has no parameter or buffer {name!r}; names are those of named_parameters(), such as "
                f"{next(iter(own), 'none: it has no tensors')!r}"
            )
        if by_tensor.setdefault(id(own[name]), tensor) is not tensor:
            raise InputError(
                f"{type(module).__name__}: {name!r} is tied to another name, and the two are given different tensors; give one"
            )
    return by_tensor


def _derived(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Plain attributes that hold what torch computed from parameters: hooks of spectral norm, weight norm and pruning set
    the weight, and recurrent layers keep a list of theirs."""
    for part in module.modules():
        names = [getattr(hook, "name", None) or getattr(hook, "_tensor_name", None) for hook in _hooks(part)]
        if isinstance(part, nn.RNNBase):
            names += ["_flat_weights", "_flat_weight_refs"]
        yield from ((part, name) for name in names if isinstance(name, str) and name in part.__dict__)


def _hooks(part: nn.Module) -> list[Any]:
    return list(part._forward_pre_hooks.values())


def _copy(tensor: Tensor) -> Tensor | None:
    return None if is_lazy(tensor) or tensor.is_meta else tensor.detach().clone()


def _restore(tensor: Tensor, kept: Tensor | None) -> None:
    if kept is None or (tensor.layout is torch.strided and kept.shape == tensor.shape and torch.equal(tensor, kept)):
        return
    # Through `.data`: graphs that were made before this call may hold the tensor, whose bits are what they were.
    if kept.shape == tensor.shape and kept.dtype == tensor.dtype:
        tensor.data.copy_(kept)
    else:
        tensor.data = kept
