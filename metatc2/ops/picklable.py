"""Transformations that can be copied and saved: they remember how they were made, and are made again."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any

import torchopt
from torchopt.base import ChainedGradientTransformation, GradientTransformation, IdentityGradientTransformation

from metatc2.errors import InputError


class Picklable(GradientTransformation):
    """A transformation that knows its maker and the arguments; made by `picklable`."""

    make: Callable[..., GradientTransformation]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    def __new__(
        cls, make: Callable[..., GradientTransformation], arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> Picklable:
        """Call the maker."""
        made = make(*arguments, **options)
        self: Picklable = super().__new__(cls, made.init, made.update)
        self.make, self.arguments, self.options = make, arguments, dict(options)
        return self

    def chain(self, next: GradientTransformation) -> Picklable:  # type: ignore[override]
        """First this transformation, then the other; can be pickled if the other can."""
        return picklable(torchopt.chain, self, as_copyable(next))

    def __reduce__(self) -> tuple[Any, ...]:
        return Picklable, (self.make, self.arguments, self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Picklable) and self.__reduce__() == other.__reduce__()

    def __ne__(self, other: object) -> bool:
        return not self == other  # that of tuples would be used otherwise

    def __hash__(self) -> int:
        return hash(self.make)

    def __repr__(self) -> str:
        listed = [repr(a) for a in self.arguments] + [f"{name}={value!r}" for name, value in self.options.items()]
        return f"{getattr(self.make, '__name__', repr(self.make)).lstrip('_')}({', '.join(listed)})"


def picklable(make: Callable[..., GradientTransformation], *arguments: Any, **options: Any) -> Picklable:
    """The transformation ``make(*arguments, **options)``, which can also be pickled: torchopt's own cannot.

    Args:
        make: a function that can be imported by its name, such as ``torchopt.adam``.
        arguments, options: for it; they have to be picklable themselves.

    >>> import copy, pickle
    >>> rule = picklable(torchopt.sgd, 0.1, momentum=0.9)
    >>> pickle.loads(pickle.dumps(rule)) == copy.deepcopy(rule) == rule
    True
    """
    return Picklable(make, arguments, options)


def as_copyable(optimizer: GradientTransformation) -> GradientTransformation:
    """The same transformation, whose deep copy works: that of torchopt's chains and of its identity does not.

    >>> import copy
    >>> import torch
    >>> rule = copy.deepcopy(as_copyable(torchopt.chain(torchopt.sgd(0.1), torchopt.sgd(0.5))))
    >>> rule.update({"w": torch.ones(1)}, rule.init({"w": torch.ones(1)}))[0]
    {'w': tensor([0.0500])}
    """
    if isinstance(optimizer, ChainedGradientTransformation):
        return picklable(torchopt.chain, *(as_copyable(part) for part in optimizer.transformations))
    return (
        picklable(IdentityGradientTransformation)
        if isinstance(optimizer, IdentityGradientTransformation)
        else optimizer
    )


def check_picklable(optimizer: GradientTransformation) -> None:
    """Look before torch writes half a file.

    Raises:
        InputError: if the transformation cannot be pickled.
    """
    try:
        pickle.dumps(optimizer)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"this inner optimizer cannot be pickled or saved ({error}); make it by metatc2.inner.inner_optimizer('sgd', "
            "0.1, clip=1.0), or by metatc2.ops.picklable(torchopt.adam, 0.01) in place of torchopt.adam(0.01)"
        ) from error
