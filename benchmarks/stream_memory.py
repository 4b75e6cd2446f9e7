"""Memory of a run on images that do not fit into it: streamed ones, ten times as many as a limit, beside the same in memory.

    python benchmarks/stream_memory.py --json benchmarks/results/stream_memory.json

Each case is a process of its own: it opens the source for the first time (every image is looked at once), takes the checksum of
all images, trains 20 steps of SimCLR with a small Conv-4 at 48 px and writes the run folder, as `metatc2 pretrain` does. The
limit is what the pixels of all images take. Memory is the peak of what the process held for itself, sampled each 20 ms; pages
of files that are mapped (arrow), which the system takes back when memory is short, are counted apart. Images are 64 different
JPEG files, repeated (as hard links, as rows, as members of tars): how many there are is what matters here.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import tarfile
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from common import positive, resident, write_or_print
from PIL import Image

SIZE, CLASSES, STEPS, DIFFERENT, TIMES = 48, 10, 20, 64, 10
CASES = (("folder", False), ("folder", True), ("hf", True), ("wds", True))


def contents() -> list[bytes]:
    """JPEG files."""
    random, files = np.random.default_rng(0), []
    for _ in range(DIFFERENT):
        small = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        file = io.BytesIO()
        small.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(file, "JPEG")
        files.append(file.getvalue())
    return files


def as_folder(root: Path, count: int) -> None:
    """One sub-folder a class; the files are links, so that they take no space."""
    for i, content in enumerate(contents()):
        (root / f"{i}.jpg").write_bytes(content)
    for c in range(CLASSES):
        (root / "photos" / f"class{c}").mkdir(parents=True)
    for i in range(count):
        os.link(root / f"{i % DIFFERENT}.jpg", root / "photos" / f"class{i % CLASSES}" / f"{i:08d}.jpg")


def as_arrow(root: Path, count: int) -> None:
    """As `datasets` saves it."""
    import datasets

    files = contents()

    def rows() -> Iterator[dict[str, object]]:
        for i in range(count):
            yield {"image": {"bytes": files[i % DIFFERENT], "path": None}, "label": i % CLASSES}

    names = [f"class{c}" for c in range(CLASSES)]
    kinds = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=names))
    made = datasets.Dataset.from_generator(rows, features=kinds, cache_dir=str(root / "made"))
    made.save_to_disk(str(root / "photos"))


def as_tars(root: Path, count: int) -> None:
    """Ten thousand samples a tar."""
    (root / "photos").mkdir(parents=True)
    files = contents()
    for shard in range(-(-count // 10_000)):
        with tarfile.open(root / "photos" / f"{shard:04d}.tar", "w") as tar:
            for i in range(shard * 10_000, min(count, (shard + 1) * 10_000)):
                for ending, content in (("jpg", files[i % DIFFERENT]), ("cls", str(i % CLASSES).encode())):
                    about = tarfile.TarInfo(f"{i:08d}.{ending}")
                    about.size = len(content)
                    tar.addfile(about, io.BytesIO(content))


MAKE: dict[str, Callable[[Path, int], None]] = {"folder": as_folder, "hf": as_arrow, "wds": as_tars}


def measure(kind: str, stream: bool, count: int) -> dict[str, float]:
    """A run in a fresh process: MB that it held at most."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(MAKE[kind], (root, count))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(_run, (kind, stream, root))


def _run(kind: str, stream: bool, root: Path) -> dict[str, float]:
    os.environ["METATC2_CACHE"] = str(root / "cache")
    torch.set_num_threads(1)
    from metatc2.experiment.config import override, read_task
    from metatc2.experiment.run import pretrain

    config = override(
        read_task(f"{kind}:{root / 'photos'}"),
        [
            *("encoder.name=conv4", "encoder.width=8", f"data.image_size={SIZE}", "data.split=all", "episode.batch=64"),
            *(f"trainer.steps={STEPS}", f"data.stream={str(stream).lower()}", "trainer.threads=1"),
        ],
        where="stream_memory",
    )
    most, done = [0, 0], threading.Event()

    def sample() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], resident("RssAnon"))
            most[1] = max(most[1], resident("RssFile"))

    watcher = threading.Thread(target=sample)
    watcher.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pretrain(config, root / "run")
    done.set()
    watcher.join()
    return {"mb": most[0] / 1e6, "mapped_mb": most[1] / 1e6}


def main() -> None:
    """Measure all cases and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--limit", type=positive, default=16, help="MB of pixels")
    arguments = parser.parse_args()
    one = arguments.limit * 10**6 // (3 * SIZE * SIZE)
    rows: list[dict[str, object]] = []
    for kind, stream in CASES:
        at, beyond = measure(kind, stream, one), measure(kind, stream, TIMES * one)
        rows.append(
            {
                "source": kind,
                "stream": stream,
                "limit_mb": arguments.limit,
                "images": [one, TIMES * one],
                "steps": STEPS,
                "peak_mb": [round(case["mb"]) for case in (at, beyond)],
                "mapped_mb": [round(case["mapped_mb"]) for case in (at, beyond)],
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    write_or_print(arguments.json, rows)


if __name__ == "__main__":
    main()
