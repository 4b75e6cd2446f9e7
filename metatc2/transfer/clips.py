"""Video-like input: an encoder of images sees the frames, their mean is the clip, and the nearest clip gives the class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.data.sources.clips import Clips
from metatc2.errors import InputError
from metatc2.models.encoding import described
from metatc2.models.inputs import feature_sides, labels_of
from metatc2.ops.rows import unit_rows


@dataclass(frozen=True, eq=False)
class ClipAccuracy:
    """What the nearest neighbours said.

    Args:
        correct: float64 ``(Q,)``: 1 where a clip gets its class, else 0.
        asked: int64 ``(Q,)``: the clips that were asked.
        nearest: int64 ``(Q,)``: the clip that answered each.
        how: ``"leave one clip out"`` or ``"train"``: where the answers came from.
        excluded: clips that were not asked, since the bank has no other of their class.
    """

    correct: Tensor
    asked: Tensor
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


def nearest_clip(features: Callable[[Tensor], Tensor], clips: Clips) -> ClipAccuracy:
    """Classify clips by the clip with the largest cosine between temporal means.

    With ``train`` and ``test`` splits the test clips are asked and the train clips answer. Else each clip is asked and all
    others answer. A clip whose class none of those has is not asked: it could not be right; it still answers. Clips cut
    from one recording are each other's neighbours, so leaving one out flatters: give splits where they are known.

    Args:
        features: maps uint8 images ``(F, C, H, W)`` to float features ``(F, D)``, e.g. `extract` with an encoder.
        clips: see `metatc2.data.sources.clips.load_clips`.

    Raises:
        InputError: if features do not fit or are not finite, or no clip can be asked.

    >>> frames = torch.tensor([0, 250, 5, 255]).byte().view(4, 1, 1, 1).expand(4, 1, 2, 2)
    >>> clips = Clips("toy", frames, torch.arange(4), torch.tensor([0, 1, 0, 1]), ("dark", "light"), tuple("abcd"))
    >>> found = nearest_clip(lambda images: torch.stack([images[:, 0, 0, 0] / 255, 1 - images[:, 0, 0, 0] / 255], 1), clips)
    >>> found.accuracy, found.nearest.tolist()
    (1.0, [2, 3, 0, 1])
    """
    found = features(clips.frames)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(clips.frames):
        raise InputError(
            f"clips: features must map {len(clips.frames)} frames to ({len(clips.frames)}, D), got {described(found)}"
        )
    units = unit_rows(clip_features(found, clips.clip)).cpu()
    split = {"train", "test"} <= set(clips.splits)
    everything = torch.arange(len(clips))
    bank = clips.splits["train"] if split else everything
    asked = clips.splits["test"] if split else everything
    # Leaving itself out, a clip needs a second of its class.
    counts = clips.labels[bank].bincount(minlength=len(clips.class_names))
    able = counts[clips.labels[asked]] > (0 if split else 1)
    kept = asked[able]
    if not len(kept):
        where = "the train clips lack every class of the test clips" if split else "no class has two clips"
        raise InputError(f"{clips.name}: {where}, so no clip can get its class; give more clips a class")
    similarity = units[kept] @ units[bank].T
    similarity = similarity.masked_fill(kept[:, None] == bank, -torch.inf)
    nearest = bank[similarity.argmax(1)]
    correct = (clips.labels[nearest] == clips.labels[kept]).double()
    how = "train" if split else "leave one clip out"
    return ClipAccuracy(correct, kept, nearest, how, len(asked) - len(kept))
