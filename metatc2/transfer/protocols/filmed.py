"""Clips: the temporal mean of the frames' features, and the nearest other clip."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from metatc2.data.sources.clips import Clips
from metatc2.errors import InputError
from metatc2.transfer.clips import nearest_clip
from metatc2.transfer.protocols.base import Measured, Subject


def filmed(subject: Subject) -> Iterator[Measured]:
    """One row for each encoder; the target's source is ``clips:PATH``, whose domains are the clips.

    Raises:
        InputError: if the source holds no clips.
    """
    store = subject.target.store
    if not store.name.startswith("clips:"):
        raise InputError(f"clips: {store.name} holds images; name a folder of frame folders, clips:PATH")
    rows = torch.arange(len(store))
    first = torch.tensor([int((store.domains == clip).nonzero()[0]) for clip in range(len(store.domain_names))])
    clips = Clips(
        store.name,
        torch.zeros(len(rows), 1, 1, 1, dtype=torch.uint8),  # their features are known
        store.domains,
        store.labels[first],
        store.class_names,
        store.domain_names,
        {name: torch.unique(store.domains[own]) for name, own in store.splits.items() if name != "all"},
    )
    for name in subject.names:
        features = subject.table.at(name, rows)
        found = nearest_clip(partial(_known, features), clips)
        facts = {
            "protocol": "clips",
            "way": len(torch.unique(clips.labels)),
            "shot": 0,
            "query": len(found.asked),
            "episodes": 0,
            "head": "nearest clip",
            "bank": found.how,
            "features": name,
            "note": f"clips that are alone in their class left out: {found.excluded}" if found.excluded else "",
        }
        yield Measured(facts, found.correct, rows)


def _known(features: Tensor, frames: Tensor) -> Tensor:
    return features
