"""Other tensors in the places of a module's own, for the time of a call.

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
from torch.nn.utils import parametrize

from metatc2.errors import InputError
from metatc2.ops.graph import leaves_of


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
    every_place = places(module)
    by_tensor = _replacements(module, tensors)
    computed = [(part.__dict__, key, part.__dict__[key]) for part, key in derived(module)]
    _forget_parametrized()
    try:
        for place in every_place:
            if id(place.tensor) in by_tensor:
                place.put(by_tensor[id(place.tensor)])
        yield
    finally:
        for place in every_place:
            place.put(place.tensor)
        for attributes, key, value in computed:
            attributes[key] = value
        _forget_parametrized()


def _forget_parametrized() -> None:
    # Inside `torch.nn.utils.parametrize.cached()` weights are kept by module: those of other parameters.
    parametrize._cache.clear()


def refuse_scripted(module: nn.Module, what: str) -> None:
    """Refuse what `torch.jit` made: its parameters are not Python's to replace.

    Raises:
        InputError: naming `what`.
    """
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise InputError(
            f"{what}: made by torch.jit, whose parameters cannot be replaced; pass the module it was made from"
        )


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


def refuse_outside_parameters(copied: nn.Module, original: nn.Module, out: Tensor, what: str) -> None:
    """Refuse a copy of a module that still computes with the parameters of the original.

    Args:
        copied, original: modules.
        out: what the copy returned, with its graph.
        what: whose argument it is, for the error.

    Raises:
        InputError: if `out` depends on a parameter of the original that is none of the copy's.
    """
    own, others = list(copied.parameters()), list(original.parameters())  # held: identities are of living objects
    outside = {id(p) for p in others} - {id(p) for p in own}
    if out.requires_grad and any(id(leaf) in outside for leaf in leaves_of(out)):
        raise InputError(
            f"{what}: a copy of {type(copied).__name__} still computes with parameters of the original, which it reaches by a "
            "closure; let its forward use registered attributes"
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


def derived(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Plain attributes that hold what torch computed from parameters, each with the part that it belongs to.

    Hooks of spectral norm, weight norm and pruning set the weight, and recurrent layers keep a list of theirs.
    """
    for part in module.modules():
        hooks = part._forward_pre_hooks.values()
        names: list[Any] = [getattr(hook, "name", None) or getattr(hook, "_tensor_name", None) for hook in hooks]
        if isinstance(part, nn.RNNBase):
            names += ["_flat_weights", "_flat_weight_refs"]
        yield from ((part, name) for name in names if isinstance(name, str) and name in part.__dict__)
