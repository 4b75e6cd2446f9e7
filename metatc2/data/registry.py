"""Sources of images by name, and `load`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from metatc2.data.depths import check_value_range
from metatc2.data.image_io import resize_square, to_channels
from metatc2.data.originals import gray_digests
from metatc2.data.store import ImageStore
from metatc2.data.streaming import StreamedImages
from metatc2.errors import InputError, kind_of
from metatc2.io import registries
from metatc2.io.registry import Registry
from metatc2.io.source_names import check_path, split_name, tidy
from metatc2.ops.numbers import whole

SOURCES: Registry[Callable[..., ImageStore]] = registries.SOURCES
Load = TypeVar("Load", bound=Callable[..., ImageStore])


def register_source(name: str) -> Callable[[Load], Load]:
    """Decorator of a function that returns an `ImageStore`, which `load` and the command line then know by its name.

    Where the name ends in a place (``folder:PATH``, ``litdata:URI``), what stands there is its first argument. Of ``name``
    (of the source, as it was written) and ``image_size``, ``root``, ``download``, ``stream``, ``workers`` and
    ``value_range`` of `load` it gets those that are parameters of it. Images of another size or number of channels than
    asked for are brought to it afterwards.

    Args:
        name: see `Registry.register`.

    Raises:
        InputError: if the name is taken.
    """
    return SOURCES.register(name)  # type: ignore[return-value]  # it returns the very thing that it is given


def require_name(given: object) -> None:
    """Refuse what is no name of a source.

    Raises:
        InputError: that says how to make a store of it.
    """
    if not isinstance(given, str):
        raise InputError(
            f"load: takes the name of a source, got {kind_of(given)}; a torch Dataset becomes a store by "
            "ImageStore.from_dataset(dataset), arrays by ImageStore.from_arrays(images, labels)"
        )


def known_sources() -> tuple[str, ...]:
    """Names that `load` takes; ``:PATH`` at the end stands for a path, ``:URI`` for an address, ``:FACTORS`` for factors."""
    return tuple(SOURCES)


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
            ``domains:PATH``, ``npz:PATH``, ``clips:PATH`` (frames; the clips are domains), ``hf:PATH`` (Hugging Face
            `datasets`), ``wds:PATH`` (tars of WebDataset), ``litdata:URI`` (an object store), a benchmark that
            torchvision lacks by where it lies (``mit67:PATH``, ``cropdisease:PATH``, ``isic:PATH``, ``chestx:PATH``), or a
            torchvision data set by name (``cifar10``).
        image_size: side of the square images in pixels; by default the source's own.
        channels: 1 (gray) or 3 (color), or as many as the images have; by default the source's own.
        root: where downloaded data sets lie.
        download: let torchvision or `datasets` download what is missing.
        stream: leave images where they are and read them when they are asked for (`StreamedImages`); the store is the same,
            and so is its checksum. Sources that are no files of images (glyphs, digits, npz, CIFAR) are read all the same.
        workers: threads that read images; 0 reads in the caller's.
        value_range: values of black and white in images of more than 8 bits a pixel, e.g. ``(0, 4095)`` for 12 bits
            that are kept in 16; by default what the format says, of arrays as `metatc2.data.value_range` has it. Others are
            not changed by it.

    Raises:
        InputError: if there is no such source or it cannot be read.

    >>> load("digits", image_size=16, channels=3).images.shape
    torch.Size([1797, 3, 16, 16])
    """
    if image_size is not None:
        whole(image_size, f"{source}: image_size", 1)
    require_name(source)
    if channels is not None:
        whole(channels, f"{source}: channels", 1)
    whole(workers, f"{source}: workers", 0)
    limits = check_value_range(source, value_range)
    registered, rest = SOURCES.resolve(source)
    if registered.endswith((":PATH", ":URI")):
        check_path(source)
        source = tidy(source)
        rest = split_name(source)[1]
    loader = SOURCES[registered]
    offered: dict[str, object] = {
        "name": source,
        "image_size": image_size,
        "root": root,
        "download": download,
        "stream": stream,
    }
    offered |= {"workers": workers, "value_range": limits}
    taken = inspect.signature(loader).parameters
    store = loader(*([rest] if rest else []), **{key: value for key, value in offered.items() if key in taken})
    images = store.images
    if channels not in (None, 1, store.channels) and store.channels != 1:
        raise InputError(
            f"{source}: its images have {store.channels} channels and {channels} are needed; choose channels in the data, or "
            f"an encoder of {store.channels} (data.channels, --channels {store.channels})"
        )
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
