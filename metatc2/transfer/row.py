"""A row of the results: one figure with all that it depends on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metatc2.errors import InputError
from metatc2.models.stages import OUTPUT

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


#: The metric that is at most 1 and may be negative.
R2 = "R²"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure with all that it depends on.

    Args:
        protocol: one of `metatc2.transfer.PROTOCOLS`.
        source: what was pre-trained on.
        target: what is tested on, e.g. ``"glyphs:greek"``.
        split: split of the target, e.g. ``"greek"``.
        mean: accuracy in [0, 1], or what `metric` says; R² may be negative.
        ci95: half width of the 95 % Student interval over episodes (without episodes: over images), as a fraction.
        seed: of pre-training.
        encoder_sha256: checksum of the encoder's weights; empty for controls without trained weights.
        features: ``"encoder"``, ``"calibrated"``, ``"random encoder"`` or ``"raw pixels"``.
        metric: ``"accuracy"``, or e.g. ``"mean per class"``, ``"mean average precision"``, ``"recall@1"``, ``"R²"``.
        inductive: whether each query was classified by itself.
        target_sha256: over the images and labels that were used.
        originals_sha256: over the same images as they were before they were resized, and their labels; empty where that is
            not known. Rows of equal ones are of the same images at two sizes.
        image_shape: of the images that the encoder got, ``"C × H × W"``.
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

            Text, numbers and switches of any other name tell rows apart too.

    Raises:
        InputError: if `mean` or `ci95` is not a fraction, or a fact has the name of a field.

    >>> row = Row(protocol="knn", source="a", target="b", split="c", mean=0.5, ci95=0.1, seed=0, encoder_sha256="",
    ...           facts={"way": 10, "k": 20})
    >>> row.k, row.shot, row.value("temperature"), row.key
    (20, None, None, 'knn|b|c|10-way|0-shot|0-query|0-episodes||encoder|k=20')
    >>> dataclasses.replace(row, facts={"norm": 2.0, "setting": "fog"}).setting
    'fog, norm 2.0'
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
    originals_sha256: str = ""
    image_shape: str = ""
    classes_seen: bool = False
    compute: Mapping[str, float] = field(default_factory=dict)
    layer: str = OUTPUT
    note: str = ""
    context: str = ""
    context_pairs: int = 0
    context_sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least = -math.inf if self.metric == R2 else 0
        if not (math.isfinite(self.mean) and least <= self.mean <= 1) or not (
            math.isfinite(self.ci95) and self.ci95 >= 0
        ):
            raise InputError(
                f"result row {self.target}: mean must lie in 0..1 and ci95 be a finite fraction, "
                f"got {self.mean} and {self.ci95}"
            )
        if taken := sorted(FIELDS & set(self.facts)):
            raise InputError(
                f"result row {self.target}: facts must not have names of fields, got {', '.join(taken)}; choose another name"
            )

    def value(self, name: str) -> Any:
        """A field or fact by name; None where this row has no such fact."""
        return getattr(self, name) if name in FIELDS else self.facts.get(name)

    def same_images(self, other: Row) -> bool:
        """Whether both rows are of the same images and labels, whatever the size that the images were given at."""
        known = bool(self.originals_sha256) and self.originals_sha256 == other.originals_sha256
        return known or self.target_sha256 == other.target_sha256

    @property
    def way(self) -> int | None:
        """See `facts`."""
        way: int | None = self.facts.get("way")
        return way

    @property
    def shot(self) -> int | None:
        """See `facts`."""
        shot: int | None = self.facts.get("shot")
        return shot

    @property
    def query(self) -> int | None:
        """See `facts`."""
        query: int | None = self.facts.get("query")
        return query

    @property
    def episodes(self) -> int | None:
        """See `facts`."""
        episodes: int | None = self.facts.get("episodes")
        return episodes

    @property
    def k(self) -> int | None:
        """See `facts`."""
        k: int | None = self.facts.get("k")
        return k

    @property
    def head(self) -> str:
        """See `facts`; empty where there is none."""
        return str(self.facts.get("head", ""))

    @property
    def setting(self) -> str:
        """What else tells the row apart, in words: see `facts`; empty where nothing does."""
        own = [f"{name} {value}" for name, value in self.own_facts]
        return ", ".join([setting, *own] if (setting := str(self.facts.get("setting", ""))) else own)

    @property
    def own_facts(self) -> tuple[tuple[str, Any], ...]:
        """Facts that only its protocol has (none of `FACTS`), by name, without tables of numbers, which say what was chosen."""
        own = (name for name, value in self.facts.items() if name not in FACTS and not isinstance(value, Mapping))
        return tuple((name, self.facts[name]) for name in sorted(own))

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


#: Names that no fact may have.
FIELDS = frozenset(each.name for each in dataclasses.fields(Row))
