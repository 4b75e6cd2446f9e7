"""Do codes and a basis recover generative factors that are known? MIG, DCI, SAP, best-match cosine, each with its control."""

from metatc2.metrics.disentanglement.dci import DCI, dci
from metatc2.metrics.disentanglement.directions import (
    FactorDirections,
    Matches,
    best_match_cosine,
    factor_directions,
)
from metatc2.metrics.disentanglement.mig import mig, mutual_information
from metatc2.metrics.disentanglement.recovery import FactorRecovery, factor_recovery
from metatc2.metrics.disentanglement.sap import predictability, sap

__all__ = [
    "DCI",
    "FactorDirections",
    "FactorRecovery",
    "Matches",
    "best_match_cosine",
    "dci",
    "factor_directions",
    "factor_recovery",
    "mig",
    "mutual_information",
    "predictability",
    "sap",
]
