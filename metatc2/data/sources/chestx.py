"""`chestx:PATH`: ChestX-ray8, the 7 single-label findings of the CD-FSL benchmark (Guo et al. 2020, arXiv 1912.07200)."""

from __future__ import annotations

from pathlib import Path

from metatc2.data.decoding import ValueRange
from metatc2.data.registry import register_source
from metatc2.data.sources.listed import folder_of, listed_file, listed_store, read_list, read_table
from metatc2.data.store import ImageStore
from metatc2.errors import InputError

CLASSES = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")
_LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}


@register_source("chestx:PATH")
def load_chestx(
    path: str | Path,
    image_size: int | None = None,
    *,
    stream: bool = False,
    workers: int = 0,
    value_range: ValueRange | None = None,
) -> ImageStore:
    """Images with exactly one finding, which is one of `CLASSES`; the others are counted in the notes (``left_out``).

    The publisher's ``train_val_list.txt`` and ``test_list.txt`` (no patient is in both) become the splits ``train`` and
    ``test`` where they lie beside the table.

    Args:
        path: holds ``Data_Entry_2017.csv`` and the images, in ``images`` or in ``images_001/images``, ``images_002/images``
            and so on, as they are unpacked.
        image_size: side in pixels, 64 by default.
        stream: see `load`.
        workers: see `load`.
        value_range: see `load`.

    Raises:
        InputError: if the table, one of the two lists or an image is missing or cannot be read.
    """
    name = f"chestx:{path}"
    root = folder_of(name, path)
    table = read_table(name, root / "Data_Entry_2017.csv", ("Image Index", "Finding Labels"))
    folders = [folder for folder in (root / "images", *sorted(root.glob("images_*/images"))) if folder.is_dir()]
    if not folders:
        raise InputError(f"{name}: no folder images in {root}; unpack the images there")
    where = {file.name: file for folder in folders for file in folder.iterdir()}
    kept = {row["Image Index"]: row["Finding Labels"] for row in table if row["Finding Labels"] in CLASSES}
    entries = {index: where.get(index) or listed_file(name, folders[0], index) for index in kept}
    splits: dict[str, list[Path]] = {}
    if any((root / file).exists() for file in _LISTS.values()):
        for part, file in _LISTS.items():
            listed = dict.fromkeys(read_list(name, root / file))
            splits[part] = [entries[index] for index in listed if index in entries]
    return listed_store(
        name,
        [(entries[index], finding) for index, finding in kept.items()],
        classes=CLASSES,
        splits=splits,
        image_size=image_size,
        stream=stream,
        workers=workers,
        value_range=value_range,
        notes={"left_out": len(table) - len(kept)},
    )
