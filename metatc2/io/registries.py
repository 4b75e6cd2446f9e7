"""Every registry, where names can be listed without importing what they name; typed where each kind is defined."""

from __future__ import annotations

from typing import Any

from metatc2.io.registry import Registry

OBJECTIVES: Registry[Any] = Registry("objective", "metatc2.objectives", "register_objective", base="Objective")
REGULARIZERS: Registry[Any] = Registry(
    "regularizer",
    "metatc2.objectives.regularizers",
    "register_regularizer",
    base="Regularizer",
)
LEARNERS: Registry[Any] = Registry("learner", "metatc2.learners", "register_learner", base="Learner")
AGGREGATORS: Registry[Any] = Registry("aggregator", "metatc2.learners.aggregators", "register_aggregator")
ENCODERS: Registry[Any] = Registry("encoder", "metatc2.models", "register_encoder")
SOURCES: Registry[Any] = Registry("source", "metatc2.data.sources", "register_source")
RECIPES: Registry[Any] = Registry("recipe", "metatc2.augment", "register_recipe")
ADJOINTS: Registry[Any] = Registry("adjoint", "metatc2.inner.adjoints", "register_adjoint", base="Adjoint")
INNER_OPTIMIZERS: Registry[Any] = Registry("inner optimizer", "metatc2.inner", "register_inner_optimizer")
TOLD: Registry[Any] = Registry("projector", "metatc2.conditioning", "register_projector")
CONDITIONS: Registry[Any] = Registry(
    "condition",
    "metatc2.conditioning.views",
    "register_condition",
    base="ConditionedHead",
)
AUXILIARY: Registry[Any] = Registry(
    "auxiliary loss",
    "metatc2.objectives.auxiliary",
    "register_auxiliary",
    base="Auxiliary",
)
PROTOCOLS: Registry[Any] = Registry("protocol", "metatc2.transfer.protocols", "register_protocol", base="Protocol")
ATTENTIONS: Registry[Any] = Registry(
    "attention",
    "metatc2.transfer.fusion.attention",
    "register_attention",
    base="Attention",
)
FUSION_BASELINES: Registry[Any] = Registry(
    "baseline",
    "metatc2.transfer.fusion.baselines",
    "register_baseline",
    base="Baseline",
)
LOGGERS: Registry[Any] = Registry("logger", "metatc2.training.loggers", "register_logger")
MEASURES: Registry[Any] = Registry("measure", "metatc2.experiment.measures", "register_measure")
