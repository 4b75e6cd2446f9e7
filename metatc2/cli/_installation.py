"""What metatc2 needs and what it can use besides: what is installed, and the command that installs the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version

# What each extra of the package is for; an extra that is not here is named without it.
PURPOSES = {
    "timm": "encoders timm:NAME",
    "umap": "UMAP in the maps of the report",
    "hub": "encoders hub:OWNER/NAME",
    "hf": "data sets hf:PATH",
    "litdata": "data sets litdata:PATH",
    "transformers": "encoders of transformers' folders",
    "onnx": "metatc2 export --format onnx",
    "loggers": "loggers tensorboard and wandb",
    "surgery": "learner.aggregate; solvers under the GPL",
    "learn2learn": "the bridge to learn2learn",
}
# Where the name of a module is not that of its package.
_MODULES = {"scikit-learn": "sklearn", "pillow": "PIL", "lazy-loader": "lazy_loader"}


@dataclass(frozen=True)
class Package:
    """A package that metatc2 needs or can use.

    Args:
        name: as it is installed.
        least: the oldest version that will do; empty where any does.
        extra: of metatc2 that brings it; empty where metatc2 needs it.
        installed: its version; empty where it is not installed.
        problem: what is wrong with it, in words; empty where nothing is.
        install: the command that mends that.
    """

    name: str
    least: str
    extra: str
    installed: str
    problem: str
    install: str


def packages(
    needed: Iterable[str] | None = None,
    installed: Callable[[str], str] = version,
    load: Callable[[str], object] = import_module,
) -> list[Package]:
    """Every package, those that are needed first, in the order in which they are declared.

    Args:
        needed: requirements, by default those that the installed metatc2 declares.
        installed: gives a version by name, or raises `PackageNotFoundError`.
        load: imports a module by name; tried with what is needed, since a library may be there and not fit another.

    >>> for package in packages(["torch>=2.6", "timm>=1.0; extra == 'timm'"], {"torch": "2.5.1+cpu", "timm": "1.0.3"}.get):
    ...     print(package.name, package.problem, package.install)
    torch is older than 2.6 pip install 'torch>=2.6'
    timm
    """
    declared = (requires("metatc2") or []) if needed is None else needed
    return [_package(one, installed, load) for one in declared]


def _package(requirement: str, installed: Callable[[str], str], load: Callable[[str], object]) -> Package:
    words = re.match(r"\s*([\w.-]+)[^;]*", requirement)
    assert words is not None  # a name comes first
    name = words[1]
    least = (re.findall(r">=\s*([\w.]+)", words[0]) or [""])[0]
    extra = (re.findall(r"extra\s*==\s*['\"]([\w.-]+)", requirement) or [""])[0]
    try:
        there = installed(name)
    except PackageNotFoundError:
        there = ""
    wanted = f"{name}>={least}" if least else name
    problem = _problem(name, least, there, None if extra else load)
    install = f"pip install 'metatc2[{extra}]'" if extra else f"pip install '{wanted}'"
    return Package(name, least, extra, there, problem, install if problem else "")


def _problem(name: str, least: str, there: str, load: Callable[[str], object] | None) -> str:
    if not there:
        return "is not installed"
    if least and _numbers(there) < _numbers(least):
        return f"is older than {least}"
    try:
        if load is not None:
            load(_MODULES.get(name, name.replace("-", "_")))
    except Exception as error:  # whatever a library that does not fit another raises
        return f"cannot be imported ({' '.join(str(error).split())})"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    """Of a release, for comparison.

    >>> _numbers("2.10.0+cu128") > _numbers("2.6"), _numbers("2.6") >= _numbers("2.6.0")
    (True, True)
    """
    numbers = [int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:4]]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
