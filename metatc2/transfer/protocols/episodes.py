"""Few-shot episodes: every head on every encoder's features, and learners that adapt, on the same draws."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch

from metatc2.errors import InputError
from metatc2.transfer.adaptation import adapted_few_shot, policy_note, transductive
from metatc2.transfer.heads.prototype import HEADS, few_shot
from metatc2.transfer.protocols.base import Measured, Subject, target_seed
from metatc2.transfer.sampling import fit_shapes, sample_episodes

ADAPTED = "adapted"


class LeftOut(UserWarning):
    """A row that was asked for cannot be measured; the others are."""


def episodes_seed(target: str, way: int, shot: int) -> int:
    """Seed of the episodes of a target: the same in every run and on every machine, whatever the encoder.

    >>> episodes_seed("glyphs:greek", 5, 1)
    2692315376
    """
    return target_seed(target, way, shot)


def episodes(subject: Subject) -> Iterator[Measured]:
    """One row for each way, shot, encoder and head."""
    options = subject.options
    shapes = {(way, shot): "" for way in options.ways for shot in options.shots}
    if options.fit:
        labels = subject.labels(subject.target.store.rows(subject.target.split))
        shapes = fit_shapes(labels, options.ways, options.shots) or shapes
    for (way, shot), note in shapes.items():
        yield from _one_shape(subject, way, shot, note)


def _one_shape(subject: Subject, way: int, shot: int, fitted: str) -> Iterator[Measured]:
    target, options = subject.target, subject.options
    rows = target.store.rows(target.split)
    seed = episodes_seed(target.name, way, shot)
    drawn = sample_episodes(
        subject.labels(rows),
        way=way,
        shot=shot,
        query=options.query,
        episodes=options.episodes,
        generator=torch.Generator().manual_seed(seed),
        target=target.name,
    )
    given = drawn.query.shape[2]
    notes = [fitted] * (fitted != "")
    notes += [f"{given} queries a class instead of {options.query}, the smallest class has no more"] * (
        given < options.query
    )
    notes += [f"classes with fewer than {shot + 1} images left out: {drawn.excluded}"] * (drawn.excluded > 0)
    facts = {
        "protocol": "few-shot",
        "way": way,
        "shot": shot,
        "query": given,
        "query_asked": options.query,
        "episodes": options.episodes,
        "classes_excluded": drawn.excluded,
        "episodes_seed": seed,
        "note": "; ".join(notes),
    }
    for name in subject.names:
        features = subject.table.at(name, rows)
        for head in options.heads:
            own = {"features": name, "head": head, "inductive": not getattr(HEADS[head], "transductive", False)}
            yield Measured({**facts, **own}, few_shot(features, drawn, head), rows)
    for name, learner in subject.learners.items():
        try:
            found = adapted_few_shot(learner, target.store.images, drawn, rows=rows, device=subject.device or "cpu")
        except InputError as error:
            # The frozen encoder can still be judged where the learner's head has too few outputs.
            warnings.warn(f"{target.name}, {way}-way {shot}-shot: no row {name!r}: {error}", LeftOut, stacklevel=2)
            continue
        note = "; ".join([*notes, *policy_note(learner)])
        own = {"features": name, "head": ADAPTED, "inductive": not transductive(learner), "note": note}
        yield Measured({**facts, **own}, found, rows)
