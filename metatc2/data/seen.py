"""What an encoder saw in pre-training: names of classes, where they lie, and the images themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from metatc2.data.digests import ImageSample, image_digests
from metatc2.data.listing import canonical
from metatc2.data.originals import Digests
from metatc2.data.store import ImageStore
from metatc2.io.source_names import place, real_path, same_place, split_name, within

#: Source of an encoder, or of episodes, that do not say where they come from.
UNKNOWN_SOURCE = "unknown"
# Letters of a class name from which on it is a word, the same class in whatever source.
_WORD = 3
# What a file of weights calls the digests that size and channels do not change.
_GRAY = "luma, before and after resizing"


@dataclass(frozen=True)
class SeenClasses:
    """Classes of the images that an encoder was pre-trained on.

    How a source is typed decides nothing: sources of files are compared by their real paths (links, ``.``, ``..``, ``~`` and
    trailing slashes resolved, and by the file system's own word where it knows a name in several spellings). Where a source
    is another one, in another place or opened as another kind, images decide: a copy, an archive, a folder around or
    inside the one of pre-training is recognized by the images that it shares with it, at whatever size and in whatever
    number of channels either was loaded: compared are the pixels as they came from the files or arrays, before resizing, and
    those that were learned from. Files that were compressed or resized anew, to another size than that of pre-training, hold
    other pixels and are not recognized.

    Args:
        source: name of the store as it was typed, e.g. ``"cifar10"`` or ``"folder:photos"``.
        names: of the classes.
        place: checksum of the source's real path at the time; empty where it is none of files, or unknown.
        images: some or all of the images, as they were before they were resized and as the encoder took them.
        earlier: what the weights that training started from had seen; None where it started untrained.
    """

    source: str
    names: frozenset[str]
    place: str = ""
    images: ImageSample = field(default_factory=ImageSample)
    earlier: SeenClasses | None = None

    @property
    def is_known(self) -> bool:
        """Whether all is known that was learned from, that of earlier trainings included."""
        return self.source != UNKNOWN_SOURCE and (self.earlier is None or self.earlier.is_known)

    @classmethod
    def of(cls, store: ImageStore, split: str) -> SeenClasses:
        """Those of one split of a store; reads its images once."""
        images = ImageSample.of(*_digests(store, store.rows(split)))
        return cls(store.name, frozenset(class_names(store, split)), place(store.name), images)

    def same_source(self, store: ImageStore) -> bool:
        """Whether a store is of a source that was pre-trained on, however it is spelled."""
        return self._is_own(store) or (self.earlier is not None and self.earlier.same_source(store))

    def _is_own(self, store: ImageStore) -> bool:
        kind, path = split_name(self.source)
        if not path:
            return store.name == self.source
        if split_name(store.name)[0] != kind:
            return False
        if self.place == place(store.name):
            return True
        # The name still leads where it led: the file system may know the other one as a further spelling.
        typed = real_path(self.source)
        return self.place in ("", place(self.source)) and same_place(typed, real_path(store.name))

    def overlap(self, store: ImageStore, split: str) -> list[str]:
        """Names of the target's classes that were seen.

        In the same source names decide. In another one they do so if they are words (``cat`` in CIFAR-10 and STL-10): a
        ``0`` of one source and a ``0`` of another need not be one class. There a class was seen too if one of its images
        was; images of a single color do not count.

        >>> toy = ImageStore("toy", torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.arange(2), class_names=("0", "Cat"))
        >>> SeenClasses("other", frozenset({"0", "cat"})).overlap(toy, "all")
        ['Cat']
        """
        earlier = self.earlier.overlap(store, split) if self.earlier is not None else []
        return sorted({*self._overlap(store, split), *earlier})

    def _overlap(self, store: ImageStore, split: str) -> set[str]:
        names = class_names(store, split)
        if self._is_own(store):
            known = {canonical(name) for name in self.names}
            return {name for name in names if canonical(name) in known}
        seen = {_folded(name) for name in self.names}
        # Without the images, a name is all there is to tell a part of the same folder by.
        least = 1 if not self.images.digests and self._touches(store) else _WORD
        by_name = {name for name in names if len(name) >= least and _folded(name) in seen}
        return by_name | self._by_images(store, split)

    def to_facts(self) -> dict[str, str]:
        """What a file of weights keeps, as text of ASCII; see `from_facts`."""
        return {
            # Safetensors keeps UTF-8 alone, and bytes of a path may be none.
            "source": self.source.encode("utf-8", "backslashreplace").decode(),
            "class_names": json.dumps(sorted(self.names)),
            "source_place": self.place,
            "seen_images": self.images.to_text(),
            "seen_images_of": _GRAY if self.images.gray else "",
            **({} if self.earlier is None else {"seen_earlier": json.dumps(self.earlier.to_facts())}),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, str], source: str) -> SeenClasses | None:
        """What a file of weights says; None where it names no classes.

        Args:
            facts: see `to_facts`; older files lack the place and the images, or know the latter at one size and number of
                channels alone.
            source: where the file names none.

        Raises:
            ValueError: if they are damaged.

        >>> seen = SeenClasses("folder:a", frozenset({"cat"}), place("folder:a"), ImageSample((7,)))
        >>> SeenClasses.from_facts(seen.to_facts(), "") == seen, SeenClasses.from_facts({}, "digits")
        (True, None)
        """
        if "class_names" not in facts:
            return None
        names = json.loads(facts["class_names"])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("class_names must be a list of words")
        gray = "seen_images" not in facts or facts.get("seen_images_of", "") == _GRAY
        images = ImageSample.from_text(facts.get("seen_images", ""), gray=gray)
        earlier = json.loads(facts.get("seen_earlier", "null"))
        if not (earlier is None or (isinstance(earlier, dict) and all(isinstance(v, str) for v in earlier.values()))):
            raise ValueError("seen_earlier must be a table of texts")
        before = None if earlier is None else cls.from_facts(earlier, "")
        return cls(facts.get("source", source), frozenset(names), facts.get("source_place", ""), images, before)

    def _touches(self, store: ImageStore) -> bool:
        here, there = real_path(self.source), real_path(store.name)
        return bool(here and there) and (same_place(here, there) or within(here, there))

    def _by_images(self, store: ImageStore, split: str) -> set[str]:
        """Classes with an image that was seen; other labels of one generator's images are another matter."""
        family = self.source.partition(":")[0]
        generated = not split_name(self.source)[1] and store.name.partition(":")[0] == family
        if generated or not self.images.digests:
            return set()
        rows = store.rows(split)
        known = _digests(store, rows) if self.images.gray else (image_digests(store.images, rows, gray=False),)
        again = torch.from_numpy(np.logical_or.reduce([self.images.among(each) for each in known]))
        return {store.class_names[label] for label in store.labels[rows[again]].unique().tolist()}


def _digests(store: ImageStore, rows: Tensor) -> tuple[Digests, ...]:
    """Digests of images as they are, and as they were before they were resized, where that is something else."""
    digests = image_digests(store.images, rows)
    return (digests, store.originals[rows.numpy()]) if len(store.originals) else (digests,)


def class_names(store: ImageStore, split: str) -> set[str]:
    """Names of the classes that a split holds."""
    return {store.class_names[label] for label in torch.unique(store.labels[store.rows(split)]).tolist()}


def _folded(name: str) -> str:
    return canonical(canonical(name).casefold())
