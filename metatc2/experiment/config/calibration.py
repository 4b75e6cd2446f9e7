"""``[calibration]``: how tasks calibrate a representation; a member for each way, with its own keys and defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from metatc2.experiment.config.networks import WIDEST
from metatc2.inner.adjoints.registry import AdjointChoice, adjoint_options
from metatc2.io.options import Ceiling, Factor, InnerOptimizerName, Options, Share

Place = Literal["backbone", "projector"]
Statistics = Literal["episode", "task"]


def _name(name: str) -> Any:
    return Field(name, description="tc2, one of its controls, or none; never in a task file")


def _where() -> Any:
    return Field("backbone", description="whose output is calibrated, standardized or regularized")


class Uncalibrated(Options):
    """A plain learner on labeled tasks."""

    section = "calibration"

    name: Literal["none"] = _name("none")


class NoCalibration(Options):
    """A plain objective."""

    section = "calibration"

    name: Literal["none"] = _name("none")
    where: Place = _where()


class Standardized(Options):
    """The control whose representations are standardized over the episode."""

    section = "calibration"

    name: Literal["standardize"] = _name("standardize")
    where: Place = _where()


class TasksOnly(Options):
    """The control whose batch is cut into tasks."""

    section = "calibration"

    name: Literal["tasks"] = _name("tasks")
    where: Place = _where()
    factors: int | None = Field(
        None, ge=1, le=WIDEST, description="linear maps of a projector that is told; unset: three quarters of the width"
    )


class TC2Config(Options):
    """What every TC² has."""

    section = "calibration"

    name: Literal["tc2"] = _name("tc2")
    adapt: str = Field(
        description="what the inner loop adapts: weights of each task's own, or one calibrator for all tasks"
    )
    factors: int | None = Field(
        None,
        ge=1,
        le=WIDEST,
        description="rows K of the factor matrix V, fewer than the encoder's width; unset: three quarters of it",
    )
    inner_steps: int = Field(3, ge=0, le=10**5, description="steps T of the inner loop")
    inner_optimizer: InnerOptimizerName = Field("sgd", description="optimizer of the inner loop")
    inner_lr: Factor = Field(gt=0, description="learning rate of the inner loop, where rates are learned its start")
    adjoint: AdjointChoice = Field(
        default_factory=lambda: adjoint_options("unroll")(), description="how the inner loop is differentiated"
    )
    standardize: bool = Field(description="whether representations are standardized over the episode first")
    sparsity: Factor = Field(ge=0, description="weight of |W|; in a shared calibrator codes collapse from 0.25")
    orthogonality: Factor = Field(1.0, ge=0, description="weight of |V Vᵀ − I|²")


def _as(field: str, default: Any, **limits: Any) -> Any:
    """A field of every TC² with the default of one kind."""
    return Field(default, description=TC2Config.model_fields[field].description, **limits)


def _gamma(default: float) -> Any:
    return Field(default, ge=0, description="weight of the objective in the inner loop")


class TaskTC2Config(TC2Config):
    """Weights of each task's own on factors that all tasks share."""

    adapt: Literal["task"] = _as("adapt", "task")
    where: Place = _where()
    weights: Literal["sample", "task", "linear"] = Field(
        "linear", description="by task, by sample or linear in the codes"
    )
    inner_lr: Factor = _as("inner_lr", 1.0, gt=0)
    gamma: Factor = _gamma(1.0)
    standardize: bool = _as("standardize", False)
    sparsity: Factor = _as("sparsity", 0.0, ge=0)
    reconstruction: Factor = Field(0.0, ge=0, description="weight of L_rec; a shared calibrator has it with weight 1")
    outer_on: Literal["whole", "query", "others"] = Field(
        "whole", description="images that the outer loss is taken on; others: the whole task, and queries of the others"
    )
    statistics: Statistics = Field("task", description="where negatives and batch statistics come from")
    lr: Factor = Field(2e-2, gt=0, description="Adam's rate for what adaptation starts from")


class CalibratorConfig(TC2Config):
    """One calibrator for all tasks, wherever it sits."""

    adapt: Literal["shared"] = _as("adapt", "shared")
    form: Literal["blend", "gate", "add"] = Field("add", description="how W V meets the representation")
    factor_network: Literal["pooled", "parameter", "fixed"] = Field("pooled", description="where the factors come from")
    weights: Literal["sample", "task"] = Field("sample", description="by task or by sample")
    control: Literal["none", "shuffle", "random-projection"] = Field(
        "none", description="control in place of the weights"
    )
    inner_lr: Factor = _as("inner_lr", 0.1, gt=0)
    inner_clip: Factor = Field(1.0, ge=0, description="largest gradient norm in the inner loop, 0 is off")
    standardize: bool = _as("standardize", True)
    sparsity: Factor = _as("sparsity", 0.05, ge=0)
    variant: Literal["tc2", "metacrl"] = Field(
        "tc2", description="losses of the calibrator: those of TC², or of MetaCRL"
    )
    blend: Share = Field(1.0, description="final share of W V in the calibrated representation")
    hidden: Annotated[int, Ceiling(2**21)] | None = Field(
        None, ge=1, description="hidden width of the weight network; unset: from the encoder"
    )
    ema: Share = Field(0.99, description="rate of the moving average of V used at test time")


class SharedTC2Config(CalibratorConfig):
    """One calibrator for all tasks of an objective."""

    where: Place = _where()
    gamma: Factor = _gamma(0.0)
    blend_warmup: Share = Field(0.1, description="share of the steps in which the blend rises from 0")
    outer_on: Literal["whole", "query"] = Field("whole", description="images that the outer loss is taken on")
    statistics: Statistics = Field("episode", description="where negatives and batch statistics come from")
    look_ahead: bool = Field(
        False, description="adapt the encoder on one task and evaluate it on the others (5 to 6 times the cost)"
    )
    look_ahead_lr: Factor = Field(0.05, gt=0, description="learning rate of the look-ahead step")
    lr: Factor = Field(1e-3, gt=0, description="Adam's rate for the calibrator")


class EncoderTC2Config(CalibratorConfig):
    """One calibrator on the encoder's output, trained with a learner on labeled tasks."""


CalibrationConfig = (
    Uncalibrated | NoCalibration | Standardized | TasksOnly | TaskTC2Config | SharedTC2Config | EncoderTC2Config
)
