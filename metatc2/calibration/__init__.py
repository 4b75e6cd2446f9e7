"""TC²: factors that all tasks share, weights of every sample over them, and the representation calibrated by both.

`calibrated` plugs it into any network.
"""

from metatc2.calibration.calibrator import Calibrated, Calibrator, standardise
from metatc2.calibration.factor_network import FactorNetwork
from metatc2.calibration.losses import (
    grouping,
    hoyer,
    orthogonality,
    overlap,
    reconstruction,
    reconstruction_ratio,
    sparsity,
)
from metatc2.calibration.module import CalibratedModule, NoAveragesWarning, calibrated
from metatc2.calibration.task_weights import TaskCalibrator
from metatc2.calibration.weight_network import WeightNetwork
from metatc2.objectives.regularizers.isotropy import isotropy

__all__ = [
    "Calibrated",
    "CalibratedModule",
    "Calibrator",
    "FactorNetwork",
    "NoAveragesWarning",
    "TaskCalibrator",
    "WeightNetwork",
    "calibrated",
    "grouping",
    "hoyer",
    "isotropy",
    "orthogonality",
    "overlap",
    "reconstruction",
    "reconstruction_ratio",
    "sparsity",
    "standardise",
]
