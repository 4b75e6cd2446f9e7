"""Video-like data: a folder of frame folders, ``CLASS/CLIP/frame.png``."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from metatc2.data.class_folders import ClassFolders
from metatc2.data.decoding import ValueRange
from metatc2.data.gather import gather
from metatc2.data.listing import canonical, files_in, is_image, sub_folders
from metatc2.data.originals import Digests, no_digests
from metatc2.data.readers import ImageFiles
from metatc2.data.registry import register_source
from metatc2.data.sources.folder import SIZE, UnreadableImages, left_out
from metatc2.data.store import ImageStore
from metatc2.errors import InputError

FRAMES = 8
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "val": "val", "validation": "val"}


@dataclass(frozen=True, eq=False)
class Clips:
    """Clips as the frames that were sampled from them.

    Args:
        name: of the source, e.g. ``"clips:/data/gestures"``.
        frames: uint8 ``(F, 1 or 3, S, S)``, the frames of all clips, one clip after the other.
        clip: int64 ``(F,)``: which clip each frame belongs to.
        labels: int64 ``(clips,)``: class of each clip, an index into `class_names`.
        class_names: one name a class.
        clip_names: one name a clip: its folder, from the source on.
        splits: named sets of clips, each an int64 vector: ``train``, ``test``, ``val`` where the folders have them.
        notes: facts worth recording with a result: ``frames_asked``, ``unreadable`` (frames), ``clips_left_out``.
        originals: of the frames, see `ImageStore`.
    """

    name: str
    frames: Tensor
    clip: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    clip_names: tuple[str, ...]
    splits: Mapping[str, Tensor] = field(default_factory=dict)
    notes: Mapping[str, str | int] = field(default_factory=dict)
    originals: Digests = field(default_factory=no_digests)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class _Clip:
    folder: Path
    class_name: str
    split: str


def sample_uniformly(count: int, frames: int) -> list[int]:
    """Middles of `frames` equal stretches of a clip of `count` frames; every frame where there are no more.

    >>> sample_uniformly(30, 3), sample_uniformly(2, 3)
    ([5, 15, 25], [0, 1])
    """
    if count <= frames:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * frames) for i in range(frames)]


def load_clips(
    path: str | Path,
    image_size: int | None = None,
    *,
    frames: int = FRAMES,
    value_range: ValueRange | None = None,
) -> Clips:
    """Clips of a folder: one sub-folder a class, in it one folder a clip, in it the frames as image files.

    Frames come in the natural order of their names (``frame2`` before ``frame10``). A folder that holds nothing but
    ``train``, ``test`` or ``val``, each with classes of clips inside, gets those as splits. Shorter sides are resized and
    the center is kept. Hidden files and folders are skipped, and so are files that are no images. A frame that cannot be
    read is left out with a warning, and a clip without any frame too; both are counted in the notes.

    Args:
        path: the folder.
        image_size: side of the frames in pixels, 32 by default.
        frames: to take from each clip, evenly spaced; all of them where a clip has fewer.
        value_range: see `load`.

    Raises:
        InputError: if there is no such folder, it holds fewer than two classes of clips, or `frames` is not positive.
    """
    root = Path(path).expanduser()
    name = f"clips:{path}"
    if frames < 1:
        raise InputError(f"{name}: frames must be at least 1, got {frames}")
    if not root.is_dir():
        wrong = "is a file, not a folder" if root.exists() else "no such folder"
        raise InputError(f"{name}: {wrong}; give a folder that holds CLASS/CLIP/frame files")
    clips = _find(name, root)
    files: list[Path] = []
    owners: list[int] = []
    for i, clip in enumerate(clips):
        own = sorted((file for file in files_in(clip.folder) if is_image(file)), key=_natural)
        chosen = [own[k] for k in sample_uniformly(len(own), frames)]
        files += chosen
        owners += [i] * len(chosen)
    reader = ImageFiles([str(file) for file in files], owners, image_size or SIZE, value_range)
    read = gather(reader, name, skip=True)
    if read.reasons:
        bad = [str(files[row].relative_to(root)) for row in read.reasons]
        warnings.warn(left_out(name, f"{len(bad)} frames", bad, read.reasons), UnreadableImages, stacklevel=2)
    # Numbered anew: a clip may have lost all its frames.
    present, clip_of = torch.unique(read.labels, return_inverse=True)
    kept = [clips[i] for i in present.tolist()]
    classes = sorted({clip.class_name for clip in kept})
    if len(classes) < 2:
        got = f"clips of one class, {classes[0]!r}" if classes else "no clip with a frame in it"
        raise InputError(
            f"{name}: found {got}; expected at least two class folders, in each one folder a clip, in it image files"
        )
    parts: dict[str, list[int]] = {}
    for i, clip in enumerate(kept):
        parts.setdefault(clip.split, []).append(i)
    return Clips(
        name,
        read.images[:],
        clip_of,
        torch.tensor([classes.index(clip.class_name) for clip in kept]),
        tuple(classes),
        tuple(canonical(clip.folder.relative_to(root).as_posix()) for clip in kept),
        {split: torch.tensor(rows) for split, rows in parts.items() if split},
        {"frames_asked": frames, "unreadable": len(read.reasons), "clips_left_out": len(clips) - len(kept)},
        read.originals,
    )


@register_source("clips:PATH")
def clips_store(
    path: str | Path, image_size: int | None = None, *, value_range: ValueRange | None = None
) -> ImageStore:
    """`load_clips` as a store of frames, whose domains are the clips; see `metatc2.transfer.protocols` for how it is evaluated.

    Raises:
        InputError: see `load_clips`.
    """
    clips = load_clips(path, image_size, value_range=value_range)
    return ImageStore(
        clips.name,
        clips.frames,
        clips.labels[clips.clip],
        domains=clips.clip,
        class_names=clips.class_names,
        domain_names=clips.clip_names,
        splits={name: torch.isin(clips.clip, own).nonzero().flatten() for name, own in clips.splits.items()},
        notes=clips.notes,
        originals=clips.originals,
    )


def _find(name: str, root: Path) -> list[_Clip]:
    """Every clip folder with its class and split, in the order of their paths."""
    inside = _folders(root)
    # A folder `train` is a split if there are folders two below it, classes and clips; else it is a class called so.
    deep = inside and all(_SPLITS.get(d.name.lower()) and any(_folders(c) for c in _folders(d)) for d in inside)
    parts = [(_SPLITS[d.name.lower()], d) for d in inside] if deep else [("", root)]
    kinds = [(split, canonical(kind.name), kind) for split, part in parts for kind in _folders(part)]
    together = ClassFolders(name, root, [(class_name, kind) for _, class_name, kind in kinds])
    return [
        _Clip(clip, class_name, split)
        for split, class_name, kind in kinds
        for clip in _folders(kind)
        if not clip.is_symlink() or together.follows(class_name, kind, clip)
    ]


def _folders(path: Path) -> list[Path]:
    return sorted(sub_folders(path), key=_natural)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Numbers in a name count as numbers."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", path.name) if part]
