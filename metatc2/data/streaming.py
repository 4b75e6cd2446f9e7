"""`StreamedImages`: images that stay on disk and are read when rows are asked for."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from metatc2.data.image_io import resize_square, to_channels
from metatc2.data.readers import Joined, Reader, where
from metatc2.data.reading_threads import ReadingThreads
from metatc2.data.retrying import StorageFailed, awaited, retried
from metatc2.errors import InputError, cause_of

Step = tuple[str, Callable[[Tensor], Tensor]]
_CURE = "see to the disk or the connection, and go on from there: nothing of the source is lost by it"


class StorageStalled(InputError):
    """Storage has not answered for so long that it is not waited for any more."""


class StreamedImages:
    """Stands where a tensor of images stands: indexed by rows, it reads them from disk and keeps none of them.

    Pixels are those that the same images have in memory, bit for bit. What it holds is one batch at a time, and one
    more where `prefetch` was called. It can be pickled, and used after a fork.

    Args:
        reader: where the images come from.
        rows: int64 ``(N,)``: rows of the reader, in the order of the store.
        channels: 1 or 3: of the images together (gray ones among color ones are repeated).
        name: of the source, for errors.
        workers: threads that read; 0 reads in the caller's.
        identity: of the reader's images (see `Reader`); empty where unknown.

    Raises:
        InputError: on indexing, if an image can no longer be read.
        IndexError: on indexing, if there is no such row.
    """

    dtype = torch.uint8
    ndim = 4
    device = torch.device("cpu")

    def __init__(
        self,
        reader: Reader,
        rows: Tensor,
        *,
        channels: int,
        name: str,
        workers: int = 0,
        identity: str = "",
    ) -> None:
        self.reader, self.rows, self.name, self.workers = reader, rows, name, workers
        self.shape = torch.Size((len(rows), channels, reader.size, reader.size))
        self.identity = identity
        self._natural = channels
        self._steps: tuple[Step, ...] = ()
        self._pool: ReadingThreads | None = None
        self._owner = 0
        self._ahead: _Ahead | None = None

    @classmethod
    def joined(cls, parts: Sequence[StreamedImages]) -> StreamedImages:
        """Several as one, in their order: gray if all are gray, else color.

        Args:
            parts: at least one, of one size and source.
        """
        first = parts[0]
        if all(part.reader is first.reader and part._how() == first._how() for part in parts):
            return first._with(rows=torch.cat([part.rows for part in parts]))
        reader = Joined([part.reader if not part._steps else _AsRead(part) for part in parts])
        starts = [0, *accumulate(len(each) for each in reader.readers)]
        rows = [
            start + (torch.arange(len(part)) if part._steps else part.rows)
            for part, start in zip(parts, starts, strict=False)
        ]
        return cls(
            reader,
            torch.cat(rows),
            channels=max(part.shape[1] for part in parts),
            name=first.name,
            workers=first.workers,
            identity=" ".join(p.fingerprint() for p in parts) if all(p.identity for p in parts) else "",
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Tensor:
        """Images of some rows, uint8: an index as a tensor takes it along its first axis alone."""
        rows = torch.arange(len(self))[index]
        wanted = self.rows[rows].flatten()
        if self._ahead is not None and self._ahead.owner == os.getpid() and self._ahead.rows.equal(wanted):
            images = self._arrived(self._ahead)
            self._ahead = None
        else:
            images = torch.empty((len(wanted), *self.shape[1:]), dtype=torch.uint8)
            self._fill(images, wanted.tolist())
        return images.view(*rows.shape, *self.shape[1:])

    def prefetch(self, rows: Tensor) -> None:
        """Begin to read the rows that are asked for next; without workers nothing happens.

        Args:
            rows: int64 ``(n,)``.
        """
        if not self.workers:
            return
        wanted = self.rows[rows]
        images = torch.empty((len(wanted), *self.shape[1:]), dtype=torch.uint8)
        if self._ahead is not None:
            self._ahead.cancel()
        self._ahead = _Ahead(wanted, images, self._submit(images, wanted.tolist()), os.getpid())

    def select(self, order: Tensor) -> StreamedImages:
        """The same images in another order, or some of them; none is read.

        Args:
            order: int64 ``(n,)``.
        """
        return self._with(rows=self.rows[order])

    def resized(self, size: int) -> StreamedImages:
        """As `resize_square`, when they are read."""
        return self._with(step=(f"size {size}", partial(resize_square, size=size)), shape=(self.shape[1], size, size))

    def with_channels(self, channels: int) -> StreamedImages:
        """As `to_channels`, when they are read."""
        step = (f"channels {channels}", partial(to_channels, channels=channels))
        return self._with(step=step, shape=(channels, *self.shape[2:]))

    def fingerprint(self) -> str:
        """What changes when the pixels do, found without reading them; empty where the reader cannot tell."""
        if not self.identity:
            return ""
        how = (self.identity, tuple(self.shape), self._natural, [name for name, _ in self._steps])
        return hashlib.sha256(repr(how).encode() + self.rows.numpy().tobytes()).hexdigest()

    def _how(self) -> tuple[object, ...]:
        """What is made of what the reader reads."""
        return self._natural, tuple(self.shape[1:]), [name for name, _ in self._steps]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None, "_ahead": None}

    def _with(
        self, *, rows: Tensor | None = None, step: Step | None = None, shape: Sequence[int] | None = None
    ) -> StreamedImages:
        made = StreamedImages.__new__(StreamedImages)
        made.__dict__.update(self.__getstate__())
        made.rows = self.rows if rows is None else rows
        made.shape = torch.Size((len(made.rows), *(shape or self.shape[1:])))
        made._steps = self._steps if step is None else (*self._steps, step)
        return made

    def _fill(self, images: Tensor, wanted: list[int]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on odd metadata
            if self.workers:
                self._await(self._submit(images, wanted))
            else:
                self._read_into(images, wanted)

    def _arrived(self, ahead: _Ahead) -> Tensor:
        try:
            self._await(ahead.jobs)
        except StorageStalled:
            raise
        except Exception:  # also Pillow's warnings where the user makes them errors: then they must be read fenced
            self._fill(ahead.images, ahead.rows.tolist())
        return ahead.images

    def _await(self, jobs: Sequence[Future[None]]) -> None:
        try:
            for job in jobs:
                awaited(job)
        except StorageFailed as error:
            for job in jobs:
                job.cancel()
            raise StorageStalled(f"{self.name}: reading a batch of images: {cause_of(error)}; {_CURE}") from error

    def _submit(self, images: Tensor, wanted: list[int]) -> list[Future[None]]:
        if self._pool is None or self._owner != os.getpid():  # threads do not outlive a fork
            self._pool, self._owner = ReadingThreads(self.workers), os.getpid()
        each = max(1, -(-len(wanted) // (4 * self.workers)))
        starts = range(0, len(wanted), each)
        return [self._pool.submit(self._read_into, images[i : i + each], wanted[i : i + each]) for i in starts]

    def _read_into(self, images: Tensor, wanted: Sequence[int]) -> None:
        for place, row in enumerate(wanted):
            images[place] = self._one(row)

    def _one(self, row: int) -> Tensor:
        try:
            image = retried(partial(self.reader.read, row))[0][None]
            if image.shape[1] > self._natural:
                raise ValueError("it has colors and had none")
            image = to_channels(image, self._natural)
            for _, step in self._steps:
                image = step(image)
            return image[0]
        except StorageFailed as error:
            raise InputError(
                f"{self.name}: {where(self.reader, row)} cannot be read now ({cause_of(error)}); {_CURE}"
            ) from error
        except Exception as error:  # Pillow raises a dozen kinds on damaged files
            raise InputError(
                f"{self.name}: image {row} could be read when the source was opened and cannot be read now ({error}); "
                "leave the files alone while they are streamed, and open the source again"
            ) from error


class _AsRead:
    """Streamed images as a reader: what is done to them after reading is part of it."""

    def __init__(self, images: StreamedImages) -> None:
        self.images, self.size = images, images.shape[-1]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, row: int) -> tuple[Tensor, int]:
        return self.images._one(int(self.images.rows[row])), 0

    def where(self, row: int) -> str:
        return where(self.images.reader, int(self.images.rows[row]))

    def identity(self) -> str:
        return self.images.fingerprint()


@dataclass
class _Ahead:
    """A batch that is being read before it is asked for."""

    rows: Tensor
    images: Tensor
    jobs: list[Future[None]]
    owner: int  # the process whose threads read

    def cancel(self) -> None:
        for job in self.jobs:
            job.cancel()


Images = Tensor | StreamedImages


def some_of(images: Images, rows: Tensor) -> Images:
    """Some images; of streamed ones none is read yet.

    Args:
        images: ``(N, C, H, W)``.
        rows: int64 ``(n,)``, on any device.

    >>> some_of(torch.arange(3), torch.tensor([2]))
    tensor([2])
    """
    if isinstance(images, StreamedImages):
        return images.select(rows.cpu())
    return images[rows.to(images.device)]


def join_images(parts: Sequence[Images]) -> Images:
    """Images of several tensors or streams as one, in their order; streamed ones stay on disk unless they meet a tensor.

    Args:
        parts: at least one, all of one shape but for their number.
    """
    streamed = [part for part in parts if isinstance(part, StreamedImages)]
    if len(streamed) == len(parts):
        return StreamedImages.joined(streamed)
    return torch.cat([part[:] for part in parts])


def in_chunks(images: Images, rows: Tensor | None = None, numbers: int = 1 << 23) -> Iterator[Tensor]:
    """Images of some rows (by default all) as batches of at most `numbers` bytes, in order.

    >>> [len(part) for part in in_chunks(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), numbers=8)]
    [2, 2, 1]
    """
    each = max(1, numbers // max(1, images.shape[1:].numel()))
    chosen = torch.arange(len(images)) if rows is None else rows
    for part in torch.split(chosen, each):
        if len(part):
            yield images[part]
