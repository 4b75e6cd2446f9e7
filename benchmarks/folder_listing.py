"""What a folder of very many files costs before an image is read: listing it, and asking each file for its size and time.

    python benchmarks/folder_listing.py --json benchmarks/results/folder_listing.json

Class folders of a thousand files each, all hard links to one file. Each way to list them is a process of its own: that of
`folder:PATH`, and `pathlib.Path.rglob` with the sorting that a fixed order needs. Times are the processor's, memory is what the
process holds for the list, a file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from common import positive, resident, write_or_print

from metatc2.data.class_folders import ClassFolders
from metatc2.data.file_list import FileList
from metatc2.data.listing import sub_folders
from metatc2.data.readers import files_identity

EACH = 1000


def make(root: Path, files: int) -> None:
    """Hard links: names without content."""
    for c in range(files // EACH):
        folder = root / f"class{c:05d}"
        folder.mkdir()
        # A file system allows some ten thousand links to a file.
        first = folder / "image_0000000.jpg"
        first.write_bytes(b"image")
        for i in range(1, EACH):
            os.link(first, folder / f"image_{i:07d}.jpg")


def ours(root: Path) -> Sequence[object]:
    """As `folder:PATH` lists them."""
    return ClassFolders("folder", root, [(folder.name, folder) for folder in sub_folders(root)]).images().files


def paths(root: Path) -> Sequence[object]:
    """As objects of pathlib."""
    return sorted(path for path in root.rglob("*.jpg") if path.is_file())


WAYS = {"folder:PATH": ours, "sorted(Path.rglob)": paths}


def measure(way: str, root: Path) -> dict[str, object]:
    """One way, in this process."""
    before, began = resident("VmRSS"), time.process_time()
    files = WAYS[way](root)
    listed, held = time.process_time(), resident("VmRSS") - before
    files_identity(files if isinstance(files, FileList) else [str(path) for path in files], ())
    asked = time.process_time()
    count = len(files)
    return {
        "way": way,
        "files": count,
        "seconds_to_list": round(listed - began, 2),
        "seconds_to_ask": round(asked - listed, 2),
        "bytes_a_file": round(held / count),
    }


def main() -> None:
    """Measure both ways and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--files", type=positive, default=200_000)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), arguments.files)
        for way in WAYS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows.append(pool.apply(measure, (way, Path(folder))))
            print(json.dumps(rows[-1]), flush=True)
    write_or_print(arguments.json, rows)


if __name__ == "__main__":
    main()
