"""Small facts that took long to find, kept in the cache folder for the next run."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
import torch
from numpy.typing import NDArray

from metatc2.io.files import check_regular

Facts = dict[str, NDArray[Any]]
#: By name: their type and shape, None for any length.
Form = Mapping[str, tuple[type[np.generic], tuple[int | None, ...]]]

_DIGEST = 32  # bytes before the archive
_EACH = 4096  # bytes of an archive's own for each of its members, and at its end
_VERSION = 3  # of what is kept; raise it when the meaning changes


def remember(key: str, facts: Mapping[str, Any]) -> None:
    """Keep arrays under a key, in ``$METATC2_CACHE`` or ``~/.cache/metatc2``, if that folder can be written to.

    Args:
        key: any text; the versions of Pillow and torch, which decode and resize, are added to it.
        facts: by name; of no Python objects.
    """
    content = io.BytesIO()
    np.savez(content, **dict(facts))
    aside: Path | None = None
    file = _file(key)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: processes that write at the same time must not write into one file.
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".facts-", suffix=".tmp", delete=False) as opened:
            aside = Path(opened.name)
            opened.write(hashlib.sha256(content.getvalue()).digest() + content.getvalue())
        aside.replace(file)
    except OSError:
        if aside:
            aside.unlink(missing_ok=True)


def recall(key: str, form: Form, fits: Callable[[Facts], bool] = lambda facts: True) -> Facts | None:
    """What was kept under a key; None where nothing is, it is damaged, or it is not what is kept under such keys.

    A cache folder may be shared: whatever another process left there is at most found again, and runs no code.

    Args:
        key: see `remember`.
        form: of the arrays.
        fits: whether their values can be meant; called when the form is right.
    """
    try:
        with _opened(_file(key)) as opened:
            digest = opened.read(_DIGEST)
            content = opened.read()
        if hashlib.sha256(content).digest() != digest:
            return None
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            facts = {name: arrays[name] for name in form}
        return facts if has_form(facts, form) and fits(facts) else None
    except Exception:  # whatever is wrong with it (NumPy and zipfile raise a dozen kinds), it is found again
        return None


def has_form(facts: Facts, form: Form) -> bool:
    """Whether arrays are of the types and shapes that they should be.

    >>> has_form({"a": np.zeros(3)}, {"a": (np.float64, (None,))}), has_form({"a": np.zeros(3)}, {"a": (np.float64, (2,))})
    (True, False)
    """

    def right(array: NDArray[Any], kind: type[np.generic], shape: tuple[int | None, ...]) -> bool:
        same = array.dtype.type is kind
        sizes = zip(array.shape, shape, strict=False)
        return same and array.ndim == len(shape) and all(wanted in (None, size) for size, wanted in sizes)

    return facts.keys() == form.keys() and all(right(facts[name], *form[name]) for name in form)


def whole_archive(opened: BinaryIO, size: int, most: int) -> bool:
    """Whether a file is an archive that says all its bytes are of arrays, and unpacks to at most `most`.

    Asked before it is read: a file with holes, or one that is packed well, may need more memory than there is.
    """
    with zipfile.ZipFile(opened) as archive:
        members = archive.infolist()
    return sum(m.file_size for m in members) <= most and size <= sum(m.compress_size + _EACH for m in members) + _EACH


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    check_regular(file)
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        if not whole_archive(opened, size, size):
            raise ValueError("not what was written")
        opened.seek(0)
        yield opened


def _file(key: str) -> Path:
    folder = Path(os.environ.get("METATC2_CACHE") or os.path.expanduser("~/.cache/metatc2"))
    versions = (_VERSION, PIL.__version__, torch.__version__)
    return folder / f"facts-{hashlib.sha256(f'{key} {versions}'.encode()).hexdigest()[:32]}.npz"
