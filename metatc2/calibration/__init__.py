"""TC²: factors that all tasks share, weights of every sample over them, and the representation calibrated by both.

`calibrated` plugs it into any network.
"""

from metatc2.calibration.calibrator import Calibrated, Calibrator, standardize
from metatc2.calibration.compose import Shuffled, add, gate, project
from metatc2.calibration.criterion import MetaCRLLoss, TC2Loss
from metatc2.calibration.factor_network import BasisFactors, Factors, FixedFactors, PooledFactors
from metatc2.calibration.from_names import named_calibrator
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
from metatc2.calibration.weight_network import LinearWeights, MeanWeights, SampleWeights

__all__ = [
    "BasisFactors",
    "Calibrated",
    "CalibratedModule",
    "Calibrator",
    "Factors",
    "FixedFactors",
    "LinearWeights",
    "MeanWeights",
    "MetaCRLLoss",
    "NoAveragesWarning",
    "PooledFactors",
    "SampleWeights",
    "Shuffled",
    "TC2Loss",
    "TaskCalibrator",
    "add",
    "calibrated",
    "gate",
    "grouping",
    "hoyer",
    "named_calibrator",
    "orthogonality",
    "overlap",
    "project",
    "reconstruction",
    "reconstruction_ratio",
    "sparsity",
    "standardize",
]
