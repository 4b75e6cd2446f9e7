"""Measure the transfer of any `Pretrained` and keep the rows in a folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from metatc2.data import ImageStore, load
from metatc2.data.pairs import Pairs, read_pairs
from metatc2.errors import InputError
from metatc2.experiment.config import DataConfig, TransferConfig
from metatc2.experiment.pretrained import CALIBRATED, ENCODER, Pretrained
from metatc2.experiment.weights import read_tensors
from metatc2.io.files import check_writable, write_atomically, writing
from metatc2.io.folder_lock import only_one
from metatc2.io.reading import read_json
from metatc2.io.run_files import CONFIG, FEATURES, IDENTITY, RESULTS
from metatc2.io.safetensors_file import tensors_sha256
from metatc2.io.source_names import real_path, split_name
from metatc2.io.writing import json_text
from metatc2.training.run_folder import RunFolder
from metatc2.transfer import (
    RANDOM_ENCODER,
    FeaturesNotKept,
    Row,
    Target,
    evaluate,
    expand_targets,
    parse_target,
    read_results,
    write_results,
)

__all__ = ["IDENTITY", "RESULTS", "Sources", "UncheckedClasses", "find_targets", "measure", "read_identity"]


class UncheckedClasses(UserWarning):
    """Nobody knows whether the target's classes were seen in pre-training."""


@dataclass(frozen=True)
class Sources:
    """Where targets come from.

    Args:
        root: where downloaded data sets lie.
        download: let torchvision download what is missing.
        stream: read images from disk as they are needed.
        workers: that decode streamed images.
        value_range: of images of more than 8 bits a pixel, see `metatc2.data.load`.
    """

    root: str | None = None
    download: bool = False
    stream: bool = False
    workers: int = 0
    value_range: tuple[float, float] | None = None

    @classmethod
    def of(cls, data: DataConfig) -> Sources:
        """Those of a run's ``[data]``."""
        return cls(data.root, data.download, data.stream, data.workers, data.value_range)

    def store(self, source: str, encoder: Pretrained) -> ImageStore:
        """A source with images as the encoder takes them.

        Raises:
            InputError: if it cannot be had.
        """
        return load(
            source,
            image_size=encoder.image_size,
            channels=encoder.channels,
            root=self.root,
            download=self.download,
            stream=self.stream,
            workers=self.workers,
            value_range=self.value_range,
        )

    def pairs(self, path: str | Path, encoder: Pretrained) -> Pairs:
        """Pairs of images as the encoder takes them, see `read_pairs`.

        Raises:
            InputError: if they cannot be read.
        """
        return read_pairs(
            path,
            image_size=encoder.image_size,
            channels=encoder.channels,
            value_range=self.value_range,
            workers=self.workers,
        )


def find_targets(
    encoder: Pretrained, names: Sequence[str], sources: Sources, *, allow_seen: bool = False
) -> list[Target]:
    """Targets by their names on the command line, ``SOURCE[:SPLIT]``.

    Raises:
        InputError: if one cannot be had, or holds classes seen in pre-training and `allow_seen` is False.
    """
    if not names:
        raise InputError(f"transfer: no target for {encoder.name}; name one with --to SOURCE[:SPLIT], e.g. --to digits")
    found: dict[tuple[str, str], Target] = {}
    stores: dict[tuple[str, str], ImageStore] = {}
    for name in names:
        source, split = parse_target(name)
        kind, path = split_name(source)
        place = kind, real_path(source) if path else ""  # one source, however often and in what spelling it is named
        if place not in stores:
            stores[place] = sources.store(source, encoder)
        for target in expand_targets(stores[place], split, seen=encoder.seen, allow_seen=allow_seen):
            found.setdefault((target.store.name, target.split), target)
    return list(found.values())


def measure(
    encoder: Pretrained,
    targets: Sequence[Target],
    folder: Path,
    settings: TransferConfig,
    *,
    fit: bool = False,
) -> list[Row]:
    """Measure an encoder, its calibrated features, a random encoder and raw pixels, and add the rows to a folder.

    Args:
        encoder: see `metatc2.experiment.load`.
        targets: see `find_targets`.
        folder: its ``transfer.json`` is made or added to; rows measured again are replaced, and rows of features that were
            adapted to other pairs stay. Features are kept in its
            ``features/`` for the next call.
        settings: protocols and how they are run.
        fit: whether few-shot takes fewer classes and shots where a target has too few; the rows then say so.

    Returns:
        The rows of this call.

    Raises:
        InputError: if a target is too small or a protocol cannot be run on it; nothing is written then.
    """
    encoders: dict[str, nn.Module] = {ENCODER: encoder.encoder}
    if encoder.calibrated is not None:
        encoders[CALIBRATED] = encoder.calibrated
    if encoder.untrained is not None:
        encoders[RANDOM_ENCODER] = encoder.untrained
    for target in targets:
        _check_images(encoder, target.store)
    if encoder.seen is None and encoder.source != "nothing":
        warnings.warn(
            f"{encoder.name}: the classes it was trained on are not known, so nobody checked whether targets hold them",
            UncheckedClasses,
            stacklevel=2,
        )
    sha256 = encoder.sha256
    # Looked at first: what cannot be written or added to should not take an evaluation to find out.
    path = folder / RESULTS
    _check_folder(folder, encoder, sha256)
    _earlier(path)
    rows, accuracies = evaluate(
        encoders,
        targets,
        seed=encoder.seed,
        source=encoder.source,
        encoder_sha256=sha256,
        layer=encoder.layer,
        contexts={} if encoder.context is None else {CALIBRATED: encoder.context},
        protocols=settings.protocols,
        ways=settings.way,
        shots=settings.shot,
        query=settings.query,
        episodes=settings.episodes,
        heads=settings.heads,
        fractions=settings.fractions,
        fine_tune_steps=settings.fine_tune_steps,
        # What was loaded is in eval mode because it was loaded, not because its owner froze it.
        fine_tune_in_train_mode=True,
        fit=fit,
        compute=encoder.compute,
        learners=encoder.learners,
        cache=_cache(folder / FEATURES),
    )
    with writing(folder, "name another folder with --out"), only_one(folder):
        # Read again: another process may have measured other targets meanwhile.
        _check_identity(folder, encoder, sha256)
        kept, known = _earlier(path)
        measured = {row.key for row in rows}
        # Rows of an encoder that has been trained anew since do not belong to this folder any more.
        kept = [row for row in kept if row.key not in measured and row.encoder_sha256 in ("", sha256)]
        # The same images by another spelling of their source are no second target.
        again = {_but_for_the_name(row) for row in rows}
        dropped = {row.key for row in kept if row.target_sha256 and _but_for_the_name(row) in again}
        kept = [row for row in kept if row.key not in dropped]
        known = {key: values for key, values in known.items() if key not in dropped}
        _write_identity(folder, encoder, sha256)
        write_results(path, kept + rows, known | accuracies)
    return rows


def _but_for_the_name(row: Row) -> tuple[str, str]:
    kind, path = split_name(row.target)
    return replace(row, target=kind if path else row.target).key, row.target_sha256


def _earlier(path: Path) -> tuple[list[Row], dict[str, Tensor]]:
    return read_results(path) if os.path.lexists(path) else ([], {})


def _cache(folder: Path) -> Path | None:
    """The folder of features, if it can be written to: what is kept there only saves time."""
    try:
        check_writable(folder)
    except InputError as error:
        warnings.warn(
            f"{error}; features are computed and not kept, so the next call computes them again",
            FeaturesNotKept,
            stacklevel=3,
        )
        return None
    return folder


def _check_folder(folder: Path, encoder: Pretrained, sha256: str) -> None:
    """The folder can be written, and holds no results of another encoder."""
    check_writable(folder, "results can be kept in another folder with --out DIR")
    _check_identity(folder, encoder, sha256)


def _check_identity(folder: Path, encoder: Pretrained, sha256: str) -> None:
    if (folder / IDENTITY).exists():
        held = read_identity(folder)
        if held["sha256"] != sha256:
            raise InputError(
                f"{folder} holds the results of {held['name']}, another encoder; name another folder for those of "
                f"{encoder.name}"
            )
    elif _is_run_of_another(folder, sha256):
        raise InputError(
            f"{folder} is the run folder of another encoder; name another folder for the results of {encoder.name}"
        )


def _is_run_of_another(folder: Path, sha256: str) -> bool:
    """Whether rows of this encoder would take the place of those of a run's own."""
    own = RunFolder(folder).encoder
    return (folder / CONFIG).exists() and own.exists() and tensors_sha256(read_tensors(own)[0]) != sha256


def _write_identity(folder: Path, encoder: Pretrained, sha256: str) -> None:
    """A folder that is no run folder says whose results it holds."""
    if not (folder / "config.toml").exists() and not (folder / IDENTITY).exists():
        facts = {"name": encoder.name, "sha256": sha256, "source": encoder.source, "seed": encoder.seed}
        write_atomically(folder / IDENTITY, json_text(facts).encode())


def read_identity(folder: Path) -> dict[str, Any]:
    """Whose results a folder holds: name, sha256, source and seed.

    Raises:
        InputError: if the file is missing or damaged.
    """
    try:
        found = read_json(folder / IDENTITY)
        if type(found["seed"]) is not int or not isinstance(found["name"], str) or not isinstance(found["sha256"], str):
            raise TypeError("name and sha256 must be texts and seed a whole number")
        return {"name": found["name"], "sha256": found["sha256"], "seed": found["seed"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / IDENTITY} cannot be read ({error}); delete the folder and measure again"
        ) from error


def _check_images(encoder: Pretrained, store: ImageStore) -> None:
    found, wanted = (store.channels, store.image_size), (encoder.channels, encoder.image_size)
    if found != wanted:
        raise InputError(
            f"{store.name}: images are {found[0]} × {found[1]} × {found[1]} and {encoder.name} takes "
            f"{wanted[0]} × {wanted[1]} × {wanted[1]}; load the target with image_size={wanted[1]}, channels={wanted[0]}"
        )
