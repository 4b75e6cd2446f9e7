"""Diagnostics: what an encoder's features and its tasks' gradients look like, each figure with its source and its null.

`diagnose` collects them; each is a function of features, or of a loss, by itself.
"""

from metatc2.diagnostics.agreement import Agreement, PairAgreement, gradient_agreement
from metatc2.diagnostics.conflict import Conflict, PairGain, task_conflict
from metatc2.diagnostics.diagnose import Diagnosis, Likeness, diagnose
from metatc2.diagnostics.factor_matrix import FactorMatrix, FactorProbe, factor_matrix, probe_factors
from metatc2.diagnostics.factor_use import FactorUse, factor_use, usage_information
from metatc2.diagnostics.gradients import blocks, cosines, grams, magnitude_similarity, task_gradients
from metatc2.diagnostics.task_choices import TaskChoices, task_choices
from metatc2.diagnostics.task_loss import TaskLoss, task_loss
from metatc2.diagnostics.transfer_gain import conflict_rate, transfer_gains, transferability
from metatc2.metrics.alignment import alignment, uniformity
from metatc2.metrics.cka import linear_cka, minibatch_cka
from metatc2.metrics.coding_rate import coding_rate, rate_reduction
from metatc2.metrics.collapse import Collapse, collapse, deviations
from metatc2.metrics.delta_p import delta_p
from metatc2.metrics.null import AgainstNull, against_null
from metatc2.metrics.spectrum import (
    PowerLaw,
    effective_rank,
    entropy_rank,
    nesum,
    power_law,
    rankme,
    singular_values,
    variances,
)
from metatc2.metrics.summary import FeatureSummary, summarize

__all__ = [
    "AgainstNull",
    "Agreement",
    "Collapse",
    "Conflict",
    "Diagnosis",
    "FactorMatrix",
    "FactorProbe",
    "FactorUse",
    "FeatureSummary",
    "Likeness",
    "PairAgreement",
    "PairGain",
    "PowerLaw",
    "TaskChoices",
    "TaskLoss",
    "against_null",
    "alignment",
    "blocks",
    "coding_rate",
    "collapse",
    "conflict_rate",
    "cosines",
    "delta_p",
    "deviations",
    "diagnose",
    "effective_rank",
    "entropy_rank",
    "factor_matrix",
    "factor_use",
    "gradient_agreement",
    "grams",
    "linear_cka",
    "magnitude_similarity",
    "minibatch_cka",
    "nesum",
    "power_law",
    "probe_factors",
    "rankme",
    "rate_reduction",
    "singular_values",
    "summarize",
    "task_choices",
    "task_conflict",
    "task_gradients",
    "task_loss",
    "transfer_gains",
    "transferability",
    "uniformity",
    "usage_information",
    "variances",
]
