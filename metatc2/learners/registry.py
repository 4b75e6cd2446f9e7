"""Learners on labeled tasks by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from metatc2.errors import InputError
from metatc2.io import registries
from metatc2.io.options import options_like
from metatc2.io.registry import Registry
from metatc2.learners.meta_learner import LabeledLearner
from metatc2.learners.options import Entry, LearnerOptions, Tasks

LEARNERS: Registry[type[LabeledLearner]] = registries.LEARNERS
Kind = TypeVar("Kind", bound=type[LabeledLearner])


def register_learner(
    name: str, *, summary: str, source: str, options: type[LearnerOptions] = LearnerOptions
) -> Callable[[Kind], Kind]:
    """Decorator of a `LabeledLearner` class that can then be trained by its name, also from the command line.

    It is built by its class method `LabeledLearner.from_options`.

    Args:
        name: see `Registry.register`.
        summary, source, options: see `Entry`.

    Raises:
        InputError: if the name is taken.
    """

    def registered(kind: Kind) -> Kind:
        kind.entry = Entry(summary, source, options)
        LEARNERS.register(name)(kind)
        return kind

    return registered


def entry_of(name: str) -> Entry:
    """What is said of the learner of a name.

    Raises:
        InputError: if the name is unknown, or an installed package offers a class by it that `register_learner` does not
            decorate.

    >>> entry_of("maml").source
    'Finn et al. 2017, arXiv 1703.03400'
    """
    entry = LEARNERS[name].__dict__.get("entry")
    if not isinstance(entry, Entry):
        raise InputError(
            f"learner {name!r} is {LEARNERS[name].__module__}.{LEARNERS[name].__qualname__}, of which nothing is said; put "
            f"@register_learner({name!r}, summary=..., source=...) on the class"
        )
    return entry


def learner_options(name: str) -> type[LearnerOptions]:
    """The options of the learner of a name.

    Raises:
        InputError: if the name is unknown, or nothing is said of the learner.

    >>> learner_options("anil")().inner_steps
    5
    """
    return options_like(None, entry_of(name).options, name=name)


def build_labeled(options: LearnerOptions, encoder: nn.Module, tasks: Tasks) -> LabeledLearner:
    """The learner on labeled tasks that options name.

    Args:
        options: see `learner_options`.
        encoder: inputs → ``(N, tasks.dim)``.
        tasks: what is known of its tasks.

    Raises:
        InputError: if the learner refuses a value.

    >>> learner = build_labeled(learner_options("protonet")(distance="cosine"), nn.Flatten(), Tasks(dim=784))
    >>> type(learner).__name__, learner.temperature
    ('ProtoNet', 10.0)
    """
    return LEARNERS[options.name].from_options(encoder, options, tasks)
