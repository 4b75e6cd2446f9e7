"""Encoders as folders that others can use: for the Hugging Face Hub, and as files of torch, ONNX, torchvision and timm.

A folder holds ``config.json``, ``model.safetensors``, where there is one ``calibrator.safetensors``, a model card, and what was
asked for besides. Of TC² with weights of each task's own the calibrator has all that `Pretrained.with_context` needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from metatc2.errors import InputError, nearest
from metatc2.experiment.config import flatten
from metatc2.experiment.config.layers import tree_of
from metatc2.experiment.export_formats import FORMATS
from metatc2.experiment.model_card import check_license, model_card
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.run import Run, load_run
from metatc2.experiment.weights import read_tensors
from metatc2.io.files import check_new_folder, fill_folder, read_file, writing
from metatc2.io.run_files import CONFIG as RUN_CONFIG
from metatc2.io.run_files import RESULTS
from metatc2.io.weights_file import encode_module
from metatc2.io.writing import json_text
from metatc2.models.encoding import own_copy
from metatc2.models.feature_rows import FeatureRows
from metatc2.models.foreign_encoder import ForeignEncoder
from metatc2.transfer import Row, read_results

FORMAT = "metatc2"
CONFIG = "config.json"
TENSORS = "model.safetensors"
NETWORK = "network"
_OF_FILES = (".onnx", ".pt2", ".pt", ".pth", ".bin", ".safetensors")


def save_pretrained(
    encoder: Path | str | Run | Pretrained,
    folder: Path | str,
    *,
    formats: Sequence[str] = (),
    results: Path | str | None = None,
    license: str | None = None,
) -> Path:
    """Write an encoder as a folder that can be uploaded as it is (``hf upload NAME FOLDER``).

    Args:
        encoder: a run, the folder of one, or what `metatc2.experiment.load.load_pretrained` takes or returns; a module of one's
            own is given as ``Pretrained("its name", module, channels, image_size)``.
        folder: must be new or empty.
        formats: further files, by `FORMATS`: each is loaded again and compared with the encoder before anything is written.
        results: folder of results whose rows go into the model card; by default the run folder.
        license: of the weights, by its identifier on the Hub (``"mit"``); by default none is stated.

    Returns:
        `folder`.

    Raises:
        InputError: if the run is not finished, the encoder is precomputed features, a format is unknown or the encoder cannot
            be had in it, the license is no identifier, or the folder is in use or cannot be written; it is then as it was.
        MissingPackage: if a format needs a package that is not installed.
    """
    if isinstance(encoder, nn.Module):
        raise InputError(
            "save_pretrained: a module does not say what images it takes; give Pretrained('its name', module, channels, "
            "image_size)"
        )
    check_license(license)
    if unknown := [name for name in formats if name not in FORMATS]:
        raise InputError(f"export: unknown format {unknown[0]!r}; {nearest(unknown[0], FORMATS)}")
    folder = Path(folder)
    check_new(folder)
    run = encoder if isinstance(encoder, Run) else _run(encoder)
    pretrained = _pretrained(encoder) if run is None else run.pretrained
    if isinstance(pretrained.encoder, FeatureRows):
        raise InputError(
            f"export: {pretrained.name} holds features and no network that could be loaded elsewhere; name the encoder that "
            "made them"
        )
    kept = Path(results) if results is not None else None if run is None else run.path
    rows = _rows(kept, pretrained, required=results is not None)
    plain = _in_eval_mode(pretrained)
    exported = [FORMATS[name](plain) for name in dict.fromkeys(formats)]
    content = _of_run(run) if run is not None else _of_network(pretrained)
    card = model_card(pretrained, None if run is None else run.config, rows, exported, license)
    files = {**content.files, **{each.name: each.content for each in exported}, "README.md": card.encode()}
    # config.json comes last: a folder that was cut while it was written is not taken for a whole one.
    files[CONFIG] = json_text(content.config).encode()
    with writing(folder):
        fill_folder(folder, files)
    return folder


def check_new(folder: Path) -> None:
    """Refuse a folder in which there is something, that is named as a file or cannot be written; before an encoder is loaded.

    Raises:
        InputError: if so.
    """
    if folder.suffix in _OF_FILES:
        raise InputError(
            f"{folder}: an export is a folder, which has all files of an encoder; name it {folder.with_suffix('')}, and say "
            f"which files are wanted besides model.safetensors by --format (formats of save_pretrained): {', '.join(FORMATS)}"
        )
    check_new_folder(folder, "name a new folder of yours to save the encoder to")


def _in_eval_mode(pretrained: Pretrained) -> Pretrained:
    """With a copy of the encoder: a user's module stays in the mode that it is in."""
    return replace(pretrained, encoder=own_copy(pretrained.encoder, pretrained.name).eval())


@dataclass(frozen=True)
class _Content:
    files: dict[str, bytes]
    config: dict[str, Any]


def _run(encoder: Path | str | Pretrained) -> Run | None:
    """The run in a folder; None where it is no run folder, which is said where it should be one."""
    if isinstance(encoder, Pretrained):
        return None
    path = Path(encoder)
    return load_run(path) if isinstance(encoder, Path) or (path / RUN_CONFIG).exists() else None


def _pretrained(encoder: Path | str | Run | Pretrained) -> Pretrained:
    if isinstance(encoder, Pretrained):
        return encoder
    if isinstance(encoder, Run):
        return encoder.pretrained
    from metatc2.experiment.load import load_pretrained

    return load_pretrained(str(encoder))


def _of_run(run: Run) -> _Content:
    facts: dict[str, Any] = read_tensors(run.path / "encoder.safetensors")[1]
    # Up to 44 KB that are not read here.
    trained = {key: value for key, value in facts.items() if not key.startswith("seen_images")}
    config = {"model_type": FORMAT, "config": tree_of(flatten(run.config)), "trained": trained}
    weights = {TENSORS: run.path / "encoder.safetensors"}
    if run.calibrator is not None or run.pretrained.adapts is not None:
        weights["calibrator.safetensors"] = run.path / "calibrator.safetensors"
    return _Content({name: read_file(file) for name, file in weights.items()}, config)


def _of_network(pretrained: Pretrained) -> _Content:
    encoder = pretrained.encoder
    body = encoder.body if isinstance(encoder, ForeignEncoder) else encoder
    config = {
        "model_type": FORMAT,
        NETWORK: pretrained.network,
        "channels": pretrained.channels,
        "image_size": pretrained.image_size,
        "source": pretrained.source,
    }
    return _Content({TENSORS: encode_module(body, {NETWORK: pretrained.network})}, config)


def _rows(folder: Path | None, pretrained: Pretrained, *, required: bool) -> list[Row]:
    """Rows of this encoder and of its controls."""
    if folder is None or not (folder / RESULTS).exists():
        if required:
            raise InputError(f"{folder} holds no results ({RESULTS}); measure the encoder with --out {folder} first")
        return []
    rows = read_results(folder / RESULTS)[0]
    sha256 = pretrained.sha256
    if required and not any(row.encoder_sha256 == sha256 for row in rows):
        raise InputError(
            f"{folder} holds the results of another encoder than {pretrained.name}; name the folder of its own"
        )
    return [row for row in rows if row.encoder_sha256 in ("", sha256)]
