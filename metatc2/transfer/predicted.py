"""What a classifier says of each query, where more is asked for than how often it is right."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Predicted:
    """Predictions and what they were chosen by; all on the CPU.

    Args:
        predictions: int64, the class of each query: ``(Q,)`` labels of the bank, or ``(E, way · queries)`` of few-shot
            episodes, classes counted as in `Episodes.classes`.
        scores: float, ``(Q, classes)`` or ``(E, way · queries, way)``: the largest is predicted. Votes of `knn` are shares, of
            few-shot heads what the head compares.
        correct: float64, 1 where a prediction is right, else 0, in the shape of `predictions`.
        classes: int64, the label that each column of `scores` stands for: ``(classes,)``, or ``(E, way)``.
    """

    predictions: Tensor
    scores: Tensor
    correct: Tensor
    classes: Tensor

    @property
    def accuracy(self) -> Tensor:
        """Share that is right: of each episode, ``(E,)``, or of all queries, a scalar; float64."""
        return self.correct.mean(-1)
