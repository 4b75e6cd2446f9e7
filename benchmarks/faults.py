"""Runs that are killed (`kill -9`) at random points and resumed: do they end in the same bits?

    python benchmarks/faults.py --json benchmarks/results/faults.json

Each trial is a tiny run in a folder of its own. Its process is killed at a random point, another one resumes it as
`metatc2 pretrain --auto-resume` does, and the encoder and all recorded losses are compared with those of a run that was never
cut. The processes are forked from one that has imported everything, and each kind has points of its own:

* any moment, uniformly over the time that an uncut run takes;
* while a checkpoint is written: the folder is watched for a half-written one; the learner is large and writes one every step;
* while the encoder is written, at the end;
* while a finished run is made longer (`--resume DIR --steps N`), at any moment of that;
* again and again: every process of a run is killed after a random time, until one gets to the end;
* one of two processes that train together, at any moment; the other must end by itself, and both are begun again.

Counted are kills, those that left half-written files, what the folder was after them, and how the runs went on. Needs Linux.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from common import positive, write_or_print

from metatc2.experiment import run as runs
from metatc2.experiment.auto_resume import is_resumable
from metatc2.experiment.config import Config, merge, override, read_task
from metatc2.io.files import is_leftover
from metatc2.training.run_folder import RunFolder

STEPS, LONGER = 8, 12
MODULES = "modules"  # file with the names of all that a process has imported
PATIENCE = 300  # seconds for a process that is not killed
ALONE = 60  # seconds after which a process that hears nothing of the other one ends
HUNG = 2 * ALONE  # after which one that still has not ended counts as hung
LARGE = ("encoder.width=64", "head.projector_hidden=1024", "head.projector_out=256", "trainer.checkpoint_every=1")
SETTINGS: dict[str, Any] = {
    "data": {"image_size": 16, "split": "all"},
    "encoder": {"name": "conv4", "width": 8},
    "episode": {"batch": 8, "tasks": 2},
    "calibration": {"name": "tc2", "factors": 3, "inner_steps": 1, "adapt": "shared"},
    "views": {"recipe": "glyphs"},
    "trainer": {"steps": STEPS, "checkpoint_every": 3, "log_every": 1, "threads": 1},
}
Life = Callable[[Path], None]


@dataclass(frozen=True)
class Kind:
    """Where runs are killed.

    Args:
        name: in the results.
        config: of the run.
        prepare: what is done before the process that is killed begins; None for nothing.
        life: what the process does that is killed, and the one that resumes after it.
        when: ``when(folder, seconds, rng)`` waits for the point of the kill; `seconds` is how long an uncut life takes.
        often: whether the next process is killed too, and so on.
        ranks: processes that train together, of which one is killed.
    """

    name: str
    config: Config
    prepare: Life | None
    life: Life
    when: Callable[[Path, float, random.Random], None]
    often: bool = False
    ranks: int = 1


def start_or_resume(config: Config) -> Life:
    """As `metatc2 pretrain --auto-resume`."""

    def life(folder: Path) -> None:
        runs.resume(folder) if is_resumable(folder, config) else runs.pretrain(config, folder)

    return life


def lengthen(folder: Path) -> None:
    """As `metatc2 pretrain --resume DIR --steps N`."""
    runs.resume(folder, steps=LONGER)


def any_moment(folder: Path, seconds: float, rng: random.Random) -> None:
    """Uniformly over a life."""
    time.sleep(rng.uniform(0, seconds))


def in_write(part: str, most: float) -> Callable[[Path, float, random.Random], None]:
    """Some time after a half-written file or folder of this name is seen.

    Args:
        part: of its name.
        most: seconds.
    """

    def when(folder: Path, seconds: float, rng: random.Random) -> None:
        skipped = rng.randrange(3)
        seen: set[str] = set()
        until = time.monotonic() + 3 * seconds + 5
        while time.monotonic() < until:
            for place in (folder, folder / "checkpoint"):
                names = os.listdir(place) if place.is_dir() else ()
                new = {name for name in names if part in name and is_leftover(Path(name))} - seen
                if new and not skipped:
                    time.sleep(rng.uniform(0, most))
                    return
                skipped -= bool(new)
                seen |= new
            seen &= set(names)
            time.sleep(0.0002)

    return when


def kinds(noise: Path) -> Iterator[Kind]:
    """All kinds, on the images of a file."""
    small = merge(read_task(f"npz:{noise}"), SETTINGS, "faults")
    large = override(small, LARGE)
    yield Kind("at any moment", small, None, start_or_resume(small), any_moment)
    yield Kind("while a checkpoint is written", large, None, start_or_resume(large), in_write("step-", 0.03))
    yield Kind("while the encoder is written", large, None, start_or_resume(large), in_write(".safetensors", 0.01))
    yield Kind("while it is made longer", small, start_or_resume(small), lengthen, any_moment)
    yield Kind("again and again", small, None, start_or_resume(small), any_moment, often=True)
    yield Kind("one of two processes", small, None, start_or_resume(small), any_moment, ranks=2)


def children(life: Life, folder: Path, ranks: int) -> list[int]:
    """Begin a life in processes of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [child(life, folder, rank, ranks, port) for rank in range(ranks)]


def child(life: Life, folder: Path, rank: int, ranks: int, port: int) -> int:
    """One of them."""
    process = os.fork()
    if process:
        return process
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1), os.dup2(quiet, 2)
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        if ranks > 1:
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
            dist.init_process_group("gloo", rank=rank, world_size=ranks, timeout=timedelta(seconds=ALONE))
        life(folder)
        if rank == 0:
            (folder.parent / MODULES).write_text("\n".join(sys.modules))
        os._exit(0)
    except BaseException as error:
        folder.with_suffix(".error").write_text(f"{type(error).__name__}: {error}")
        os._exit(1)


def ended(processes: list[int], within: float) -> bool | None:
    """Whether all processes have ended well; None if one does not end in this time."""
    until = time.monotonic() + within
    left, well = list(processes), True
    while time.monotonic() < until:
        for process in list(left):
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                left.remove(process)
                well = well and os.waitstatus_to_exitcode(status) == 0
        if not left:
            return well
        time.sleep(0.002)
    for process in left:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return None


def whole(kind: Kind, life: Life, folder: Path) -> float:
    """Seconds that a life takes which is not cut."""
    began = time.monotonic()
    if not ended(children(life, folder, kind.ranks), PATIENCE):
        reason = folder.with_suffix(".error")
        sys.exit(
            f"a run that was not killed did not end: {reason.read_text() if reason.exists() else 'it took too long'}"
        )
    return time.monotonic() - began


def bits(folder: Path) -> tuple[str, list[float]]:
    """The encoder's checksum and the losses of all steps."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return runs.load_run(folder).encoder_sha256, [json.loads(line)["loss"] for line in lines]


def trial(
    kind: Kind, folder: Path, seconds: float, wanted: tuple[str, list[float]], rng: random.Random
) -> Counter[str]:
    """One run that is killed and resumed; empty where it ended before it could be killed."""
    result: Counter[str] = Counter()
    if kind.prepare is not None:
        whole(kind, kind.prepare, folder)
    while True:
        processes = children(kind.life, folder, kind.ranks)
        kind.when(folder, seconds, rng)
        victim = processes.pop(rng.randrange(kind.ranks))
        if os.waitpid(victim, os.WNOHANG)[0]:
            ended(processes, PATIENCE)
            break
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        result["others that hung"] += ended(processes, HUNG) is None
        result["kills"] += 1
        result["left half-written files"] += any(is_leftover(path) for path in folder.rglob("*"))
        result[f"then {RunFolder(folder).state.name.lower()}"] += 1
        if not kind.often:
            break
    if not result["kills"]:
        return result
    result["runs"] += 1
    end = ended(children(kind.life, folder, kind.ranks), PATIENCE)
    if not end:
        result["did not go on"] += 1
        reason = folder.with_suffix(".error")
        print(f"{kind.name}: {reason.read_text() if reason.exists() else end}", file=sys.stderr, flush=True)
        return result
    result["ended in the same bits"] += bits(folder) == wanted
    result["left files after the end"] += any(is_leftover(path) for path in folder.rglob("*"))
    return result


def row_of(kind: Kind, place: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Trials of a kind until there are enough kills."""
    reference = place / "reference"
    if kind.prepare is not None:
        whole(kind, kind.prepare, reference)
    whole(kind, kind.life, reference)
    wanted = bits(reference)
    # What a process imports while it runs need not be imported by each: this one does it, without running anything, since
    # autograd refuses to work in a process whose parent has used it.
    for name in (place / MODULES).read_text().split("\n"):
        with suppress(Exception):
            importlib.import_module(name)
    if kind.prepare is not None:
        whole(kind, kind.prepare, place / "timed")
    seconds = whole(kind, kind.life, place / "timed")
    result: Counter[str] = Counter()
    number = 0
    while result["kills"] < kills:
        number += 1
        folder = place / f"run-{number}"
        result += trial(kind, folder, seconds, wanted, rng)
        shutil.rmtree(folder, ignore_errors=True)
    fixed = (
        "kills",
        "left half-written files",
        "runs",
        "ended in the same bits",
        "did not go on",
        "others that hung",
        "left files after the end",
    )
    states = {name: result[name] for name in sorted(result) if name.startswith("then ")}
    return {"kind": kind.name, "ranks": kind.ranks, **{name: result[name] for name in fixed}, **states}


def main() -> None:
    """Kill as asked; exit status 1 if a run did not end in the same bits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=positive, default=100, help="of each kind; %(default)s by default")
    parser.add_argument("--seed", type=int, default=0, help="of the points")
    parser.add_argument("--only", nargs="+", help="these kinds; other rows of the file stay")
    parser.add_argument("--json", type=Path, help="where to write the counts")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if arguments.only and arguments.json and arguments.json.exists():
        rows = [r for r in json.loads(arguments.json.read_text())["rows"] if r["kind"] not in arguments.only]
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        noise = Path(place) / "noise.npz"
        images = np.random.default_rng(0).integers(0, 256, (24, 16, 16), dtype=np.uint8)
        np.savez(noise, images=images, labels=np.arange(24) % 4)
        for number, kind in enumerate(kinds(noise)):
            if arguments.only and kind.name not in arguments.only:
                continue
            own = Path(place) / str(number)
            own.mkdir()
            rows.append(row_of(kind, own, arguments.kills, random.Random(arguments.seed + number)))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    write_or_print(arguments.json, rows)
    sys.exit(int(any(row["ended in the same bits"] < row["runs"] or row.get("others that hung") for row in rows)))


if __name__ == "__main__":
    main()
