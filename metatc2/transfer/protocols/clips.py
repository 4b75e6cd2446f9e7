"""Video-like input: an encoder of images sees the frames, their mean is the clip, and the nearest clip gives the class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.errors import InputError
from metatc2.models.inputs import feature_sides, labels_of
from metatc2.ops.rows import unit_rows
from metatc2.transfer.protocols.base import Measured, Protocol, Subject
from metatc2.transfer.protocols.registry import register_protocol
from metatc2.transfer.targets import Target


@dataclass(frozen=True, eq=False)
class ClipAccuracy:
    """What the nearest neighbors said.

    Args:
        correct: float64 ``(Q,)``: 1 where a clip gets its class, else 0.
        queries: int64 ``(Q,)``: the clips that were asked.
        nearest: int64 ``(Q,)``: the clip that answered each.
        how: ``"leave one clip out"`` or ``"train"``: where the answers came from.
        excluded: clips that were not asked, since the bank has no other of their class.
    """

    correct: Tensor
    queries: Tensor
    nearest: Tensor
    how: str
    excluded: int

    @property
    def accuracy(self) -> float:
        """Mean of `correct`."""
        return float(self.correct.mean())


def clip_features(frames: Tensor, clip: Tensor) -> Tensor:
    """Temporal mean: the features of a clip are the mean over its frames, whatever their order.

    Args:
        frames: float ``(F, D)``, features of all frames.
        clip: int64 ``(F,)``: which clip each frame belongs to; every clip from 0 on has one.

    Returns:
        ``(clips, D)``, in single precision at least.

    Raises:
        InputError: if shapes do not fit, features are not finite or a clip has no frame.

    >>> clip_features(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1])).tolist()
    [[2.0], [5.0]]
    """
    (frames,) = feature_sides({"clips: frames": frames})
    clip = labels_of(clip, "clips: clip (F,) of frames (F, D)", len(frames))
    counts = clip.bincount()
    if not bool(counts.all()):
        raise InputError(
            f"clips: clip {int((counts == 0).nonzero()[0])} has no frame; number the clips from 0 on without gaps"
        )
    clip, counts = clip.to(frames.device), counts.to(frames.device)
    sums = frames.new_zeros(len(counts), frames.shape[1]).index_add(0, clip, frames)
    return sums / counts[:, None]


def nearest_clip(
    frames: Tensor,
    clip: Tensor,
    labels: Tensor,
    splits: Mapping[str, Tensor] | None = None,
    *,
    source: str = "clips",
) -> ClipAccuracy:
    """Classify clips by the clip with the largest cosine between temporal means.

    With ``train`` and ``test`` splits the test clips are asked and the train clips answer. Else each clip is asked and all
    others answer. A clip whose class none of those has is not asked: it could not be right; it still answers. Clips cut
    from one recording are each other's neighbors, so leaving one out flatters: give splits where they are known.

    Args:
        frames: float ``(F, D)``, features of all frames.
        clip: int64 ``(F,)``: which clip each frame belongs to; every clip from 0 on has one.
        labels: int64 ``(clips,)``.
        splits: rows of `labels` by the name of the split.
        source: name of the data, for errors.

    Raises:
        InputError: if shapes do not fit, features are not finite, or no clip can be asked.

    >>> frames = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.1, 1.0], [1.0, 0.1]])
    >>> result = nearest_clip(frames, torch.arange(4), torch.tensor([0, 1, 0, 1]))
    >>> result.accuracy, result.nearest.tolist()
    (1.0, [2, 3, 0, 1])
    """
    units = unit_rows(clip_features(frames, clip)).cpu()
    labels = labels_of(labels, "clips: labels", len(units)).cpu()
    splits = splits or {}
    split = {"train", "test"} <= set(splits)
    everything = torch.arange(len(units))
    bank = splits["train"] if split else everything
    queries = splits["test"] if split else everything
    # Leaving itself out, a clip needs a second of its class.
    counts = labels[bank].bincount(minlength=int(labels.max()) + 1)
    able = counts[labels[queries]] > (0 if split else 1)
    kept = queries[able]
    if not len(kept):
        where = "the train clips lack every class of the test clips" if split else "no class has two clips"
        raise InputError(f"{source}: {where}, so no clip can get its class; give more clips a class")
    similarity = units[kept] @ units[bank].T
    similarity = similarity.masked_fill(kept[:, None] == bank, -torch.inf)
    nearest = bank[similarity.argmax(1)]
    correct = (labels[nearest] == labels[kept]).double()
    how = "train" if split else "leave one clip out"
    return ClipAccuracy(correct, kept, nearest, how, len(queries) - len(kept))


@register_protocol("clips")
@dataclass(frozen=True, kw_only=True)
class NearestClip(Protocol):
    """Video-like data: the clip is the mean of its frames' features, classified by the nearest other clip.

    One row for each encoder; the target's source is ``clips:PATH``, whose domains are the clips. See `nearest_clip`.
    """

    needs_images = True
    facts = ("way", "query", "head", "bank")

    def check(self, target: Target) -> tuple[str, ...]:
        """See `Protocol.check`; frames of one clip are never apart here.

        Raises:
            InputError: if the source holds no clips.
        """
        if not target.store.name.startswith("clips:"):
            raise InputError(f"clips: {target.store.name} holds images; name a folder of frame folders, clips:PATH")
        return ()

    def run(self, subject: Subject) -> Iterator[Measured]:
        """See `Protocol.run`."""
        store = subject.target.store
        rows = torch.arange(len(store))
        first = torch.tensor([int((store.domains == clip).nonzero()[0]) for clip in range(len(store.domain_names))])
        labels = store.labels[first]
        splits = {name: torch.unique(store.domains[own]) for name, own in store.splits.items() if name != "all"}
        for name in subject.names:
            result = nearest_clip(subject.table.at(name, rows), store.domains, labels, splits, source=store.name)
            facts = {
                "way": len(torch.unique(labels)),
                "query": len(result.queries),
                "head": "nearest clip",
                "bank": result.how,
            }
            note = f"clips that are alone in their class left out: {result.excluded}" if result.excluded else ""
            yield Measured(name, result.correct, rows, facts, note=note)
