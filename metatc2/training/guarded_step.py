"""A step of training; where it is not finite, what is needed to make it again is kept in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.io.suggest import command
from metatc2.learners import Learner, Outcome
from metatc2.ops.ranks import Ranks
from metatc2.training.failure import Before, keep_failure, of_all_ranks
from metatc2.training.options import TrainerOptions
from metatc2.training.outer_step import TrainingDiverged
from metatc2.training.run_folder import RunFolder


class GuardedStep:
    """Make a step, and keep one that fails: the whole episode, also of several processes, for a replay needs one alone.

    Args:
        folder: of the run; None keeps nothing.
        learner: that is trained.
        ranks: processes that train together; the first writes.
        options: of the training.
        about: of the training, as in its checkpoints.
    """

    def __init__(
        self,
        folder: RunFolder | None,
        learner: Learner,
        ranks: Ranks,
        options: TrainerOptions,
        about: Mapping[str, Any],
    ) -> None:
        self.folder, self.learner, self.ranks, self.options, self.about = folder, learner, ranks, options, about

    def __call__(self, make: Callable[[int, Episode], Outcome], step: int, episode: Episode) -> Outcome:
        """What `make` returns.

        Args:
            make: the step.
            step: its number, from 0.
            episode: on the device.

        Raises:
            TrainingDiverged: if it is not finite; the message says where it is kept.
        """
        if self.folder is None:
            return make(step, episode)
        before = Before.of(self.learner) if self.ranks.first else None
        try:
            return make(step, episode)
        except TrainingDiverged as error:
            whole = of_all_ranks(episode, self.ranks)
            # The others wait: a launcher ends all processes when one has ended.
            kept = "" if before is None else self._keep(self.folder, step, before, whole, str(error))
            raise TrainingDiverged(f"{error}; {self.ranks.all(kept)[0]}") from error

    def _keep(self, folder: RunFolder, step: int, before: Before, episode: Episode, said: str) -> str:
        """What is said of it."""
        try:
            folder.require_there()
            length = self.options.length_at(step)
            kept = keep_failure(folder.failure, step, length, self.learner, before, episode, said, self.about)
        except (InputError, TypeError) as reason:
            return f"the step could not be kept ({reason})"
        again = command("replay", folder.path) if folder.config.exists() else "metatc2.training.replay"
        return f"{kept} holds this step, and {again} makes it again"
