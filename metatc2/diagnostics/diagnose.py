"""`diagnose`: every figure of an encoder on a split, in one record."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.calibration import Calibrator
from metatc2.data.sources.shapes.factors import GenerativeFactors
from metatc2.data.store import ImageStore
from metatc2.diagnostics.agreement import Agreement, gradient_agreement
from metatc2.diagnostics.conflict import Conflict, task_conflict
from metatc2.diagnostics.factor_matrix import LEAST, FactorMatrix, probe_factors
from metatc2.diagnostics.factor_use import FactorUse, factor_use
from metatc2.diagnostics.resplits import enough
from metatc2.diagnostics.task_loss import task_loss
from metatc2.episodes.episode import Sampler
from metatc2.errors import InputError
from metatc2.learners import Learner
from metatc2.metrics.cka import linear_cka
from metatc2.metrics.null import FEWEST
from metatc2.metrics.summary import FeatureSummary, summarize
from metatc2.models.encoding import encode
from metatc2.models.features import evaluation_mode, extract, finite
from metatc2.ops.numbers import whole
from metatc2.ops.precision import without_autocast

ENCODER, CALIBRATED = "encoder", "calibrated"


@dataclass(frozen=True)
class Likeness:
    """Linear CKA of the encoder's features with others of the same images.

    Args:
        cka: see `linear_cka`.
        debiased: the same, debiased; NaN for fewer than 4 images.
    """

    cka: float
    debiased: float


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` finds.

    Args:
        source, split: name of the store, and the split that was looked at.
        images: number of images looked at.
        images_of: number of images in the split.
        seed: images, views and re-splits are drawn from it.
        features: by kind: ``"encoder"`` and, where there is a calibrator, ``"calibrated"``.
        cka: likeness of the encoder's features with those of the other kind, and of every encoder it was compared with.
        factors: use of the calibrator's factors, classes as groups; None without calibrator.
        conflict: between tasks; None without learner.
        agreement: of the tasks' expected gradients, on the same episodes; None without learner.
        known_factors: by kind of features, what they tell of the factors that the images were made from: probes are fit to
            three quarters of the images looked at and tested on the rest. None where the store does not know the factors
            (`ImageStore.factors`), or there are too few images.
    """

    source: str
    split: str
    images: int
    images_of: int
    seed: int
    features: Mapping[str, FeatureSummary]
    cka: Mapping[str, Likeness]
    factors: FactorUse | None = None
    conflict: Conflict | None = None
    agreement: Agreement | None = None
    known_factors: Mapping[str, FactorMatrix] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries, lists, numbers and strings; None for NaN."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain

    def to_json(self) -> str:
        """`to_dict` as JSON, indented."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def check_numbers(episodes: int, resplits: int, max_images: int, seed: int) -> tuple[int, int, int, int]:
    """The numbers of `diagnose`, before anything is loaded for it.

    Raises:
        InputError: if one is no whole number or too small.
    """
    return (
        whole(episodes, "diagnose: episodes", 1),
        enough(whole(resplits, "diagnose: resplits"), "diagnose"),
        whole(max_images, "diagnose: max_images", 2),
        whole(seed, "diagnose: seed"),
    )


def diagnose(
    encoder: nn.Module,
    store: ImageStore,
    split: str = "all",
    *,
    views: Views,
    calibrator: Calibrator | None = None,
    standardized: bool = True,
    blend: float = 1.0,
    against: Mapping[str, nn.Module] | None = None,
    learner: Learner | None = None,
    sampler: Sampler | None = None,
    episodes: int = 2,
    resplits: int = FEWEST,
    lr: float = 0.05,
    blocks: str | None = None,
    max_images: int = 4096,
    seed: int = 0,
    batch: int = 512,
    device: torch.device | str | None = None,
) -> Diagnosis:
    """Diagnose an encoder: spectra, alignment, uniformity, collapse, likeness to others, factors, task conflict, known factors.

    The encoder is frozen in eval mode, and all modules are left as they were. The same seed gives the same figures.

    Args:
        encoder: images ``(n, C, H, W)`` in [0, 1] to ``(n, d)``.
        store: where the images are.
        split: rows of the store to look at.
        views: recipe of the two views, the one of pre-training.
        calibrator: of TC² on the encoder's output; its features are then measured beside the encoder's.
        standardized: whether training standardized the representation.
        blend: a of the calibrated features.
        against: encoders by name, on the same images; only CKA is computed of them.
        learner: as it was trained, heads included; with it, task conflict and gradient agreement are measured.
        sampler: cuts the episodes that task conflict is measured on; needed with `learner`.
        episodes: how many of them.
        resplits: draws of the noise null, at least 39.
        lr: length of the step of the transfer gains.
        blocks: regular expression for the blocks of the encoder, see `metatc2.diagnostics.blocks`.
        max_images: of a larger split, so many images are drawn without replacement.
        seed: of all draws but those of `sampler`.
        batch: images a forward pass.
        device: where modules run; by default where the encoder lies. None is moved.

    Raises:
        InputError: if the split is too small, features are not finite, parts do not fit each other, or `learner` comes without
            `sampler`.

    >>> noise = torch.randint(0, 256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    >>> store = ImageStore("noise", noise, torch.arange(40) // 4)
    >>> diagnosis = diagnose(nn.Flatten(), store, views=Views.none())
    >>> diagnosis.images, diagnosis.features["encoder"].dim, diagnosis.features["encoder"].alignment
    (40, 64, 0.0)
    """
    if (learner is None) != (sampler is None):
        raise InputError(
            "diagnose: task conflict needs both a learner and a sampler of its episodes; give both or neither"
        )
    batch = whole(batch, "diagnose: batch", 1)
    episodes, resplits, max_images, seed = check_numbers(episodes, resplits, max_images, seed)
    generator = torch.Generator().manual_seed(seed)
    available = store.rows(split)
    if len(available) < 2:
        raise InputError(f"diagnose: {store.name}:{split} has {len(available)} images; spectra need at least 2")
    chosen = torch.randperm(len(available), generator=generator)[:max_images].sort().values
    rows = available[chosen]
    where = _place(encoder, device)

    features = _features(encoder, store, rows, batch, where, "the encoder")
    pair = _two_views(encoder, store, rows, views, generator, batch, where)
    kinds = {ENCODER: [features, *pair]}
    factors = None
    if calibrator is not None:
        factors = _factors(calibrator, features, standardized, store.labels[rows], generator)
        kinds[CALIBRATED] = [_calibrated(calibrator, z, standardized, blend) for z in kinds[ENCODER]]
    others = {name: z[0] for name, z in kinds.items() if name != ENCODER}
    for name, module in (against or {}).items():
        others[name] = _features(module, store, rows, batch, _place(module, device), name)
    # After everything else that draws from the generator, in this order: figures of older versions stay what they were.
    conflict, agreement = _tasks(learner, sampler, episodes, generator, resplits, lr, blocks)
    known = _known(store, rows, {name: z[0] for name, z in kinds.items()}, generator)
    return Diagnosis(
        source=store.name,
        split=split,
        images=len(rows),
        images_of=len(available),
        seed=seed,
        features={name: summarize(*z) for name, z in kinds.items()},
        cka={name: _likeness(features, z) for name, z in others.items()},
        factors=factors,
        conflict=conflict,
        agreement=agreement,
        known_factors=known,
    )


def _place(module: nn.Module, device: torch.device | str | None) -> torch.device:
    first = next(chain(module.parameters(), module.buffers()), None)
    return torch.device(device) if device is not None else first.device if first is not None else torch.device("cpu")


def _features(
    encoder: nn.Module, store: ImageStore, rows: Tensor, batch: int, device: torch.device, name: str
) -> Tensor:
    parts = [extract(encoder, store.images[part], batch=batch, device=device, name=name) for part in rows.split(batch)]
    return torch.cat(parts)


def _two_views(
    encoder: nn.Module,
    store: ImageStore,
    rows: Tensor,
    views: Views,
    generator: torch.Generator,
    batch: int,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Features of two views of every image, ``(N, d)`` each."""
    features, name = [], "the encoder on augmented views"
    with evaluation_mode(encoder), torch.no_grad(), without_autocast(device):
        for _ in range(2):
            # Drawn at once, so that the size of the batch changes nothing.
            descriptors = views.sample(len(rows), generator)
            parts = [
                encode(encoder, views.apply(store.images[part].to(device), how), name).cpu()
                for part, how in zip(rows.split(batch), descriptors.split(batch), strict=True)
            ]
            features.append(finite(torch.cat(parts), name))
    return features[0], features[1]


@torch.no_grad()
def _calibrated(calibrator: Calibrator, h: Tensor, standardized: bool, blend: float) -> Tensor:
    like = calibrator.average_factors
    made = calibrator.test_features(h.to(like), standardized=standardized, blend=blend)
    return finite(made.float().cpu(), "the calibrator")


def _factors(
    calibrator: Calibrator, features: Tensor, standardized: bool, labels: Tensor, generator: torch.Generator
) -> FactorUse:
    groups = labels if len(labels.unique()) > 1 else None
    return factor_use(calibrator, features, standardized=standardized, groups=groups, generator=generator)


def _likeness(features: Tensor, other: Tensor) -> Likeness:
    several = len(features) >= 4
    debiased = linear_cka(features, other, debiased=True) if several else float("nan")
    return Likeness(linear_cka(features, other), debiased)


def _tasks(
    learner: Learner | None,
    sampler: Sampler | None,
    episodes: int,
    generator: torch.Generator,
    resplits: int,
    lr: float,
    pattern: str | None,
) -> tuple[Conflict | None, Agreement | None]:
    if learner is None or sampler is None:
        return None, None
    loss, parameters = task_loss(learner)
    where = next(iter(parameters.values())).device
    drawn = [sampler.sample().to(where) for _ in range(episodes)]
    conflict = task_conflict(loss, parameters, drawn, generator=generator, resplits=resplits, lr=lr, pattern=pattern)
    return conflict, gradient_agreement(
        loss, parameters, drawn, generator=generator, resplits=resplits, pattern=pattern
    )


def _known(
    store: ImageStore, rows: Tensor, features: Mapping[str, Tensor], generator: torch.Generator
) -> Mapping[str, FactorMatrix] | None:
    """Features of one image each of `rows`, all probed on the same images."""
    held = len(rows) // 4
    if store.factors is None or len(rows) - held < LEAST:
        return None
    order = torch.randperm(len(rows), generator=generator)
    train, test = order[held:], order[:held]
    table = _varying(store.factors.take(rows), train, test)
    if table is None:
        return None
    seed = int(torch.randint(2**31, (), generator=generator))
    return {
        name: probe_factors(
            z[train],
            table.values[train],
            z[test],
            table.values[test],
            table.names,
            table.kinds,
            generator=torch.Generator().manual_seed(seed),
        )
        for name, z in features.items()
    }


def _varying(table: GenerativeFactors, *sides: Tensor) -> GenerativeFactors | None:
    """The factors that vary on every side; a split may hold one shape alone."""
    values = table.values
    ranges = torch.stack([values[rows].amax(0) - values[rows].amin(0) for rows in sides])
    names = [name for name, varies in zip(table.names, (ranges > 0).all(0).tolist(), strict=True) if varies]
    return table.select(*names) if names else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
