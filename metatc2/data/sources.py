"""`load`: any source by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from metatc2.data.arrays import load_npz
from metatc2.data.digits import load_digits
from metatc2.data.folder import load_folder
from metatc2.data.glyphs import load_glyphs
from metatc2.data.resize import resize_square, to_channels
from metatc2.data.store import ImageStore
from metatc2.data.torchvision_sets import SOURCES, load_torchvision
from metatc2.errors import InputError, nearest


def known_sources() -> tuple[str, ...]:
    """Names that `load` takes; ``folder:`` and ``npz:`` are followed by a path."""
    return ("glyphs", "digits", "folder:PATH", "npz:PATH", *SOURCES)


def load(
    source: str,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    root: str | Path | None = None,
    download: bool = False,
) -> ImageStore:
    """Load a source into memory.

    Args:
        source: ``glyphs``, ``digits``, ``folder:PATH``, ``npz:PATH`` or a torchvision data set by name (``cifar10``).
        image_size: side of the square images in pixels; by default the source's own.
        channels: 1 (grey) or 3 (colour); by default the source's own.
        root: where downloaded data sets lie.
        download: let torchvision download what is missing.

    Raises:
        InputError: if there is no such source or it cannot be read.

    >>> load("digits", image_size=16, channels=3).images.shape
    torch.Size([1797, 3, 16, 16])
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"{source}: image_size must be at least 1, got {image_size}")
    if channels not in (None, 1, 3):
        raise InputError(f"{source}: channels must be 1 or 3, got {channels}")
    kind, colon, path = source.partition(":")
    if kind in ("folder", "npz") and colon:
        if not path:
            raise InputError(f"{source!r} lacks a path; write {kind}:PATH")
        store = load_folder(path, image_size) if kind == "folder" else load_npz(path, image_size)
    elif source == "glyphs":
        store = load_glyphs()
    elif source == "digits":
        store = load_digits(image_size)
    elif source in SOURCES:
        store = load_torchvision(source, image_size=image_size, root=root, download=download)
    else:
        raise InputError(f"unknown source {source!r}; {nearest(source.lower(), known_sources())}")
    images = store.images if image_size in (None, store.image_size) else resize_square(store.images, image_size)
    images = images if channels is None else to_channels(images, channels)
    return store if images is store.images else replace(store, images=images)
