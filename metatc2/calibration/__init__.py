"""TC²: factors that all tasks share, weights of every sample over them, and the representation calibrated by both."""

from metatc2.calibration.calibrator import Calibrated, Calibrator, standardise
from metatc2.calibration.factors import FactorNetwork
from metatc2.calibration.losses import hoyer, orthogonality, reconstruction, reconstruction_ratio, sparsity
from metatc2.calibration.weights import WeightNetwork

__all__ = [
    "Calibrated",
    "Calibrator",
    "FactorNetwork",
    "WeightNetwork",
    "hoyer",
    "orthogonality",
    "reconstruction",
    "reconstruction_ratio",
    "sparsity",
    "standardise",
]
