"""Images a second of SimCLR, views included: ours against lightly's transforms, loss and head with a `DataLoader`.

    python benchmarks/pretrain_throughput.py --json benchmarks/results/pretrain_throughput.json

Both train the same encoder from the same weights on the same images (uint8 noise in memory; lightly's as the PIL images that
its transforms take), with random crops, mirrors, colors, gray and blur of the same strengths, the same batch, head sizes,
temperature, optimizer and precision. lightly's side has as many workers as there are cores, which stay alive and draw ahead,
as in its examples; its first batches of every round, while the queue fills, are not counted, and workers go on until the last
batch that is. Rounds take the sides in random
order, and a ratio is the median over rounds of (ours / lightly's) within one. The peer is measured in the layout of its
examples and in channels-last too, which `Trainer` uses. Beside them stands the encoder's own forward and backward pass on views
that are there already, which no training can be faster than: what it leaves of a step is views, head, loss and optimizer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import interleaved, positive, quartiles, refuse, write_or_print
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from metatc2.augment import Views
from metatc2.data import ImageStore
from metatc2.experiment.build import build_learner, build_sampler, build_trainer_options
from metatc2.experiment.config import Config, override
from metatc2.models import build_encoder
from metatc2.training import Trainer

HIDDEN, OUT, TEMPERATURE, LR = 256, 128, 0.5, 1e-3
PEERS = ("lightly", "lightly, channels-last")
LIMIT = "the encoder alone"


@dataclass(frozen=True)
class Case:
    """An encoder at the size it is measured at, and how many batches a round takes."""

    encoder: str
    width: int
    image_size: int
    batch: int
    steps: int
    rounds: int


CASES = (Case("conv4", 64, 28, 256, 4, 7), Case("resnet18", 64, 32, 64, 2, 5))


@dataclass(frozen=True)
class Place:
    """Where both sides run: device, precision as Lightning Fabric names it, and processes that make lightly's views."""

    device: str = "cpu"
    precision: str = "32-true"
    workers: int = 2


def images(case: Case, count: int = 4096) -> Tensor:
    """Noise, the same for both sides, uint8."""
    shape = (count, 3, case.image_size, case.image_size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Ours:
    """Sampler and `Trainer`, as a run has them; nothing of it works ahead."""

    def __init__(self, case: Case, place: Place, pictures: Tensor) -> None:
        config = override(
            Config(),
            [
                "learner.name=ssl",
                "calibration.name=none",
                "regularizer.name=none",
                "objective.name=simclr",
                f"objective.temperature={TEMPERATURE}",
                "views.recipe=natural",
                "episode.tasks=1",
                f"episode.batch={case.batch}",
                "data.split=all",
                f"head.projector_hidden={HIDDEN}",
                f"head.projector_out={OUT}",
                f"trainer.accelerator={place.device}",
                f"trainer.precision={place.precision}",
                f"trainer.lr={LR}",
                "trainer.steps=100000",
            ],
        )
        store = ImageStore("noise", pictures, torch.zeros(len(pictures), dtype=torch.int64))
        learner = build_learner(config, 3, case.image_size, fresh_encoder(case))
        self.sampler = build_sampler(config, store, place.device)
        self.trainer = Trainer(learner, self.sampler, build_trainer_options(config))
        self.place, self.steps, self.step = place, case.steps, 0

    def seconds(self) -> float:
        """Of `steps` steps."""
        start = now(self.place)
        for _ in range(self.steps):
            self.trainer.train_step(self.step, self.sampler.sample().to(self.trainer.fabric.device))
            self.step += 1
        return now(self.place) - start


class Pictures(Dataset[Any]):
    """PIL images and what a transform makes of them."""

    def __init__(self, pictures: Tensor, transform: Callable[[Any], list[Tensor]]) -> None:
        from PIL import Image

        self.images = [Image.fromarray(picture) for picture in pictures.permute(0, 2, 3, 1).numpy()]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> list[Tensor]:
        return self.transform(self.images[i])


class Lightly:
    """As in lightly's example of SimCLR."""

    def __init__(self, case: Case, place: Place, pictures: Tensor, *, last: bool) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import SimCLRProjectionHead

        self.place, self.steps, self.layout = (
            place,
            case.steps,
            torch.channels_last if last else torch.contiguous_format,
        )
        self.encoder: Any = fresh_encoder(case).to(place.device, memory_format=self.layout)
        self.head = SimCLRProjectionHead(self.encoder.dim, HIDDEN, OUT).to(place.device)
        self.loss = NTXentLoss(temperature=TEMPERATURE)
        self.optimizer = torch.optim.AdamW([*self.encoder.parameters(), *self.head.parameters()], lr=LR)
        self.ahead = 2 * max(1, place.workers)
        dataset = Pictures(pictures, transform(case.image_size))
        # As much is asked for beyond what is timed: otherwise workers would rest while the last batches are trained on.
        asked = (self.steps + 2 * self.ahead) * case.batch
        self.loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=case.batch,
            sampler=RandomSampler(dataset, replacement=True, num_samples=asked),
            num_workers=place.workers,
            persistent_workers=place.workers > 0,
            pin_memory=place.device == "cuda",
            drop_last=True,
        )

    def seconds(self) -> float:
        """Of `steps` steps, when the workers have filled their queue, and while they go on."""
        batches: Iterator[Any] = iter(self.loader)
        for _ in range(self.ahead):
            self._step(*next(batches))
        start = now(self.place)
        for _ in range(self.steps):
            self._step(*next(batches))
        seconds = now(self.place) - start
        for _ in batches:  # workers stay alive for the next round, which begins with an empty queue
            pass
        return seconds

    def _step(self, first: Tensor, second: Tensor) -> None:
        half = torch.autocast(self.place.device, torch.bfloat16, enabled=self.place.precision == "bf16-mixed")
        with half:
            z1, z2 = (
                self.head(self.encoder(x.to(self.place.device, non_blocking=True, memory_format=self.layout)))
                for x in (first, second)
            )
            loss = self.loss(z1, z2)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


class EncoderAlone:
    """Forward and backward pass of the encoder on the same views again and again, as `Trainer` runs it."""

    def __init__(self, case: Case, place: Place, pictures: Tensor) -> None:
        self.place, self.steps = place, case.steps
        layout = torch.channels_last
        self.encoder: Any = fresh_encoder(case).to(place.device, memory_format=layout)
        views = torch.cat([pictures[: case.batch]] * 2).to(place.device).float() / 255
        self.views = views.contiguous(memory_format=layout)

    def seconds(self) -> float:
        """Of `steps` steps."""
        start = now(self.place)
        for _ in range(self.steps):
            with torch.autocast(self.place.device, torch.bfloat16, enabled=self.place.precision == "bf16-mixed"):
                features = self.encoder(self.views)
            features.float().square().mean().backward()
            self.encoder.zero_grad(set_to_none=True)
        return now(self.place) - start


def transform(image_size: int) -> Any:
    """lightly's, with the strengths of our recipe "natural"; our encoders normalize by themselves."""
    from lightly.transforms.simclr_transform import SimCLRTransform

    like = Views.natural()
    return SimCLRTransform(
        input_size=image_size,
        cj_prob=like.jitter,
        cj_strength=1.0,
        cj_bright=like.brightness,
        cj_contrast=like.contrast,
        cj_sat=like.saturation,
        cj_hue=like.hue,
        min_scale=like.crop_scale[0],
        random_gray_scale=like.grayscale,
        gaussian_blur=like.blur,
        sigmas=like.blur_sigma,
        hf_prob=like.flip,
        normalize=None,
    )


def fresh_encoder(case: Case) -> Any:
    """The same weights for all sides."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_encoder(case.encoder, channels=3, image_size=case.image_size, width=case.width)


def now(place: Place) -> float:
    """The clock, when the device has done what it was asked for."""
    if place.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def measured(case: Case, place: Place, count: int = 4096) -> list[dict[str, Any]]:
    """A row for each peer, and one for the limit."""
    pictures = images(case, count)
    sides: dict[str, Ours | Lightly | EncoderAlone] = {"ours": Ours(case, place, pictures)}
    sides |= {LIMIT: EncoderAlone(case, place, pictures)}
    sides |= {name: Lightly(case, place, pictures, last="last" in name) for name in PEERS}
    # The first round starts workers and warms up.
    result = interleaved(sides, lambda name: sides[name].seconds(), case.rounds, warm_up=1)
    rows = []
    speed = {name: [case.batch * case.steps / s for s in seconds] for name, seconds in result.items()}
    for peer in (*PEERS, LIMIT):
        ratios = [a / b for a, b in zip(speed["ours"], speed[peer], strict=True)]
        rows.append(
            {
                "encoder": case.encoder,
                "width": case.width,
                "image": f"3x{case.image_size}x{case.image_size}",
                "batch": case.batch,
                "device": place.device,
                "precision": place.precision,
                "peer": peer,
                "workers": 0 if peer == LIMIT else place.workers,
                "ours_over_peer": round(statistics.median(ratios), 3),
                "ratio_quartiles": quartiles(ratios),
                "rounds": case.rounds,
                "ours_images_per_second": round(statistics.median(speed["ours"]), 1),
                "peer_images_per_second": round(statistics.median(speed[peer]), 1),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16 itself; others emulate it."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def main() -> None:
    """Measure every case and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--encoder", nargs="+", default=[case.encoder for case in CASES])
    parser.add_argument("--rounds", type=positive, help="in place of each encoder's own")
    arguments = parser.parse_args()
    try:
        import lightly  # noqa: F401  # the peer is there
    except ImportError:
        refuse("lightly is not installed; pip install -r requirements-dev.txt")
    warnings.filterwarnings("ignore", category=UserWarning, module="torchvision|lightly")
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    precisions = ["32-true", *(["bf16-mixed"] if has_bfloat16() else [])]
    rows = []
    for case in CASES:
        if case.encoder in arguments.encoder:
            case = Case(**{**vars(case), "rounds": arguments.rounds or case.rounds})
            for precision in precisions:
                rows += measured(case, Place("cpu", precision, cores))
    write_or_print(arguments.json, rows)


if __name__ == "__main__":
    main()
