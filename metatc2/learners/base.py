"""What the trainer knows of a learner."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError, kind_of
from metatc2.ops.module_state import graph_values
from metatc2.ops.precision import without_autocast
from metatc2.ops.ranks import ALONE, Ranks


# Not frozen: Lightning Fabric rebuilds what comes out of a module, field by field.
@dataclass(eq=False)
class Outcome:
    """What a learner makes of an episode.

    Args:
        loss: scalar to minimise, with its graph.
        metrics: detached scalars to log.
        embeddings: ``(..., D)`` detached, watched for collapse; None when there is nothing to watch.
    """

    loss: Tensor
    metrics: Mapping[str, Tensor | float] = field(default_factory=dict)
    embeddings: Tensor | None = None


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share an optimizer; their gradient norm is clipped together.

    Args:
        name: for logs and checkpoints.
        parameters: what is optimized.
        lr: constant Adam learning rate; None takes the trainer's optimizer, learning rate and schedule.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    lr: float | None = None


class Learner(nn.Module, ABC):
    """Turns an episode into a loss. Subclass it, write `forward`, and any trainer and sampler will do.

    >>> class Small(Learner):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 4))
    ...
    ...     def forward(self, episode):
    ...         return Outcome(self.encoder(episode.images.flatten(0, 2)).square().mean())
    >>> [group.name for group in Small().groups()]
    ['learner']
    """

    #: The processes that train together; a trainer on several sets it. Each gives `forward` its own tasks of an episode.
    ranks: Ranks = ALONE
    #: Parts that the encoder runs on one after the other; a trainer that is to save memory sets it.
    parts: int = 1
    #: Whether `forward` brings together what all ranks have, so that its loss is that of the whole episode. Of others the loss
    #: is a mean over tasks, and the trainer takes the mean over ranks.
    gathers: ClassVar[bool] = False
    #: Why it trains on one process alone and with an encoder that runs on all images at once; empty where it need not.
    undivided: ClassVar[str] = ""

    @abstractmethod
    def forward(self, episode: Episode) -> Outcome:
        """Loss and metrics of an episode."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward` with the hooks of a module; in `torch.inference_mode`, where other loops validate, too.

        Inner loops take gradients whatever the mode; those tensors are copied whose own mode forbids it.
        """
        if args and isinstance(args[0], Samples):
            raise InputError(
                f"{type(self).__name__} takes an Episode, got {kind_of(args[0])}; make one with Episode.of(x, y, qx, qy) or "
                "Episode.of_views(first, second, tasks=4)"
            )
        if not torch.is_inference_mode_enabled():
            return super().__call__(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            given = [each.map(_usable) if isinstance(each, Episode) else each for each in args]
            return super().__call__(*given, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy that shares nothing, also where a part keeps a tensor that has a graph."""
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        memo |= graph_values(self)
        made.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()})
        return made

    def groups(self) -> list[ParameterGroup]:
        """Parameters by optimizer; by default all of them under the trainer's."""
        return [ParameterGroup("learner", [p for p in self.parameters() if p.requires_grad])]

    def begin_step(self, step: int, steps: int) -> None:
        """Called before step `step` (from 0) of `steps`: warm-ups live here."""

    def end_step(self) -> None:
        """Called after the optimizers: averages and queues move here."""

    def alarms(self, metrics: Mapping[str, float]) -> dict[str, str]:
        """What is wrong, given the metrics of a step: a sentence by a short name, under which it is shown once."""
        return {}

    def exports(self) -> dict[str, nn.Module]:
        """Modules to save at the end of a run, by file name; ``encoder`` is what gets transferred."""
        encoder = getattr(self, "encoder", None)
        return {"encoder": encoder} if isinstance(encoder, nn.Module) else {}

    def heads(self) -> dict[str, Tensor]:
        """What was trained beside the encoder and is no part of what is transferred; a later stage of training needs it.

        By default nothing, since `exports` says all there is to keep.
        """
        return {}


def _usable(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """Context without autocast: losses, statistics and inner loops keep float32 whatever the encoder runs in.

    Args:
        like: a tensor on the device in question.
    """
    return without_autocast(like)
