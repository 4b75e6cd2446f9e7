"""Ten short runs with fixed settings: what their encoders and rows come out as. Held still while the code around them moves.

python tests/golden/golden.py --write FILE    # numbers and checksums of this machine
python tests/golden/golden.py --check FILE    # the same bits again? exit status 1 if not

On one machine the bits are the same from run to run; on another processor sums are rounded otherwise, so `test_golden.py` looks
at the committed numbers with a tolerance.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from metatc2.experiment.config import Config, override, read_task
from metatc2.experiment.run import Run, TrainingStopped, pretrain, resume
from metatc2.experiment.transfer import transfer
from metatc2.transfer.protocols.options import protocol_options

COMMON = (
    "encoder.width=8",
    "trainer.steps=3",
    "trainer.precision=32-true",
    "trainer.threads=1",
    "trainer.seed=0",
)
DIGITS = ("data.image_size=16", "episode.batch=32")
SHAPES = ("data.image_size=16", "episode.tasks=4", "episode.batch=32")
LABELED = ("data.image_size=16", "episode.way=3", "episode.shot=2", "episode.query=2")
#: Task file and settings of each run.
RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "simclr": ("digits", DIGITS),
    "byol": ("digits", (*DIGITS, "objective.name=byol")),
    "barlow": ("digits", (*DIGITS, "objective.name=barlow")),
    "vicreg": ("digits", (*DIGITS, "objective.name=vicreg")),
    "moco": ("digits", (*DIGITS, "objective.name=moco")),
    "simclr+isotropy": ("shapes", (*SHAPES, "regularizer.name=isotropy")),
    "tc2": ("shapes", (*SHAPES, "calibration.name=tc2", "episode.tasks_differ_by=factor")),
    "tc2 shared": ("shapes", (*SHAPES, "calibration.name=tc2", "calibration.adapt=shared", "calibration.weights=task")),
    "maml unroll": ("digits", (*LABELED, "learner.name=maml", "learner.adjoint=unroll")),
    "maml recompute": ("digits", (*LABELED, "learner.name=maml", "learner.adjoint=recompute")),
    "maml first-order": ("digits", (*LABELED, "learner.name=maml", "learner.adjoint=first-order")),
    "protonet": ("digits", (*LABELED, "learner.name=protonet")),
}
PROTOCOLS = (
    "few-shot",
    "knn",
    "linear",
    "linear-sgd",
    "fine-tune",
    "semi-supervised",
    "retrieval",
    "corruption",
)
#: Run whose encoder goes through every protocol, on its own source and on an archive of stripes.
JUDGED = "simclr"


def configuration(name: str) -> Config:
    """Of one run."""
    task, settings = RUNS[name]
    return override(read_task(task), [*COMMON, *settings], where=name)


def facts(run: Run) -> dict[str, Any]:
    """Checksum of an encoder, and numbers that say the same with a tolerance."""
    tensors = [parameter.detach().double() for parameter in run.encoder.parameters()]
    return {
        "sha256": run.encoder_sha256,
        "norms": [float(tensor.norm()) for tensor in tensors],
        "features": _features(run.encoder, run.channels, run.image_size),
    }


def _features(encoder: nn.Module, channels: int, size: int) -> list[float]:
    images = torch.linspace(0, 1, 4 * channels * size * size).view(4, channels, size, size)
    with torch.no_grad():
        found: torch.Tensor = encoder(images)
    return [float(value) for value in found.double().mean(1)]


def rows(run: Run, folder: Path, *protocols: str) -> dict[str, float]:
    """Mean of every row of some protocols, by its key."""
    settings: Mapping[str, Any] = {"ways": (3,), "shots": (1,), "query": 5, "episodes": 20, "steps": 2}
    np.savez(folder / "stripes.npz", **stripes())
    known = {option for protocol in protocols for option in protocol_options(protocol).model_fields}
    settings = {option: value for option, value in settings.items() if option in known}
    with contextlib.chdir(folder):  # the name of a target seeds its episodes
        found = transfer(run, targets=("digits:meta-test", "npz:stripes.npz"), protocols=protocols, **settings)
    return {row.key: row.mean for row in found}


def stripes() -> dict[str, Any]:
    """Five classes of 40 gray images: stripes of several widths, with noise."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 40)
    across = np.arange(16)
    pattern = 127 * (1 + np.sin(across[None, :] * (labels[:, None] + 1) / 2 + generator.uniform(0, 6, (200, 1))))
    images = pattern[:, None, None, :] + generator.normal(0, 40, (200, 1, 16, 16))
    return {"images": images.clip(0, 255).astype(np.uint8), "labels": labels}


def made(folder: Path) -> dict[str, Any]:
    """Everything, by the name of the run."""
    found: dict[str, Any] = {}
    for name in RUNS:
        run = pretrain(configuration(name), folder / name)
        found[name] = facts(run)
        if name == JUDGED:
            found[name]["rows"] = rows(run, folder, *PROTOCOLS)
    found["simclr, cut after two steps and resumed"] = cut_and_resumed(folder)
    return found


def cut_and_resumed(folder: Path) -> dict[str, Any]:
    """Facts of the judged run, stopped after two steps and gone on with."""
    asked = [0]

    def stop() -> bool:
        asked[0] += 1
        return asked[0] > 2

    path = folder / "cut"
    _cut(lambda: pretrain(configuration(JUDGED), path, stop=stop))
    return facts(resume(path))


def _cut(start: Callable[[], Run]) -> None:
    try:
        start()
    except TrainingStopped:
        return
    raise AssertionError("the run was not cut")


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--check", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = made(Path(folder))
    if given.write:
        given.write.write_text(json.dumps(found, indent=1) + "\n")
    if given.check:
        expected = json.loads(given.check.read_text())
        wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
        for name in wrong:
            print(f"{name}: {expected.get(name)} expected, {found.get(name)} now", file=sys.stderr)
        print(f"{len(found) - len(wrong)} of {len(found)} runs have the same bits")
        sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
