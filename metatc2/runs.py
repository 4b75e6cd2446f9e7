"""Run folders: pre-train into one, resume one, load one, measure its transfer, compare several."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from metatc2.checkpoint import latest_checkpoint, tensors_sha256, write_atomically
from metatc2.config import Config, fingerprint, method_key, method_name, read_config, write_config
from metatc2.data import ImageStore, load
from metatc2.errors import InputError
from metatc2.learners import TC2, LabelledLearner
from metatc2.trainer import EpisodicTrainer
from metatc2.transfer import (
    ADAPTED,
    ADAPTED_RANDOM,
    RANDOM_ENCODER,
    Difference,
    Row,
    Target,
    evaluate,
    expand_targets,
    parse_target,
    read_results,
    write_results,
)
from metatc2.transfer import Run as MeasuredRun
from metatc2.transfer import compare as compare_runs


@dataclass(frozen=True)
class Run:
    """A pre-trained encoder and how it came about.

    Args:
        path: run folder.
        config: what it was trained with.
        encoder: images ``(N, channels, image_size, image_size)`` in [0, 1] → ``(N, d)``.
        calibrator: of TC² where it works on the encoder's output; None otherwise.
        learner: the whole learner where it adapts to labelled tasks; None for self-supervised ones.
        channels, image_size: of the images the encoder was trained on.
        steps, seconds: training steps and time.
    """

    path: Path
    config: Config
    encoder: nn.Module
    calibrator: Calibrator | None
    learner: LabelledLearner | None
    channels: int
    image_size: int
    steps: int
    seconds: float

    @property
    def encoder_sha256(self) -> str:
        """Checksum of the encoder's tensors, names included."""
        return tensors_sha256(self.encoder.state_dict())


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
    tensors, facts = _read_tensors(file)
    try:
        channels, image_size = int(facts["channels"]), int(facts["image_size"])
        steps, seconds, saved = int(facts["steps"]), float(facts["seconds"]), facts["fingerprint"]
    except (KeyError, ValueError) as error:
        raise InputError(f"{file} was not written by metatc2 pretrain: its header lacks {error}") from error
    if saved != fingerprint(config):
        raise InputError(
            f"{file} was trained with another configuration than {path}/config.toml; restore the two together"
        )
    encoder = build_fresh_encoder(config, channels, image_size)
    _load_state(encoder, tensors, file)
    calibrator, learner = None, None
    if (path / "calibrator.safetensors").exists():
        built = build_learner(config, channels, image_size)
        if isinstance(built, TC2):
            calibrator = built.calibrator
            _load_state(calibrator, _read_tensors(path / "calibrator.safetensors")[0], path / "calibrator.safetensors")
    if config.learner.name != "ssl":
        learner = fresh_learner(config, channels, image_size, int(facts.get("classes", 0)))
        _load_state(learner, _read_tensors(path / "learner.safetensors")[0], path / "learner.safetensors")
    return Run(path, config, encoder.eval(), calibrator, learner, channels, image_size, steps, seconds)


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


class CalibratedEncoder(nn.Module):
    """Encoder and calibrator at test time, where averages stand for the statistics of an episode.

    Args:
        run: of a TC² run with a calibrator.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        if run.calibrator is None:
            raise InputError(f"{run.path} has no calibrator: only TC² on the encoder's output saves one")
        self.encoder, self.calibrator = run.encoder, run.calibrator
        self.standardised = run.config.calibration.standardise
        self.blend = run.config.calibration.blend

    def forward(self, images: Tensor) -> Tensor:
        """Calibrated features ``(N, d)``."""
        return self.calibrator.test_features(self.encoder(images), standardised=self.standardised, blend=self.blend)


def transfer(
    run: Run,
    *,
    targets: Sequence[str] = (),
    protocols: Sequence[str] = (),
    way: Sequence[int] = (),
    shot: Sequence[int] = (),
    query: int | None = None,
    episodes: int | None = None,
) -> list[Row]:
    """Measure a run's encoder, its calibrated features, a random encoder and raw pixels; add the rows to the run folder.

    A learner on labelled tasks is measured besides as it is meant to be used, adapted to every episode, and so is one that was
    never trained.

    Args:
        run: see `load_run`.
        targets: ``"SOURCE[:SPLIT]"``; this and every other argument left out is taken from the run's ``[transfer]``.
        protocols, way, shot, query, episodes: see `evaluate`.

    Returns:
        The rows of this call. ``transfer.json`` also keeps earlier rows that were not measured again.

    Raises:
        InputError: if a target cannot be had or is too small.
    """
    asked = run.config.transfer
    encoders: dict[str, nn.Module] = {"encoder": run.encoder}
    if run.calibrator is not None:
        encoders["calibrated"] = CalibratedEncoder(run)
    encoders[RANDOM_ENCODER] = build_fresh_encoder(run.config, run.channels, run.image_size)
    learners: dict[str, LabelledLearner] = {}
    if run.learner is not None:
        plain = replace(run.config, calibration=replace(run.config.calibration, name="none"))
        fresh = fresh_learner(plain, run.channels, run.image_size)
        learners = {ADAPTED: run.learner, ADAPTED_RANDOM: fresh}
    rows, accuracies = evaluate(
        encoders,
        _targets(run, targets or asked.targets),
        seed=run.config.trainer.seed,
        source=f"{run.config.data.source}:{run.config.data.split}",
        encoder_sha256=run.encoder_sha256,
        protocols=protocols or asked.protocols,
        ways=way or asked.way,
        shots=shot or asked.shot,
        query=query or asked.query,
        episodes=episodes or asked.episodes,
        heads=asked.heads,
        compute={"steps": run.steps, "seconds": run.seconds},
        learners=learners,
    )
    path = run.path / "transfer.json"
    kept, known = read_results(path) if path.exists() else ([], {})
    measured = {row.key for row in rows}
    # Rows of an encoder that has been trained anew since do not belong to this run any more.
    kept = [row for row in kept if row.key not in measured and row.encoder_sha256 in ("", run.encoder_sha256)]
    write_results(path, kept + rows, known | accuracies)
    return rows


def compare(paths: Sequence[Path], *, features: str = "encoder") -> list[Difference]:
    """Paired differences of the first run's method against every other method among the runs.

    Args:
        paths: run folders with a ``transfer.json``; those that differ in their seed alone are one method.
        features: which rows, see `Row.features`.

    Raises:
        InputError: if fewer than two methods are given or their rows do not belong together.
    """
    groups: dict[str, list[MeasuredRun]] = {}
    for path in dict.fromkeys(paths):
        config = _read_run_config(path)
        rows, accuracies = read_results(path / "transfer.json")
        measured = MeasuredRun(str(path), method_name(config), config.trainer.seed, rows, accuracies)
        groups.setdefault(method_key(config), []).append(measured)
    if len(groups) < 2:
        raise InputError(
            "compare: all runs given have the same configuration up to their seed; name at least one run of another method"
        )
    first, *others = _named_apart(list(groups.values()))
    return [difference for other in others for difference in compare_runs(first, other, features=features)]


def _named_apart(groups: list[list[MeasuredRun]]) -> list[list[MeasuredRun]]:
    """Methods that differ in a setting and not in their name are told apart by their first folder."""
    names = [group[0].method for group in groups]
    return [
        [replace(run, method=f"{run.method} ({group[0].label})") for run in group] if names.count(name) > 1 else group
        for name, group in zip(names, groups, strict=True)
    ]


def _targets(run: Run, names: Sequence[str]) -> list[Target]:
    data = run.config.data
    own = build_data(run.config)
    found = []
    for name in names or (data.source,):
        source, split = parse_target(name)
        if source == data.source:
            store = own
        else:
            store = load(
                source, image_size=run.image_size, channels=run.channels, root=data.root, download=data.download
            )
        found += expand_targets(store, split, pretrained=(own, data.split))
    return found


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


def _read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(file, "pt") as content:
            return {key: content.get_tensor(key) for key in content.keys()}, dict(content.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is damaged ({error}); restore it, or train the run again") from error


def _load_state(module: nn.Module, tensors: dict[str, Tensor], file: Path) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{file} does not fit the encoder that config.toml names: {reason}") from error
