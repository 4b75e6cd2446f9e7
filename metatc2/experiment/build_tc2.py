"""From ``[calibration]`` to a learner of TC²: weights of each task's own, or one calibrator for all."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from metatc2.calibration import Calibrator, TaskCalibrator, named_calibrator
from metatc2.errors import InputError
from metatc2.experiment.config import Config
from metatc2.inner import ADJOINTS, InnerLoop, build_adjoint, inner_optimizer
from metatc2.learners import TC2, LookAheadTC2, SelfSupervised, SharedTC2
from metatc2.objectives import Objective


def build_tc2(
    config: Config, encoder: nn.Module, objective: Objective, dim: int, common: dict[str, Any]
) -> SelfSupervised:
    """The learner that ``[calibration]`` describes.

    Args:
        config: see `Config`.
        encoder, objective: what is calibrated, and by what it is judged.
        dim: width of what is calibrated.
        common: arguments that every self-supervised learner has.

    Raises:
        InputError: if settings do not go together.
    """
    c, settled = config.calibration, config.calibration.settled()
    options: dict[str, Any] = {
        **common,
        "inner": calibration_loop(config, c.adapt),
        **{key: settled[key] for key in ("gamma", "standardize", "outer_on", "statistics", "lr")},
    }
    if c.adapt == "task":
        return TC2(encoder, objective, calibrator=task_calibrator(config, dim), **options)
    if c.outer_on == "others":
        raise InputError(
            "calibration.outer_on = 'others' judges each task's own weights on the other tasks; with calibration.adapt = "
            "'shared' use calibration.look_ahead = true"
        )
    if c.look_ahead and c.control == "random-projection":
        raise InputError(
            "calibration.look_ahead judges what the calibrator has learned, and calibration.control = 'random-projection' "
            "learns nothing; leave one of them out"
        )
    options |= {
        "calibrator": shared_calibrator(config, dim),
        "blend": c.blend,
        "blend_warmup": c.blend_warmup,
    }
    if c.look_ahead:
        return LookAheadTC2(encoder, objective, look_ahead_lr=c.look_ahead_lr, **options)
    return SharedTC2(encoder, objective, **options)


def task_calibrator(config: Config, dim: int) -> TaskCalibrator:
    """Shared factors with weights of each task's own."""
    c, settled = config.calibration, config.calibration.settled("task")
    return TaskCalibrator(
        dim,
        c.factors or max(1, 3 * dim // 4),
        weights=settled["weights"],
        rate=settled["inner_lr"],
        orthogonality=c.orthogonality,
        sparsity=settled["sparsity"],
        reconstruction=c.reconstruction,
        generator=_generator(config),
    )


def shared_calibrator(config: Config, dim: int) -> Calibrator:
    """One calibrator for all tasks."""
    c, settled = config.calibration, config.calibration.settled("shared")
    return named_calibrator(
        dim,
        c.factors or max(1, 3 * dim // 4),
        form=c.form,
        factor_network=c.factor_network,
        weights=settled["weights"],
        hidden=c.hidden,
        control=c.control,
        orthogonality=c.orthogonality,
        sparsity=settled["sparsity"],
        ema=c.ema,
        variant=c.variant,
        generator=_generator(config),
    )


def calibration_loop(config: Config, adapt: str) -> InnerLoop:
    """The inner loop of calibration; where each task has rates of its own, which are learned, at rate 1.

    Raises:
        InputError: if its adjoint cannot differentiate it.
    """
    c, settled = config.calibration, config.calibration.settled(adapt)
    if ADJOINTS[c.adjoint].given_only:
        others = sorted(name for name in ADJOINTS if not ADJOINTS[name].given_only)
        raise InputError(
            f"calibration.adjoint = {c.adjoint!r} differentiates only what the inner loss is given, and that of calibration "
            f"takes the representation from its surroundings; use {' or '.join(others)}"
        )
    rule = inner_optimizer(
        c.inner_optimizer, 1.0 if adapt == "task" else settled["inner_lr"], clip=settled["inner_clip"]
    )
    return InnerLoop(rule, c.inner_steps, build_adjoint(c.adjoint, last_steps=c.last_steps))


def _generator(config: Config) -> torch.Generator:
    return torch.Generator().manual_seed(config.trainer.seed + 2)
