"""Result rows, and the two files that keep them: ``transfer.json`` and the accuracies it summarises beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from safetensors import SafetensorError
from safetensors.torch import save as save_tensors
from torch import Tensor

from metatc2.errors import InputError, cause_of, nearest
from metatc2.io.files import printable, read_file, write_atomically, writing
from metatc2.io.reading import parse_json
from metatc2.io.safetensors_file import read_safetensors
from metatc2.io.suggest import command
from metatc2.io.writing import json_text
from metatc2.models.stages import OUTPUT

_CONTENT = "metatc2 accuracies"
_LARGEST = 2**63  # of whole numbers; what is larger was not measured


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure with all that it depends on.

    Args:
        protocol: one of `metatc2.transfer.PROTOCOLS`.
        source: what was pre-trained on.
        target: what is tested on, e.g. ``"glyphs:greek"``.
        split: split of the target, e.g. ``"greek"``.
        way: classes an episode; with k-NN, the classes of the bank.
        shot: labelled images a class; with k-NN, 0.
        query: queries a class that were used; with k-NN, the number of images that are classified.
        episodes: how many; with k-NN, 0.
        head: classifier on the features: ``"cosine"``, ``"euclidean"``, ``"knn"``.
        mean: accuracy in [0, 1].
        ci95: half width of the 95 % Student interval over episodes (k-NN: over images), as a fraction.
        seed: of pre-training.
        encoder_sha256: checksum of the encoder's weights; empty for controls without trained weights.
        inductive: whether each query was classified by itself.
        features: ``"encoder"``, ``"calibrated"``, ``"random encoder"`` or ``"raw pixels"``.
        classes_excluded: classes of the target that were too small.
        bank: where k-NN neighbours come from; empty else.
        query_asked: queries a class asked for; more than `query` where a class is smaller. None with k-NN.
        k: neighbours used.
        k_asked: neighbours asked for; more than `k` where the bank is smaller.
        temperature: of the k-NN vote.
        selection: on what hyper-parameters were chosen.
        target_sha256: over the images and labels that were used.
        episodes_seed: of the draw of episodes.
        classes_seen: whether classes of the target were among the pre-training images.
        compute: what the encoder cost, e.g. ``{"steps": 400, "seconds": 61.5}``.
        layer: stage of the encoder that the features come from.
        metric: ``"accuracy"``, or e.g. ``"mean per class"``, ``"mean average precision"``, ``"recall@1"``.
        setting: what else tells the row apart, e.g. ``"10 % of the labels"`` or ``"fog, severity 3"``.
        chosen: hyper-parameters, see `selection`.
        note: what differs from what was asked for, as a sentence.
        context: pairs that the features were adapted to, as they were named; empty where to none.
        context_pairs: how many.
        context_sha256: over their images.

    Raises:
        InputError: if `mean` or `ci95` is not a fraction.
    """

    protocol: str
    source: str
    target: str
    split: str
    way: int
    shot: int
    query: int
    episodes: int
    head: str
    mean: float
    ci95: float
    seed: int
    encoder_sha256: str
    inductive: bool = True
    features: str = "encoder"
    classes_excluded: int = 0
    bank: str = ""
    query_asked: int | None = None
    k: int | None = None
    k_asked: int | None = None
    temperature: float | None = None
    selection: str = "none"
    target_sha256: str = ""
    episodes_seed: int = 0
    classes_seen: bool = False
    compute: Mapping[str, float] = field(default_factory=dict)
    layer: str = OUTPUT
    metric: str = "accuracy"
    setting: str = ""
    chosen: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    context: str = ""
    context_pairs: int = 0
    context_sha256: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.mean <= 1 or not (math.isfinite(self.ci95) and self.ci95 >= 0):
            raise InputError(
                f"result row {self.target}: mean must lie in 0..1 and ci95 be a finite fraction, "
                f"got {self.mean} and {self.ci95}"
            )

    @property
    def key(self) -> str:
        """Names the row within one file, and its accuracies in the file beside it."""
        parts = [self.protocol, self.target, self.split, f"{self.way}-way", f"{self.shot}-shot", f"{self.query}-query"]
        parts += [f"{self.episodes}-episodes", self.head, self.features] + ([f"k={self.k}"] if self.k else [])
        # Named where they are not what most rows have, so that keys of older files stay as they were.
        parts += [self.metric] * (self.metric != "accuracy") + [self.setting] * (self.setting != "")
        parts += [f"layer {self.layer}"] * (self.layer != OUTPUT)
        parts += [f"context {self.context_sha256[:16]}"] * (self.context_sha256 != "")
        return "|".join(parts)

    @property
    def context_words(self) -> str:
        """The pairs that the features were adapted to: how many, from where, and the start of their checksum; else empty."""
        known = bool(self.context_sha256)
        return f"{self.context_pairs} pairs of {self.context}, {self.context_sha256[:6]}" if known else ""

    @property
    def features_words(self) -> str:
        """`features`, and the pairs that they were adapted to."""
        return f"{self.features} ({self.context_words})" if self.context_words else self.features


def write_results(path: Path, rows: Sequence[Row], accuracies: Mapping[str, Tensor]) -> None:
    """Write the rows as a JSON list, and the accuracies beside it with the ending ``.safetensors``.

    Args:
        path: usually ``DIR/transfer.json``; replaced if it exists.
        rows: see `Row`.
        accuracies: by `Row.key`: accuracy of each episode (k-NN: of each image), so that runs can be compared in pairs.

    Raises:
        InputError: if two rows have the same key, the file beside `path` is not one of accuracies, or one cannot be
            written.
    """
    keys = [row.key for row in rows]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"{path}: two rows have the key {twice!r}; write each result once")
    beside = _beside(path)
    if beside.exists():
        _accuracies(beside)
    content = json_text([dataclasses.asdict(row) for row in rows]).encode()
    # First what is pointed at. It names the rows that it belongs to, and those that a cut between the two would leave.
    earlier = read_file(path) if path.is_file() else b""
    about = {"content": _CONTENT, "rows_sha256": _sha256(content), "earlier_sha256": _sha256(earlier)}
    tensors = {printable(key): accuracies[key].detach().cpu().contiguous().clone() for key in keys if key in accuracies}
    with writing(path):
        write_atomically(beside, save_tensors(tensors, metadata=about))
        write_atomically(path, content)


def read_results(path: Path) -> tuple[list[Row], dict[str, Tensor]]:
    """Rows, and accuracies by `Row.key`; no accuracies if the file beside `path` is missing.

    Raises:
        InputError: if a file is missing, truncated, not of this form, or the two do not belong together.
    """
    fix = "delete it and run `metatc2 transfer` again"
    try:
        content = read_file(path)
        found = parse_json(content, "it", finite=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; make it with: {command('transfer', path.parent)}") from error
    except (OSError, InputError) as error:
        raise InputError(f"{path} cannot be read as JSON ({cause_of(error)}); {fix}") from error
    if not isinstance(found, list):
        raise InputError(f"{path} must hold a list of result rows, got {type(found).__name__}; {fix}")
    rows = [_row(item, f"{path}, row {i}") for i, item in enumerate(found)]
    beside = _beside(path)
    if not beside.exists():
        return rows, {}
    about, named = _accuracies(beside)
    accuracies = {row.key: named[printable(row.key)] for row in rows if printable(row.key) in named}
    wrong = [row.key for row in rows if row.key in accuracies and not _is_mean(row.mean, accuracies[row.key])]
    sha256 = _sha256(content)
    if about.get("rows_sha256", sha256) != sha256:
        if about.get("earlier_sha256") != sha256:
            raise InputError(
                f"{path} and {beside.name} do not belong together: the rows are not those that were written; delete both and "
                "run `metatc2 transfer` again"
            )
        # Cut between the two files: the rows are the earlier ones, and so are the accuracies that fit them.
        return rows, {key: values for key, values in accuracies.items() if key not in wrong}
    if wrong:
        raise InputError(
            f"{path} and {beside.name} do not belong together ({wrong[0]}); delete both and run `metatc2 transfer` again"
        )
    return rows, accuracies


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_mean(mean: float, values: Tensor) -> bool:
    return values.is_floating_point() and abs(float(values.double().mean()) - mean) < 1e-6


def _beside(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def _accuracies(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """What a file of accuracies says about itself, and the accuracies."""
    try:
        named, about = read_safetensors(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); delete it and {path.stem}.json, and run `metatc2 transfer` again"
        ) from error
    if about.get("content") != _CONTENT:
        raise InputError(f"{path} holds something else than accuracies; choose another name for the results")
    return about, named


def _row(item: Any, where: str) -> Row:
    if not isinstance(item, dict):
        raise InputError(f"{where}: must be an object, got {type(item).__name__}")
    types = get_type_hints(Row)
    required = {f.name for f in dataclasses.fields(Row) if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(required - set(item)):
        raise InputError(f"{where}: {', '.join(missing)} missing; run `metatc2 transfer` again")
    for name, value in item.items():
        if name not in types:
            raise InputError(f"{where}: unknown field {name!r}; {nearest(name, types)}")
        kinds = get_args(types[name]) if get_origin(types[name]) is not Mapping else (dict,)
        kinds = kinds or (types[name],)
        # JSON writes 1.0 as it likes, and Python's bool is an int.
        fits = isinstance(value, kinds) or (float in kinds and isinstance(value, int))
        if not fits or (isinstance(value, bool) and bool not in kinds):
            raise InputError(
                f"{where}: {name} must be {' or '.join(kind.__name__ for kind in kinds)}, got {_short(value)}"
            )
        for number in value.values() if isinstance(value, dict) else (value,):
            if isinstance(value, dict) and (not isinstance(number, int | float) or isinstance(number, bool)):
                raise InputError(f"{where}: {name} must be a table of numbers, got {_short(number)} in it")
            # `isfinite` of a whole number that is no float would overflow.
            if isinstance(number, int) and abs(number) >= _LARGEST:
                raise InputError(
                    f"{where}: {name} is too large a number; delete the file and run `metatc2 transfer` again"
                )
            if isinstance(number, float) and not math.isfinite(number) and name not in ("mean", "ci95"):
                raise InputError(f"{where}: {name} must be finite, got {number}")
    try:
        return Row(**item)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _short(value: Any) -> str:
    try:
        words = repr(value)
    except (ValueError, RecursionError):  # of thousands of digits, or nested as deep
        return f"a {type(value).__name__}"
    return words if len(words) < 100 else words[:100] + "..."
