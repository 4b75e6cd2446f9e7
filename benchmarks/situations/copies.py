"""What a program holds between two steps is copied and saved: for averages of weights, the best model, another process."""

from __future__ import annotations

import copy
import dataclasses
import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
from libraries import Library, Recipe, gradient_of

from metatc2.inner import inner_optimizer
from situations import networks
from situations.situation import Failed, Situation, Way, tasks, words

LR = 0.3


def pickled(value: Any) -> Any:
    """Through `pickle`."""
    return pickle.loads(pickle.dumps(value))


def saved(value: Any) -> Any:
    """Through a file of `torch.save`."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def goes_on(*ways: Callable[[Any], Any]) -> Callable[[Library, Recipe], str]:
    """The copy gives the meta-gradient that the original gives, and has parameters of its own; for ours also with clipping."""

    def check(library: Library, recipe: Recipe) -> str:
        _held_against_a_fresh_one(library, recipe)
        if library.package != "metatc2":
            return ""
        clipped = inner_optimizer("sgd", recipe.lr, clip=0.1)
        _held_against_a_fresh_one(library, dataclasses.replace(recipe, options={"rule": clipped}))
        return "also with clipping"

    def _held_against_a_fresh_one(library: Library, recipe: Recipe) -> None:
        for again in ways:
            name = getattr(again, "__name__", str(again))
            held = library.hold(networks.mlp(), recipe)
            library.gradient(held, recipe, tasks(5))  # in the middle of its use
            try:
                made = again(held)
            except Exception as error:
                raise Failed(f"{name}: {words(error)}") from error
            for p in held[0].parameters():
                p.data.add_(1.0)  # where it is shared, the copy moves too
            library.gradient(made, recipe, tasks(5))
            fresh = library.hold(networks.mlp(), recipe)
            library.gradient(fresh, recipe, tasks(5))
            result, expected = gradient_of(made[0]), gradient_of(fresh[0])
            if result.keys() != expected.keys() or not all(torch.equal(result[n], expected[n]) for n in expected):
                raise Failed(f"{name}: the copy gives another meta-gradient")

    return check


SITUATIONS = (
    Situation("deepcopy of a meta-learner", Recipe(3, LR), goes_on(copy.deepcopy)),
    Situation(
        "pickle and torch.save of a meta-learner",
        Recipe(3, LR),
        goes_on(pickled, saved),
        {"ours": [Way("inner_optimizer('sgd', lr)", {"options": {"rule": inner_optimizer("sgd", LR)}})]},
    ),
)
