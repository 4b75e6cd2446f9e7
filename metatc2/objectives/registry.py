"""Objectives by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import Field

from metatc2.io import registries
from metatc2.io.options import Names, Options, Share, options_like
from metatc2.io.registry import Registry
from metatc2.objectives.base import Objective
from metatc2.objectives.named import build
from metatc2.objectives.pretext import Pretext

OBJECTIVES: Registry[type[Objective]] = registries.OBJECTIVES
Kind = TypeVar("Kind", bound=type[Objective])


def register_objective(name: str) -> Callable[[Kind], Kind]:
    """Decorator of an `Objective` class that can then be trained by its name, also from the command line.

    Arguments of the class that are numbers, text, switches or lists of them become its options in a configuration.

    Args:
        name: see `Registry.register`; becomes the class's `name`. `Objective` shows a class.

    Raises:
        InputError: if the name is taken.
    """
    return OBJECTIVES.register_class(name)


def title_of(name: str) -> str:
    """What an objective is called in papers.

    Raises:
        InputError: if the name is unknown.

    >>> title_of("barlow"), title_of("simclr")
    ('Barlow Twins', 'SimCLR')
    """
    kind = OBJECTIVES[name]
    return kind.title or kind.__name__


def build_objective(name: str, **options: float) -> Objective:
    """An objective by name.

    Args:
        name: one of `OBJECTIVES`.
        options: arguments of its class, all numbers.

    Raises:
        InputError: if the name or an option is unknown, or a value is out of range.

    >>> build_objective("simclr", temperature=0.2).temperature
    0.2
    >>> build_objective("barlow_twins")
    Traceback (most recent call last):
    metatc2.errors.InputError: unknown objective 'barlow_twins'; did you mean 'barlow'? Known: barlow, byol, colorization, ...
    """
    return build(OBJECTIVES, name, options)


class ObjectiveOptions(Options):
    """What an objective that is chosen by its name is built from.

    >>> objective_options("simclr")(temperature=0.2).build(dim=128).temperature
    0.2
    """

    section = "objective"

    name: Annotated[str, Names(OBJECTIVES)] = Field("simclr", description="the self-supervised loss")

    def build(self, dim: int) -> Objective:
        """The objective.

        Args:
            dim: width of the projections, for those that have heads of their own on them.

        Raises:
            InputError: if its class refuses a value.
        """
        kind = OBJECTIVES[self.name]
        sized = {"dim": dim} if issubclass(kind, Pretext) else {}
        return kind(**sized, **self.beyond(TargetOptions))


class TargetOptions(ObjectiveOptions):
    """Of an objective that has a target network."""

    momentum: Share = Field(0.99, description="rate of the target network's moving average")


def objective_options(name: str) -> type[ObjectiveOptions]:
    """The options of the objective of a name: the arguments of its class, and the rate of its target network if it has one.

    Raises:
        InputError: if the name is unknown.

    >>> list(objective_options("moco").model_fields)
    ['name', 'momentum', 'queue', 'temperature']
    """
    kind = OBJECTIVES[name]
    return options_like(kind, TargetOptions if kind.momentum else ObjectiveOptions, name=name)
