"""An object of one of several classes, by the name of the class and numbers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TypeVar

from metatc2.errors import InputError, nearest
from metatc2.io.registry import Registry

Made = TypeVar("Made")


def build(classes: Registry[type[Made]], name: str, options: Mapping[str, float]) -> Made:
    """``classes[name](**options)``, with a sentence for what is unknown.

    Args:
        classes: by name.
        name: one of theirs.
        options: arguments of the class. Those whose default is a whole number must be whole.

    Raises:
        InputError: if the name or an option is unknown, or a number is not whole where it must be.

    >>> from metatc2.io.registries import OBJECTIVES
    >>> build(OBJECTIVES, "simclr", {"temprature": 1.0})
    Traceback (most recent call last):
    metatc2.errors.InputError: simclr has no option 'temprature'; did you mean 'temperature'? Known: temperature
    """
    kind = classes[name]
    # A class without __init__ shows nn.Module's *args and **kwargs, which are no options.
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = {k: p for k, p in inspect.signature(kind).parameters.items() if p.kind not in variadic}
    for option in options:
        if option not in parameters:
            known = nearest(option, parameters) if parameters else "it takes none"
            raise InputError(f"{name} has no option {option!r}; {known}")
    needed = [k for k, p in parameters.items() if p.default is inspect.Parameter.empty and k not in options]
    if needed:
        raise InputError(f"{name} needs {needed[0]}; give {needed[0]}=NUMBER")
    # Whole-numbered arguments are known by their default.
    return kind(
        **{
            option: _whole(value, f"{name}: {option}") if isinstance(parameters[option].default, int) else value
            for option, value in options.items()
        }
    )


def _whole(value: float, what: str) -> int:
    if not float(value).is_integer():
        raise InputError(f"{what} must be a whole number, found {value}")
    return int(value)
