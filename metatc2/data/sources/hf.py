"""`hf:PATH`: a data set of Hugging Face `datasets`, on this machine or from the Hub, read at random access."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metatc2.data.decoding import Decoded, ValueRange, read_image
from metatc2.data.readers import files_identity
from metatc2.data.registry import register_source
from metatc2.data.sources._rows import SIZE, LabeledRows, numbered, store_of_rows
from metatc2.data.store import ImageStore
from metatc2.errors import InputError, MissingPackage, cause_of
from metatc2.io.suggest import of_data

_ON_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")


@register_source("hf:PATH")
def load_hf(
    path: str | Path,
    image_size: int | None = None,
    *,
    root: str | Path | None = None,
    download: bool = False,
    stream: bool = False,
    workers: int = 0,
    value_range: ValueRange | None = None,
) -> ImageStore:
    """A data set of Hugging Face `datasets` (arrow): any row can be read by itself, so runs resume exactly.

    Args:
        path: a folder that `save_to_disk` wrote, an ``.arrow`` or ``.parquet`` file, a folder of such files or of images, or
            a name on the Hub; then, where one has to be named, a column of images, and one of labels:
            ``data/birds:photo:species``. By default the only column of images and the only one of class labels are taken.
            Parts of the data set (``train``, ``test``) are its splits.
        image_size: side of the images in pixels, 32 by default.
        root: where `datasets` keeps what it converts or downloads; by default its own cache (``$HF_HOME``).
        download: let `datasets` download what is not on this machine.
        stream: leave the images on disk.
        workers: threads that read.
        value_range: see `load`.

    Raises:
        MissingPackage: if `datasets` is not installed.
        InputError: if there is no such data set, its columns have to be named, or no image can be read.
    """
    name = f"hf:{path}"
    place, named = _columns_apart(str(path))
    _check_there(name, place, download)
    try:
        import datasets
    except ImportError as error:
        raise MissingPackage(f"{name} needs the package datasets; pip install 'metatc2[hf]'") from error
    parts = _opened(name, place, None if root is None else str(root))
    image, label = _columns(name, place, next(iter(parts.values())).features, named)
    wanted = [image, *([label] if label else [])]
    for part, rows in parts.items():
        if lacking := [column for column in wanted if column not in rows.features]:
            raise InputError(
                f"{name}: its part {part!r} has no column {lacking[0]!r}; save the parts with equal columns"
            )
    try:
        table = datasets.concatenate_datasets([rows.select_columns(wanted) for rows in parts.values()])
        # Undecoded: what is in the files is decoded here, as that of all sources is.
        table = table.cast_column(image, datasets.Image(decode=False))
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: its parts do not fit together ({cause_of(error)}); save them alike") from error
    if not len(table):
        raise InputError(f"{name}: holds no row; name another data set")
    labels, class_names = _labels(name, table, label)
    ends = [0, *accumulate(len(rows) for rows in parts.values())]
    return store_of_rows(
        name,
        ArrowImages(table, image, labels, image_size or SIZE, value_range),
        class_names=class_names,
        splits={part: np.arange(ends[i], ends[i + 1]) for i, part in enumerate(parts) if part != "all"},
        stream=stream,
        workers=workers,
    )


class ArrowImages(LabeledRows):
    """A column of images of a data set, as a `Reader`; encoded images are mapped from disk, and decoded when they are read.

    Args:
        table: a ``datasets.Dataset`` whose images are not decoded.
        column: of images.
        labels: int64 ``(N,)``.
        size: side of the images in pixels.
        value_range: see `metatc2.data.decoding.from_pillow`.
    """

    def __init__(
        self, table: Any, column: str, labels: NDArray[np.int64], size: int, value_range: ValueRange | None
    ) -> None:
        self.table, self.column, self.labels, self.size, self.value_range = table, column, labels, size, value_range
        self._images = table.select_columns([column]).with_format("arrow")

    def look(self, row: int) -> tuple[Decoded, int]:
        """See `LookingReader`."""
        cell = self._images[row][self.column][0].as_py()
        if not cell or (cell["bytes"] is None and not cell["path"]):
            raise ValueError("it holds no image")
        content = cell["path"] if cell["bytes"] is None else BytesIO(cell["bytes"])
        return read_image(content, self.size, self.value_range), int(self.labels[row])

    def where(self, row: int) -> str:
        """See `NamingReader`; where the data set holds paths alone, the file."""
        cell = self._images[row][self.column][0].as_py() or {}
        return f"row {row}" if cell.get("bytes") is not None or not cell.get("path") else str(cell["path"])

    def identity(self) -> str:
        """Of the arrow files, and of image files where the data set holds their paths alone; see `Reader`."""
        arrow = [file["filename"] for file in self.table.cache_files]
        if not arrow:
            return ""
        files = [*arrow, *self._outside()]
        return files_identity(files, ("arrow", self.column, self.size, self.value_range, self.labels.tobytes()))

    def _outside(self) -> list[str]:
        """Image files that rows name in place of holding their content."""
        files: list[str] = []
        for batch in self._images.iter(10_000):
            for cells in batch[self.column].chunks:
                paths = cells.filter(cells.field("bytes").is_null()).field("path")
                files += [path for path in paths.to_pylist() if path]
        return files


def _columns_apart(text: str) -> tuple[str, list[str]]:
    """A place, and the names of columns after it; a place on this machine may hold colons itself."""
    place = text
    named: list[str] = []
    while ":" in place and len(named) < 2 and not os.path.exists(os.path.expanduser(place)):
        place, _, last = place.rpartition(":")
        named.insert(0, last)
    return place, named


def _check_there(name: str, place: str, download: bool) -> None:
    """Before anything is imported, which takes a while."""
    path = Path(place).expanduser()
    if path.is_file() and path.suffix not in (".arrow", ".parquet"):
        raise InputError(f"{name}: is no data set; give a folder that save_to_disk wrote, or .arrow or .parquet files")
    if not path.exists() and not (download and _ON_HUB.fullmatch(place)):
        on_hub = f"; if it is a name on the Hugging Face Hub, allow the download with {of_data('download')}"
        raise InputError(f"{name}: no file or folder {path}{on_hub if _ON_HUB.fullmatch(place) else ''}")


def _opened(name: str, place: str, cache: str | None) -> Mapping[str, Any]:
    """Parts of the data set by name; one part without a name is called ``all``."""
    import datasets

    path = Path(place).expanduser()
    try:
        if path.is_dir() and any((path / file).is_file() for file in ("dataset_dict.json", "state.json")):
            opened = datasets.load_from_disk(str(path))
        elif path.suffix == ".arrow":
            opened = datasets.Dataset.from_file(str(path))
        elif path.suffix == ".parquet":
            opened = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=cache)
        else:
            opened = datasets.load_dataset(str(path) if path.exists() else place, cache_dir=cache)
    except Exception as error:  # datasets, pyarrow and the Hub raise dozens of kinds
        raise InputError(
            f"{name}: cannot be opened as a data set ({' '.join(cause_of(error).split())[:300]}); give a folder that "
            "save_to_disk wrote, .arrow or .parquet files, or a name on the Hub"
        ) from error
    return opened if isinstance(opened, dict) else {"all": opened}


def _columns(name: str, place: str, features: Mapping[str, Any], named: Sequence[str]) -> tuple[str, str]:
    """The columns of images and of labels; the latter is empty where there is none."""
    import datasets

    images = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    classes = [column for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    plain = [
        column
        for column, kind in features.items()
        if isinstance(kind, datasets.Value) and (kind.dtype == "string" or kind.dtype.startswith(("int", "uint")))
    ]
    held = ", ".join(f"{column} ({_kind(kind)})" for column, kind in features.items())
    for column, known, what in zip(named, (images, [*classes, *plain]), ("images", "labels"), strict=False):
        if column not in known:
            raise InputError(
                f"{name}: has no column of {what} called {column!r}; it has {held}"
                + ("; write such images with datasets.Image() as the column's feature" if what == "images" else "")
            )
    if not images:
        raise InputError(
            f"{name}: has no column of images; it has {held}; give one the feature datasets.Image() and save it again"
        )
    if not named and len(images) > 1:
        raise InputError(f"{name}: has several columns of images; it has {held}; name one: hf:{place}:{images[0]}")
    image = named[0] if named else images[0]
    if len(named) > 1:
        return image, named[1]
    if len(classes) > 1 or (not named and not classes and plain):
        example = (classes or plain)[0]
        why = "several columns of class labels" if classes else "no column of class labels (datasets.ClassLabel)"
        alone = "" if classes else f", or hf:{place}:{image} to learn without labels"
        raise InputError(f"{name}: has {why}; it has {held}; name one: hf:{place}:{image}:{example}{alone}")
    return image, classes[0] if classes else ""


def _labels(name: str, table: Any, column: str) -> tuple[NDArray[np.int64], Sequence[str]]:
    if not column:
        return np.zeros(len(table), dtype=np.int64), ("0",)
    values = table.select_columns([column]).with_format("arrow")[:][column]
    names = getattr(table.features[column], "names", None)
    if names is None:
        return numbered(values.to_pylist())
    labels = values.fill_null(-1).to_numpy().astype(np.int64)
    if len(labels) and not -1 <= labels.min() <= labels.max() < len(names):
        raise InputError(
            f"{name}: column {column!r} holds {labels.min()}..{labels.max()} and there are {len(names)} class names; save it "
            "again with a name for each"
        )
    return labels, names


def _kind(feature: Any) -> str:
    return str(getattr(feature, "dtype", "")) if type(feature).__name__ == "Value" else type(feature).__name__
