"""Run folders: pre-train into one, resume one, load one, measure its transfer, compare several."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import save as save_tensors
from torch import nn

from metatc2.build import build_data, build_learner, build_sampler, build_trainer_options
from metatc2.calibration import Calibrator
from metatc2.checkpoint import latest_checkpoint, write_atomically
from metatc2.config import Config, fingerprint, write_config
from metatc2.data import ImageStore
from metatc2.errors import InputError
from metatc2.learners import LabelledLearner
from metatc2.measure import Sources, find_targets, measure
from metatc2.pretrained import CalibratedEncoder, Pretrained
from metatc2.result_folders import compare, matrices
from metatc2.run_folder import read_run_config
from metatc2.trainer import EpisodicTrainer
from metatc2.transfer import ADAPTED, Row, SeenClasses
from metatc2.transfer_offer import Offer, is_default, offer_transfer
from metatc2.weights import encoder_from, read_tensors

__all__ = ["Run", "compare", "default_folder", "load_run", "matrices", "pretrain", "resume", "transfer"]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        path: run folder.
        config: what it was trained with.
        pretrained: its encoder, and what judging it takes.
        steps, seconds: training steps and time.
        offer: what can be measured next, where the data were at hand.
    """

    path: Path
    config: Config
    pretrained: Pretrained
    steps: int
    seconds: float
    offer: Offer = field(default_factory=Offer)

    @property
    def encoder(self) -> nn.Module:
        """Images ``(N, channels, image_size, image_size)`` in [0, 1] → ``(N, d)``."""
        return self.pretrained.encoder

    @property
    def calibrator(self) -> Calibrator | None:
        """Of TC² where it works on the encoder's output; None otherwise."""
        calibrated = self.pretrained.calibrated
        return calibrated.calibrator if isinstance(calibrated, CalibratedEncoder) else None

    @property
    def learner(self) -> LabelledLearner | None:
        """The whole learner where it adapts to labelled tasks; None for self-supervised ones."""
        learner = self.pretrained.learners.get(ADAPTED)
        return learner if isinstance(learner, LabelledLearner) else None

    @property
    def channels(self) -> int:
        """Of the images the encoder was trained on."""
        return self.pretrained.channels

    @property
    def image_size(self) -> int:
        """Of the images the encoder was trained on, in pixels."""
        return self.pretrained.image_size

    @property
    def encoder_sha256(self) -> str:
        """Checksum of the encoder's tensors, names included."""
        return self.pretrained.sha256


def default_folder(task: str, config: Config) -> Path:
    """``runs/TASK-METHOD-CALIBRATION-sSEED`` (method: objective or learner), next to where the command is run."""
    stem = re.sub(r"[^\w.-]+", "-", Path(task).stem if task.endswith(".toml") else task).strip("-")
    method = config.objective.name if config.learner.name == "ssl" else config.learner.name
    return Path("runs") / f"{stem}-{method}-{config.calibration.name}-s{config.trainer.seed}"


def pretrain(config: Config, path: Path, *, store: ImageStore | None = None, show: bool = False) -> Run:
    """Pre-train as configured and write the run folder. Nothing is written before every part could be built.

    Args:
        config: see `Config`.
        path: run folder; must be new or empty.
        store: the data, where the caller has loaded it already.
        show: show live progress.

    Raises:
        InputError: if the folder is in use or the configuration cannot work.
        TrainingDiverged: if the loss is no longer finite.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        hint = f"continue it with --resume {path}" if (path / "checkpoint").exists() else "remove it"
        raise InputError(f"{path} exists already; {hint}, or name another folder with --run")
    trainer, store = _trainer(config, path, store, show)
    offer = offer_transfer(config, store)
    if show and offer.problem:
        _say(f"{offer.problem}; after training, {offer.next_step(path)}")
    write_config(config, path / "config.toml")
    return replace(_finish(trainer, config, path, store), offer=offer)


def resume(path: Path, *, show: bool = False) -> Run:
    """Continue a run from its last checkpoint; a finished one is left as it is.

    Raises:
        InputError: if there is no checkpoint, or it is damaged or of another configuration.
    """
    config = read_run_config(path)
    if latest_checkpoint(path / "checkpoint") is None:
        raise InputError(
            f"{path} has no checkpoint to resume from; remove it and start again (trainer.checkpoint_every sets how often "
            "one is written)"
        )
    trainer, store = _trainer(config, path, None, show)
    trainer.resume()
    return replace(_finish(trainer, config, path, store), offer=offer_transfer(config, store))


def load_run(path: Path) -> Run:
    """Load the encoder of a finished run.

    Raises:
        InputError: if the folder is not a finished run, or its files do not belong together.
    """
    config = read_run_config(path)
    file = path / "encoder.safetensors"
    if not file.exists():
        raise InputError(
            f"{path} has no encoder.safetensors: the run is not finished; metatc2 pretrain --resume {path}"
        )
    facts = read_tensors(file)[1]
    if missing := [key for key in ("channels", "image_size", "steps", "seconds", "fingerprint") if key not in facts]:
        raise InputError(f"{file} was not written by metatc2 pretrain: its header lacks {', '.join(missing)}")
    pretrained = encoder_from(
        config,
        file,
        where=path / "config.toml",
        name=str(path),
        calibrator=path / "calibrator.safetensors",
        learner=path / "learner.safetensors",
    )
    return Run(path, config, pretrained, int(facts["steps"]), float(facts["seconds"]))


def transfer(run: Run, *, targets: Sequence[str] = (), allow_seen: bool = False, **changes: Any) -> list[Row]:
    """Measure a run's encoder, its calibrated features, a random encoder and raw pixels; add the rows to the run folder.

    A learner on labelled tasks is measured besides as it is meant to be used, adapted to every episode, and so is one that was
    never trained.

    Args:
        run: see `load_run`.
        targets: ``"SOURCE[:SPLIT]"``; by default those of the run's ``[transfer]``.
        allow_seen: whether targets may hold classes of the pre-training images.
        changes: keys of ``[transfer]`` that differ from the run's: protocols, way, shot, query, episodes, heads.

    Returns:
        The rows of this call. ``transfer.json`` also keeps earlier rows that were not measured again.

    Raises:
        InputError: if a target cannot be had or is too small.
    """
    data, asked = run.config.data, replace(run.config.transfer, **changes)
    names = tuple(targets) or asked.targets or (data.source,)
    sources = Sources.of(data)
    found = find_targets(run.pretrained, names, sources, allow_seen=allow_seen or asked.allow_seen)
    fit = is_default(asked) and not {"way", "shot"} & changes.keys()
    return measure(run.pretrained, found, run.path, asked, fit=fit)


def _say(words: str) -> None:
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"metatc2: note: {words}", markup=False, highlight=False, emoji=False)


def _trainer(config: Config, path: Path, store: ImageStore | None, show: bool) -> tuple[EpisodicTrainer, ImageStore]:
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    store = store or build_data(config)
    learner = build_learner(config, store.channels, store.image_size, class_of=store.labels)
    sampler = build_sampler(config, store)
    # Dropout and the like draw from torch's own generator; seeded here, at the door, and saved in checkpoints.
    torch.manual_seed(config.trainer.seed)
    about = {"fingerprint": fingerprint(config), "data": store.checksum()}
    options = build_trainer_options(config)
    return EpisodicTrainer(learner, sampler, options, run=path, about=about, show=show), store


def _finish(trainer: EpisodicTrainer, config: Config, path: Path, store: ImageStore) -> Run:
    trainer.fit()
    facts = {
        "format": "metatc2",
        "channels": store.channels,
        "image_size": store.image_size,
        "steps": trainer.step,
        "seconds": round(trainer.seconds, 2),
        "fingerprint": fingerprint(config),
        "data": store.checksum(),
        "classes": len(store.class_names),
        **SeenClasses.of(store, config.data.split).to_facts(),
        "splits": json.dumps({name: len(rows) for name, rows in store.splits.items()}),
    }
    for name, module in trainer.learner.exports().items():
        tensors = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
        content = save_tensors(tensors, {key: str(value) for key, value in facts.items()})
        write_atomically(path / f"{name}.safetensors", content)
    return load_run(path)
