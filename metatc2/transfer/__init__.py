"""Transfer: measure a frozen encoder on classes it never saw, and compare two methods on the same episodes."""

from metatc2.data.seen import SeenClasses
from metatc2.metrics.intervals import mean_interval, paired_difference
from metatc2.models.features import evaluation_mode, extract, raw_pixels
from metatc2.transfer.adapted_episodes import Adapts, adapted_few_shot
from metatc2.transfer.compare import MEAN_TARGET, Difference, compare
from metatc2.transfer.estimates import RankCorrelation, h_score, log_me, rank_correlation
from metatc2.transfer.evaluate import (
    ADAPTED_RANDOM,
    RANDOM_ENCODER,
    RAW_PIXELS,
    evaluate,
)
from metatc2.transfer.feature_table import FeatureFunction, FeaturesNotKept, FeatureTable, module_sha256
from metatc2.transfer.heads.prototype import HEADS, Cosine, Euclidean, Head, few_shot
from metatc2.transfer.matrix import Cell, Matrix, transfer_matrices
from metatc2.transfer.paired_test import holm
from metatc2.transfer.pairing import RunResults, by_method
from metatc2.transfer.protocols import (
    ADAPTED,
    KNN,
    PROTOCOLS,
    Augmentation,
    Corruption,
    FewShot,
    FineTune,
    LeaveOneDomainOut,
    LeftOut,
    Linear,
    LinearSGD,
    Measured,
    NearestClip,
    Protocol,
    Retrieval,
    SemiSupervised,
    SemiSupervisedFineTune,
    Subject,
    episodes_seed,
    register_protocol,
)
from metatc2.transfer.protocols._classifier import per_class_values, target_splits
from metatc2.transfer.protocols._fine_tuning import FineTuning
from metatc2.transfer.protocols.knn import knn, knn_split
from metatc2.transfer.results import read_results, write_results
from metatc2.transfer.row import Row
from metatc2.transfer.sampling import Episodes, fit_query, sample_episodes
from metatc2.transfer.targets import Target, expand_targets, fingerprint, parse_target

__all__ = [
    "ADAPTED",
    "ADAPTED_RANDOM",
    "HEADS",
    "KNN",
    "MEAN_TARGET",
    "PROTOCOLS",
    "RANDOM_ENCODER",
    "RAW_PIXELS",
    "Adapts",
    "Augmentation",
    "Cell",
    "Corruption",
    "Cosine",
    "Difference",
    "Episodes",
    "Euclidean",
    "FeatureFunction",
    "FeatureTable",
    "FeaturesNotKept",
    "FewShot",
    "FineTune",
    "FineTuning",
    "Head",
    "LeaveOneDomainOut",
    "LeftOut",
    "Linear",
    "LinearSGD",
    "Matrix",
    "Measured",
    "NearestClip",
    "Protocol",
    "RankCorrelation",
    "Retrieval",
    "Row",
    "RunResults",
    "SeenClasses",
    "SemiSupervised",
    "SemiSupervisedFineTune",
    "Subject",
    "Target",
    "adapted_few_shot",
    "by_method",
    "compare",
    "episodes_seed",
    "evaluate",
    "evaluation_mode",
    "expand_targets",
    "extract",
    "few_shot",
    "fingerprint",
    "fit_query",
    "h_score",
    "holm",
    "knn",
    "knn_split",
    "log_me",
    "mean_interval",
    "module_sha256",
    "paired_difference",
    "parse_target",
    "per_class_values",
    "rank_correlation",
    "raw_pixels",
    "read_results",
    "register_protocol",
    "sample_episodes",
    "target_splits",
    "transfer_matrices",
    "write_results",
]
