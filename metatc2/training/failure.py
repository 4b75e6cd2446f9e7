"""What it takes to make a step again that was not finite: the state before it, its episode, the random state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.episodes import Episode
from metatc2.episodes.episode import TaskIdentity
from metatc2.episodes.samples import Samples
from metatc2.errors import InputError
from metatc2.ops.ranks import Ranks
from metatc2.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint

_LARGEST = 2**20  # bytes of a buffer that is copied before every step


@dataclass(frozen=True)
class Before:
    """What a step moves before it is known to be finite: buffers, as running statistics, and random states.

    Parameters are not among it: no optimizer moves before all gradients are looked at. Buffers above 1 MiB are left out, for a
    copy of them would take time in every step; those of this library (queues) move after the optimizers.

    Args:
        buffers: copies, by name.
        random: of torch's generators.
    """

    buffers: Mapping[str, Tensor]
    random: Mapping[str, Any]

    @classmethod
    def of(cls, learner: nn.Module) -> Before:
        """As it is now."""
        small = {name: b for name, b in learner.named_buffers() if b.numel() * b.element_size() <= _LARGEST}
        return cls({name: buffer.detach().clone() for name, buffer in small.items()}, random_state())


def random_state() -> dict[str, Any]:
    """Of torch's own generators, on the CPU and on every CUDA device that has been used."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


@dataclass(frozen=True)
class Failure:
    """A step that was not finite, as it was kept.

    Args:
        step: steps done before it.
        length: of the run, by which the learner's warm-ups go.
        learner: its state before the step.
        episode: on the CPU.
        random: see `random_state`.
        said: what was said of it.
        about: of the training, as in its checkpoints.
    """

    step: int
    length: int
    learner: Mapping[str, Any]
    episode: Episode
    random: Mapping[str, Any]
    said: str
    about: Mapping[str, Any]


def of_all_ranks(episode: Episode, ranks: Ranks) -> Episode:
    """The episode of which each process has some tasks, on the CPU; the same on every process."""
    if ranks.alone:
        return episode
    parts: list[Episode] = ranks.all(episode.to("cpu"))
    support, query = (_joined([getattr(part, side) for part in parts]) for side in ("support", "query"))
    told = [part.identity for part in parts if part.identity is not None]
    if not told:
        return Episode(support, query)
    kinds, conditions = (torch.cat([getattr(own, name) for own in told]) for name in ("kinds", "conditions"))
    return Episode(support, query, TaskIdentity(kinds, told[0].names, conditions))


def _joined(sides: Sequence[Samples]) -> Samples:
    each: dict[str, Any] = {name: [getattr(side, name) for side in sides] for name in vars(sides[0])}
    joined: dict[str, Any] = {
        name: values[0] if values[0] is None else torch.cat(values) for name, values in each.items()
    }
    return Samples(**joined)


def keep_failure(
    folder: Path,
    step: int,
    length: int,
    learner: nn.Module,
    before: Before,
    episode: Episode,
    said: str,
    about: Mapping[str, Any],
) -> Path:
    """Write a failure in place of an earlier one: the folder holds at most one, whole.

    Args:
        folder: usually ``DIR/failure``.
        step, length, episode, said, about: see `Failure`.
        learner: whose buffers may have moved since.
        before: from before the step.

    Raises:
        InputError: if it cannot be written.
        TypeError: if the learner's state is more than tensors and plain values.
    """
    state = {name: before.buffers.get(name, value) for name, value in learner.state_dict().items()}
    identity = episode.identity
    told = identity and {"kinds": identity.kinds, "names": list(identity.names), "conditions": identity.conditions}
    sides = {"support": vars(episode.support), "query": vars(episode.query), "identity": told}
    content = {"learner": state, "episode": sides, "random": dict(before.random), "length": length, "said": said}
    return save_checkpoint(folder, step, content, dict(about))


def load_failure(folder: Path) -> Failure:
    """The failure that a folder holds.

    Raises:
        InputError: if there is none, or it is damaged.
    """
    kept = latest_checkpoint(folder)
    if kept is None:
        raise InputError(
            f"{folder} holds no step to be made again; one is kept there when a loss or gradient is not finite"
        )
    step, state, about = load_checkpoint(kept)
    try:
        sides = state["episode"]
        told = sides["identity"]
        identity = told and TaskIdentity(told["kinds"], tuple(told["names"]), told["conditions"])
        episode = Episode(Samples(**sides["support"]), Samples(**sides["query"]), identity)
        return Failure(
            step,
            int(state["length"]),
            dict(state["learner"]),
            episode,
            dict(state["random"]),
            str(state["said"]),
            about,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{kept} is no step that was kept ({error!r}); delete it and train again") from error
