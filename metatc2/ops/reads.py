"""Which tensors a computation takes for its operations, whether or not they end up in its graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


class Reads(TorchFunctionMode):
    """Context that notes which of some tensors are arguments of torch's functions.

    Args:
        watched: tensors, told by identity.

    Attributes:
        identities: ``id`` of those that were.

    >>> import torch
    >>> a, b = torch.zeros(1), torch.ones(1)
    >>> with Reads([a, b]) as reads:
    ...     _ = torch.stack([a, a])
    >>> reads.identities == {id(a)}
    True
    """

    def __init__(self, watched: Iterable[Tensor]) -> None:
        super().__init__()
        self._watched = {id(t): t for t in watched}
        self.identities: set[int] = set()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # A copy is another tensor, and a look at a shape is no computation.
        if function not in (Tensor.clone, Tensor.detach) and getattr(function, "__name__", "") != "__get__":
            self.identities |= {id(t) for t in _tensors((args, kwargs or {})) if id(t) in self._watched}
        return function(*args, **(kwargs or {}))


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from _tensors(part)
