"""Files of weights: read them, and build the encoder and the learner that they belong to."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from metatc2.data.seen import UNKNOWN_SOURCE
from metatc2.errors import InputError
from metatc2.experiment.build import build_fresh_encoder, build_learner
from metatc2.experiment.config import Config, DataConfig, PythonConfig, Uncalibrated, fingerprint, override
from metatc2.experiment.filled import NORMALIZED, OURS, warn_of
from metatc2.experiment.pretrained import CalibratedEncoder, Pretrained
from metatc2.experiment.weights_header import Header
from metatc2.experiment.zoo import from_zoo
from metatc2.io.files import check_regular
from metatc2.io.options import show
from metatc2.io.safetensors_file import read_safetensors, tensors_sha256
from metatc2.learners import TC2, LabeledLearner, LearnerOptions, SharedTC2
from metatc2.models.foreign_weights import TORCH_FILES, load_foreign, read_torch_file
from metatc2.transfer import ADAPTED, ADAPTED_RANDOM, SeenClasses

_LONGEST = 200  # letters of a reason


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
        weights: safetensors, or a file of ``torch.save`` (`TORCH_FILES`). Weights of others are taken from wherever they lie
            in it and without what the encoder has not, which is said in a `ForeignWeights` warning.
        where: the configuration's file, for errors.
        name: for tables.
        calibrator, learner: further files; those that are not there are left out.

    Raises:
        InputError: if a file is damaged or does not fit the configuration.
    """
    tensors, facts, header = _read(weights)
    channels = config.data.channels or 0 if header.channels is None else header.channels
    image_size = config.data.image_size or 0 if header.image_size is None else header.image_size
    compute = {"steps": header.steps, "seconds": header.seconds}
    try:
        seen = SeenClasses.from_facts(facts, config.data.source)
    except ValueError as error:
        raise InputError(f"{weights} has a damaged header ({error}); restore it, or train the run again") from error
    if channels < 1 or not image_size:
        raise InputError(
            f"{where} does not say what images {weights} takes; set data.channels and data.image_size in it"
        )
    if header.fingerprint not in (None, fingerprint(config)):
        raise InputError(f"{weights} was trained with another configuration than {where}; restore the two together")
    encoder, untrained = _architecture(config, channels, image_size, where)
    if "format" in facts:
        load_state(encoder, dict(tensors), weights, where)
    else:
        kind = config.encoder.name.partition(":")[0]
        said = load_foreign(encoder, tensors, weights, config.encoder.name, where)
        warn_of(weights, said, NORMALIZED if kind == "torchvision" else OURS)
    calibrated, adapts = None, None
    if calibrator is not None and (calibrator.exists() or "calibrator" in header.beside):
        built = build_learner(config, channels, image_size, encoder)
        if isinstance(built, TC2):
            adapts = _adapting(built, read_beside(calibrator, header), calibrator, where)
        if isinstance(built, SharedTC2):
            load_state(built.calibrator, read_beside(calibrator, header), calibrator, where)
            calibrated = _calibrated(encoder, built)
    named = _of_labeled_tasks(config, where)
    learners = {}
    if learner is not None and named is not None:
        learners = _of_episodes(named, learner, header, channels, image_size, where)
    return Pretrained(
        name=name,
        encoder=encoder.eval(),
        channels=channels,
        image_size=image_size,
        untrained=untrained.eval(),
        calibrated=calibrated,
        adapts=adapts,
        learners=learners,
        source=_source(config, facts),
        seen=seen,
        seed=config.trainer.seed,
        network=config.encoder.name,
        compute={key: float(value) for key, value in compute.items() if value is not None},
    )


def _read(weights: Path) -> tuple[Mapping[str, Any], dict[str, str], Header]:
    """Tensors, facts and header of a file of weights; one of ``torch.save`` has neither facts nor header."""
    if weights.suffix in TORCH_FILES:
        return read_torch_file(weights), {}, Header()
    tensors, facts = read_tensors(weights)
    return tensors, facts, Header.of(facts, tensors, weights)


def _calibrated(encoder: nn.Module, learner: SharedTC2) -> CalibratedEncoder:
    """The encoder with the calibrator of all tasks behind it, as training ended."""
    return CalibratedEncoder(
        encoder, learner.calibrator, standardized=learner.standardize, blend=learner.final_blend
    ).eval()


def _of_episodes(
    config: Config, file: Path, header: Header, channels: int, image_size: int, where: Path
) -> dict[str, LabeledLearner]:
    """What adapts to every few-shot episode: the learner of a run, and one that was never trained."""
    trained = fresh_learner(config, channels, image_size, header.classes or 0)
    load_state(trained, read_beside(file, header), file, where)
    plain = replace(config, calibration=Uncalibrated())
    return {ADAPTED: trained, ADAPTED_RANDOM: fresh_learner(plain, channels, image_size)}


def _of_labeled_tasks(config: Config, where: Path) -> Config | None:
    """The configuration that makes the learner on labeled tasks of a run; None where there is none."""
    asked = config.learner
    if not isinstance(asked, PythonConfig):
        return config if isinstance(asked, LearnerOptions) else None
    if not asked.adapts:
        return None
    if foreign := [each for each in asked.adapts if not each.startswith(("learner.", "episode.way="))]:
        raise InputError(f"{where}: learner.adapts sets {foreign[0]!r}, and may set learner.KEY and episode.way alone")
    width = [] if config.encoder.width is None else [f"encoder.width={config.encoder.width}"]
    encoder = [f"encoder.name={show(config.encoder.name)}", *width, f"trainer.seed={config.trainer.seed}"]
    return override(Config(), [*encoder, *asked.adapts], f"{where}: learner.adapts")


def _adapting(learner: TC2, tensors: dict[str, Tensor], file: Path, where: Path) -> TC2 | None:
    """The learner as it was trained, but for a momentum branch, which is that of the last step's encoder and projector.

    None where the file holds the calibrator alone, as the first versions wrote it.
    """
    if learner.where != "backbone" or "sensitivity" not in tensors:
        return None
    load_state(learner.adaptation(), tensors, file, where)
    if learner.objective.momentum:
        learner.target_projector.load_state_dict(learner.projector.state_dict())
    return learner.eval()


def _architecture(config: Config, channels: int, image_size: int, where: Path) -> tuple[nn.Module, nn.Module]:
    """The untrained encoder twice, also one of torchvision's, which takes images as ImageNet's networks do."""
    name = config.encoder.name
    if not name.startswith("torchvision:"):
        fresh = build_fresh_encoder(config, channels, image_size)
        return fresh, copy.deepcopy(fresh)
    if channels != 3 or config.encoder.width is not None:
        raise InputError(f"{where}: {name} takes data.channels = 3 and no encoder.width; correct them there")
    made = from_zoo(f"{name.removesuffix(':random')}:random", image_size=image_size)
    assert made.untrained is not None
    return made.encoder, made.untrained


def _source(config: Config, facts: Mapping[str, str]) -> str:
    """What it was trained on; a source that was not written down is unknown and not the default."""
    if "format" not in facts and config.data.source == DataConfig().source:
        return UNKNOWN_SOURCE
    return f"{config.data.source}:{config.data.split}"


def fresh_learner(config: Config, channels: int, image_size: int, classes: int = 1) -> LabeledLearner:
    """The learner on labeled tasks of ``[learner]`` before any training, in eval mode.

    Args:
        config: see `Config`.
        channels, image_size: of the images.
        classes: of the data, for learners that train on all classes at once.

    Raises:
        InputError: if the configuration names a self-supervised learner.
    """
    learner = build_learner(config, channels, image_size, class_of=torch.arange(max(classes, 1)))
    if not isinstance(learner, LabeledLearner):
        raise InputError(f"learner {config.learner.name!r} is not one on labeled tasks; see `metatc2 learners`")
    return learner.eval()


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a safetensors file, and the facts in its header.

    Raises:
        InputError: if it is not there or damaged.
    """
    check_regular(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file; name a file of weights in safetensors")
    try:
        return read_safetensors(file)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{file} is damaged ({error}); restore it, or train the run again") from error


def read_beside(file: Path, header: Header) -> dict[str, Tensor]:
    """Tensors of another file of the run, which the encoder's header must know where it knows any.

    Raises:
        InputError: if they are others.
    """
    tensors = read_tensors(file)[0]
    if header.beside and header.beside.get(file.stem) != tensors_sha256(tensors):
        raise InputError(
            f"{file} is damaged or of another training than the encoder beside it; restore the two together, or train the run "
            "again"
        )
    return tensors


def load_state(module: nn.Module, tensors: dict[str, Tensor], file: Path, where: Path) -> None:
    """Load a module's state.

    Args:
        module: whose.
        tensors: by name.
        file: that they are of, for the error.
        where: the configuration that names the module.

    Raises:
        InputError: if they are not those of the module.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        # torch lists every key that it misses: some thousand characters of which the first tell all.
        reason = str(error).splitlines()[-1].strip()
        reason = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}..."
        raise InputError(f"{file} does not fit the encoder that {where} names: {reason}") from error
