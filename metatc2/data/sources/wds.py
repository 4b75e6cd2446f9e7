"""`wds:PATH`: WebDataset tars, read where they lie; nothing is unpacked, and any image is read by itself."""

from __future__ import annotations

import glob
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metatc2.data.cache import Facts, Form, recall, remember
from metatc2.data.decoding import Decoded, ValueRange, read_image
from metatc2.data.file_list import FileList
from metatc2.data.listing import files_below, is_image
from metatc2.data.readers import files_identity
from metatc2.data.registry import register_source
from metatc2.data.sources._rows import SIZE, LabeledRows, numbered, store_of_rows
from metatc2.data.store import ImageStore
from metatc2.errors import InputError, cause_of
from metatc2.io.files import check_regular
from metatc2.io.plain_text import visible

_SPLITS = {"train": "train", "training": "train", "test": "test", "val": "val", "validation": "val", "valid": "val"}
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.zstd")
_LABEL_KEYS = ("label", "cls", "class")
_MOST = 1 << 20  # bytes of a file with a label
_LONGEST = 1000  # characters of a label; all of them are kept at the length of the longest
_FORM: Form = {
    "shards": (np.int32, (None,)),
    **dict.fromkeys(("offsets", "sizes", "labels"), (np.int64, (None,))),
    "class_names": (np.str_, (None,)),
}
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 100_000


@register_source("wds:PATH")
def load_wds(
    path: str | Path,
    image_size: int | None = None,
    *,
    stream: bool = False,
    workers: int = 0,
    value_range: ValueRange | None = None,
) -> ImageStore:
    """Tars of WebDataset, read-only: files of one name (up to its first dot) are one sample.

    Where each image lies in its tar is found once and kept in the cache folder; then any image is read by itself, so that
    epochs are shuffled whole and runs resume exactly. Nothing is unpacked. A tar that is compressed cannot be read so, and
    is refused.

    Args:
        path: a folder of ``.tar`` files, one of them, or several as ``shards/train-{0000..0146}.tar`` or with ``*``. Tars
            called ``train...``, ``val...`` or ``test...``, or in folders called so, are splits if all are. The label is the
            sample's ``.cls`` (a number or a word), or ``label``, ``cls`` or ``class`` in its ``.json``; samples of all tars
            have one, or none has.
        image_size: side of the images in pixels, 32 by default.
        stream: leave the images in the tars.
        workers: threads that read.
        value_range: see `load`.

    Raises:
        InputError: if there is no such tar, one is compressed, cut or no tar, or a sample has no label while others do.
    """
    name = f"wds:{path}"
    shards = _shards(name, str(path))
    identity = files_identity(shards, ("wds",))
    facts = recall(f"wds {identity}", _FORM, lambda facts: _fits(facts, shards))
    if facts is None:
        facts = _indexed(name, shards)
        remember(f"wds {identity}", facts)
    shard_of = facts["shards"]
    words = [_split_of(shard) for shard in shards]
    splits = {}
    if all(words):
        part = np.array(words)[shard_of]
        splits = {word: (part == word).nonzero()[0] for word in dict.fromkeys(words)}
    reader = TarImages(
        shards, shard_of, facts["offsets"], facts["sizes"], facts["labels"], image_size or SIZE, value_range, identity
    )
    return store_of_rows(
        name,
        reader,
        class_names=facts["class_names"].tolist(),
        splits=splits,
        stream=stream,
        workers=workers,
    )


@dataclass(frozen=True, eq=False)
class TarImages(LabeledRows):
    """Images that are members of tars, as a `Reader`; a tar is opened for each image, since threads share no position.

    Args:
        tars: their paths.
        shards: int32 ``(N,)``: which tar each image is in.
        offsets: int64 ``(N,)``: where in it its content begins.
        sizes: int64 ``(N,)``: of the content, in bytes.
        labels: int64 ``(N,)``.
        size: side of the images in pixels.
        value_range: see `metatc2.data.decoding.from_pillow`.
        state: what changes when the tars do.
    """

    tars: list[str]
    shards: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: NDArray[np.int64]
    size: int
    value_range: ValueRange | None
    state: str

    def look(self, row: int) -> tuple[Decoded, int]:
        """See `LookingReader`."""
        count = int(self.sizes[row])
        with open(self.tars[self.shards[row]], "rb") as opened:
            opened.seek(int(self.offsets[row]))
            content = opened.read(count)
        if len(content) < count:
            raise ValueError("its tar ends before the image does")
        return read_image(BytesIO(content), self.size, self.value_range), int(self.labels[row])

    def where(self, row: int) -> str:
        """See `NamingReader`."""
        return f"{self.tars[self.shards[row]]} at byte {self.offsets[row]}"

    def identity(self) -> str:
        """See `Reader`."""
        return f"{self.state} {self.size} {self.value_range}"


def _shards(name: str, text: str) -> list[str]:
    path = Path(text).expanduser()
    if path.is_dir():
        below = FileList(files_below(path))
        packed = [file for file in below if file.lower().endswith(_COMPRESSED)]
        shards = [file for file in below if file.lower().endswith(".tar")]
    else:
        named = [str(path)] if path.is_file() else [*_expanded(name, str(path))]
        packed = [file for file in named if file.lower().endswith(_COMPRESSED)]
        shards = [file for file in named if file not in packed]
    if packed:
        raise InputError(
            f"{name}: {packed[0]} is compressed, so no image in it can be read by itself; unpack it to a plain .tar (gunzip, "
            "unzstd): images in it are compressed as they are"
        )
    if not shards:
        raise InputError(f"{name}: no .tar file there; give a folder of them, or a pattern as train-{{0000..0146}}.tar")
    if absent := [file for file in shards if not os.path.isfile(file)]:
        check_regular(Path(absent[0]))
        raise InputError(
            f"{name}: {len(absent)} of {len(shards)} tars are not there (first {absent[0]}); get them again"
        )
    return shards


def _expanded(name: str, text: str, most: int = _MOST_SHARDS) -> Iterator[str]:
    """Braces as the shell reads them, and then stars; at most so many names."""
    braces = _BRACES.search(text)
    if not braces:
        yield from sorted(glob.glob(text)) if glob.has_magic(text) else [text]
        return
    first, last = braces[1], braces[2]
    if max(len(first), len(last)) > 9 or (count := int(last) - int(first) + 1) > most:
        raise InputError(f"{name}: {braces[0]} names more than {_MOST_SHARDS} tars; name those that are there")
    for number in range(int(first), int(last) + 1):
        each = f"{text[: braces.start()]}{number:0{len(first)}}{text[braces.end() :]}"
        yield from _expanded(name, each, most // count)


def _split_of(shard: str) -> str:
    """The split that the beginning of a tar's name, or the folder that it is in, means; empty for none."""
    letters = re.match(r"[a-zA-Z]*", os.path.basename(shard))
    words = (letters[0] if letters else "", os.path.basename(os.path.dirname(shard)))
    return next((_SPLITS[word.lower()] for word in words if word.lower() in _SPLITS), "")


@dataclass
class _Sample:
    key: str = ""
    image: tuple[int, int] | None = None  # offset and size
    label: Any = None
    images: list[str] = field(default_factory=list)


def _indexed(name: str, shards: list[str]) -> dict[str, Any]:
    """Where the image of each sample lies, and its label."""
    where: list[tuple[int, int, int]] = []
    labels: list[Any] = []
    unlabeled = ""
    for number, shard in enumerate(shards):
        for sample in _samples(name, shard):
            if sample.image is None:
                continue
            if len(sample.images) > 1:
                raise InputError(
                    f"{name}: sample {sample.key!r} of {shard} has {len(sample.images)} images "
                    f"({visible(', '.join(sample.images))}), and one is needed; write the tars with one"
                )
            if len(str(sample.label)) > _LONGEST:
                raise InputError(
                    f"{name}: the label of sample {sample.key!r} of {shard} has {len(str(sample.label))} characters; write "
                    f"numbers, or words of at most {_LONGEST}"
                )
            where.append((number, *sample.image))
            labels.append(sample.label)
            if sample.label is None and not unlabeled:
                unlabeled = f"sample {sample.key!r} of {shard}"
    if not where:
        raise InputError(f"{name}: no image in its {len(shards)} tars; name tars of WebDataset that hold some")
    known = {type(label) for label in labels} - {type(None)}
    if unlabeled and known:
        raise InputError(
            f"{name}: {unlabeled} has no label (.cls, or {', '.join(_LABEL_KEYS)} in .json) and others do; write the tars alike"
        )
    if len(known) > 1:
        labels = [str(label) for label in labels]
    classes, class_names = numbered(labels) if known else (np.zeros(len(labels), dtype=np.int64), ["0"])
    table = np.array(where, dtype=np.int64)
    return {
        "shards": table[:, 0].astype(np.int32),
        "offsets": table[:, 1].copy(),
        "sizes": table[:, 2].copy(),
        "labels": classes,
        "class_names": np.array(class_names, dtype=np.str_),
    }


def _fits(facts: Facts, shards: list[str]) -> bool:
    """Whether what was kept of the index can be that of these tars."""
    of, offsets, sizes, labels = (facts[part] for part in ("shards", "offsets", "sizes", "labels"))
    count = len(of)
    if not (0 < count == len(offsets) == len(sizes) == len(labels)) or not (0 <= of.min() <= of.max() < len(shards)):
        return False
    if not -1 <= labels.min() <= labels.max() < len(facts["class_names"]) or min(offsets.min(), sizes.min()) < 0:
        return False
    ends = np.array([os.path.getsize(shard) for shard in shards], dtype=np.int64)[of]
    return bool((offsets <= ends).all() and (sizes <= ends - offsets).all())


def _samples(name: str, shard: str) -> Iterator[_Sample]:
    """Samples of a tar in its order; their files stand one after the other."""
    sample, end = _Sample(), os.path.getsize(shard)
    try:
        with tarfile.open(shard, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else it would keep millions in its list
                if member.size < 0 or member.offset_data + member.size > end:
                    raise tarfile.ReadError("it ends within a file")
                folder, base = os.path.split(member.name)
                stem, _, ending = base.partition(".")
                if not member.isreg() or member.issparse() or not ending or base.startswith("."):
                    continue
                if (key := os.path.join(folder, stem)) != sample.key:
                    yield sample
                    sample = _Sample(key)
                if is_image(f".{ending}") and member.size:
                    sample.image = member.offset_data, member.size
                    sample.images.append(f".{ending}")
                elif ending in ("cls", "json"):
                    content = tar.extractfile(member) if member.size <= _MOST else None
                    label = _label(ending, content.read() if content is not None else b"")
                    sample.label = label if sample.label is None or ending == "cls" else sample.label
            mark = tar.offset
        # What is no header ends the reading without a word; the end of a tar is marked.
        with open(shard, "rb") as opened:
            opened.seek(mark)
            if opened.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it has no end mark")
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{name}: {shard} is no tar, or a part of one ({cause_of(error)}); get it again") from error
    except OSError as error:
        raise InputError(
            f"{name}: {shard} cannot be read ({cause_of(error)}); see to it that you may read it"
        ) from error
    yield sample


def _label(ending: str, content: bytes) -> int | str | None:
    """A number or a word; None where there is none."""
    try:
        value: Any = content.decode().strip()
        if ending == "json":
            held = json.loads(value)
            value = next((held[key] for key in _LABEL_KEYS if key in held), None) if isinstance(held, dict) else None
    except (ValueError, RecursionError):
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) and value != "" else None
