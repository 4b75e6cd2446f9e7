"""What to transfer to: names on the command line, and the splits that they stand for."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from metatc2.data.originals import gray_digests, no_digests
from metatc2.data.seen import SeenClasses
from metatc2.data.store import ImageStore, require_store
from metatc2.data.streaming import in_chunks
from metatc2.errors import InputError
from metatc2.io.source_names import path_kinds

# Words that end the name of a source of files as a split.
PATH_SPLITS = ("all", "train", "validation", "val", "test", "meta-train", "meta-validation", "meta-test")

# Splits of `shapes`; what else follows its name is the factors that label it.
SHAPES_SPLITS = ("all", "train", "validation", "test", "held-out", "meta-train", "meta-validation", "meta-test")


@dataclass(frozen=True, eq=False)
class Target:
    """One split of a store.

    Args:
        store: with as many channels, and images of the size, that the encoders take.
        split: one split, not a group (see `expand_targets`).
        name: for tables, e.g. ``"glyphs:greek"``.
        classes_seen: whether classes of it were among the pre-training images.

    >>> store = ImageStore("toy", torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 0, 1, 1]))
    >>> Target(store, "all", "toy:all").name
    'toy:all'
    """

    store: ImageStore
    split: str
    name: str
    classes_seen: bool = False

    def __post_init__(self) -> None:
        """Check the store.

        Raises:
            InputError: if it is none.
        """
        require_store(self.store, "Target")


def parse_target(text: str) -> tuple[str, str | None]:
    """Source and split of ``SOURCE[:SPLIT]``.

    After ``folder:`` and ``npz:`` comes a path, which may hold colons (a Windows drive): there only a last part that is
    one of `PATH_SPLITS` is taken for a split. A path that itself ends in ``:test`` is reached by a split after it. After
    ``shapes:`` come factors as labels, unless it is a split.

    Raises:
        InputError: if the source, the path or the split is empty, or a path that is there has something else behind it.

    >>> parse_target("glyphs:greek"), parse_target("digits")
    (('glyphs', 'greek'), ('digits', None))
    >>> parse_target("folder:C:/birds"), parse_target("folder:C:/birds:meta-test")
    (('folder:C:/birds', None), ('folder:C:/birds', 'meta-test'))
    >>> parse_target("shapes:hue:test"), parse_target("shapes:meta-test")
    (('shapes:hue', 'test'), ('shapes', 'meta-test'))
    """
    source, colon, split = text.partition(":")
    lacking = not source or (bool(colon) and not split)
    if source in path_kinds() and not lacking:
        path, _, last = split.rpartition(":")
        if path and last not in PATH_SPLITS and os.path.exists(path) and not os.path.exists(split):
            raise InputError(
                f"target {text!r}: {last!r} is no split of {source}:{path}; write one of {', '.join(PATH_SPLITS)} after it"
            )
        path, split = (path, last) if path and last in PATH_SPLITS else (split, "")
        source = f"{source}:{path}"
    elif source == "shapes" and split and split not in SHAPES_SPLITS:
        labels, colon, split = split.partition(":")
        source, lacking = f"{source}:{labels}", not labels or (bool(colon) and not split)
    if lacking:
        raise InputError(
            f"target {text!r} lacks a part; write SOURCE or SOURCE:SPLIT, e.g. glyphs:greek, digits, folder:PATH:test"
        )
    return source, split or None


def expand_targets(
    store: ImageStore, split: str | None = None, *, seen: SeenClasses | None = None, allow_seen: bool = False
) -> list[Target]:
    """One target for each split that a name stands for: a group (``meta-test`` of glyphs) is never mixed in an episode.

    Args:
        store: where the images are.
        split: a split or group; by default ``meta-test`` where it keeps apart what must be (the store is the one that
            was pre-trained on, or has groups), and ``all`` otherwise.
        seen: classes of the pre-training images; tells `Target.classes_seen`.
        allow_seen: whether a target may hold classes that were seen; if so, `Target.classes_seen` marks it.

    Raises:
        InputError: if there is no such split, one of them is empty or has one class, or classes were seen and must not be.

    >>> from metatc2.data.store import meta_splits
    >>> labels = torch.arange(20)
    >>> toy = ImageStore("toy", torch.zeros(20, 1, 4, 4, dtype=torch.uint8), labels, splits=meta_splits(labels, 20))
    >>> seen = SeenClasses.of(toy, "meta-train")
    >>> [(t.name, t.classes_seen) for t in expand_targets(toy, seen=seen)]
    [('toy:meta-test', False)]
    >>> [(t.name, t.classes_seen) for t in expand_targets(toy, "all", seen=seen, allow_seen=True)]
    [('toy:all', True)]
    """
    require_store(store, "expand_targets")
    same = seen is not None and seen.same_source(store)
    if split is None:
        names = {*store.splits, *store.groups}
        split = "meta-test" if "meta-test" in names and (same or store.groups) else "all"
    if split == "all" and "unlabeled" in store.splits:
        # Images without a label (STL-10's) are no class of their own.
        rows = store.rows("all")
        rows = rows[~torch.isin(rows, store.splits["unlabeled"])]
        store, split = replace(store, splits={**store.splits, "labeled": rows}), "labeled"
    targets = []
    for part in store.expand(split):
        name = f"{store.name}:{part}"
        if len(store.rows(part)) == 0:
            raise InputError(f"{name} holds no image; name another split")
        both = seen.overlap(store, part) if seen is not None else []
        if both and not allow_seen:
            examples = ", ".join(repr(c) for c in both[:3]) + (f" and {len(both) - 3} more" if len(both) > 3 else "")
            raise InputError(
                f"{name}: {len(both)} of its classes were among the pre-training images ({examples}), so this would not be "
                "transfer to new classes; name another split, or allow it (--allow-seen, allow_seen=True): every row says so"
            )
        targets.append(Target(store, part, name, bool(both)))
    return targets


def fingerprint(store: ImageStore, rows: Tensor) -> str:
    """SHA-256 over the images and labels of some rows: results are compared only on equal ones.

    >>> store = ImageStore("toy", torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))
    >>> fingerprint(store, torch.tensor([0])) == fingerprint(store, torch.tensor([1]))
    False
    """
    digest = _images_digest(store, rows)
    digest.update(store.labels[rows].contiguous().numpy().data)
    return digest.hexdigest()


def originals_fingerprint(store: ImageStore, rows: Tensor) -> str:
    """SHA-256 over images as they were before they were resized, and their labels; empty where one of them is not known.

    A store without digests holds the originals themselves, as far as is known; an image of one gray level may be anything.

    >>> store = ImageStore("toy", torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2), torch.tensor([0, 1]))
    >>> len(originals_fingerprint(store, torch.tensor([0, 1])))
    64
    """
    if len(store.originals) == len(store):
        digests = store.originals[rows.numpy()]
    elif store.channels in (1, 3):
        digests = np.concatenate([no_digests(), *map(gray_digests, in_chunks(store.images, rows))])
    else:
        return ""
    if not digests.all():
        return ""
    return hashlib.sha256(digests.tobytes() + store.labels[rows].contiguous().numpy().tobytes()).hexdigest()


def image_fingerprint(store: ImageStore, rows: Tensor) -> str:
    """SHA-256 over the images of some rows, whatever their labels.

    >>> store = ImageStore("toy", torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]))
    >>> image_fingerprint(store, torch.tensor([0])) == image_fingerprint(store, torch.tensor([1]))
    True
    """
    return _images_digest(store, rows).hexdigest()


def _images_digest(store: ImageStore, rows: Tensor) -> hashlib._Hash:
    digest = hashlib.sha256(repr((len(rows), *store.images.shape[1:])).encode())
    for part in in_chunks(store.images, rows):
        digest.update(part.contiguous().numpy().data)
    return digest
