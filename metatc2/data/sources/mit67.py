"""`mit67:PATH`: MIT Indoor-67 (Quattoni and Torralba 2009), 80 training and 20 test images of each of 67 scenes."""

from __future__ import annotations

from pathlib import Path

from metatc2.data.decoding import ValueRange
from metatc2.data.listing import canonical
from metatc2.data.registry import register_source
from metatc2.data.sources.listed import folder_of, listed_file, listed_store, read_list
from metatc2.data.store import ImageStore


@register_source("mit67:PATH")
def load_mit67(
    path: str | Path,
    image_size: int | None = None,
    *,
    stream: bool = False,
    workers: int = 0,
    value_range: ValueRange | None = None,
) -> ImageStore:
    """The images of the two published lists; the folder ``Images`` holds more, which no result is about.

    Args:
        path: holds the folder ``Images`` (one sub-folder a class), ``TrainImages.txt`` and ``TestImages.txt``, whose lines
            are ``class/file.jpg``.
        image_size: side in pixels, 64 by default.
        stream: see `load`.
        workers: see `load`.
        value_range: see `load`.

    Raises:
        InputError: if a list or an image is missing, cannot be read, or is in both lists.
    """
    name = f"mit67:{path}"
    root = folder_of(name, path, "Images")
    lists = {"train": "TrainImages.txt", "test": "TestImages.txt"}
    splits = {
        part: list(dict.fromkeys(listed_file(name, root / "Images", line) for line in read_list(name, root / file)))
        for part, file in lists.items()
    }
    files = dict.fromkeys(file for held in splits.values() for file in held)
    classes = sorted({canonical(file.parent.name) for file in files})
    return listed_store(
        name,
        [(file, canonical(file.parent.name)) for file in files],
        classes=classes,
        splits=splits,
        image_size=image_size,
        stream=stream,
        workers=workers,
        value_range=value_range,
    )
