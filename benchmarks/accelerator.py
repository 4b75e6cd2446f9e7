"""What can only be measured on an accelerator: parity with the CPU, precision, layout, compilation, cost of TC², lightly.

    python benchmarks/accelerator.py --json benchmarks/results/accelerator.json      # under three minutes
    python benchmarks/accelerator.py --device cpu --tiny                             # does it run? its numbers mean nothing

Parts, which `--part` chooses:

* parity: ten steps of eight learners on the CPU and on the device, on the same episodes from the same start, in double
  precision (a wrong derivative or a device mixed up shows) and in single (what a user sees); TF32 is off.
* modes: a step of SimCLR with torchvision's ResNet-18 in single precision, contiguous and channels-last, in bfloat16, and in
  bfloat16 with the encoder compiled; how far the losses of ten steps are from those in single precision.
* cost: a step of TC² and of the plain objective, on ResNet-18 and ResNet-50 at 224 px in bfloat16, making the views on the
  device included; the share of its time that is not the encoder's forward and backward pass (goal: at most 10 %).
* lightly: images a second beside lightly's transforms, loss and head with a `DataLoader`, as `pretrain_throughput.py` has it.

Everything that is compared takes its turns in one run, in random order; a ratio is the median over rounds within one round.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pretrain_throughput as beside_lightly
import torch
import torchvision
from common import interleaved, quartiles, refuse, timed, write_or_print
from torch import Tensor, nn

from metatc2.data import ImageStore
from metatc2.episodes import Episode, Sampler
from metatc2.experiment.build import build_learner, build_sampler, build_trainer_options
from metatc2.experiment.config import Config, override
from metatc2.training import Trainer

STEPS = 10
SSL = ("learner.name=ssl", "regularizer.name=none", "views.recipe=natural")
FEW_SHOT = ("episode.way=5", "episode.shot=1", "episode.query=3", "episode.meta_batch=4", "calibration.name=none")
PLAIN = "calibration.name=none"
LEARNERS: dict[str, tuple[str, ...]] = {
    "SimCLR": (*SSL, "objective.name=simclr", PLAIN),
    "MoCo": (*SSL, "objective.name=moco", "objective.queue=256", PLAIN),
    "BYOL": (*SSL, "objective.name=byol", PLAIN),
    "Barlow Twins": (*SSL, "objective.name=barlow", PLAIN),
    "TC²": (*SSL, "objective.name=simclr", "calibration.name=tc2", "calibration.factors=8"),
    "shared TC²": (*SSL, "objective.name=simclr", "calibration.name=tc2", "calibration.adapt=shared", "calibration.factors=8"),
    "MAML": ("learner.name=maml", *FEW_SHOT),
    "ProtoNet": ("learner.name=protonet", *FEW_SHOT),
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """Sizes of everything; `tiny` tries the script out."""

    image_size: int = 224
    batch: int = 128
    tasks: int = 4
    rounds: int = 11
    pictures: int = 512
    encoders: tuple[str, ...] = ("resnet18", "resnet50")
    width: int = 64
    parity_width: int = 32
    parity_batch: int = 64
    lightly: tuple[beside_lightly.Case, ...] = (
        beside_lightly.Case("resnet18", 64, 32, 512, 20, 5),
        beside_lightly.Case("resnet50", 64, 224, 128, 8, 3),
    )


TINY = Scale(
    image_size=32,
    batch=8,
    tasks=2,
    rounds=1,
    pictures=40,
    encoders=("resnet18",),
    width=4,
    parity_width=12,
    parity_batch=16,
    lightly=(beside_lightly.Case("resnet18", 4, 32, 8, 2, 1),),
)


class Bench:
    """Trainers, clocks and memory of one device.

    Args:
        device: ``"cuda"`` or ``"cpu"``.
        scale: sizes.
    """

    def __init__(self, device: str, scale: Scale) -> None:
        self.device, self.scale = device, scale

    def config(self, *settings: str, device: str | None = None) -> Config:
        """Of a run on the device, or on another one."""
        common = (
            "data.split=all",
            f"trainer.accelerator={device or self.device}",
            "trainer.steps=1000",
            "trainer.warmup=0.0",
        )
        return override(Config(), [*common, *settings])

    def store(self, size: int, classes: int = 8) -> ImageStore:
        """Noise with a class in it."""
        g = torch.Generator().manual_seed(0)
        count = self.scale.pictures
        images = torch.randint(0, 256, (count, 3, size, size), generator=g, dtype=torch.uint8)
        return ImageStore("noise", images, torch.arange(count) % classes)

    def now(self) -> float:
        """The clock, when the device has done what it was asked for."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def interleaved(self, sides: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
        """Seconds of each side, round by round, in random order within a round; two rounds warm up."""
        return interleaved(sides, lambda name: timed(sides[name], self.now), self.scale.rounds, warm_up=2)

    def peak_mb(self, run: Callable[[], object]) -> float | None:
        """Most memory that the device has in tensors during a call, in MB; None on the CPU."""
        if self.device != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)


def parity(bench: Bench) -> list[dict[str, Any]]:
    """How far ten steps on the device end from those on the CPU, relative to how far they went."""
    rows = []
    store = bench.store(28)
    sizes = ("encoder.name=conv4", f"encoder.width={bench.scale.parity_width}", "data.image_size=28")
    for name, settings in LEARNERS.items():
        of_batch = (f"episode.batch={bench.scale.parity_batch}", f"episode.tasks={bench.scale.tasks}")
        cut = of_batch if "learner.name=ssl" in settings else ()
        row: dict[str, Any] = {"part": "parity", "learner": name, "steps": STEPS}
        for precision, dtype in (("float64", torch.float64), ("float32", torch.float32)):
            sampler = build_sampler(bench.config(*sizes, *cut, *settings), store)
            episodes = [_as(sampler.sample(), dtype) for _ in range(STEPS)]
            ends, losses = [], []
            for device in ("cpu", bench.device):
                config = bench.config(*sizes, *cut, *settings, device=device)
                made = _trainer(config, bench, 28, dtype=dtype)
                before = _parameters(made)
                losses.append([_step(made, i, episode) for i, episode in enumerate(episodes)])
                ends.append((before, _parameters(made)))
            (start, one), (_, other) = ends
            row[f"{precision}_distance"] = float(f"{float((one - other).norm() / (one - start).norm()):.2e}")
            row[f"{precision}_loss"] = _apart(*losses)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def modes(bench: Bench) -> list[dict[str, Any]]:
    """Precision, layout and compilation of an encoder that is torchvision's own."""
    scale = bench.scale
    # One task and no calibration: what is left is the encoder.
    settings = (*LEARNERS["SimCLR"], "episode.tasks=1", f"episode.batch={scale.batch}")
    shape = (f"data.image_size={scale.image_size}",)
    start = torchvision.models.resnet18(num_classes=64)
    sampler = build_sampler(bench.config(*settings, *shape), bench.store(scale.image_size), bench.device)
    episodes = [sampler.sample() for _ in range(STEPS)]

    def made(precision: str, *, contiguous: bool = False, compiled: bool = False) -> Trainer:
        encoder = copy.deepcopy(start)
        config = bench.config(*settings, *shape, f"trainer.precision={precision}")
        trainer = _trainer(config, bench, scale.image_size, encoder)
        if compiled:
            trainer.learner.get_submodule("encoder").compile()
        if contiguous:
            trainer.learner.to(memory_format=torch.contiguous_format)
        return trainer

    trainers = {
        "float32, contiguous": made("32-true", contiguous=True),
        "float32": made("32-true"),
        "bfloat16": made("bf16-mixed"),
        "bfloat16, compiled": made("bf16-mixed", compiled=True),
    }
    losses = {name: [_step(t, i, e) for i, e in enumerate(episodes)] for name, t in trainers.items()}
    times = bench.interleaved({name: _again(t, episodes[0]) for name, t in trainers.items()})
    rows = []
    for name, trainer in trainers.items():
        ratios = [a / b for a, b in zip(times["float32"], times[name], strict=True)]
        rows.append(
            {
                "part": "modes",
                "encoder": "torchvision resnet18",
                "image": f"3x{scale.image_size}x{scale.image_size}",
                "batch": scale.batch,
                "mode": name,
                "faster_than_float32": round(statistics.median(ratios), 3),
                "ratio_quartiles": quartiles(ratios),
                "rounds": scale.rounds,
                "images_per_second": round(scale.batch / statistics.median(times[name]), 1),
                "loss_distance": _apart(losses["float32"], losses[name]),
                "memory_mb": bench.peak_mb(_again(trainer, episodes[0])),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def cost(bench: Bench) -> list[dict[str, Any]]:
    """TC² over plain, and what is not the encoder, views included."""
    scale, rows = bench.scale, []
    for encoder in scale.encoders:
        settings = (
            *SSL,
            "objective.name=simclr",
            f"encoder.name={encoder}",
            f"encoder.width={scale.width}",
            f"data.image_size={scale.image_size}",
            f"episode.tasks={scale.tasks}",
            f"episode.batch={scale.batch}",
            "trainer.precision=bf16-mixed",
        )
        plain = bench.config(*settings, "calibration.name=tasks")
        tc2 = bench.config(*settings, "calibration.name=tc2", *(["calibration.factors=8"] if scale.width < 64 else []))
        sampler = build_sampler(plain, bench.store(scale.image_size), bench.device)
        trainers = {name: _trainer(c, bench, scale.image_size) for name, c in (("plain", plain), ("TC²", tc2))}
        sides: dict[str, Callable[[], object]] = {name: _with_views(t, sampler) for name, t in trainers.items()}
        ready = sampler.sample()
        sides["views"] = sampler.sample
        sides["encoder"] = _encoder_alone(trainers["plain"], ready.images.flatten(0, 2))
        times = bench.interleaved(sides)
        shares = {n: [1 - e / s for e, s in zip(times["encoder"], times[n], strict=True)] for n in trainers}
        without = [(t - v) / (p - v) for t, p, v in zip(times["TC²"], times["plain"], times["views"], strict=True)]
        rows.append(
            {
                "part": "cost",
                "encoder": encoder,
                "width": scale.width,
                "image": f"3x{scale.image_size}x{scale.image_size}",
                "batch": scale.batch,
                "tasks": scale.tasks,
                "precision": "bf16-mixed",
                "tc2_over_plain": round(statistics.median(without), 3),
                "ratio_quartiles": quartiles(without),
                "rounds": scale.rounds,
                "seconds": {name: round(statistics.median(s), 5) for name, s in times.items()},
                "plain_share_outside_encoder": round(statistics.median(shares["plain"]), 3),
                "tc2_share_outside_encoder": round(statistics.median(shares["TC²"]), 3),
                "memory_mb": {name: bench.peak_mb(sides[name]) for name in trainers},
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def lightly(bench: Bench) -> list[dict[str, Any]]:
    """Images a second beside lightly's."""
    try:
        import lightly  # noqa: F401  # the peer is there
    except ImportError:
        refuse("lightly is not installed; pip install -r requirements-dev.txt, or leave it out with --part")
    rows = []
    workers = min(16, len(os.sched_getaffinity(0)))
    place = beside_lightly.Place(bench.device, "bf16-mixed" if bench.device == "cuda" else "32-true", workers)
    for case in bench.scale.lightly:
        rows += [{"part": "lightly", **row} for row in beside_lightly.measured(case, place, bench.scale.pictures)]
    return rows


def _trainer(
    config: Config, bench: Bench, size: int, encoder: nn.Module | None = None, dtype: torch.dtype = torch.float32
) -> Trainer:
    learner = build_learner(config, 3, size, encoder).to(dtype)
    return Trainer(learner, build_sampler(config, bench.store(size)), build_trainer_options(config))


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    """Largest difference of two courses of the loss, relative to it where it is above 1."""
    return float(f"{max(abs(a - b) / max(abs(a), 1.0) for a, b in zip(one, other, strict=True)):.2e}")


def _step(made: Trainer, step: int, episode: Episode) -> float:
    return float(made.train_step(step, episode.to(made.fabric.device)).loss.detach())


def _again(made: Trainer, episode: Episode) -> Callable[[], object]:
    ready = episode.to(made.fabric.device)
    return lambda: made.train_step(0, ready)


def _with_views(made: Trainer, sampler: Sampler) -> Callable[[], object]:
    return lambda: made.train_step(0, sampler.sample())


def _as(episode: Episode, dtype: torch.dtype) -> Episode:
    def as_asked(t: Tensor) -> Tensor:
        return t.to(dtype) if t.is_floating_point() else t

    return Episode(episode.support.map(as_asked), episode.query.map(as_asked), episode.identity)


def _parameters(made: Trainer) -> Tensor:
    return torch.cat([p.detach().double().cpu().flatten() for g in made.groups for p in g.parameters])


def _encoder_alone(made: Trainer, images: Tensor) -> Callable[[], None]:
    encoder = made.learner.get_submodule("encoder")

    def run() -> None:
        with made.fabric.autocast():
            features = encoder(images)
        features.float().square().mean().backward()
        encoder.zero_grad(set_to_none=True)

    return run


PARTS: dict[str, Callable[[Bench], list[dict[str, Any]]]] = {
    "parity": parity,
    "modes": modes,
    "cost": cost,
    "lightly": lightly,
}


def main(words: Sequence[str] | None = None) -> None:
    """Measure every part and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument(
        "--device", choices=["cuda", "cpu"], help="by default the accelerator; cpu tries the script out"
    )
    parser.add_argument("--tiny", action="store_true", help="sizes of which the numbers mean nothing")
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    arguments = parser.parse_args(words)
    if arguments.device != "cpu" and not torch.cuda.is_available():
        refuse(
            "there is no accelerator here (torch.cuda.is_available() is False); --device cpu --tiny tries the script out"
        )
    warnings.filterwarnings("ignore", category=UserWarning, module="torchvision|lightly|torch._inductor")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    bench = Bench(arguments.device or "cuda", TINY if arguments.tiny else Scale())
    rows = [row for part in arguments.part for row in PARTS[part](bench)]
    write_or_print(arguments.json, rows)


if __name__ == "__main__":
    main()
