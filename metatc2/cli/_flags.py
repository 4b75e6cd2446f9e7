"""Flags that say with what to train, of every command that takes a task; with the defaults that their help shows."""

from __future__ import annotations

from typing import Annotated

from metatc2.cli._args import option

Objective = Annotated[str | None, option("NAME", default="simclr")]
Calibration = Annotated[str | None, option("NAME", default="none")]
Regularize = Annotated[str | None, option("NAME", default="isotropy, none where --calibration is given")]
Condition = Annotated[str | None, option("NAME", default="none")]
Learner = Annotated[str | None, option("NAME", default="ssl")]
Adjoint = Annotated[str | None, option("NAME", default="the learner's")]
Steps = Annotated[int | None, option("N", default="the task's")]
Seed = Annotated[int | None, option("S", default="0")]
Encoder = Annotated[str | None, option("NAME", default="the task's")]
Weights = Annotated[str | None, option("WEIGHTS", default="none, training starts untrained")]
Monitor = Annotated[str | None, option("NAME", default="none")]
