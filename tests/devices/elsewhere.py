"""Tensors that say they lie on another device: computed on the CPU, and put together with others as that device would.

PyTorch's `FakeTensorMode` has no values, so that code which asks for one (is the loss finite? which rows are moved?) cannot go
on as it does with values. Here there are values: decisions are the usual ones, and results can be compared with the CPU's.
The device bears the name of one that no package here has: autograd runs its backward pass in the CPU's queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("lazy", 0)
aten = torch.ops.aten
# They change a tensor's axes in place; a wrapper keeps its own. Products of a vector and a matrix are among them.
AXES = {aten.squeeze_.default, aten.squeeze_.dim, aten.squeeze_.dims, aten.unsqueeze_.default, aten.t_.default}
AXES |= {aten.transpose_.default}
# Of tensors on two devices: copies between them, and rows picked by indices on the CPU.
CROSS = {aten.copy_.default, aten._to_copy.default}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


class DevicesMixed(Exception):
    """What a device refuses."""


class Elsewhere(Tensor):
    """A tensor on `DEVICE`; `here` holds its values."""

    here: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(
            cls, here.shape, here.stride(), here.storage_offset(), dtype=here.dtype, layout=here.layout, device=DEVICE
        )
        made.here = here
        return made

    def tolist(self) -> Any:  # which torch refuses of every subclass, and a device does not
        return self.here.tolist()

    def __repr__(self) -> str:
        return f"Elsewhere({self.here})"

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(operation, args, kwargs or {})


class There(TorchDispatchMode):
    """Within it tensors can be made on `DEVICE`."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(operation, args, kwargs or {})


def computed(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an operation gives, on the device that it is given on."""
    leaves = list(leaves_of((args, kwargs)))
    there = any(isinstance(t, Elsewhere) for t in leaves)
    asked = kwargs.get("device")
    made_there = there if asked is None else torch.device(asked).type == DEVICE.type
    if there:
        check(operation, args, leaves)
    for generator in leaves:
        if isinstance(generator, torch.Generator) and made_there:
            raise DevicesMixed(f"{operation}: a generator on {generator.device} for a tensor on {DEVICE}")
    if made_there and asked is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    if (
        operation is aten._efficientzerotensor.default
    ):  # zeros that are stored nowhere, which a wrapper cannot say of itself
        operation = aten.zeros.default
    own: dict[int, Tensor] = {}

    def inside(t: Any) -> Any:
        if not isinstance(t, Elsewhere):
            return t
        own[id(t.here)] = t
        return t.here

    if operation in AXES and isinstance(args[0], Elsewhere):
        raise NotImplementedError(f"{operation} on {DEVICE}")
    args, kwargs = mapped(inside, (args, kwargs))

    def outside(t: Any) -> Any:
        if not isinstance(t, Tensor) or id(t) in own:  # one that was changed in place is the same as before
            return own.get(id(t), t)
        return Elsewhere(t) if made_there else t

    return mapped(outside, operation(*args, **kwargs))


# An operation is given no containers but these three; torch's functions for any kind take most of the time.
def leaves_of(tree: Any) -> Iterator[Any]:
    """What is in the containers."""
    if isinstance(tree, tuple | list | dict):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves_of(part)
    else:
        yield tree


def mapped(f: Callable[[Any], Any], tree: Any) -> Any:
    """The same containers with what `f` makes of what is in them."""
    if isinstance(tree, dict):
        return {key: mapped(f, part) for key, part in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)([mapped(f, part) for part in tree])
    return f(tree)


def check(operation: Any, args: tuple[Any, ...], leaves: list[Any]) -> None:
    """Whether tensors lie on one device, as far as the operation needs it; numbers (no axes) may lie on the CPU."""
    if operation in CROSS:
        return
    if operation in INDEXED and isinstance(args[0], Elsewhere):
        leaves = [args[0], *args[2:3]]
    if any(isinstance(t, Tensor) and not isinstance(t, Elsewhere) and t.ndim for t in leaves):
        kinds = [str(t.device) for t in leaves if isinstance(t, Tensor)]
        raise DevicesMixed(f"{operation}: tensors on {', '.join(kinds)}")


def there(t: Tensor) -> Tensor:
    """A copy on `DEVICE`."""
    return Elsewhere(t.detach().clone()).requires_grad_(t.requires_grad)


def here(t: Tensor) -> Tensor:
    """Its values; it must lie on `DEVICE`."""
    assert isinstance(t, Elsewhere), f"a tensor on {t.device}"
    return t.here


def moved(module: nn.Module) -> nn.Module:
    """The module with its parameters and buffers on `DEVICE`."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        return module._apply(there)
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


@contextmanager
def elsewhere() -> Iterator[None]:
    """Within the block tensors can be made on `DEVICE`."""
    # Numbers become a tensor of the CPU first, and are moved by an operation that `There` sees; as in `FakeTensorMode`.
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with There():
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)
