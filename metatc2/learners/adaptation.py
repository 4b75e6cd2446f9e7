"""What a trained `TC2` needs beside its encoder to adapt weights to new samples, as one module to save and load."""

from __future__ import annotations

from torch import Tensor, nn

from metatc2.calibration.task_weights import TaskCalibrator
from metatc2.objectives import Objective


class Adaptation(nn.Module):
    """Calibrator, heads, objective and the unit of the inner loss; shared with the learner, so that what is loaded it has.

    Of objectives with a momentum branch that branch is left out: it would double the file. Where a learner is loaded, the
    branch starts from the trained encoder and projector instead.

    Args:
        calibrator, projector, predictor, objective, sensitivity: the learner's own.
    """

    sensitivity: Tensor

    def __init__(
        self,
        *,
        calibrator: TaskCalibrator,
        projector: nn.Module,
        predictor: nn.Module | None,
        objective: Objective,
        sensitivity: Tensor,
    ) -> None:
        super().__init__()
        self.calibrator, self.projector, self.predictor, self.objective = calibrator, projector, predictor, objective
        self.register_buffer("sensitivity", sensitivity)
