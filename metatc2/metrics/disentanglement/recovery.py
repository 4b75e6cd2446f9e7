"""`factor_recovery`: every figure of factor recovery beside its control, the same figure under permuted factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metatc2.data.sources.shapes.factors import GenerativeFactors
from metatc2.errors import InputError
from metatc2.metrics.disentanglement.dci import DCI, dci
from metatc2.metrics.disentanglement.directions import best_match_cosine, factor_directions
from metatc2.metrics.disentanglement.mig import mig
from metatc2.metrics.disentanglement.sap import sap
from metatc2.metrics.null import FEWEST, AgainstNull, against_null


@dataclass(frozen=True, eq=False)
class FactorRecovery:
    """How well codes, and a basis, recover the generative factors.

    Args:
        mig, sap: means over factors beside their nulls.
        mig_by_factor, sap_by_factor: by name.
        dci: see `DCI`.
        dci_null: the same under one permutation: its forests are too slow for a whole null.
        cosine: mean best-match cosine of the basis beside its null; None without a basis.
        cosine_by_direction: by name of the direction, those that were matched.
    """

    mig: AgainstNull
    sap: AgainstNull
    mig_by_factor: Mapping[str, float]
    sap_by_factor: Mapping[str, float]
    dci: DCI
    dci_null: DCI
    cosine: AgainstNull | None = None
    cosine_by_direction: Mapping[str, float] | None = None


def factor_recovery(
    codes: Tensor,
    factors: GenerativeFactors,
    *,
    generator: torch.Generator,
    basis: Tensor | None = None,
    features: Tensor | None = None,
    patterns: bool = False,
    draws: int = FEWEST,
    trees: int = 50,
) -> FactorRecovery:
    """Measure MIG, SAP, DCI and, for a basis, the best-match cosine.

    The null permutes the rows of the factor table, which keeps codes, factors and their number and breaks what joins them.
    A few thousand images are enough.

    Args:
        codes: ``(N, K)``, e.g. a calibrator's weights W, or features.
        factors: of the same N images.
        generator: for permutations and forests.
        basis: ``(K, d)``, e.g. a calibrator's factors V; needs `features`.
        features: ``(N, d)`` in the space of `basis`.
        patterns: see `factor_directions`.
        draws: permutations, at least 39.
        trees: see `dci`.

    Raises:
        InputError: see `mig`, `sap`, `dci`, `factor_directions`; if draws are too few, or only one of `basis` and `features`
            is given.
    """
    if draws < FEWEST:
        raise InputError(f"factor recovery: draws must be at least {FEWEST}, got {draws}")
    if (basis is None) != (features is None):
        raise InputError("factor recovery: basis and features belong together; give both, or neither")
    gaps, separated = mig(codes, factors), sap(codes, factors)
    measured = dci(codes, factors, generator=generator, trees=trees)
    shuffled = [factors.permuted(generator) for _ in range(draws)]
    cosine = by_direction = None
    if basis is not None and features is not None:
        recovered = factor_directions(features, factors, patterns=patterns)
        matches = best_match_cosine(basis, recovered.bases)
        null = [
            best_match_cosine(basis, factor_directions(features, other, patterns=patterns).bases).mean
            for other in shuffled
        ]
        cosine = against_null(matches.mean, null)
        pairs = zip(recovered.names, matches.cosines.tolist(), matches.rows.tolist(), strict=True)
        by_direction = {name: value for name, value, row in pairs if row >= 0}
    return FactorRecovery(
        mig=against_null(float(gaps.mean()), [float(mig(codes, other).mean()) for other in shuffled]),
        sap=against_null(float(separated.mean()), [float(sap(codes, other).mean()) for other in shuffled]),
        mig_by_factor=dict(zip(factors.names, gaps.tolist(), strict=True)),
        sap_by_factor=dict(zip(factors.names, separated.tolist(), strict=True)),
        dci=measured,
        dci_null=dci(codes, shuffled[0], generator=generator, trees=trees),
        cosine=cosine,
        cosine_by_direction=by_direction,
    )
