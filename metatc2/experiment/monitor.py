"""The monitor: coding rate reduction of every stage while an encoder is trained, beside the accuracy of neighbors.

A fall of it in late stages was read as memorization (Qiang et al. 2024, arXiv 2410.00772). What is measured is late-layer
specialization; see ``docs/umm.md`` for evidence against the reading.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.data import ImageStore
from metatc2.errors import InputError
from metatc2.experiment.config import CodingRateMonitor, Config
from metatc2.experiment.online import probe_rows
from metatc2.io.files import read_file, reading, write_atomically, writing
from metatc2.io.plain_text import visible
from metatc2.io.run_files import MONITOR
from metatc2.io.writing import json_text
from metatc2.metrics.coding_rate import rate_reduction
from metatc2.models.encoding import encode
from metatc2.models.stages import OUTPUT, consecutive_stages, pooled
from metatc2.ops.module_state import evaluation_mode
from metatc2.training.metrics_file import append_metrics
from metatc2.transfer.protocols.knn import knn

# Images through the encoder at once.
_BATCH = 256


@dataclass(frozen=True)
class Measurement:
    """One line of ``monitor.jsonl``.

    Args:
        step: training steps made.
        epoch: passes over the training images.
        split: whose images were measured.
        images: how many.
        rate_reduction: ΔR in nats of two views of the images, by stage, in the order of the stages.
        knn: accuracy of a k-NN probe on the images as they are, by stage; empty where their classes do not allow one.
    """

    step: int
    epoch: float
    split: str
    images: int
    rate_reduction: dict[str, float]
    knn: dict[str, float]

    @property
    def last(self) -> float:
        """ΔR of the last stage."""
        return list(self.rate_reduction.values())[-1]


def read_monitor(run: Path) -> list[Measurement]:
    """The measurements of a run, in the order of the steps.

    Args:
        run: run folder; one that was not monitored has none.

    Raises:
        InputError: if the file cannot be read, or a line is no measurement.

    >>> read_monitor(Path("no such run"))
    []
    """
    file = run / MONITOR
    if not file.exists():
        return []
    with reading(file):
        lines = read_file(file).decode(errors="replace").splitlines()
    return [_measurement(line, file) for line in lines if line.strip()]


def _measurement(line: str, file: Path) -> Measurement:
    try:
        made = Measurement(**json.loads(line))
        tables = (made.rate_reduction, made.knn)
        if not all(isinstance(value, float) for table in tables for value in table.values()):
            raise TypeError("no numbers")
        if type(made.step) is not int or not made.rate_reduction:
            raise TypeError("no step")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{file} has a line that is no measurement ({visible(str(error))[:80]}); delete the line"
        ) from error
    return made


class Monitor:
    """Measures an encoder every some steps and writes it down.

    All random numbers are its own, and the encoder is afterwards what it was: a run that is monitored ends in the same bits as
    one that is not.

    Args:
        config: with a section ``[monitor]``.
        store: that is learned from.
        views: recipe of the views.
        folder: of the run.
        begun: steps that were made before; later measurements, of a training that was cut, are forgotten.

    Raises:
        InputError: if there is no such split, or it has too few images.
    """

    def __init__(self, config: Config, store: ImageStore, views: Views, folder: Path, begun: int = 0) -> None:
        assert isinstance(config.monitor, CodingRateMonitor)
        self.options, self.folder = config.monitor, folder
        split = config.data.split
        usual = next((name for name in (split.replace("train", "validation"), "val") if name in store.splits), split)
        self.split = self.options.split or usual
        if self.options.stop_after is not None and self.split.endswith("test"):
            raise InputError(
                f"monitor.stop_after ends training by what is measured on {store.name}:{self.split}, which is for tests; set "
                "monitor.split to images for validation"
            )
        images, g = self.options.images, torch.Generator().manual_seed(config.trainer.seed)
        rows = store.rows(self.split)
        rows = rows[torch.randperm(len(rows), generator=g)[:images]]
        if len(rows) < 8:
            raise InputError(
                f"monitor: {store.name}:{self.split} has {len(rows)} images; set monitor.split to a larger one"
            )
        self.rows, self.store = rows, store
        self.views, self.descriptors = views, [views.sample(len(rows), g) for _ in range(2)]
        self.bank: Tensor | None
        self.bank, self.queries = probe_rows(store, self.split, images // 2, g)
        batch = getattr(config.episode, "batch", None)
        self.steps_an_epoch = max(1, len(store.rows(config.data.split)) // batch) if batch else 0
        self.every = self.options.every or self.steps_an_epoch or config.trainer.log_every
        self.measured = [m for m in read_monitor(folder) if m.step <= begun]

    def begin(self) -> None:
        """Write what is left of an earlier part of the run; called once the folder is the run's."""
        text = "".join(json_text(vars(m), indent=None) for m in self.measured)
        with writing(self.folder / MONITOR):
            write_atomically(self.folder / MONITOR, text.encode())

    def __call__(self, step: int, encoder: nn.Module, *, last: bool = False) -> bool:
        """Measure if it is time; whether training is to end.

        Args:
            step: training steps made.
            encoder: as it is now.
            last: whether there is no further step, so that it is time anyway.
        """
        due = (last or step % self.every == 0) and all(m.step != step for m in self.measured)
        if due:
            made = self.measure(step, encoder)
            append_metrics(self.folder / MONITOR, vars(made))
            self.measured.append(made)
        return self.has_stopped_rising()

    def has_stopped_rising(self) -> bool:
        """Whether ΔR of the last stage has not risen for ``monitor.stop_after`` measurements, those of training alone."""
        values = [m.last for m in self.measured if m.step]
        if self.options.stop_after is None or not values:
            return False
        return len(values) - 1 - values.index(max(values)) >= self.options.stop_after

    def measure(self, step: int, encoder: nn.Module) -> Measurement:
        """ΔR and k-NN accuracy of all stages."""
        with evaluation_mode(encoder), torch.no_grad():
            one, other = (stage_features(encoder, self._view(how)) for how in self.descriptors)
            rates = {name: rate_reduction(one[name], other[name], eps2=self.options.eps2) for name in one}
            accuracy = {} if self.bank is None else self._accuracy(encoder, self.bank, self.queries)
        epoch = step / self.steps_an_epoch if self.steps_an_epoch else 0.0
        return Measurement(step, epoch, self.split, len(self.rows), rates, accuracy)

    def _view(self, descriptors: Tensor) -> Iterator[Tensor]:
        """One view of every image, a batch at a time."""
        for rows, how in zip(self.rows.split(_BATCH), descriptors.split(_BATCH), strict=True):
            yield self.views.apply(self.store.images[rows], how)

    def _accuracy(self, encoder: nn.Module, bank: Tensor, queries: Tensor) -> dict[str, float]:
        known, asked = (
            stage_features(encoder, (self.store.images[some].float() / 255 for some in rows.split(_BATCH)))
            for rows in (bank, queries)
        )
        labels = self.store.labels[bank], self.store.labels[queries]
        k = self.options.neighbors
        return {n: float(knn(known[n], labels[0], asked[n], labels[1], k=k).mean()) for n in known}


def stage_features(encoder: nn.Module, images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Pooled features of every stage on the CPU, in order; of an encoder that does not say its stages, of its output alone.

    Args:
        encoder: see `metatc2.models.stages.consecutive_stages`.
        images: ``(n, C, H, W)`` at a time.
    """
    try:
        stages = consecutive_stages(encoder)
    except InputError:
        stages = {OUTPUT: encoder}
    place = next(encoder.parameters()).device
    parts: dict[str, list[Tensor]] = {name: [] for name in stages}
    for some in images:
        x = some.to(place)
        for name, stage in stages.items():
            x = encode(encoder, x, "the encoder") if name == OUTPUT else stage(x)
            parts[name].append(pooled(x, name).float().cpu())
    return {name: torch.cat(rows) for name, rows in parts.items()}


def agreement(measured: Sequence[Measurement]) -> dict[str, float]:
    """Of each stage, the correlation (Pearson) over training of ΔR with the accuracy of the probe at that stage.

    Args:
        measured: of a run; without accuracies there is nothing to correlate.

    Returns:
        By stage; NaN where there are fewer than three measurements or one of the two does not move.

    >>> lines = [Measurement(i, 0.0, "", 8, {"a": float(i)}, {"a": 2.0 * i}) for i in range(3)]
    >>> round(agreement(lines)["a"], 6)
    1.0
    """
    with_probe = [m for m in measured if m.knn]
    return {name: _pearson([(m.rate_reduction[name], m.knn[name]) for m in with_probe]) for name in _stages(with_probe)}


def _stages(measured: Sequence[Measurement]) -> list[str]:
    return list(measured[0].rate_reduction) if measured else []


def _pearson(pairs: list[tuple[float, float]]) -> float:
    table: Any = torch.tensor(pairs, dtype=torch.float64)
    if len(table) < 3 or bool((table.std(0) == 0).any()):
        return math.nan
    return float(torch.corrcoef(table.T)[0, 1])
