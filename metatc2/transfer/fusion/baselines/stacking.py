"""A classifier on what the encoders say alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from metatc2.transfer.fusion.baselines.base import Baseline
from metatc2.transfer.fusion.baselines.mean_logits import MeanOfLogits
from metatc2.transfer.fusion.baselines.registry import register_baseline
from metatc2.transfer.fusion.labeled import Fitted, LabeledSet

_ROUNDS = 300


@register_baseline("stacking")
class Stacking(Baseline):
    """Logistic regression, C = 1, on the class probabilities that each encoder's own regression gives (Wolpert 1992).

    It learns from probabilities of images that the regressions below it did not see, by the folds that these were validated
    on. With one label a class there are none, and it is the mean of logits.
    """

    def fit(self, labeled: LabeledSet, generator: torch.Generator) -> Fitted:
        """See `Baseline.fit`."""
        if labeled.folds is None:
            return MeanOfLogits().fit(labeled, generator)
        below = [labeled.alone(k) for k in range(labeled.encoders)]
        unseen = [alone.out_of_fold for alone in below if alone.out_of_fold is not None]
        model = LogisticRegression(C=1.0, max_iter=_ROUNDS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(_inputs(unseen), labeled.labels.numpy())

        def logits(features: Sequence[Tensor]) -> Tensor:
            given = zip(below, labeled.standardized(features), strict=True)
            inputs = _inputs([alone.logits(block) for alone, block in given])
            return torch.from_numpy(np.asarray(model.predict_log_proba(inputs))).float()

        return Fitted(logits)


def _inputs(logits: Sequence[Tensor]) -> NDArray[np.float64]:
    return torch.cat([one.double().softmax(1) for one in logits], 1).numpy()
