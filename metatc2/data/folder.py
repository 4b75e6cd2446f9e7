"""`folder:PATH`: an image folder, one sub-folder a class; any size and mode."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from metatc2.data.resize import resize_square, to_channels
from metatc2.data.store import ImageStore, meta_splits
from metatc2.errors import InputError

SIZE = 32  # pixels, unless the caller asks for another
ENDINGS = frozenset(Image.registered_extensions())
_OFFICIAL = {"train": "train", "training": "train", "test": "test", "testing": "test", "val": "val", "validation": "val"}


class UnreadableImages(UserWarning):
    """Some image files of a folder could not be read; they are named, counted and left out."""


def load_folder(path: str | Path, image_size: int | None = None) -> ImageStore:
    """Images of a folder with one sub-folder a class.

    A folder that holds ``train``, ``test`` or ``val`` with the class folders inside gets those as splits. Shorter sides are
    resized to `image_size` and the centre is kept; EXIF orientation is honoured. Files that are no images and hidden ones are
    ignored and counted; images that cannot be read are named in a warning and in the store's notes.

    Args:
        path: the folder.
        image_size: side of the images in pixels, 32 by default.

    Raises:
        InputError: if there is no such folder, or it holds fewer than two classes that can be read.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise InputError(f"folder:{path}: no such folder; give a folder that holds one sub-folder of images a class")
    parts = {_OFFICIAL[d.name.lower()]: d for d in _folders(root) if d.name.lower() in _OFFICIAL and _folders(d)}
    # `train` beside class folders is a class called train.
    if len(parts) != len(_folders(root)):
        parts = {"": root}
    files: list[tuple[Path, str, str]] = []
    ignored = 0
    for split, folder in parts.items():
        for directory in _folders(folder):
            for file in sorted(directory.rglob("*")):
                if file.is_dir() or _hidden(file.relative_to(directory)):
                    continue
                if file.suffix.lower() in ENDINGS:
                    files.append((file, directory.name, split))
                else:
                    ignored += 1
    names = sorted({name for _, name, _ in files})
    if len(names) < 2:
        found = f"one class, {names[0]!r}" if names else "no images in sub-folders"
        raise InputError(
            f"folder:{path}: found {found}; expected one sub-folder a class, at least two, with image files inside"
        )
    images, kept, unreadable = _read(files, image_size or SIZE)
    if unreadable:
        listed = ", ".join(str(f.relative_to(root)) for f in unreadable[:5]) + (", ..." if len(unreadable) > 5 else "")
        sentence = f"folder:{path}: {len(unreadable)} of {len(files)} images cannot be read and are left out: {listed}"
        if len({name for _, name, _ in kept}) < 2:
            raise InputError(f"{sentence}; fewer than two classes remain: replace the files")
        warnings.warn(sentence, UnreadableImages, stacklevel=2)
    names = sorted({name for _, name, _ in kept})
    labels = torch.tensor([names.index(name) for _, name, _ in kept])
    official = np.array([split for _, _, split in kept])
    splits = {s: torch.from_numpy((official == s).nonzero()[0]) for s in parts if s}
    return ImageStore(
        f"folder:{path}",
        images,
        labels,
        class_names=tuple(names),
        splits={**meta_splits(labels, len(names)), **splits},
        notes={
            "unreadable": len(unreadable),
            "unreadable_files": ", ".join(str(f.relative_to(root)) for f in unreadable),
            "ignored_files": ignored,
        },
    )


def read_image(file: Path, size: int) -> Tensor:
    """One image file as uint8 ``(1 or 3, size, size)``; transparency is laid on white.

    Raises:
        OSError: or another of Pillow's errors, if it cannot be read to its end.
    """
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            # More than eight bits: Pillow's own conversion would clip.
            values = np.asarray(image, dtype=np.float64)
            top = 65535.0 if values.max() > 255 else 255.0
            image = Image.fromarray((values * (255 / top)).clip(0, 255).astype(np.uint8))
        elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        elif image.mode != "L":
            image = image.convert("L" if image.mode == "1" else "RGB")
        pixels = torch.from_numpy(np.array(image))
    pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    return resize_square(pixels[None], size)[0]


def _read(
    files: list[tuple[Path, str, str]], size: int
) -> tuple[Tensor, list[tuple[Path, str, str]], list[Path]]:
    images, kept, unreadable = [], [], []
    for entry in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Pillow, on odd metadata
                images.append(read_image(entry[0], size))
            kept.append(entry)
        except Exception:  # Pillow raises a dozen kinds on damaged files
            unreadable.append(entry[0])
    channels = 3 if any(len(image) == 3 for image in images) else 1
    if not images:
        return torch.zeros(0, 1, size, size, dtype=torch.uint8), kept, unreadable
    return torch.cat([to_channels(image[None], channels) for image in images]), kept, unreadable


def _folders(path: Path) -> list[Path]:
    return sorted(d for d in path.iterdir() if d.is_dir() and not d.name.startswith("."))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)
