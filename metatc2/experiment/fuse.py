"""What `metatc2 fuse` does: encoders by name, their cached features on a target, and every way to use them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.errors import InputError, nearest
from metatc2.experiment.load import is_network, load_pretrained, split_weights
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.targets import Sources, asked_or_own, find_targets
from metatc2.experiment.transfer import features_folder
from metatc2.io.registry import Registry
from metatc2.io.run_files import CONFIG, FEATURES
from metatc2.ops.numbers import whole
from metatc2.transfer import FeatureTable, Target, fingerprint, target_splits
from metatc2.transfer.fusion import ATTENTIONS, BASELINES
from metatc2.transfer.fusion.draws import check_labels
from metatc2.transfer.fusion.measure import (
    FusionDifference,
    FusionRow,
    FusionTarget,
    check_draws,
    differences,
    measure_fusion,
)

LABELS_PER_CLASS = (1, 2, 5, 10, 50)
DRAWS = 20
#: Measured where none is named: the default, the same weights for every image, and weights drawn at random.
ATTENTIONS_SHOWN = ("sample", "static", "random")


@dataclass(frozen=True)
class FusionResults:
    """What was measured on all targets.

    Args:
        rows: see `FusionRow`.
        differences: paired, see `metatc2.transfer.fusion.measure.differences`.
        encoders: name, checksum, source, seed and compute of each, that at equal compute last.
        targets: name, checksum of the images and labels used, and how they were split.
        notes: what was left out, as sentences.
    """

    rows: tuple[FusionRow, ...]
    differences: tuple[FusionDifference, ...]
    encoders: tuple[dict[str, Any], ...]
    targets: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As a mapping that JSON holds."""
        return {
            "encoders": list(self.encoders),
            "targets": list(self.targets),
            "notes": list(self.notes),
            "rows": [asdict(row) for row in self.rows],
            "differences": [asdict(difference) for difference in self.differences],
        }


def fuse(
    names: Sequence[str],
    targets: Sequence[str] = (),
    *,
    labels_per_class: Sequence[int] = LABELS_PER_CLASS,
    draws: int = DRAWS,
    attentions: Sequence[str] = ATTENTIONS_SHOWN,
    baselines: Sequence[str] = (),
    equal_compute: str | None = None,
    probes: bool = True,
    width: int | None = None,
    allow_seen: bool = False,
    sources: Sources | None = None,
    tell: Callable[[str], None] | None = None,
) -> FusionResults:
    """Measure attention over encoders, the baselines and each encoder alone, on the same draws of labels.

    Args:
        names: two encoders or more, see `load_pretrained`.
        targets: ``SOURCE[:SPLIT]``; by default those of the first run's task, or what it learned from.
        labels_per_class: how many labels a class; rows for each.
        draws: of labels, the same for all.
        attentions: names of `ATTENTIONS`; the first is compared with everything else.
        baselines: names of `BASELINES`; by default all.
        equal_compute: an encoder that was trained for as long as all others together.
        probes: whether to measure what an untrained encoder, and the first one given twice, do.
        width: of aligned features, see `metatc2.transfer.fusion.PretextFusion`.
        allow_seen: whether targets may hold classes of the pre-training images of any encoder.
        sources: where targets come from, where it is not as in the first run's ``[data]``.
        tell: gets what is left of features that take long, a sentence each.

    Raises:
        InputError: if there are fewer than two encoders, two are the same, they take other images, a class has fewer labels
            than asked for, or a name is unknown. Nothing is computed then.
    """
    check_draws(draws)
    if not attentions:
        raise InputError(f"fuse: --attention: at least one is needed; {nearest('', tuple(ATTENTIONS))}")
    _require_known("--attention", attentions, ATTENTIONS)
    _require_known("--baseline", baselines, BASELINES)
    if width is not None:
        whole(width, "fuse: width", 1)
    encoders = _encoders(names)
    first = next(iter(encoders.values()))
    one = None if equal_compute is None else _like(_loaded(equal_compute, first), first)
    reached = _targets(encoders, one, names[0], targets, sources, allow_seen)
    splits, counts = {}, {}
    for target in reached:
        splits[target.name] = target_splits(target)
        labels = target.store.labels[torch.cat([splits[target.name].train, splits[target.name].validation])]
        counts[target.name] = check_labels(labels, labels_per_class, target.name, target.store.class_names)
    untrained = next((e.untrained for e in encoders.values() if e.untrained is not None), None)
    notes = _notes(encoders, one, untrained is None and probes)
    rows: list[FusionRow] = []
    about = []
    for target in reached:
        parts = splits[target.name]
        used = torch.cat([parts.train, parts.validation, parts.test])

        def on(
            module: nn.Module, name: str, folder: str | None = None, target: Target = target, used: Tensor = used
        ) -> Tensor:
            cache = None if folder is None or not (Path(folder) / CONFIG).exists() else Path(folder) / FEATURES
            table = FeatureTable(target.store, {name: module}, cache=cache and features_folder(cache), tell=tell)
            return table.at(name, used)

        pool = len(parts.train) + len(parts.validation)
        measured = FusionTarget(
            target.name,
            {name: on(encoder.encoder, name, name) for name, encoder in encoders.items()},
            target.store.labels[used],
            torch.arange(pool),
            torch.arange(pool, len(used)),
            target.store.class_names,
            target.store.metric == "mean per class",
            None if untrained is None or not probes else on(untrained, "untrained encoder"),
            None if one is None else on(one.encoder, one.name, equal_compute),
        )
        rows += measure_fusion(
            measured,
            labels_per_class=counts[target.name],
            draws=draws,
            attentions=attentions,
            baselines=baselines,
            probes=probes,
            width=width,
        )
        about.append(
            {
                "target": target.name,
                "sha256": fingerprint(target.store, used),
                "classes_seen": target.classes_seen,
                "metric": target.store.metric,
                "split": parts.how,
                "test images": len(parts.test),
            }
        )
    return FusionResults(
        tuple(rows),
        tuple(differences(rows)),
        tuple(_about(e) for e in [*encoders.values(), *([] if one is None else [one])]),
        tuple(about),
        tuple(notes),
    )


def _require_known(flag: str, names: Sequence[str], registry: Registry[Any]) -> None:
    for name in names:
        if name not in registry:
            raise InputError(f"fuse: {flag}: unknown {registry.kind} {name!r}; {nearest(name, tuple(registry))}")


def _encoders(names: Sequence[str]) -> dict[str, Pretrained]:
    if len(names) < 2:
        raise InputError(
            f"fuse: needs two encoders or more, got {len(names)}; name another one, or measure one alone with metatc2 transfer"
        )
    encoders: dict[str, Pretrained] = {}
    checksums: dict[str, str] = {}
    for name in names:
        first = next(iter(encoders.values()), None)
        encoder = _loaded(name, first)
        if first is not None:
            _like(encoder, first)
        sha256 = encoder.sha256
        if sha256 in checksums:
            raise InputError(
                f"fuse: {name} is the same encoder as {checksums[sha256]}; name each once (what one that is given twice does "
                "is measured by itself)"
            )
        checksums[sha256], encoders[name] = name, encoder
    return encoders


def _loaded(name: str, first: Pretrained | None) -> Pretrained:
    """A network by its name takes the images of the first encoder; others say themselves what they take."""
    if first is None or not is_network(split_weights(name)[0]):
        return load_pretrained(name)
    return load_pretrained(name, image_size=first.image_size)


def _like(encoder: Pretrained, first: Pretrained) -> Pretrained:
    """An encoder, if it takes the images that the first one takes.

    Raises:
        InputError: if it does not.
    """
    given, wanted = ((e.channels, e.image_size) for e in (encoder, first))
    if given != wanted:
        raise InputError(
            f"fuse: {encoder.name} takes images of {given[0]} × {given[1]} × {given[1]} and {first.name} of {wanted[0]} × "
            f"{wanted[1]} × {wanted[1]}; name encoders of images of one size and number of channels"
        )
    return encoder


def _targets(
    encoders: dict[str, Pretrained],
    one: Pretrained | None,
    first: str,
    names: Sequence[str],
    sources: Sources | None,
    allow_seen: bool,
) -> list[Target]:
    config, wanted = asked_or_own(names, first)
    origin = (sources or Sources()).over(config.data)
    # For each, since each has seen other classes; the images are the same.
    every = [
        find_targets(encoder, wanted, origin, allow_seen=allow_seen)
        for encoder in [*encoders.values(), *([] if one is None else [one])]
    ]
    seen = {target.name for reached in every for target in reached if target.classes_seen}
    return [Target(t.store, t.split, t.name, t.name in seen) for t in every[0]]


def _notes(encoders: dict[str, Pretrained], one: Pretrained | None, no_untrained: bool) -> list[str]:
    notes = []
    if no_untrained:
        notes.append(
            "no encoder is known as it was before training, so the probe with an untrained encoder is left out"
        )
    if one is not None:
        steps = [encoder.compute.get("steps") for encoder in (*encoders.values(), one)]
        together = sum(s for s in steps[:-1] if s is not None)
        if None in steps:
            notes.append(f"what training cost is not known of all encoders, so that of {one.name} may not be equal")
        elif steps[-1] != together:
            notes.append(
                f"{one.name} was trained for {steps[-1]:g} steps and the encoders together for {together:g}, which is not "
                "equal compute"
            )
    return notes


def _about(encoder: Pretrained) -> dict[str, Any]:
    return {
        "name": encoder.name,
        "sha256": encoder.sha256,
        "source": encoder.source,
        "seed": encoder.seed,
        "compute": dict(encoder.compute),
    }
