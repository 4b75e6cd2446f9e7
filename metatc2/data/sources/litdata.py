"""`litdata:URI`: image files of an object store, read by litdata where they lie, one object an image."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metatc2.data.decoding import Decoded, ValueRange, read_image
from metatc2.data.file_list import FileList
from metatc2.data.listing import canonical, is_image
from metatc2.data.reading_threads import ReadingThreads
from metatc2.data.registry import register_source
from metatc2.data.retrying import awaited
from metatc2.data.sources._rows import SIZE, LabeledRows, numbered, store_of_rows
from metatc2.data.store import ImageStore
from metatc2.errors import InputError, MissingPackage, cause_of

_SPLITS = {"train": "train", "training": "train", "test": "test", "val": "val", "validation": "val"}
_DEPTH = 20  # of folders


@register_source("litdata:URI")
def load_litdata(
    uri: str,
    image_size: int | None = None,
    *,
    root: str | None = None,
    stream: bool = False,
    workers: int = 0,
    value_range: ValueRange | None = None,
) -> ImageStore:
    """Image files below ``s3://bucket/photos`` (or ``gs://``, ``azure://``, a folder), one sub-folder a class.

    The class of an image is the folder that it is in; where the first folders are all called ``train``, ``val`` or ``test``,
    they are splits. Objects are listed when the source is opened, and each is fetched when its image is needed, by litdata's
    `StreamingRawDataset`; nothing is written to the store. Objects are taken for the same as long as names and sizes are.

    Args:
        uri: where the images are; credentials are those that the store's own tools use.
        image_size: side of the images in pixels, 32 by default.
        root: where litdata keeps its own files; by default its cache.
        stream: leave the images in the store.
        workers: threads that fetch; a store far away needs many.
        value_range: see `load`.

    Raises:
        MissingPackage: if litdata, or what it needs for this kind of store, is not installed.
        InputError: if the store does not answer or there is no image.
    """
    name, base = f"litdata:{uri}", uri.rstrip("/") if "://" in uri else os.path.expanduser(os.path.normpath(uri))
    opened = _opened(name, base, None if root is None else str(root))
    places = [os.path.split(item.path) for item in opened.items]
    if not places:
        raise InputError(f"{name}: no image there; give the folder that holds one sub-folder of images a class")
    labels, class_names = numbered([canonical(os.path.basename(folder)) for folder, _ in places])
    parts = [_SPLITS.get(folder[len(base) :].strip("/").partition("/")[0].lower(), "") for folder, _ in places]
    words = np.array(parts)
    splits = {word: (words == word).nonzero()[0] for word in dict.fromkeys(parts)} if all(parts) else {}
    files = FileList((folder, [file for _, file in group]) for folder, group in groupby(places, key=itemgetter(0)))
    content = hashlib.sha256()
    for item in opened.items:
        content.update(f"{item.path}\0{item.size}\n".encode(errors="surrogateescape"))
    return store_of_rows(
        name,
        Objects(opened, files, labels, image_size or SIZE, value_range, content.hexdigest()),
        class_names=class_names,
        splits=splits,
        stream=stream,
        workers=workers,
    )


@dataclass(frozen=True, eq=False)
class Objects(LabeledRows):
    """Objects of a store as a `Reader`.

    Args:
        opened: a `StreamingRawDataset`.
        files: names of its items.
        labels: int64 ``(N,)``.
        size: side of the images in pixels.
        value_range: see `metatc2.data.decoding.from_pillow`.
        state: what changes when names or sizes of the objects do.
    """

    opened: Any
    files: FileList
    labels: NDArray[np.int64]
    size: int
    value_range: ValueRange | None
    state: str

    def look(self, row: int) -> tuple[Decoded, int]:
        """See `LookingReader`.

        Raises:
            ConnectionError: if the store does not give the object, though it is there.
        """
        try:
            content = self.opened[row]
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:  # every store's client has kinds of its own
            raise ConnectionError(f"the store does not give it: {cause_of(error)}") from error
        return read_image(BytesIO(content), self.size, self.value_range), int(self.labels[row])

    def where(self, row: int) -> str:
        """See `NamingReader`."""
        return self.files[row]

    def identity(self) -> str:
        """See `Reader`."""
        return f"{self.state} {self.size} {self.value_range} {hashlib.sha256(self.labels.tobytes()).hexdigest()}"


def _opened(name: str, base: str, cache: str | None) -> Any:
    """The store's images in the order of their names."""
    try:
        from litdata import StreamingRawDataset
        from litdata.raw.indexer import FileIndexer
    except ImportError as error:
        raise MissingPackage(f"{name} needs the package litdata; pip install 'metatc2[litdata]'") from error

    class ListedAnew(FileIndexer):  # type: ignore[misc]
        """Lists the images anew, where litdata's own would write a list into the store."""

        def build_or_load_index(
            self, input_dir: str, cache_dir: str, options: Any, recompute_index: bool = False
        ) -> Any:
            images = [item for item in self.discover_files(input_dir, options) if is_image(item.path)]
            return sorted(images, key=lambda item: item.path)

    def opened() -> Any:
        return StreamingRawDataset(base, cache_dir=cache, indexer=ListedAnew(max_depth=_DEPTH), max_prefetch=0)

    if "://" not in base and not os.path.isdir(base):
        raise InputError(f"{name}: no folder {base}; give one, or where an object store has it: s3://BUCKET/FOLDER")
    try:
        # In a thread: a store that never answers is not waited for.
        with ReadingThreads(1) as threads:
            return awaited(threads.submit(opened))
    except ImportError as error:
        raise MissingPackage(f"{name} needs a further package for such a store ({cause_of(error)})") from error
    except Exception as error:  # every store's client has kinds of its own
        raise InputError(
            f"{name}: the store does not list it ({' '.join(cause_of(error).split())[:300]}); see to the address, the "
            "credentials and the connection"
        ) from error
