"""Result rows, and the two files that keep them: ``transfer.json`` and the accuracies it summarises beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin, get_type_hints

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


#: Facts that protocols of this library have, and of what type each is. Others may have more: text, numbers, tables of numbers.
FACTS: Mapping[str, type] = {
    "way": int,
    "shot": int,
    "query": int,
    "query_asked": int,
    "episodes": int,
    "episodes_seed": int,
    "head": str,
    "classes_excluded": int,
    "k": int,
    "k_asked": int,
    "temperature": float,
    "bank": str,
    "selection": str,
    "chosen": dict,
    "setting": str,
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure with all that it depends on.

    Args:
        protocol: one of `metatc2.transfer.PROTOCOLS`.
        source: what was pre-trained on.
        target: what is tested on, e.g. ``"glyphs:greek"``.
        split: split of the target, e.g. ``"greek"``.
        mean: accuracy in [0, 1], or what `metric` says.
        ci95: half width of the 95 % Student interval over episodes (without episodes: over images), as a fraction.
        seed: of pre-training.
        encoder_sha256: checksum of the encoder's weights; empty for controls without trained weights.
        features: ``"encoder"``, ``"calibrated"``, ``"random encoder"`` or ``"raw pixels"``.
        metric: ``"accuracy"``, or e.g. ``"mean per class"``, ``"mean average precision"``, ``"recall@1"``.
        inductive: whether each query was classified by itself.
        target_sha256: over the images and labels that were used.
        classes_seen: whether classes of the target were among the pre-training images.
        compute: what the encoder cost, e.g. ``{"steps": 400, "seconds": 61.5}``.
        layer: stage of the encoder that the features come from.
        note: what differs from what was asked for, as a sentence.
        context: pairs that the features were adapted to, as they were named; empty where to none.
        context_pairs: how many.
        context_sha256: over their images.
        facts: what the protocol adds, by name; one that does not apply is not there. Of this library's protocols

            * ``way``: classes an episode; without episodes, the classes that are told apart,
            * ``shot``: labeled images a class,
            * ``query``: images a class that were classified; without episodes, all images that were classified,
            * ``query_asked``: queries a class asked for; more than ``query`` where a class is smaller,
            * ``episodes``: how many, and ``episodes_seed``: of their draw,
            * ``head``: classifier on the features: ``"cosine"``, ``"euclidean"``, ``"knn"``, ``"linear"``, ...,
            * ``classes_excluded``: classes of the target that were too small,
            * ``bank``: where the neighbors come from,
            * ``k``: neighbors used, and ``k_asked``: asked for; more than ``k`` where the bank is smaller,
            * ``temperature``: of the k-NN vote,
            * ``selection``: on what hyper-parameters were chosen, and ``chosen``: which,
            * ``setting``: what else tells the row apart, e.g. ``"10 % of the labels"`` or ``"fog"``.

    Raises:
        InputError: if `mean` or `ci95` is not a fraction, or a fact has the name of a field.

    >>> row = Row(protocol="knn", source="a", target="b", split="c", mean=0.5, ci95=0.1, seed=0, encoder_sha256="",
    ...           facts={"way": 10, "k": 20})
    >>> row.k, row.shot, row.value("temperature"), row.key
    (20, None, None, 'knn|b|c|10-way|0-shot|0-query|0-episodes||encoder|k=20')
    """

    protocol: str
    source: str
    target: str
    split: str
    mean: float
    ci95: float
    seed: int
    encoder_sha256: str
    features: str = "encoder"
    metric: str = "accuracy"
    inductive: bool = True
    target_sha256: str = ""
    classes_seen: bool = False
    compute: Mapping[str, float] = field(default_factory=dict)
    layer: str = OUTPUT
    note: str = ""
    context: str = ""
    context_pairs: int = 0
    context_sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.mean <= 1 or not (math.isfinite(self.ci95) and self.ci95 >= 0):
            raise InputError(
                f"result row {self.target}: mean must lie in 0..1 and ci95 be a finite fraction, "
                f"got {self.mean} and {self.ci95}"
            )
        if taken := sorted(_FIELDS & set(self.facts)):
            raise InputError(
                f"result row {self.target}: facts must not have names of fields, got {', '.join(taken)}; choose another name"
            )

    def value(self, name: str) -> Any:
        """A field or fact by name; None where this row has no such fact."""
        return getattr(self, name) if name in _FIELDS else self.facts.get(name)

    @property
    def way(self) -> int | None:
        """See `facts`."""
        found: int | None = self.facts.get("way")
        return found

    @property
    def shot(self) -> int | None:
        """See `facts`."""
        found: int | None = self.facts.get("shot")
        return found

    @property
    def query(self) -> int | None:
        """See `facts`."""
        found: int | None = self.facts.get("query")
        return found

    @property
    def episodes(self) -> int | None:
        """See `facts`."""
        found: int | None = self.facts.get("episodes")
        return found

    @property
    def k(self) -> int | None:
        """See `facts`."""
        found: int | None = self.facts.get("k")
        return found

    @property
    def head(self) -> str:
        """See `facts`; empty where there is none."""
        return str(self.facts.get("head", ""))

    @property
    def setting(self) -> str:
        """See `facts`; empty where there is none."""
        return str(self.facts.get("setting", ""))

    @property
    def key(self) -> str:
        """Names the row within one file, and its accuracies in the file beside it."""
        # Numbers that a protocol does not have are 0 here, and further parts are named where they are not what most rows
        # have, so that keys of older files stay as they were.
        parts = [self.protocol, self.target, self.split]
        parts += [f"{self.facts.get(name, 0)}-{name}" for name in ("way", "shot", "query", "episodes")]
        parts += [self.head, self.features] + ([f"k={self.k}"] if self.k else [])
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


_FIELDS = {each.name for each in dataclasses.fields(Row)}


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


# In files before facts had a place of their own: how a protocol without a fact said so.
_ABSENT: Mapping[str, Any] = {
    **{"shot": 0, "episodes": 0, "episodes_seed": 0, "query_asked": None, "k": None, "k_asked": None},
    **{"temperature": None, "head": "", "bank": "", "selection": "none", "chosen": {}, "setting": ""},
}


def _with_facts(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row as it is written now, from one of an older file, where facts of all protocols stand among the fields.

    >>> _with_facts({"protocol": "knn", "way": 10, "shot": 0, "k": 20, "temperature": None})
    {'protocol': 'knn', 'facts': {'way': 10, 'k': 20}}
    """
    if "facts" in item:
        return item
    absent = {
        name for name, value in _ABSENT.items() if item.get(name) == value and type(item.get(name)) is type(value)
    }
    facts = {name: item[name] for name in FACTS if name in item and name not in absent}
    return {**{name: value for name, value in item.items() if name not in FACTS}, "facts": facts}


def _row(item: Any, where: str) -> Row:
    if not isinstance(item, dict):
        raise InputError(f"{where}: must be an object, got {type(item).__name__}")
    item = _with_facts(item)
    types = get_type_hints(Row)
    required = {f.name for f in dataclasses.fields(Row) if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(required - set(item)):
        raise InputError(f"{where}: {', '.join(missing)} missing; run `metatc2 transfer` again")
    for name, value in item.items():
        if name not in types:
            raise InputError(f"{where}: unknown field {name!r}; {nearest(name, types)}")
        if name == "facts":
            continue
        _check(name, value, (dict if get_origin(types[name]) is Mapping else types[name],), where)
    if not isinstance(item["facts"], dict):
        raise InputError(f"{where}: facts must be dict, got {_short(item['facts'])}")
    for name, value in item["facts"].items():
        _check(name, value, (FACTS[name],) if name in FACTS else (str, int, float, bool, dict), where)
    try:
        return Row(**item)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _check(name: str, value: Any, kinds: tuple[type, ...], where: str) -> None:
    """Refuse a value of another type, or a number that was not measured."""
    # JSON writes 1.0 as it likes, and Python's bool is an int.
    fits = isinstance(value, kinds) or (float in kinds and isinstance(value, int))
    if not fits or (isinstance(value, bool) and bool not in kinds):
        raise InputError(f"{where}: {name} must be {' or '.join(kind.__name__ for kind in kinds)}, got {_short(value)}")
    for number in value.values() if isinstance(value, dict) else (value,):
        if isinstance(value, dict) and (not isinstance(number, int | float) or isinstance(number, bool)):
            raise InputError(f"{where}: {name} must be a table of numbers, got {_short(number)} in it")
        # `isfinite` of a whole number that is no float would overflow.
        if isinstance(number, int) and abs(number) >= _LARGEST:
            raise InputError(f"{where}: {name} is too large a number; delete the file and run `metatc2 transfer` again")
        if isinstance(number, float) and not math.isfinite(number) and name not in ("mean", "ci95"):
            raise InputError(f"{where}: {name} must be finite, got {number}")


def _short(value: Any) -> str:
    try:
        words = repr(value)
    except (ValueError, RecursionError):  # of thousands of digits, or nested as deep
        return f"a {type(value).__name__}"
    return words if len(words) < 100 else words[:100] + "..."
