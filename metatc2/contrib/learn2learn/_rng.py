"""States of the global random generators for code that knows no other."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class GlobalRandomState:
    """Own states for the global generators of `random`, numpy and torch (CPU), in force inside ``with chance.installed():``.

    Code that draws from the global generators is thereby seeded and can be resumed, and it does not disturb the draws of
    anybody else. Not for threads that draw at the same time.

    Args:
        seed: of all three.

    >>> def draw():
    ...     with chance.installed():
    ...         return random.random()
    >>> chance = GlobalRandomState(0)
    >>> state, first = chance.state_dict(), draw()
    >>> chance.load_state_dict(state)
    >>> draw() == first == random.Random(0).random()
    True
    """

    def __init__(self, seed: int) -> None:
        # numpy's legacy generator takes 32 bits.
        self.states: tuple[Any, ...] = (
            random.Random(seed).getstate(),
            np.random.RandomState(seed % 2**32).get_state(),
            torch.Generator().manual_seed(seed).get_state(),
        )

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The global generators go on from where this left off; afterwards they are as they were before."""
        before = _global_states()
        _set_global_states(self.states)
        try:
            yield
        finally:
            self.states = _global_states()
            _set_global_states(before)

    def state_dict(self) -> dict[str, Any]:
        """The three states as tensors and numbers."""
        (version, words, python_gauss), numpy, torch_state = self.states
        return {
            "python": torch.tensor(words),
            "python_version": version,
            "python_gauss": python_gauss,
            "numpy": torch.from_numpy(numpy[1].astype(np.int64)),
            "numpy_rest": [int(numpy[2]), int(numpy[3]), float(numpy[4])],
            "torch": torch_state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError, TypeError, RuntimeError: if it is none of these generators.
        """
        position, has_gauss, gauss = state["numpy_rest"]
        states = (
            (state["python_version"], tuple(state["python"].tolist()), state["python_gauss"]),
            ("MT19937", state["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss),
            state["torch"],
        )
        # Tried on generators of its own: the global ones would fail in the middle of an episode, and NumPy reads whatever
        # memory a position beyond its words leads to.
        if type(position) is not int or not 0 <= position <= 624:
            raise ValueError(f"the saved position is {position!r}")
        random.Random().setstate(states[0])
        np.random.RandomState().set_state(states[1])
        torch.Generator().set_state(states[2])
        self.states = states


def _global_states() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 — the global state is the point


def _set_global_states(states: tuple[Any, ...]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
