"""`cropdisease:PATH`: PlantVillage leaves of 38 kinds, a target of the CD-FSL benchmark (Guo et al. 2020, arXiv 1912.07200)."""

from __future__ import annotations

from pathlib import Path

from metatc2.data.decoding import ValueRange
from metatc2.data.registry import register_source
from metatc2.data.sources.folder import load_folder
from metatc2.data.sources.listed import SIZE, folder_of
from metatc2.data.store import ImageStore


@register_source("cropdisease:PATH")
def load_cropdisease(
    path: str | Path,
    image_size: int | None = None,
    *,
    stream: bool = False,
    workers: int = 0,
    value_range: ValueRange | None = None,
) -> ImageStore:
    """The folders ``train`` and ``test``, each with one sub-folder a class; few-shot results of the benchmark are on ``train``.

    Args:
        path: holds the two folders, or the folder ``dataset`` with them, as they are unpacked.
        image_size: side in pixels, 64 by default.
        stream: see `load`.
        workers: see `load`.
        value_range: see `load`.

    Raises:
        InputError: if a folder is missing or holds fewer than two classes.
    """
    name = f"cropdisease:{path}"
    root = folder_of(name, path)
    root = root / "dataset" if (root / "dataset").is_dir() else root
    folder_of(name, root, "train", "test")
    return load_folder(root, image_size or SIZE, stream=stream, workers=workers, name=name, value_range=value_range)
