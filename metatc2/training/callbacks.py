"""Callbacks: what else is to happen while a trainer trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metatc2.errors import InputError, nearest
from metatc2.learners import Outcome

if TYPE_CHECKING:
    from metatc2.training.trainer import Trainer


class Callback:
    """Called by a trainer; write the methods that are needed. Any object that has some of them will do, this class or not.

    All that a trainer has may be looked at: ``trainer.step``, ``trainer.learner``, ``trainer.encoder``, ``trainer.history``;
    ``trainer.log(...)`` adds values to the records, ``trainer.end()`` ends training after this step. Random numbers of torch
    that a callback draws are training's: take those from a generator of its own. On several processes it is called on all.

    >>> class Best(Callback):
    ...     lowest = float("inf")
    ...     def on_record(self, trainer, record):
    ...         self.lowest = min(self.lowest, record["loss"])
    """

    def on_start(self, trainer: Trainer) -> None:
        """`fit` begins, from whatever step."""

    def on_step(self, trainer: Trainer, outcome: Outcome) -> None:
        """A step was made; `outcome` has its loss and metrics."""

    def on_epoch(self, trainer: Trainer, epoch: int) -> None:
        """A pass over the training images is complete, the `epoch`-th; see `TrainerOptions.epoch_steps`."""

    def on_record(self, trainer: Trainer, record: Mapping[str, float]) -> None:
        """A record of metrics was made, after what else belongs to its step."""

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        """A checkpoint was written to a folder."""

    def on_end(self, trainer: Trainer) -> None:
        """`fit` ends: at its last step, where it pauses, or by an error."""

    def state_dict(self) -> dict[str, Any]:
        """What of it is to be in a checkpoint: tensors, numbers, texts, lists and tables of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""


_TIMES = ("on_start", "on_step", "on_epoch", "on_record", "on_checkpoint", "on_end")


class Callbacks:
    """Several of them, in their order.

    Args:
        callbacks: see `Callback`.

    Raises:
        InputError: if one has no method that would be called, or one by a name that is none.

    >>> class Misspelled:
    ...     def on_steps(self, trainer, outcome): ...
    >>> Callbacks([Misspelled()])
    Traceback (most recent call last):
    metatc2.errors.InputError: callback Misspelled: no trainer calls 'on_steps'; did you mean 'on_step'? Known: ...
    """

    def __init__(self, callbacks: Sequence[Any]) -> None:
        if isinstance(callbacks, str) or not isinstance(callbacks, Iterable):
            raise InputError(
                f"callbacks must be a list of objects, got {type(callbacks).__name__}; write callbacks=[...]"
            )
        for each in callbacks:
            name = each.__name__ if isinstance(each, type) else type(each).__name__
            if isinstance(each, type):
                raise InputError(f"callback {name} is a class; make an object of it, {name}()")
            own = [key for key in dir(each) if key.startswith("on_") and callable(getattr(each, key, None))]
            if unknown := [key for key in own if key not in _TIMES]:
                raise InputError(f"callback {name}: no trainer calls {unknown[0]!r}; {nearest(unknown[0], _TIMES)}")
            if not own:
                raise InputError(f"callback {name} has none of the methods {', '.join(_TIMES)}; give it one")
        self.callbacks = tuple(callbacks)

    def __len__(self) -> int:
        return len(self.callbacks)

    def call(self, time: str, *arguments: Any) -> None:
        """Call those that have a method for a time."""
        for each in self.callbacks:
            method = getattr(each, time, None)
            if method is not None:
                method(*arguments)

    def state_dict(self) -> dict[str, Any]:
        """Of those that have one, by their place."""
        states = {str(i): each.state_dict() for i, each in enumerate(self.callbacks) if hasattr(each, "state_dict")}
        return {place: state for place, state in states.items() if state}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Give each its own back; those that were added since begin anew."""
        for i, each in enumerate(self.callbacks):
            if str(i) in states and hasattr(each, "load_state_dict"):
                each.load_state_dict(states[str(i)])
