"""Small data in the formats on disk that learn2learn's benchmarks read. Nothing of learn2learn is replaced.

Every image says which class and which sample of it it is (`told`), so that tests see what was drawn without asking learn2learn.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import datasets

SPLITS = {"train": 0, "val": 1, "test": 2}
CLASSES, SAMPLES = 6, 5
OMNIGLOT_SAMPLES = 2


def color(number: int, sample: int) -> tuple[int, int, int]:
    """Red tells the class (over all splits), green the sample."""
    return 10 * number + 5, 40 * sample + 5, 100


def told(images: Tensor) -> Tensor:
    """``class · 100 + sample`` of color images ``(..., 3, H, W)`` with values in [0, 1]."""
    red, green = (images[..., channel, 0, 0].mul(255).round().long() for channel in (0, 1))
    return (red - 5) // 10 * 100 + (green - 5) // 40


def _pixels(split: str, size: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Images ``(N, size, size, 3)``, mixed up, and the class of each within its split."""
    order = np.random.default_rng(SPLITS[split]).permutation(CLASSES * SAMPLES)
    classes, samples = order // SAMPLES, order % SAMPLES
    images = np.empty((len(order), size, size, 3), dtype=np.uint8)
    for i, (c, s) in enumerate(zip(classes, samples, strict=True)):
        images[i] = color(SPLITS[split] * CLASSES + int(c), int(s))
    return images, classes.tolist()


def mini_imagenet(root: Path) -> None:
    for split in SPLITS:
        images, classes = _pixels(split, 84)
        rows = {f"n{c:08d}": [i for i, own in enumerate(classes) if own == c] for c in range(CLASSES)}
        name = f"mini-imagenet-cache-{'validation' if split == 'val' else split}.pkl"
        (root / name).write_bytes(pickle.dumps({"image_data": images, "class_dict": rows}))


def tiered_imagenet(root: Path) -> None:
    folder = root / "tiered-imagenet"
    folder.mkdir()
    for split in SPLITS:
        images, classes = _pixels(split, 84)
        encoded = [
            np.frombuffer(_png(image), dtype=np.uint8)[:, None] for image in images
        ]  # as cv2.imencode gives them
        names = [f"class {c}" for c in range(CLASSES)]
        labels = {
            "label_specific": np.array(classes),
            "label_general": np.array(classes) // 3,
            "label_specific_str": names,
            "label_general_str": ["first", "second"],
        }
        (folder / f"{split}_images_png.pkl").write_bytes(pickle.dumps(encoded))
        (folder / f"{split}_labels.pkl").write_bytes(pickle.dumps(labels))


def fc100(root: Path) -> None:
    for split in SPLITS:
        images, classes = _pixels(split, 32)
        # Protocol 2, as the published files, which Python 2 wrote.
        content = pickle.dumps({"data": images, "labels": [60 * SPLITS[split] + c for c in classes]}, protocol=2)
        (root / f"FC100_{split}.pickle").write_bytes(content)


def cifarfs(root: Path, *, archive: bool = False) -> None:
    """Folders by split, as learn2learn leaves them, or what the published archive unpacks to."""
    raw = root / "cifarfs" / "cifar100"
    for split in SPLITS:
        images, classes = _pixels(split, 32)
        names = [f"{split}_class_{c}" for c in range(CLASSES)]
        for i, (image, c) in enumerate(zip(images, classes, strict=True)):
            place = raw / "data" if archive else root / "cifarfs" / "processed" / split
            (place / names[c]).mkdir(parents=True, exist_ok=True)
            (place / names[c] / f"{i:04d}.png").write_bytes(_png(image))
        if archive:
            lists = raw / "splits" / "bertinetto"
            lists.mkdir(parents=True, exist_ok=True)
            (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


def omniglot(root: Path, patch: pytest.MonkeyPatch) -> None:
    """All 1623 characters, since learn2learn counts on them, with two drawings each instead of twenty.

    torchvision compares the archives with published checksums; the test names those of its own archives, and the check runs.
    """
    folder, sums, number = root / "omniglot-py", {}, 0
    for part, alphabets, characters in (("images_background", 30, 964), ("images_evaluation", 20, 659)):
        for c in range(characters):
            place = folder / part / f"Alphabet_{c % alphabets:02d}" / f"character{c // alphabets + 1:02d}"
            place.mkdir(parents=True)
            for sample in range(OMNIGLOT_SAMPLES):
                (place / f"{number:04d}_{sample + 1:02d}.png").write_bytes(_drawing(number, sample))
            number += 1
        archive = folder / f"{part}.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("made-for-a-test", part)
        sums[part] = hashlib.md5(archive.read_bytes()).hexdigest()
    patch.setattr(datasets.Omniglot, "zips_md5", sums)


#: Cells of a 4 × 4 grid that spell a number; a corner is inked, the other three are not, so a turned image is read aright.
_CELLS = [(r, c) for r in range(4) for c in range(4) if (r, c) not in {(0, 0), (0, 3), (3, 0), (3, 3)}]


def _drawing(number: int, sample: int) -> bytes:
    paper = np.full((105, 105), 255, dtype=np.uint8)
    bits = number * OMNIGLOT_SAMPLES + sample
    for r, c in [(0, 0), *(cell for i, cell in enumerate(_CELLS) if bits >> i & 1)]:
        paper[26 * r : 26 * (r + 1), 26 * c : 26 * (c + 1)] = 0
    return _png(paper, "1")


def omniglot_told(image: Tensor) -> tuple[int, int]:
    """Class · 100 + sample of an image ``(1, 28, 28)`` with ink 1, and by how many right angles it was turned."""
    grid = image[0].unfold(0, 7, 7).unfold(1, 7, 7)[..., 2:5, 2:5].mean((2, 3)) > 0.5
    turns = next(k for k in range(4) if bool(torch.rot90(grid, k)[0, 0]))
    upright = torch.rot90(grid, turns)
    bits = sum(1 << i for i, cell in enumerate(_CELLS) if bool(upright[cell]))
    return bits // OMNIGLOT_SAMPLES * 100 + bits % OMNIGLOT_SAMPLES, turns


def _png(pixels: NDArray[np.uint8], mode: str | None = None) -> bytes:
    out = io.BytesIO()
    image: Any = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(out, "PNG")
    return out.getvalue()
