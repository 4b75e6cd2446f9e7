"""What a command would train with: `metatc2 config`."""

from __future__ import annotations

from typing import Annotated

import tyro

from metatc2.cli import _flags
from metatc2.cli._args import option
from metatc2.io.terminal import say


def config(
    task: Annotated[str, tyro.conf.Positional, option("TASK")],
    /,
    *,
    objective: _flags.Objective = None,
    calibration: _flags.Calibration = None,
    regularize: _flags.Regularize = None,
    condition: _flags.Condition = None,
    learner: _flags.Learner = None,
    adjoint: _flags.Adjoint = None,
    steps: _flags.Steps = None,
    seed: _flags.Seed = None,
    encoder: _flags.Encoder = None,
    weights: _flags.Weights = None,
    monitor: _flags.Monitor = None,
    set: Annotated[tuple[str, ...], option("KEY=VALUE")] = (),
) -> None:
    """Print the configuration that `metatc2 pretrain` would train with: every key that acts, its value, origin and meaning.

    It is TOML. Without the lines that name a method (name of [objective], [condition], [calibration], [regularizer] and
    [learner]) it can be given as a task file.

    For example:
        metatc2 config glyphs
        metatc2 config glyphs --calibration tc2 --set calibration.gamma=0.5
        metatc2 config glyphs --learner maml --adjoint truncated --set learner.adjoint.last_steps=2

    Args:
        task: As for `metatc2 pretrain`: a shipped task, the path of a task file, or images by KIND:PATH.
        objective: {objectives}.
        calibration: none, standardize, tasks or tc2.
        regularize: none, {regularizers}.
        condition: Whether the heads are told how each view was made, and how: none, {conditions}.
        learner: ssl, or a learner on labeled tasks (see `metatc2 learners`).
        adjoint: How the inner loop is differentiated: {adjoints}.
        steps: Training steps.
        seed: Seed of everything random.
        encoder: {encoders}.
        weights: What training starts from, a finished run, an exported folder or a file of weights.
        monitor: What is measured of the encoder during training: none, coding-rate, online, or some of {measures},
            joined by "+".
        set: Keys to change.
    """
    from metatc2.experiment.command_config import MethodFlags, configured
    from metatc2.experiment.config.explain import explained

    flags = MethodFlags(
        objective, calibration, regularize, condition, learner, adjoint, steps, seed, encoder, weights, monitor
    )
    say(explained(configured(task, flags, set)).rstrip(), stderr=False)
