"""The files that learn2learn's benchmarks read, so that they can be looked for before learn2learn downloads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torchvision.datasets import Omniglot
from torchvision.datasets.utils import check_integrity

#: What is missing or damaged in a folder, as words for an error; nothing where all is there.
Check = Callable[[Path], list[str]]


def missing_files(name: str, root: Path) -> list[str]:
    """What learn2learn would miss in `root` for a benchmark.

    Args:
        name: a key of `FILES`.
        root: the folder that learn2learn is given.

    >>> missing_files("fc100", Path("nowhere"))
    ['FC100_train.pickle', 'FC100_val.pickle', 'FC100_test.pickle']
    """
    return FILES[name](root)


def _all_of(*files: str) -> Check:
    return lambda root: [file for file in files if not (root / file).exists()]


def _cifarfs(root: Path) -> list[str]:
    # Folders by split, or the unpacked archive, which learn2learn then sorts into such folders.
    sorted_out, raw = root / "cifarfs" / "processed", "cifarfs/cifar100"
    if sorted_out.exists():
        return _all_of(*(f"cifarfs/processed/{split}" for split in ("train", "val", "test")))(root)
    lists = (f"{raw}/splits/bertinetto/{split}.txt" for split in ("train", "val", "test"))
    lacking = _all_of(f"{raw}/data", *lists)(root)
    return [f"cifarfs/processed, or in its place {lacking[0]}", *lacking[1:]] if lacking else []


def _omniglot(root: Path) -> list[str]:
    # torchvision downloads again unless the archives, too, are there and whole.
    lacking = []
    for part, checksum in Omniglot.zips_md5.items():
        archive, folder = f"{Omniglot.folder}/{part}.zip", f"{Omniglot.folder}/{part}"
        if not (root / archive).exists():
            lacking.append(archive)
        elif not check_integrity(str(root / archive), checksum):
            lacking.append(f"{archive} (there, but damaged)")
        if not (root / folder).is_dir():
            lacking.append(folder)
    return lacking


FILES: Mapping[str, Check] = {
    "cifarfs": _cifarfs,
    "fc100": _all_of(*(f"FC100_{split}.pickle" for split in ("train", "val", "test"))),
    "mini-imagenet": _all_of(*(f"mini-imagenet-cache-{split}.pkl" for split in ("train", "validation", "test"))),
    "omniglot": _omniglot,
    "tiered-imagenet": _all_of(
        *(
            f"tiered-imagenet/{split}_{kind}.pkl"
            for split in ("train", "val", "test")
            for kind in ("images_png", "labels")
        )
    ),
}
