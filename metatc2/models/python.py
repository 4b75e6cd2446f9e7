"""Encoders that code of one's own makes, by the name of a function or class: ``python:PACKAGE.MODULE:NAME``."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from metatc2.errors import InputError, kind_of, nearest
from metatc2.models.registry import register_encoder

KIND = "python"
#: Stands in a run whose encoder is not known by name.
UNKNOWN = f"{KIND}:unknown"
#: Environment variable with modules, or the packages that they are in, whose code run folders may name; between commas.
TRUST = "METATC2_TRUST"
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_factory(name: str) -> bool:
    """Whether a text has the form ``package.module:name``.

    >>> is_factory("mylab.networks:small"), is_factory("resnet18")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


@register_encoder("python:FACTORY")
def build(name: str, *, channels: int, image_size: int, width: int | None = None) -> nn.Module:
    """An encoder that a function or class makes; its module is imported, and found in the working directory too.

    Names come from run folders, which may be a stranger's. So code runs only of modules that the environment variable
    METATC2_TRUST names, or that the program has imported already.

    Args:
        name: ``"package.module:name"``. What stands there must be written in that package; it is called with those of
            ``channels``, ``image_size`` and ``width`` that it takes.
        channels, image_size, width: see `build_encoder`.

    Raises:
        InputError: if the module is not trusted, there is no such module or name, or it makes no module.

    >>> build("mynets:small", channels=1, image_size=28)
    Traceback (most recent call last):
    metatc2.errors.InputError: encoder 'python:mynets:small' is made by code of the module mynets, and a folder alone makes no
    code run; if you trust it, set the environment variable METATC2_TRUST=mynets
    """
    where = f"encoder {f'{KIND}:{name}'!r}"
    if f"{KIND}:{name}" == UNKNOWN:
        raise InputError(
            'the run does not say how its encoder is made; write encoder.name = "python:MODULE:FACTORY" into its config.toml, '
            'FACTORY a function or class that makes it, as Trainer(..., encoder="MODULE:FACTORY") does'
        )
    if not is_factory(name):
        raise InputError(f"{where} is not python:MODULE:NAME; write it as python:package.module:function")
    module = name.partition(":")[0]
    require_trust(module, where)
    offered = {"channels": channels, "image_size": image_size, "width": width}
    with modules_in(Path.cwd()):
        thing = attribute(name, where)
        # A name that was read from a run folder leads to networks alone, and not to whatever their module has imported.
        own = str(getattr(thing, "__module__", "")).partition(".")[0] == module.partition(".")[0]
        if not callable(thing) or not own or (isinstance(thing, type) and not issubclass(thing, nn.Module)):
            raise InputError(f"{where} is no function or class of {module} that makes an nn.Module; write one there")
        return called(thing, where, offered)


def require_trust(module: str, where: str) -> None:
    """Whether code may run of a module that was read, not typed: the user has named it, or a program has imported it.

    Args:
        module: dotted name.
        where: what names it, for the error.

    Raises:
        InputError: if neither is so.
    """
    package = module.partition(".")[0]
    named = {each.strip() for each in os.environ.get(TRUST, "").split(",")}
    if {module, package} & named or (module in sys.modules and package not in sys.stdlib_module_names):
        return
    raise InputError(
        f"{where} is made by code of the module {module}, and a folder alone makes no code run; if you trust it, set the "
        f"environment variable {TRUST}={module}"
    )


def attribute(name: str, where: str, *, others: Sequence[str] = ()) -> Any:
    """What ``package.module:name`` stands for; its module is imported.

    Args:
        name: see `is_factory`.
        where: for the error.
        others: words that stand before a colon for something else, one of which may have been meant.

    Raises:
        InputError: if there is no such module or name, or importing fails.
    """
    module, _, wanted = name.partition(":")
    try:
        imported = import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module == missing or module.startswith(f"{missing}."):
            meant = "".join(f"did you mean {word}? Else " for word in difflib.get_close_matches(module, others, n=1))
            raise InputError(
                f"{where}: Python finds no module {missing!r}, nor is it in the working directory; {meant}start there, or "
                "install it"
            ) from error
        raise InputError(f"{where}: its code needs {missing!r}, which is not installed; install it") from error
    except (Exception, SystemExit) as error:  # whatever a user's code raises
        raise InputError(f"{where}: importing {module} failed ({raised(error)}); mend it") from error
    return member(imported, wanted, where)


def member(module: ModuleType, name: str, where: str) -> Any:
    """An attribute of a module.

    Raises:
        InputError: if it has none of this name.
    """
    if not hasattr(module, name):
        public = [each for each in vars(module) if not each.startswith("_")]
        raise InputError(f"{where}: {module.__name__} has no {name!r}; {nearest(name, public)}")
    return getattr(module, name)


def called(thing: Any, where: str, offered: Mapping[str, int | None], **more: Any) -> nn.Module:
    """The module that a function or class makes.

    Args:
        thing: the function or class.
        where: for the error.
        offered: arguments by name; it is called with those that are given and that it takes.
        more: further arguments.

    Raises:
        InputError: if it fails, or makes something else.
    """
    if not callable(thing):
        raise InputError(f"{where} is {kind_of(thing)}; name a function or class that makes an nn.Module")
    taken = parameters(thing)
    given = {key: value for key, value in offered.items() if value is not None and key in taken}
    try:
        made = thing(**given, **more)
    except (Exception, SystemExit) as error:  # whatever a user's code raises
        needs = f"no more than {' and '.join(offered)}" if offered else "nothing"
        raise InputError(f"{where} cannot be made ({raised(error)}); name a function that needs {needs}") from error
    if not isinstance(made, nn.Module):
        raise InputError(f"{where} made {kind_of(made)}; it must make an nn.Module")
    if "_parameters" not in vars(made):
        raise InputError(f"{where} made {kind_of(made)} that is no module yet; call super().__init__() in its __init__")
    return made


def parameters(thing: Any) -> set[str]:
    """Names of what a function or class takes."""
    try:
        return set(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        return set()


@contextmanager
def modules_in(folder: Path, *, first: bool = False) -> Iterator[None]:
    """Look for modules in a folder too, within the block.

    What imported code adds to ``sys.path`` itself stays there, for it may import more when it is called.

    Args:
        folder: whose modules, and packages, are found.
        first: before all others, or after them.
    """
    place = str(folder)
    before = sys.path.count(place)
    if first:
        sys.path.insert(0, place)
    elif not before:
        sys.path.append(place)
    invalidate_caches()
    try:
        yield
    finally:
        while sys.path.count(place) > before:
            sys.path.remove(place)


def raised(error: BaseException) -> str:
    """What code of a user's raised, in a few words."""
    words = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
