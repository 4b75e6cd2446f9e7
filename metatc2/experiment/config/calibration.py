"""How tasks calibrate a representation, and what else is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from metatc2.errors import InputError
from metatc2.experiment.config.section import LARGEST, WIDEST, AdjointName, InnerOptimizerName, Section
from metatc2.experiment.config.values import Names, setting
from metatc2.io.registries import REGULARIZERS

# What is unset means another thing where each task has weights of its own and where all share one calibrator.
_UNSET: Mapping[str, Mapping[str, Any]] = {
    "task": {
        "weights": "linear",
        "standardize": False,
        "inner_lr": 1.0,
        "inner_clip": 0.0,
        "gamma": 1.0,
        "sparsity": 0.0,
        "statistics": "task",
        "lr": 2e-2,
    },
    "shared": {
        "weights": "sample",
        "standardize": True,
        "inner_lr": 0.1,
        "inner_clip": 1.0,
        "gamma": 0.0,
        "sparsity": 0.05,
        "statistics": "episode",
        "lr": 1e-3,
    },
}
# Settings of the shared calibrator that weights of each task's own have no use for.
_SHARED_ONLY = (
    "form",
    "factor_network",
    "control",
    "blend",
    "blend_warmup",
    "inner_clip",
    "variant",
    "look_ahead",
    "look_ahead_lr",
    "hidden",
    "ema",
)


@dataclass(frozen=True)
class CalibrationConfig(Section):
    """Task conflict calibration and its controls; the name never stands in a task file."""

    name: Literal["none", "standardize", "tasks", "tc2"] = setting("none", "tc2, one of its controls, or none")
    adapt: Literal["task", "shared"] = setting(
        "task", "what the inner loop adapts: weights of each task's own, or one calibrator for all tasks"
    )
    factors: int | None = setting(
        None,
        "rows K of the factor matrix V, fewer than the encoder's width; unset: three quarters of it",
        at_least=1,
        at_most=WIDEST,
    )
    where: Literal["backbone", "projector"] = setting("backbone", "whose output is calibrated")
    form: Literal["blend", "gate", "add"] = setting("add", "how W V meets the representation")
    factor_network: Literal["pooled", "parameter", "fixed"] = setting("pooled", "where the factors come from")
    weights: Literal["sample", "task", "linear"] | None = setting(
        None, "by task, by sample or linear in the codes; unset: linear, with adapt = shared sample"
    )
    control: Literal["none", "shuffle", "random-projection"] = setting("none", "control in place of the weights")
    standardize: bool | None = setting(
        None, "whether representations are standardized over the episode first; unset: no, with adapt = shared yes"
    )
    blend: float = setting(1.0, "final share of W V in the calibrated representation", at_least=0, at_most=1)
    blend_warmup: float = setting(0.1, "share of the steps in which the blend rises from 0", at_least=0, at_most=1)
    inner_steps: int = setting(3, "steps T of the inner loop", at_least=0, at_most=10**5)
    inner_optimizer: InnerOptimizerName = setting("sgd", "optimizer of the inner loop")
    inner_lr: float | None = setting(
        None,
        "learning rate of the inner loop; unset: 1, the start of the learned rates, with adapt = shared 0.1",
        above=0,
        ceiling=LARGEST,
    )
    inner_clip: float | None = setting(
        None,
        "largest gradient norm in the inner loop, 0 is off; unset: 0, with adapt = shared 1",
        at_least=0,
        ceiling=LARGEST,
    )
    gamma: float | None = setting(
        None,
        "weight of the objective in the inner loop; unset: 1, with adapt = shared 0 (L_tc2 alone)",
        at_least=0,
        ceiling=LARGEST,
    )
    adjoint: AdjointName = setting("unroll", "how the inner loop is differentiated")
    last_steps: int = setting(1, "steps that the adjoint truncated differentiates", at_least=0, at_most=10**5)
    variant: Literal["tc2", "metacrl"] = setting("tc2", "losses of the calibrator: those of TC², or of MetaCRL")
    sparsity: float | None = setting(
        None, "weight of |W|; unset: 0, with adapt = shared 0.05 (collapse from 0.25)", at_least=0, ceiling=LARGEST
    )
    reconstruction: float = setting(
        0.0, "weight of L_rec where each task has weights of its own; shared: always 1", at_least=0, ceiling=LARGEST
    )
    orthogonality: float = setting(1.0, "weight of |V Vᵀ − I|²", at_least=0, ceiling=LARGEST)
    outer_on: Literal["whole", "query", "others"] = setting(
        "whole",
        "images that the outer loss is taken on; others: the whole task, and queries of the other tasks",
    )
    statistics: Literal["episode", "task"] | None = setting(
        None,
        "where negatives and batch statistics come from; unset: the task, with adapt = shared the episode",
    )
    look_ahead: bool = setting(False, "adapt the encoder on one task and judge on the others (5 to 6 times the cost)")
    look_ahead_lr: float = setting(0.05, "learning rate of the look-ahead step", above=0, ceiling=LARGEST)
    lr: float | None = setting(
        None,
        "Adam's rate for what adaptation starts from; unset: 0.02, with adapt = shared 0.001",
        above=0,
        ceiling=LARGEST,
    )
    hidden: int | None = setting(
        None, "hidden width of the weight network; unset: from the encoder", at_least=1, ceiling=2**21
    )
    ema: float = setting(0.99, "rate of the moving average of V used at test time", at_least=0, at_most=1)

    def settled(self, adapt: str | None = None) -> dict[str, Any]:
        """Every value by key, and what is unset as `adapt` has it.

        Args:
            adapt: in place of the section's own.

        Raises:
            InputError: if a setting of the shared calibrator is given where each task has weights of its own.

        >>> CalibrationConfig().settled()["gamma"], CalibrationConfig(adapt="shared").settled()["gamma"]
        (1.0, 0.0)
        """
        adapt = adapt or self.adapt
        usual = CalibrationConfig.__dataclass_fields__
        if adapt == "task" and self.name == "tc2":
            for key in _SHARED_ONLY:
                if getattr(self, key) != usual[key].default:
                    raise InputError(
                        f"calibration.{key} belongs to the calibrator that all tasks share, and here each task has weights of "
                        "its own; leave it out, or set calibration.adapt = 'shared'"
                    )
        if adapt == "shared" and self.name == "tc2":
            for key, wrong in (("reconstruction", self.reconstruction != 0), ("weights", self.weights == "linear")):
                if wrong:
                    raise InputError(
                        f"calibration.{key} = {getattr(self, key)!r} is for weights of each task's own, and here all tasks "
                        "share one calibrator; leave it out, or set calibration.adapt = 'task'"
                    )
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {key: _UNSET[adapt].get(key) if value is None else value for key, value in values.items()}


@dataclass(frozen=True)
class RegularizerConfig(Section):
    """What is asked of the representation beside the objective, whatever calibrates it; never named in a task file."""

    name: Annotated[str, Names(REGULARIZERS, also=("none",))] = setting(
        "none", "a regularizer of the representation, or none"
    )
    weight: float | None = setting(
        None, "its weight, in the objective's pull; unset: the regularizer's own", at_least=0, ceiling=LARGEST
    )
