"""From a reader to the images of a store: all of them in memory, or what must be known to stream them."""

from __future__ import annotations

import hashlib
import warnings
from array import array
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from metatc2.data.cache import Facts, Form, recall, remember
from metatc2.data.crops import about_crops
from metatc2.data.decoding import BINS, Decoded, Depth
from metatc2.data.depths import depth_row, warn_of_depths
from metatc2.data.image_io import join
from metatc2.data.originals import Digests, no_digests
from metatc2.data.readers import LookingReader, Reader, where
from metatc2.data.reading_threads import ReadingThreads
from metatc2.data.retrying import StorageFailed, awaited, retried
from metatc2.data.streaming import Images, StreamedImages
from metatc2.errors import InputError, cause_of

_BLOCK = 1 << 23  # bytes of images that wait for one another
_CURE = "see to the disk or the connection, or take the file out if it alone is damaged, and open the source again"


class Unreadable(Exception):
    """An image cannot be read, and all of them are needed."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row, self.reason = row, reason


@dataclass(frozen=True)
class Gathered:
    """What was found at a reader.

    Args:
        images: uint8 ``(N, C, size, size)``, gray if all are gray, else color.
        labels: int64 ``(N,)``.
        rows: int64 ``(N,)``: rows of the reader that could be read.
        originals: see `ImageStore`; 0 where the reader does not tell.
        digests: SHA-256 of each image's pixels, uint8 ``(N, 32)``, if asked for.
        reasons: by row of the reader: why it could not be read.
        crops: see `metatc2.data.crops.about_crops`.
    """

    images: Images
    labels: Tensor
    rows: Tensor
    originals: Digests
    digests: Tensor
    reasons: Mapping[int, str]
    crops: str


def gather(
    reader: Reader,
    name: str,
    *,
    stream: bool = False,
    workers: int = 0,
    skip: bool = False,
    digests: bool = False,
) -> Gathered:
    """Read every image once.

    Streamed, only what was found is kept: which images can be read, their labels, whether any has colors. That is
    written to the cache folder (see `remember`), so that the next run need not look again unless a file has changed.

    Args:
        reader: where the images come from.
        name: of the source, for errors.
        stream: leave the images on disk.
        workers: threads that read; 0 reads in this one.
        skip: leave out what cannot be read.
        digests: whether to take checksums of the images.

    Raises:
        Unreadable: if an image cannot be read and `skip` is not set.
        InputError: if the storage fails, however often it is asked: an image is not left out for that.
    """
    if not stream:
        kept: list[Tensor] = []
        whole = _look(reader, name, workers, skip, digests, kept)
        warn_of_depths(name, reader, whole["depths"])
        none = torch.zeros(0, 1, reader.size, reader.size, dtype=torch.uint8)
        return _gathered(whole, join(kept) if kept else none, reader)
    identity = reader.identity()
    key = hashlib.sha256(f"{identity} {skip} {digests}".encode()).hexdigest() if identity else ""
    facts = recall(key, _form(len(reader), digests), _fits) if key else None
    if facts is None:
        facts = _look(reader, name, workers, skip, digests, None)
        if key:
            remember(key, facts)
    warn_of_depths(name, reader, facts["depths"])
    readable = torch.from_numpy(facts["channels"].nonzero()[0])
    channels = max(1, int(facts["channels"].max(initial=0)))
    streamed = StreamedImages(reader, readable, channels=channels, name=name, workers=workers, identity=identity)
    return _gathered(facts, streamed, reader)


def _form(count: int, digests: bool) -> Form:
    """Of what `_look` returns."""
    return {
        "channels": (np.uint8, (count,)),
        "labels": (np.int64, (count,)),
        "digests": (np.uint8, (count if digests else 0, 32)),
        "originals": (np.uint64, (count,)),
        "depths": (np.float64, (None, len(Depth._fields) + BINS)),
        "cut": (np.float64, (count,)),
        "reasons": (np.str_, (None,)),
    }


def _fits(facts: Facts) -> bool:
    channels, depths = facts["channels"], facts["depths"]
    known = bool(np.isin(channels, (0, 1, 3)).all()) and len(facts["reasons"]) == np.count_nonzero(channels == 0)
    rows, blacks, whites = depths[:, 0], depths[:, 1], depths[:, 2]
    return known and bool(
        np.isfinite(depths).all()
        and np.isin(rows, range(len(channels))).all()
        and (blacks < whites).all()
        and ((facts["cut"] >= 0) & (facts["cut"] < 1)).all()
    )


def _gathered(facts: Facts, images: Images, reader: Reader) -> Gathered:
    readable = facts["channels"].nonzero()[0]
    labels, digests = (torch.from_numpy(facts[part]) for part in ("labels", "digests"))
    rows = torch.from_numpy(readable)
    unreadable = (facts["channels"] == 0).nonzero()[0].tolist()
    reasons = dict(zip(unreadable, facts["reasons"].tolist(), strict=True))
    cut = facts["cut"][readable]
    most = where(reader, int(readable[cut.argmax()])) if len(cut) else ""
    return Gathered(
        images,
        labels[rows],
        rows,
        facts["originals"][readable],
        digests[rows] if len(digests) else digests,
        reasons,
        about_crops(cut, most),
    )


def _look(reader: Reader, name: str, workers: int, skip: bool, digests: bool, kept: list[Tensor] | None) -> Facts:
    """Channels (0: unreadable), labels, digests, originals, depths, shares cut away and why images could not be read; pixels
    go to `kept`."""
    count = len(reader)
    channels, labels = np.zeros(count, dtype=np.uint8), np.zeros(count, dtype=np.int64)
    checksums = np.zeros((count if digests else 0, 32), dtype=np.uint8)
    originals, cut = no_digests(count), np.zeros(count)
    depths = array("d")  # numbers of many images, as tuples, would take four times as much
    reasons: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on odd metadata
        for row, (image, label, reason) in enumerate(_in_order(reader, name, workers)):
            if image is None:
                if not skip:
                    raise Unreadable(row, reason)
                reasons.append(reason)
                continue
            pixels = image.pixels
            channels[row], labels[row], originals[row] = pixels.shape[0], label, image.original
            cut[row] = image.cut
            if image.depth is not None:
                depths.extend(depth_row(row, image.depth))
            if digests:
                checksums[row] = np.frombuffer(hashlib.sha256(pixels.numpy().tobytes()).digest(), dtype=np.uint8)
            if kept is not None:
                kept.append(pixels[None])
    return {
        "channels": channels,
        "labels": labels,
        "digests": checksums,
        "originals": originals,
        "depths": np.array(depths, dtype=np.float64).reshape(-1, len(Depth._fields) + BINS),
        "cut": cut,
        "reasons": np.array(reasons, dtype=np.str_),
    }


def _in_order(reader: Reader, name: str, workers: int) -> Iterator[tuple[Decoded | None, int, str]]:
    def looked(row: int) -> tuple[Decoded, int]:
        if isinstance(reader, LookingReader):
            return reader.look(row)
        pixels, label = reader.read(row)
        return Decoded(pixels, None, 0), label

    def read(row: int) -> tuple[Decoded | None, int, str]:
        try:
            image, label = retried(partial(looked, row))
            return image, int(label), ""
        except StorageFailed as error:
            raise InputError(f"{name}: {where(reader, row)} cannot be read ({cause_of(error)}); {_CURE}") from error
        except Exception as error:  # Pillow raises a dozen kinds on damaged files
            return None, -1, reason_of(error)

    pool: ReadingThreads | nullcontext[None] = ReadingThreads(workers) if workers else nullcontext()
    with pool as threads:
        each = max(1, workers, _BLOCK // (3 * reader.size**2))
        for start in range(0, len(reader), each):
            rows = range(start, min(start + each, len(reader)))
            if threads is None:
                yield from map(read, rows)
                continue
            for row, job in zip(rows, [threads.submit(read, row) for row in rows], strict=True):
                try:
                    yield awaited(job)
                except StorageFailed as error:
                    raise InputError(
                        f"{name}: {where(reader, row)} cannot be read ({cause_of(error)}); {_CURE}"
                    ) from error


def reason_of(error: Exception) -> str:
    """Why an image could not be read, on one line; where Pillow's limit on sizes is the reason, what to do.

    >>> reason_of(Image.DecompressionBombError("Image size (200000000 pixels) exceeds limit of 178956970 pixels, could be"))
    'Image size (200000000 pixels) exceeds limit of 178956970 pixels: store it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS'
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnidentifiedImageError):
        return "Pillow finds no image in it"
    words = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"{words.partition(', could be')[0]}: store it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS"
    return words
