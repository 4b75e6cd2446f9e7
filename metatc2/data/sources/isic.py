"""`isic:PATH`: ISIC 2018 task 3, 7 kinds of skin lesions, a target of CD-FSL (Guo et al. 2020, arXiv 1912.07200)."""

from __future__ import annotations

from pathlib import Path

from metatc2.data.decoding import ValueRange
from metatc2.data.registry import register_source
from metatc2.data.sources.listed import folder_of, listed_file, listed_store, read_table
from metatc2.data.store import ImageStore
from metatc2.errors import InputError

CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
_IMAGES, _TRUTH = "ISIC2018_Task3_Training_Input", "ISIC2018_Task3_Training_GroundTruth"


@register_source("isic:PATH")
def load_isic(
    path: str | Path,
    image_size: int | None = None,
    *,
    stream: bool = False,
    workers: int = 0,
    value_range: ValueRange | None = None,
) -> ImageStore:
    """The 10 015 images of the training input, which alone has published labels beside it.

    The challenge averages the classes' recalls (Codella et al. 2019, arXiv 1902.03368), and so does the store's metric:
    two thirds of the images are naevi.

    Args:
        path: holds ``ISIC2018_Task3_Training_Input`` (the images) and ``ISIC2018_Task3_Training_GroundTruth.csv``, the
            latter also in a folder of its name.
        image_size: side in pixels, 64 by default.
        stream: see `load`.
        workers: see `load`.
        value_range: see `load`.

    Raises:
        InputError: if the table or an image is missing or cannot be read, or an image has not exactly one class.
    """
    name = f"isic:{path}"
    root = folder_of(name, path, _IMAGES)
    inside = root / _TRUTH / f"{_TRUTH}.csv"
    table = read_table(name, inside if inside.is_file() else root / f"{_TRUTH}.csv", ("image", *CLASSES))
    entries: dict[Path, str] = {}
    for row in table:
        kinds = [kind for kind in CLASSES if row[kind].strip() not in ("0", "0.0")]
        file = listed_file(name, root / _IMAGES, f"{row['image']}.jpg")
        if len(kinds) != 1 or entries.setdefault(file, kinds[0]) != kinds[0]:
            raise InputError(
                f"{name}: {_TRUTH}.csv gives {row['image']} the classes {', '.join(kinds) or 'none'}; expected exactly one, so "
                "get the published file again"
            )
    return listed_store(
        name,
        list(entries.items()),
        classes=CLASSES,
        splits={},
        image_size=image_size,
        stream=stream,
        workers=workers,
        value_range=value_range,
        metric="mean per class",
    )
