"""What the studies of learners on labeled tasks train: the settings that all share."""

from __future__ import annotations

from collections.abc import Sequence

from metatc2.experiment.config import Config, override, read_task

SHARED = {"maml", "fomaml", "anil", "reptile", "meta-sgd", "maml++", "imaml"}


def config(learner: str, seed: int, steps: int, rates: Sequence[str]) -> Config:
    """The task glyphs with the settings of these studies.

    Args:
        learner: its name.
        seed: of training.
        steps: of training.
        rates: keys with the rates of the outer and inner loop.
    """
    shared = ["learner.shared_head=true"] if learner in SHARED else []
    return override(
        read_task("glyphs"),
        [
            f"learner.name={learner}",
            f"trainer.seed={seed}",
            f"trainer.steps={steps}",
            "trainer.weight_decay=0.0",
            "trainer.clip=10.0",
            "trainer.checkpoint_every=100000",
            "trainer.threads=1",
            "encoder.width=32",
            "episode.way=5",
            "episode.shot=1",
            "episode.shot_most=5",
            "episode.query=5",
            "episode.meta_batch=2",
            *shared,
            *rates,
        ],
    )
