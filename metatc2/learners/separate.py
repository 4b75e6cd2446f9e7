"""One encoder for every kind of task: nothing is shared, so nothing is in conflict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from metatc2.conditioning.base import ToldProjector
from metatc2.conditioning.separate_encoders import SeparateEncoders
from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.learners.branches import Branches
from metatc2.learners.self_supervised import SelfSupervised
from metatc2.objectives import Objective
from metatc2.ops.replacing import refuse_outside_parameters


class SeparateLearner(SelfSupervised):
    """The ceiling of all that share an encoder: each kind trains an encoder of its own on its tasks alone.

    A step runs each image through one encoder. What is exported concatenates the features of all of them.

    Args:
        encoders: images → ``(N, d)``, one a kind, all of one width.
        objective, predictor, momentum: as in `SelfSupervised`.
        projector: one that is told, of so many kinds; `TaskHeads` shares nothing.

    Raises:
        InputError: if the projector is not told, or of another number of kinds. In use: if the episode does not say what its
            tasks are.

    >>> from metatc2.objectives import SimCLR
    >>> from metatc2.conditioning import TaskHeads
    >>> def body():
    ...     return nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    >>> learner = SeparateLearner([body(), body()], SimCLR(), projector=TaskHeads(8, 16, 8, kinds=2))
    >>> learner.exports()["encoder"](torch.rand(3, 1, 4, 4)).shape
    torch.Size([3, 16])
    """

    undivided = "each encoder runs on the tasks of its kind alone, and ranks have different kinds"

    encoder: SeparateEncoders
    target_encoder: SeparateEncoders

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        objective: Objective,
        *,
        projector: ToldProjector,
        predictor: nn.Module | None = None,
        momentum: float = 0.99,
    ) -> None:
        kinds: Any = getattr(projector, "kinds", None)
        if kinds != len(encoders):
            raise InputError(
                f"SeparateLearner: there are {len(encoders)} encoders and {type(projector).__name__} is for "
                f"{'all tasks alike' if kinds is None else f'{kinds} kinds of task'}; use TaskHeads(..., kinds={len(encoders)})"
            )
        super().__init__(
            SeparateEncoders(encoders),
            objective,
            projector=projector,
            predictor=predictor,
            per_task=True,
            momentum=momentum,
        )

    def branches(self, episode: Episode) -> Branches:
        """z of all samples, by the encoder of their task's kind."""
        if episode.identity is None:
            raise InputError(
                "SeparateLearner is told what each task is and the episode does not say it; use a sampler whose episodes have "
                "an identity"
            )
        images, kinds = episode.images, episode.identity.kinds
        self.objective.check(images.shape[1])
        z = self.encoder.routed(images, kinds)
        z = z.float() if z.dtype in (torch.bfloat16, torch.float16) else z
        target = None
        if self.objective.momentum:
            # The first time with a graph, as in SelfSupervised.
            with torch.set_grad_enabled(not self._copies_looked_at):
                target = self.target_encoder.routed(images.detach(), kinds)
            refuse_outside_parameters(self.target_encoder, self.encoder, target, "the momentum branch")
            self._copies_looked_at = True
            target = target.detach().to(z.dtype)
        return Branches(z, z, target, self.tell(episode))
