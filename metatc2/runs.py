"""Run folders: pre-train into one, resume one, load one, measure its transfer, compare several."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from metatc2.build import (
    build_data,
    build_fresh_encoder,
    build_learner,
    build_sampler,
    build_trainer_options,
)
from metatc2.calibration import Calibrator
from metatc2.checkpoint import latest_checkpoint, write_atomically
from metatc2.config import Config, fingerprint, method_key, method_name, read_config, write_config
from metatc2.data import ImageStore
from metatc2.errors import InputError
from metatc2.learners import TC2, LabelledLearner
from metatc2.measure import IDENTITY, RESULTS, Sources, find_targets, measure, read_identity
from metatc2.pretrained import CalibratedEncoder, Pretrained
from metatc2.trainer import EpisodicTrainer
from metatc2.transfer import (
    ADAPTED,
    ADAPTED_RANDOM,
    Difference,
    Matrix,
    Row,
    SeenClasses,
    read_results,
    transfer_matrices,
)
from metatc2.transfer import Run as MeasuredRun
from metatc2.transfer import compare as compare_runs


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        path: run folder.
        config: what it was trained with.
        pretrained: its encoder, and what judging it takes.
        steps, seconds: training steps and time.
    """

    path: Path
    config: Config
    pretrained: Pretrained
    steps: int
    seconds: float

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
    write_config(config, path / "config.toml")
    return _finish(trainer, config, path, store)


def resume(path: Path, *, show: bool = False) -> Run:
    """Continue a run from its last checkpoint; a finished one is left as it is.

    Raises:
        InputError: if there is no checkpoint, or it is damaged or of another configuration.
    """
    config = _read_run_config(path)
    if latest_checkpoint(path / "checkpoint") is None:
        raise InputError(
            f"{path} has no checkpoint to resume from; remove it and start again (trainer.checkpoint_every sets how often "
            "one is written)"
        )
    trainer, store = _trainer(config, path, None, show)
    trainer.resume()
    return _finish(trainer, config, path, store)


def load_run(path: Path) -> Run:
    """Load the encoder of a finished run.

    Raises:
        InputError: if the folder is not a finished run, or its files do not belong together.
    """
    config = _read_run_config(path)
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


def fresh_learner(config: Config, channels: int, image_size: int, classes: int = 1) -> LabelledLearner:
    """The learner on labelled tasks of ``[learner]`` before any training, in eval mode.

    Args:
        config: see `Config`.
        channels, image_size: of the images.
        classes: of the data, for learners that train on all classes at once.

    Raises:
        InputError: if the configuration names a self-supervised learner.
    """
    learner = build_learner(config, channels, image_size, class_of=torch.arange(max(classes, 1)))
    if not isinstance(learner, LabelledLearner):
        raise InputError(f"learner {config.learner.name!r} is not one on labelled tasks; see `metatc2 learners`")
    return learner.eval()


def encoder_from(
    config: Config,
    weights: Path,
    *,
    where: Path,
    name: str,
    calibrator: Path | None = None,
    learner: Path | None = None,
) -> Pretrained:
    """An encoder from a configuration and a file of weights.

    Args:
        config: names the encoder; of the rest only what is there to record is used.
        weights: safetensors.
        where: the configuration's file, for errors.
        name: for tables.
        calibrator, learner: further files; those that are not there are left out.

    Raises:
        InputError: if a file is damaged or does not fit the configuration.
    """
    tensors, facts = read_tensors(weights)
    try:
        channels = int(facts.get("channels", config.data.channels or 0))
        image_size = int(facts.get("image_size", config.data.image_size or 0))
        compute: dict[str, float] = {key: float(facts[key]) for key in ("steps", "seconds") if key in facts}
        classes = json.loads(facts["class_names"]) if "class_names" in facts else None
    except ValueError as error:
        raise InputError(f"{weights} has a damaged header ({error}); restore it, or train the run again") from error
    if channels not in (1, 3) or not image_size:
        raise InputError(
            f"{where} does not say what images {weights} takes; set data.channels (1 or 3) and data.image_size in it"
        )
    if "fingerprint" in facts and facts["fingerprint"] != fingerprint(config):
        raise InputError(f"{weights} was trained with another configuration than {where}; restore the two together")
    encoder = build_fresh_encoder(config, channels, image_size)
    _load_state(encoder, tensors, weights, where)
    calibrated, learners = None, {}
    if calibrator is not None and calibrator.exists():
        built = build_learner(config, channels, image_size)
        if isinstance(built, TC2):
            _load_state(built.calibrator, read_tensors(calibrator)[0], calibrator, where)
            calibrated = CalibratedEncoder(
                encoder,
                built.calibrator,
                standardised=config.calibration.standardise,
                blend=config.calibration.blend,
            ).eval()
    if learner is not None and config.learner.name != "ssl":
        adapted = fresh_learner(config, channels, image_size, int(facts.get("classes", 0)))
        _load_state(adapted, read_tensors(learner)[0], learner, where)
        plain = replace(config, calibration=replace(config.calibration, name="none"))
        learners = {ADAPTED: adapted, ADAPTED_RANDOM: fresh_learner(plain, channels, image_size)}
    return Pretrained(
        name=name,
        encoder=encoder.eval(),
        channels=channels,
        image_size=image_size,
        untrained=build_fresh_encoder(config, channels, image_size).eval(),
        calibrated=calibrated,
        learners=learners,
        source=f"{config.data.source}:{config.data.split}",
        seen=None if classes is None else SeenClasses(facts.get("source", config.data.source), frozenset(classes)),
        seed=config.trainer.seed,
        compute=compute,
    )


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
    return measure(run.pretrained, found, run.path, asked)


def compare(paths: Sequence[Path], *, features: str = "encoder") -> list[Difference]:
    """Paired differences of the first run's method against every other method among the runs.

    Args:
        paths: run folders with a ``transfer.json``; those that differ in their seed alone are one method.
        features: which rows, see `Row.features`.

    Raises:
        InputError: if fewer than two methods are given or their rows do not belong together.
    """
    groups = _measured(paths)
    if len(groups) < 2:
        raise InputError(
            "compare: all runs given have the same configuration up to their seed; name at least one run of another method"
        )
    first, *others = _named_apart(list(groups.values()))
    return [difference for other in others for difference in compare_runs(first, other, features=features)]


def matrices(paths: Sequence[Path], *, features: str = "encoder") -> list[Matrix]:
    """The transfer matrices of some runs, one a protocol; see `transfer_matrices`."""
    named = _named_apart(list(_measured(paths).values()))
    return transfer_matrices([run for group in named for run in group], features=features)


def _measured(paths: Sequence[Path]) -> dict[str, list[MeasuredRun]]:
    """Results of run folders, those together that differ in their seed alone."""
    groups: dict[str, list[MeasuredRun]] = {}
    for path in dict.fromkeys(paths):
        if (path / IDENTITY).exists() and not (path / "config.toml").exists():
            held = read_identity(path)
            rows, accuracies = read_results(path / RESULTS)
            groups.setdefault(held["name"], []).append(
                MeasuredRun(str(path), held["name"], held["seed"], rows, accuracies)
            )
            continue
        config = _read_run_config(path)
        rows, accuracies = read_results(path / RESULTS)
        measured = MeasuredRun(str(path), method_name(config), config.trainer.seed, rows, accuracies)
        groups.setdefault(method_key(config), []).append(measured)
    return groups


def _named_apart(groups: list[list[MeasuredRun]]) -> list[list[MeasuredRun]]:
    """Methods that differ in a setting and not in their name are told apart by their first folder."""
    names = [group[0].method for group in groups]
    return [
        [replace(run, method=f"{run.method} ({group[0].label})") for run in group] if names.count(name) > 1 else group
        for name, group in zip(names, groups, strict=True)
    ]


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
        "source": store.name,
        "class_names": json.dumps(sorted(SeenClasses.of(store, config.data.split).names), ensure_ascii=False),
        "splits": json.dumps({name: len(rows) for name, rows in store.splits.items()}),
    }
    for name, module in trainer.learner.exports().items():
        tensors = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
        content = save_tensors(tensors, {key: str(value) for key, value in facts.items()})
        write_atomically(path / f"{name}.safetensors", content)
    return load_run(path)


def _read_run_config(path: Path) -> Config:
    if not (path / "config.toml").exists():
        raise InputError(
            f"{path} is not a run folder (it has no config.toml); make one with: metatc2 pretrain TASK --run {path}"
        )
    return read_config(path / "config.toml")


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a safetensors file, and the facts in its header.

    Raises:
        InputError: if it is not there or damaged.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; name a file of weights in safetensors")
    try:
        with safe_open(file, "pt") as content:
            return {key: content.get_tensor(key) for key in content.keys()}, dict(content.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is damaged ({error}); restore it, or train the run again") from error


def _load_state(module: nn.Module, tensors: dict[str, Tensor], file: Path, where: Path) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{file} does not fit the encoder that {where} names: {reason}") from error
