"""From ``[calibration]`` to a learner of TC²: weights of each task's own, or one calibrator for all."""

from __future__ import annotations

import torch
from torch import nn

from metatc2.calibration import Calibrator, TaskCalibrator, named_calibrator
from metatc2.errors import InputError
from metatc2.experiment.config import (
    CalibratorConfig,
    Config,
    CutEpisode,
    SharedTC2Config,
    TasksOnly,
    TaskTC2Config,
    TC2Config,
)
from metatc2.inner import ADJOINTS, InnerLoop, inner_optimizer
from metatc2.learners import TC2, LookAheadTC2, SelfSupervised, SharedTC2
from metatc2.learners.branches import Branch
from metatc2.learners.shared_tc2 import SharedArguments
from metatc2.objectives import Objective


def build_tc2(
    config: Config, encoder: nn.Module, objective: Objective, projector: nn.Module, dim: int, common: Branch
) -> SelfSupervised:
    """The learner that ``[calibration]`` describes.

    Args:
        config: see `Config`.
        encoder, objective, projector: what is calibrated, and by what it is evaluated.
        dim: width of what is calibrated.
        common: arguments that every self-supervised learner has.

    Raises:
        InputError: if settings do not go together.
    """
    c = config.calibration
    if isinstance(c, TaskTC2Config):
        return TC2(
            encoder,
            objective,
            projector=projector,
            calibrator=task_calibrator(config, c, dim),
            inner=calibration_loop(c, 1.0, 0.0),  # each task has rates of its own, which are learned
            gamma=c.gamma,
            outer_on=c.outer_on,
            statistics=c.statistics,
            lr=c.lr,
            standardize=c.standardize,
            **common,
        )
    assert isinstance(c, SharedTC2Config)
    if c.look_ahead and c.control == "random-projection":
        raise InputError(
            "calibration.look_ahead evaluates what the calibrator has learned, and calibration.control = 'random-projection' "
            "learns nothing; leave one of them out"
        )
    arguments: SharedArguments = {
        **common,
        "standardize": c.standardize,
        "gamma": c.gamma,
        "blend": c.blend,
        "blend_warmup": c.blend_warmup,
        "outer_on": c.outer_on,
        "statistics": c.statistics,
        "lr": c.lr,
    }
    calibrator = shared_calibrator(config, c, dim)
    inner = calibration_loop(c, c.inner_lr, c.inner_clip)
    if c.look_ahead:
        return LookAheadTC2(
            encoder,
            objective,
            projector=projector,
            calibrator=calibrator,
            inner=inner,
            look_ahead_lr=c.look_ahead_lr,
            **arguments,
        )
    return SharedTC2(encoder, objective, projector=projector, calibrator=calibrator, inner=inner, **arguments)


def task_calibrator(config: Config, c: TaskTC2Config, dim: int) -> TaskCalibrator:
    """Shared factors with weights of each task's own."""
    return TaskCalibrator(
        dim,
        c.factors or max(1, 3 * dim // 4),
        weights=c.weights,
        rate=c.inner_lr,
        orthogonality=c.orthogonality,
        sparsity=c.sparsity,
        reconstruction=c.reconstruction,
        generator=_generator(config),
    )


def shared_calibrator(config: Config, c: CalibratorConfig, dim: int) -> Calibrator:
    """One calibrator for all tasks."""
    return named_calibrator(
        dim,
        c.factors or max(1, 3 * dim // 4),
        form=c.form,
        factor_network=c.factor_network,
        weights=c.weights,
        hidden=c.hidden,
        control=c.control,
        orthogonality=c.orthogonality,
        sparsity=c.sparsity,
        ema=c.ema,
        variant=c.variant,
        generator=_generator(config),
    )


def calibration_loop(c: TC2Config, lr: float, clip: float) -> InnerLoop:
    """The inner loop of calibration.

    Args:
        c: see `TC2Config`.
        lr: learning rate.
        clip: largest norm of the gradient; 0 is off.

    Raises:
        InputError: if its adjoint cannot differentiate it.
    """
    if ADJOINTS[c.adjoint.name].given_only:
        others = sorted(name for name in ADJOINTS.loadable() if not ADJOINTS[name].given_only)
        raise InputError(
            f"calibration.adjoint = {c.adjoint.name!r} differentiates only what the inner loss is given, and that of "
            f"calibration takes the representation from its surroundings; use {' or '.join(others)}"
        )
    return InnerLoop(inner_optimizer(c.inner_optimizer, lr, clip=clip), c.inner_steps, c.adjoint.build())


def check_sizes(config: Config, objective: Objective) -> None:
    """A task too small for its objective is found before anything is written.

    Raises:
        InputError: with the sizes of ``[episode]`` that would do.
    """
    c, episode = config.calibration, config.episode
    assert isinstance(episode, CutEpisode)
    task = episode.batch // episode.tasks
    support = round(episode.support * task)
    look_ahead = isinstance(c, SharedTC2Config) and c.look_ahead
    sides = []
    if isinstance(c, (TaskTC2Config, SharedTC2Config)):
        if look_ahead or (c.gamma and c.inner_steps):
            sides.append((support, "support side"))
        if look_ahead or (c.outer_on != "whole" and c.statistics == "task"):
            sides.append((task - support, "query side"))
    if isinstance(c, (TC2Config, TasksOnly)):
        sides.append((task, "task"))
    smallest, where = min(sides) if sides else (episode.batch, "batch")
    try:
        objective.check(smallest)
    except InputError as error:
        raise InputError(
            f"{error} Here a {where} has {smallest}: raise episode.batch ({episode.batch}) or lower episode.tasks "
            f"({episode.tasks})"
        ) from error


def _generator(config: Config) -> torch.Generator:
    return torch.Generator().manual_seed(config.trainer.seed + 2)
