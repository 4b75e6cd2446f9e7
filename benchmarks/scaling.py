"""How time and memory of a step of TC² grow with tasks, factors, inner steps, batch and ranks.

    python benchmarks/scaling.py --json benchmarks/results/scaling.json

One quantity at a time is doubled, the others stay. Slopes are fitted to the logarithms of medians over rounds, in which all
sizes take a step in random order: 1 is linear, 0 is "costs nothing". Memory is the most bytes of tensors alive at once in a
step (torch's record of allocations, the same every time). Ranks are two processes of one thread each, which talk by gloo; one
of them takes the whole step alone in turn with both together. What they say to each other is counted where torch.distributed
is called, and compared with what the page says of it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from common import interleaved, positive, quartiles, tensor_peak, timed, write_or_print
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from metatc2.episodes import Episode, FromIterable, Samples
from metatc2.experiment.build import build_learner, build_trainer_options
from metatc2.experiment.config import Config, override
from metatc2.training import Trainer

CHANNELS, IMAGE, WIDTH = 1, 28, 32


@dataclass(frozen=True)
class Size:
    """What a step is made of; `batch` images of all tasks together, in two views."""

    tasks: int = 4
    factors: int = 8
    inner_steps: int = 2
    batch: int = 64


#: What is doubled. Tasks are cut of one batch of 128, so that they add no images.
AXES: dict[str, list[Size]] = {
    "tasks": [Size(tasks=n, batch=128) for n in (2, 4, 8, 16)],
    "factors": [Size(factors=n) for n in (4, 8, 16)],
    "inner steps": [Size(inner_steps=n) for n in (1, 2, 4, 8)],
    "batch": [Size(batch=n) for n in (32, 64, 128, 256)],
}


def trainer(size: Size, *, plain: bool = False) -> Trainer:
    """Conv-4 under TC², each task with weights of its own; or the plain objective within each task."""
    method = ["calibration.name=tasks"] if plain else ["calibration.name=tc2"]
    method += [] if plain else [f"calibration.factors={size.factors}", f"calibration.inner_steps={size.inner_steps}"]
    config = override(
        Config(),
        [
            "learner.name=ssl",
            "encoder.name=conv4",
            f"encoder.width={WIDTH}",
            f"episode.tasks={size.tasks}",
            f"episode.batch={size.batch}",
            "trainer.accelerator=cpu",
            "trainer.precision=32-true",
            "trainer.steps=100000",
            *method,
        ],
    )
    learner = build_learner(config, CHANNELS, IMAGE)
    return Trainer(learner, FromIterable([]), build_trainer_options(config))


def episode(size: Size) -> Episode:
    """Noise."""
    g = torch.Generator().manual_seed(0)
    samples = size.batch // size.tasks
    images = torch.rand(size.tasks, samples, 2, CHANNELS, IMAGE, IMAGE, generator=g)
    index = torch.arange(size.batch).view(size.tasks, samples)
    half = samples // 2
    support, query = (Samples(images[:, part], None, None, index[:, part]) for part in (slice(half), slice(half, None)))
    return Episode(support, query)


def slope(sizes: list[int], values: list[float]) -> float:
    """Of a straight line by least squares through the logarithms.

    >>> round(slope([1, 2, 4], [3.0, 6.0, 12.0]), 6)
    1.0
    """
    x, y = [math.log(s) for s in sizes], [math.log(v) for v in values]
    return float(statistics.linear_regression(x, y).slope)


def along(axis: str, sizes: list[Size], rounds: int) -> dict[str, Any]:
    """Time and memory along one axis, and their slopes."""
    values = [getattr(size, axis.replace(" ", "_")) for size in sizes]
    steps = {value: step_of(trainer(size), episode(size)) for value, size in zip(values, sizes, strict=True)}
    times = interleaved(steps, lambda name: timed(steps[name]), rounds, warm_up=1)
    seconds = [statistics.median(times[value]) for value in values]
    memory = [tensor_peak(steps[value]) for value in values]
    by_round = [slope(values, [times[value][i] for value in values]) for i in range(rounds)]
    return {
        "axis": axis,
        "values": values,
        "fixed": {k: v for k, v in vars(sizes[0]).items() if k != axis.replace(" ", "_")},
        "seconds": [round(s, 5) for s in seconds],
        "time_slope": round(slope(values, seconds), 3),
        "time_slope_quartiles": quartiles(by_round),
        "tensors_mb": [round(m / 1e6, 2) for m in memory],
        "memory_slope": round(slope(values, [float(m) for m in memory]), 3),
        "rounds": rounds,
    }


def step_of(made: Trainer, data: Episode) -> Callable[[], object]:
    """A step again and again; the learning rate stays that of the warm-up."""
    return lambda: made.train_step(0, data)


def share_after_encoder(size: Size, rounds: int) -> dict[str, Any]:
    """Share of a step's time that is not the encoder's forward and backward pass: what every rank computes."""
    sides: dict[str, Callable[[], object]] = {}
    data = episode(size)
    for name in ("plain", "TC²"):
        made = trainer(size, plain=name == "plain")
        sides[name] = step_of(made, data)
    encoder, images = made.learner.get_submodule("encoder"), data.images.flatten(0, 2)

    def alone() -> None:
        encoder(images).square().mean().backward()
        encoder.zero_grad(set_to_none=True)

    sides = {**sides, "encoder": alone}
    times = interleaved(sides, lambda name: timed(sides[name]), rounds, warm_up=1)
    shares = {
        name: [1 - e / s for e, s in zip(times["encoder"], times[name], strict=True)] for name in ("plain", "TC²")
    }
    return {
        "axis": "after the encoder",
        "fixed": vars(size),
        "plain_share": round(statistics.median(shares["plain"]), 3),
        "tc2_share": round(statistics.median(shares["TC²"]), 3),
        "tc2_share_quartiles": quartiles(shares["TC²"]),
        "rounds": rounds,
    }


class Messages(TorchDispatchMode):
    """Counts the bytes that a process hands to torch.distributed, by kind of message, above 1 kB a message."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: dict[str, int] = {}

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operation.namespace == "c10d":
            # Of a gather what is received, of a sum over ranks what is summed: the first argument of both.
            sent = sum(t.nbytes for t in tree_leaves(args[0]) if isinstance(t, torch.Tensor))
            kind = operation.__name__.partition(".")[0].strip("_")
            self.bytes[kind] = self.bytes.get(kind, 0) + sent
        return operation(*args, **(kwargs or {}))


def expected_bytes(size: Size, made: Trainer, ranks: int) -> dict[str, int]:
    """What the page "what a step moves and computes" says, without the few bytes of counts and flags."""
    encoder = made.learner.get_submodule("encoder")
    norms = [m.num_features for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    features = 2 * size.batch * WIDTH
    trained = sum(p.numel() for group in made.groups for p in group.parameters)
    # The first block normalizes by the moments of parts of the images, which have no gradient.
    part, others = 16 * CHANNELS, sum(norms[1:])
    gathered = features + ranks * (part * (part + 2) + 3 * others)
    return {"allgather": 4 * gathered, "allreduce": 4 * (features + 2 * others + trained)}


def on_ranks(rank: int, count: int, port: int, size: Size, rounds: int, path: str) -> None:
    """One process of `count`; the first writes what was measured."""
    torch.set_num_threads(1)
    alone, data = trainer(size), episode(size)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=count, timeout=timedelta(minutes=5))
    joint = trainer(size)
    own = data.part(joint.ranks.part(size.tasks))
    whole, parts = step_of(alone, data), step_of(joint, own)
    seconds: dict[str, list[float]] = {"one": [], "all": []}
    for i in range(-1, rounds):
        for name in ("one", "all") if i % 2 else ("all", "one"):
            joint.ranks.wait()
            start = time.perf_counter()
            if name == "all":
                parts()
            elif rank == 0:
                whole()
            joint.ranks.wait()
            if i >= 0:
                seconds[name].append(time.perf_counter() - start)
    with Messages() as messages:
        parts()
    memory = tensor_peak(parts)
    if rank == 0:
        result = {
            "seconds": seconds,
            "tensors": [tensor_peak(whole), memory],
            "bytes": messages.bytes,
            "expected": expected_bytes(size, joint, count),
        }
        Path(path).write_text(json.dumps(result))
    joint.ranks.wait()
    dist.destroy_process_group()


def along_ranks(size: Size, rounds: int, folder: Path) -> dict[str, Any]:
    """One process against two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = folder / "ranks.json"
    mp.spawn(on_ranks, (2, port, size, rounds, str(path)), nprocs=2)  # type: ignore[attr-defined, no-untyped-call]
    result = json.loads(path.read_text())
    one, two = result["seconds"]["one"], result["seconds"]["all"]
    ratios = [b / a for a, b in zip(one, two, strict=True)]
    ranks = [1, 2]
    return {
        "axis": "ranks",
        "values": ranks,
        "fixed": vars(size),
        "seconds": [round(statistics.median(s), 5) for s in (one, two)],
        "time_slope": round(slope(ranks, [1.0, statistics.median(ratios)]), 3),
        "time_slope_quartiles": quartiles([math.log2(r) for r in ratios]),
        "tensors_mb": [round(m / 1e6, 2) for m in result["tensors"]],
        "memory_slope": round(slope(ranks, result["tensors"]), 3),
        "rounds": rounds,
        "bytes": result["bytes"],
        "expected_bytes": result["expected"],
    }


def main() -> None:
    """Measure every axis and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--rounds", type=positive, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        ranks = along_ranks(replace(Size(), batch=256), arguments.rounds, Path(folder))
    for axis, sizes in AXES.items():
        rows.append(along(axis, sizes, arguments.rounds))
        print(json.dumps(rows[-1]), flush=True)
    rows += [ranks, share_after_encoder(replace(Size(), batch=256), arguments.rounds)]
    for row in rows[-2:]:
        print(json.dumps(row), flush=True)
    write_or_print(arguments.json, rows)


if __name__ == "__main__":
    main()
