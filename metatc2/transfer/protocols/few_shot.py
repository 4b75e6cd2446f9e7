"""Few-shot: every head on every encoder's features, and learners that adapt, on the same episodes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from metatc2.errors import InputError
from metatc2.io.options import NO_OPTION, Names
from metatc2.transfer.adapted_episodes import adapted_few_shot, policy_note, transductive
from metatc2.transfer.heads.prototype import HEADS, few_shot
from metatc2.transfer.protocols.base import Measured, Protocol, Subject, target_seed
from metatc2.transfer.protocols.registry import register_protocol
from metatc2.transfer.sampling import fewer_queries, fit_query, fit_shapes, sample_episodes
from metatc2.transfer.targets import Target

ADAPTED = "adapted"


class LeftOut(UserWarning):
    """A row that was asked for cannot be measured; the others are."""


def episodes_seed(target: str, way: int, shot: int) -> int:
    """Seed of the episodes of a target: the same in every run and on every machine, whatever the encoder.

    >>> episodes_seed("glyphs:greek", 5, 1)
    2692315376
    """
    return target_seed(target, way, shot)


@register_protocol("few-shot")
@dataclass(frozen=True, kw_only=True)
class FewShot(Protocol):
    """Few-shot classification: one row for each way, shot, encoder and head, and for each learner that adapts.

    Args:
        ways: classes an episode.
        shots: labeled images a class.
        query: images to classify a class, at most; fewer where a class is small, which the row says.
        episodes: episodes a row, at least 2; more of them, narrower intervals.
        heads: classifiers on the frozen features. Of `metatc2.transfer.HEADS`.
        fit: whether fewer classes and shots are taken where a target has too few, which its rows then say; else that is an
            error.

    Raises:
        InputError: if a number is out of range or a head unknown.

    >>> FewShot(shots=(1,)).shots
    (1,)
    >>> FewShot(heads=("euclid",))
    Traceback (most recent call last):
    metatc2.errors.InputError: each of transfer: heads cannot be 'euclid'; did you mean 'euclidean'? Known: bd-cspn, ...
    """

    facts = ("way", "shot", "query", "query_asked", "episodes", "episodes_seed", "head", "classes_excluded")

    ways: Sequence[Annotated[int, Field(ge=2)]] = (5,)
    shots: Sequence[Annotated[int, Field(ge=1)]] = (1, 5)
    query: Annotated[int, Field(ge=1)] = 15
    episodes: Annotated[int, Field(ge=2)] = 600
    heads: Sequence[Annotated[str, Names(HEADS)]] = ("cosine", "euclidean")
    fit: bool = field(default=False, metadata=NO_OPTION)

    def check(self, target: Target) -> tuple[str, ...]:
        """See `Protocol.check`."""
        super().check(target)
        labels = target.store.labels[target.store.rows(target.split)]
        shapes = self._shapes(labels)
        for way, shot in shapes:
            fit_query(labels, way, shot, self.query, target=target.name)
        return tuple(note for note in shapes.values() if note)

    def run(self, subject: Subject) -> Iterator[Measured]:
        """See `Protocol.run`."""
        labels = subject.labels(subject.target.store.rows(subject.target.split))
        for (way, shot), note in self._shapes(labels).items():
            yield from self._one_shape(subject, way, shot, note)

    def _shapes(self, labels: Tensor) -> dict[tuple[int, int], str]:
        """Ways and shots to measure, with what became of each."""
        every = {(way, shot): "" for way in self.ways for shot in self.shots}
        return (fit_shapes(labels, self.ways, self.shots) if self.fit else {}) or every

    def _one_shape(self, subject: Subject, way: int, shot: int, changed: str) -> Iterator[Measured]:
        target = subject.target
        rows = target.store.rows(target.split)
        seed = episodes_seed(target.name, way, shot)
        drawn = sample_episodes(
            subject.labels(rows),
            way=way,
            shot=shot,
            query=self.query,
            episodes=self.episodes,
            generator=torch.Generator().manual_seed(seed),
            target=target.name,
        )
        given = drawn.query.shape[2]
        notes = [changed] * (changed != "")
        notes += [fewer_queries(given, self.query)] * (given < self.query)
        notes += [f"classes with fewer than {shot + 1} images left out: {drawn.excluded}"] * (drawn.excluded > 0)
        facts = {
            "way": way,
            "shot": shot,
            "query": given,
            "query_asked": self.query,
            "episodes": self.episodes,
            "classes_excluded": drawn.excluded,
            "episodes_seed": seed,
        }
        for name in subject.names:
            features = subject.table.at(name, rows)
            for head in self.heads:
                yield Measured(
                    name,
                    subject.per_episode(partial(few_shot, features, head=head), drawn),
                    rows,
                    {**facts, "head": head},
                    inductive=not getattr(HEADS[head], "transductive", False),
                    note="; ".join(notes),
                )
        for name, learner in subject.learners.items():
            try:
                adapted = partial(
                    adapted_few_shot, learner, target.store.images, rows=rows, device=subject.device or "cpu"
                )
                accuracies = subject.per_episode(adapted, drawn)
            except InputError as error:
                # The frozen encoder can still be measured where the learner's head has too few outputs.
                warnings.warn(f"{target.name}, {way}-way {shot}-shot: no row {name!r}: {error}", LeftOut, stacklevel=2)
                continue
            yield Measured(
                name,
                accuracies,
                rows,
                {**facts, "head": ADAPTED},
                inductive=not transductive(learner),
                note="; ".join([*notes, *policy_note(learner)]),
            )
