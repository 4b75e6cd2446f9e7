"""`load`: any source by its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from metatc2.data.depths import check_value_range
from metatc2.data.image_io import resize_square, to_channels
from metatc2.data.originals import gray_digests
from metatc2.data.sources.chestx import load_chestx
from metatc2.data.sources.clips import clips_store
from metatc2.data.sources.cropdisease import load_cropdisease
from metatc2.data.sources.digits import load_digits
from metatc2.data.sources.domains import load_domains
from metatc2.data.sources.folder import load_folder
from metatc2.data.sources.glyphs import load_glyphs
from metatc2.data.sources.isic import load_isic
from metatc2.data.sources.mit67 import load_mit67
from metatc2.data.sources.npz import load_npz
from metatc2.data.sources.shapes.dataset import LABELS, load_shapes
from metatc2.data.sources.torchvision import SOURCES, load_torchvision
from metatc2.data.store import ImageStore
from metatc2.data.streaming import StreamedImages
from metatc2.errors import InputError, nearest
from metatc2.io.source_names import split_name, tidy

# Sources of image files whose name goes on with a path.
PATH_LOADERS: dict[str, Callable[..., ImageStore]] = {
    "folder": load_folder,
    "domains": load_domains,
    "mit67": load_mit67,
    "cropdisease": load_cropdisease,
    "isic": load_isic,
    "chestx": load_chestx,
}
_IN_MEMORY = ("npz", "clips")


def known_sources() -> tuple[str, ...]:
    """Names that `load` takes; those that end in ``:PATH`` are followed by a path, in ``:FACTORS`` by factors as labels."""
    embedded = ("glyphs", "digits", "shapes", "shapes:FACTORS")
    return (*embedded, *(f"{kind}:PATH" for kind in (*_IN_MEMORY, *PATH_LOADERS)), *SOURCES)


def load(
    source: str,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    root: str | Path | None = None,
    download: bool = False,
    stream: bool = False,
    workers: int = 0,
    value_range: Sequence[float] | None = None,
) -> ImageStore:
    """Load a source into memory, or open it to be streamed from disk.

    Args:
        source: ``glyphs``, ``digits``, ``shapes`` or ``shapes:FACTORS`` (``shapes:hue+size``), ``folder:PATH``,
            ``domains:PATH``, ``npz:PATH``, ``clips:PATH`` (frames; the clips are domains), a benchmark that
            torchvision lacks by where it lies (``mit67:PATH``, ``cropdisease:PATH``, ``isic:PATH``, ``chestx:PATH``), or a
            torchvision data set by name (``cifar10``).
        image_size: side of the square images in pixels; by default the source's own.
        channels: 1 (grey) or 3 (colour); by default the source's own.
        root: where downloaded data sets lie.
        download: let torchvision download what is missing.
        stream: leave image files on disk and read them when they are asked for (`StreamedImages`); the store is the same,
            and so is its checksum. Sources that are not image files (glyphs, digits, npz, CIFAR) are read all the same.
        workers: threads that read image files; 0 reads in the caller's.
        value_range: values of black and white in image files of more than 8 bits a pixel, e.g. ``(0, 4095)`` for 12 bits
            that are kept in 16; by default what the format says. Others are not changed by it.

    Raises:
        InputError: if there is no such source or it cannot be read.

    >>> load("digits", image_size=16, channels=3).images.shape
    torch.Size([1797, 3, 16, 16])
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"{source}: image_size must be at least 1, got {image_size}")
    if channels not in (None, 1, 3):
        raise InputError(f"{source}: channels must be 1 or 3, got {channels}")
    if workers < 0:
        raise InputError(f"{source}: workers must be at least 0, got {workers}")
    limits = check_value_range(source, value_range)
    kind, colon, path = source.partition(":")
    if kind in PATH_LOADERS and colon:
        if not path:
            raise InputError(f"{source!r} lacks a path; write {kind}:PATH")
        path = split_name(tidy(source))[1]
        store = PATH_LOADERS[kind](path, image_size, stream=stream, workers=workers, value_range=limits)
    elif kind in _IN_MEMORY and colon:
        if not path:
            raise InputError(f"{source!r} lacks a path; write {kind}:PATH")
        path = split_name(tidy(source))[1]
        store = load_npz(path, image_size) if kind == "npz" else clips_store(path, image_size, value_range=limits)
    elif source == "glyphs":
        store = load_glyphs()
    elif source == "digits":
        store = load_digits(image_size)
    elif source == "shapes" or (kind == "shapes" and colon):
        if not path and colon:
            raise InputError(f"{source!r} lacks its labels; write shapes, or shapes:FACTORS, e.g. shapes:hue+size")
        store = load_shapes(path or LABELS, image_size)
    elif source in SOURCES:
        store = load_torchvision(
            source, image_size=image_size, root=root, download=download, stream=stream, workers=workers
        )
    else:
        raise InputError(f"unknown source {source!r}; {nearest(source.lower(), known_sources())}")
    images = store.images
    if isinstance(images, StreamedImages):
        images = images if image_size in (None, store.image_size) else images.resized(image_size)
        images = images if channels in (None, store.channels) else images.with_channels(channels)
    else:
        images = images if image_size in (None, store.image_size) else resize_square(images, image_size)
        images = images if channels is None else to_channels(images, channels)
    if images is store.images:
        return store
    originals = store.originals
    if not len(originals) and isinstance(store.images, Tensor) and images.shape[-1] != store.image_size:
        originals = gray_digests(store.images)
    return replace(store, images=images, originals=originals)
