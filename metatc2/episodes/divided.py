"""Any sampler for one of several processes."""

from __future__ import annotations

from typing import Any

from metatc2.episodes.episode import Episode
from metatc2.ops.ranks import Ranks, split_ranks


class Divided:
    """The tasks of this process of each episode that a sampler draws.

    Args:
        sampler: at the same state on all. One that has ``divide(ranks)`` makes the tasks of its rank alone; of others the whole
            episode is drawn and the tasks of this rank are taken.
        ranks: see `Ranks`.
    """

    def __init__(self, sampler: Any, ranks: Ranks) -> None:
        self.sampler, self.ranks = sampler, ranks
        self.divides = hasattr(sampler, "divide")
        if self.divides:
            sampler.divide(ranks)

    def sample(self) -> Episode:
        """The tasks of this rank of the next episode.

        Raises:
            InputError: if there are fewer tasks than ranks.
        """
        episode: Episode = self.sampler.sample()
        if self.divides or self.ranks.alone:
            return episode
        tasks = len(episode.support.images)
        return episode.part(split_ranks(tasks, self.ranks, type(self.sampler).__name__))
