"""Learners on labeled tasks by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from metatc2.errors import InputError
from metatc2.io import registries
from metatc2.io.registry import Registry
from metatc2.learners.meta_learner import LabeledLearner
from metatc2.learners.settings import Entry, Settings

LEARNERS: Registry[type[LabeledLearner]] = registries.LEARNERS
Kind = TypeVar("Kind", bound=type[LabeledLearner])


def register_learner(
    name: str,
    *,
    summary: str,
    source: str,
    inner: bool = False,
    adapts: bool = False,
    fixed_adjoint: bool = False,
    linear_head: bool = False,
) -> Callable[[Kind], Kind]:
    """Decorator of a `LabeledLearner` class that can then be trained by its name, also from the command line.

    It is built by its class method `LabeledLearner.from_settings`.

    Args:
        name: see `Registry.register`.
        summary, source, inner, adapts, fixed_adjoint, linear_head: see `Entry`.

    Raises:
        InputError: if the name is taken.
    """

    def registered(kind: Kind) -> Kind:
        kind.entry = Entry(summary, source, inner, adapts, fixed_adjoint, linear_head)
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


def build_labeled(name: str, encoder: nn.Module, settings: Settings) -> LabeledLearner:
    """A learner on labeled tasks.

    Raises:
        InputError: if the name is unknown, or settings are given that the learner has no use for.

    >>> learner = build_labeled("protonet", nn.Flatten(), Settings(dim=784))
    >>> type(learner).__name__
    'ProtoNet'
    """
    entry = entry_of(name)
    inner = {
        "inner_optimizer": settings.optimizer,
        "inner_lr": settings.lr,
        "inner_steps": settings.steps,
        "test_steps": settings.test_steps,
        "adjoint": settings.adjoint,
        "inner_clip": settings.clip or None,
    }
    useless = [key for key, value in inner.items() if value is not None and not entry.inner]
    useless += ["adapt"] * (bool(settings.adapt) and not entry.adapts)
    useless += ["shared_head"] * (settings.shared_head and not entry.linear_head)
    useless += ["adjoint"] * (settings.adjoint is not None and entry.fixed_adjoint)
    if useless:
        why = "it makes that choice itself" if entry.inner else "it has no inner loop"
        raise InputError(f"learner {name!r} has no use for learner.{useless[0]}: {why}; leave it out")
    return LEARNERS[name].from_settings(encoder, settings)
