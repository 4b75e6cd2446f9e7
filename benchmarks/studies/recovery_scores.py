"""Scores of codes against known generative factors: recovery, linear regression, and selection by tasks that share a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from torch import Tensor

from metatc2.calibration import Calibrator, standardize
from metatc2.data.sources.shapes.dataset import load_shapes, shape_factors
from metatc2.data.sources.shapes.factors import GenerativeFactors
from metatc2.data.sources.shapes.render import RANGES
from metatc2.data.store import ImageStore
from metatc2.diagnostics import AgainstNull, against_null
from metatc2.metrics.disentanglement import factor_recovery
from metatc2.metrics.disentanglement.encoding import columns

IMAGES, SEED = 2000, 1  # the store of pre-training is drawn from seed 0
DRAWS, TREES = 39, 10  # 39 draws are the fewest that give a 95 % interval
BINS, IN_TASK, TASKS_EACH = 8, 16, 8
FEATURES, WEIGHTS = "features", "weights"


def images(image_size: int) -> tuple[ImageStore, GenerativeFactors]:
    """Images of their own, labeled by shape in `domains`, and their true factors."""
    known = shape_factors(IMAGES, SEED)
    store = load_shapes(image_size=image_size, count=IMAGES, seed=SEED)
    return replace(store, domains=parts(known, "shape"), domain_names=()), known


def parts(known: GenerativeFactors, name: str) -> Tensor:
    """Category of each image, or which of `BINS` equal parts of the factor's range; int64 ``(N,)``."""
    values = known.select(name).values[:, 0]
    if name not in RANGES:
        return values.long()
    low, high = RANGES[name]
    return ((values - low) / (high - low) * BINS).floor().long().clamp(0, BINS - 1)


def linear_r2(features: Tensor, known: GenerativeFactors) -> dict[str, float]:
    """R² of a ridge regression on the first half of the images, on the second; cosine and sine of a circular factor, and one
    column a category, count by their variance.

    Args:
        features: ``(N, d)``.
        known: of the same images, which are in random order.
    """
    x, half = features.double().numpy(), len(features) // 2
    mean, variance = x[:half].mean(0), x[:half].var(0)
    # A unit that hardly ever fires in the first half must not be blown up to the size of the others: it may fire in the second.
    x = (x - mean) / np.sqrt(variance + 0.01 * variance.mean())
    result = {}
    for name, kind, values in zip(known.names, known.kinds, known.values.unbind(1), strict=True):
        y = columns(values, kind).numpy()
        model = RidgeCV(np.logspace(-2, 5, 15)).fit(x[:half], y[:half])
        predicted = model.predict(x[half:]).reshape(y[half:].shape)
        result[name] = float(r2_score(y[half:], predicted, multioutput="variance_weighted"))
    return result


def task_usage(size: Tensor, values: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """How tasks use the codes, where the images of a task share a value.

    Args:
        size: absolute codes ``(N, K)``.
        values: int64 ``(N,)``.
        generator: images are assigned to tasks by it; none to two.

    Returns:
        ``(T, K)``, rows that sum to 1, and the value of each task, ``(T,)``.
    """
    usage, shared = [], []
    for value in values.unique().tolist():
        rows = (values == value).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        for task in rows.split(IN_TASK)[:TASKS_EACH]:
            if len(task) == IN_TASK:
                mean = size[task].mean(0)
                usage.append(mean / mean.sum().clamp_min(torch.finfo(mean.dtype).tiny))
                shared.append(value)
    return torch.stack(usage), torch.tensor(shared)


def explained(usage: Tensor, shared: Tensor) -> float:
    """Share of the squared distances to the mean that the groups' means explain: R² of Anderson's (2001) analysis.

    Args:
        usage: ``(T, K)``.
        shared: group of each row, int64 ``(T,)``.
    """
    total = (usage - usage.mean(0)).square().sum()
    group = shared.unique(return_inverse=True)[1]
    counts = group.bincount().to(usage)
    means = torch.zeros(len(counts), usage.shape[1]).to(usage).index_add(0, group, usage) / counts[:, None]
    within = (usage - means[group]).square().sum()
    return float(1 - within / total) if total > 0 else 0.0


def selection(codes: Tensor, values: Tensor, generator: torch.Generator) -> AgainstNull:
    """`explained` of the use of codes by tasks that share a value, beside the same under permuted values."""
    usage, shared = task_usage(codes.double().abs(), values, generator)
    null = [explained(usage, shared[torch.randperm(len(shared), generator=generator)]) for _ in range(199)]
    return against_null(explained(usage, shared), null)


def of_codes(
    codes: Tensor, known: GenerativeFactors, basis: Tensor | None = None, features: Tensor | None = None
) -> dict[str, Any]:
    """Recovery and selection by one kind of codes; see `factor_recovery` for basis and features."""
    generator = torch.Generator().manual_seed(SEED)
    result = factor_recovery(
        codes,
        known,
        generator=generator,
        basis=basis,
        features=features,
        patterns=True,  # V is what the representation is rebuilt from
        draws=DRAWS,
        trees=TREES,
    )
    chosen = {name: selection(codes, parts(known, name), generator) for name in known.names}
    corrected = {name: (s.value - s.null_mean) / (1 - s.null_mean) for name, s in chosen.items()}
    row: dict[str, Any] = {
        "codes_number": codes.shape[1],
        "mig": result.mig.value,
        "mig_null": result.mig.null_mean,
        "mig_p": result.mig.p,
        "sap": result.sap.value,
        "sap_null": result.sap.null_mean,
        "sap_p": result.sap.p,
        "mig_by_factor": dict(result.mig_by_factor),
        "sap_by_factor": dict(result.sap_by_factor),
        "selection": sum(corrected.values()) / len(corrected),
        "selection_by_factor": corrected,
        "selection_p": {name: s.p for name, s in chosen.items()},
    }
    for suffix, scores in (("", result.dci), ("_null", result.dci_null)):
        row[f"disentanglement{suffix}"] = scores.disentanglement
        row[f"completeness{suffix}"] = float(scores.completeness.mean())
        row[f"informativeness{suffix}"] = float(scores.informativeness.mean())
    row["informativeness_by_factor"] = dict(zip(known.names, result.dci.informativeness.tolist(), strict=True))
    if result.cosine is not None and result.cosine_by_direction is not None:
        row |= {"cosine": result.cosine.value, "cosine_null": result.cosine.null_mean, "cosine_p": result.cosine.p}
        row["cosine_by_direction"] = dict(result.cosine_by_direction)
    return row


def rows_for(features: Tensor, known: GenerativeFactors, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The row of an encoder's features ``(N, d)``."""
    linear = linear_r2(features, known)
    mean = sum(linear.values()) / len(linear)
    facts = {"codes": FEATURES, **facts, "linear_r2": mean, "linear_r2_by_factor": linear}
    # Selection looks at the codes' sizes, so these are brought to one scale, as those that W is computed from are.
    return {**facts, **of_codes(standardize(features), known)}


@torch.no_grad()
def of_weights(
    calibrator: Calibrator, features: Tensor, standardized: bool, known: GenerativeFactors
) -> dict[str, Any]:
    """The row of a calibrator's weights W and factors V at test time."""
    z, basis = calibrator.at_test(features, standardized=standardized)
    weights = calibrator.test_weights(features, standardized=standardized)
    return of_codes(weights, known, basis, z[:, 0])
