"""`metatc2 replay`: a step that was not finite, made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.io.terminal import bold, fail, say

SHOWN = 8  # tensors that are named


def replay(run: Annotated[str, tyro.conf.Positional, option("DIR")], /, *, anomaly: bool = False) -> None:
    """Make the step of a run again that was not finite, and name the first tensor that is not.

    A run whose data, loss, gradient or inner loop is not finite stops and keeps the step in DIR/failure: its episode, the
    random state, and the learner before it. It is made again by the current code, so a change of the code can be tried on it.
    Nothing in DIR changes. Exit status: 1 if the step fails again, 0 if it is finite now.

    For example:
        metatc2 replay runs/tc2
        metatc2 replay runs/tc2 --anomaly

    Args:
        run: Run folder.
        anomaly: Have autograd look at every gradient, which is slower and names the operation.
    """
    from metatc2.experiment.replay import run as again
    from metatc2.experiment.seed_folders import require_one

    require_one(run, ["replay"])
    made = again(Path(run), anomaly=anomaly)
    failure, replayed = made.failure, made.replayed
    say("kept: ", failure.said)
    if replayed.not_finite:
        say(bold("first not finite: "), replayed.not_finite[0])
        for sentence in replayed.not_finite[1:SHOWN]:
            say("then: ", sentence)
        if len(replayed.not_finite) > SHOWN:
            say(f"and {len(replayed.not_finite) - SHOWN} more")
    if replayed.trace:
        say(replayed.trace)
    if replayed.error is None:
        say(f"step {failure.step + 1} is finite now (loss {replayed.loss:.6g}); metatc2 pretrain --resume goes on")
        return
    fail(replayed.error, "fails again")
    raise SystemExit(1)
