"""`metatc2 estimate`: how well encoders may transfer, without training."""

from __future__ import annotations

from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.cli._json_file import json_target, write_json
from metatc2.io.terminal import note, show_table


def estimate(
    encoders: Annotated[tuple[str, ...], tyro.conf.Positional, option("ENCODER...")],
    /,
    *,
    to: Annotated[tuple[str, ...], option("SOURCE[:SPLIT]", default="those of the first run's task")] = (),
    allow_seen: bool = False,
    json: Annotated[str | None, option("FILE")] = None,
) -> None:
    """Estimate transfer without training (LogME, H-score), and say how well it ranks encoders that were measured.

    For example:
        metatc2 estimate runs/tc2 runs/plain timm:resnet18:random --to glyphs:greek

    Args:
        encoders: As for `metatc2 transfer`.
        to: Targets.
        allow_seen: Allow targets with classes of the pre-training images.
        json: Write the estimates to a file too.
    """
    target = json_target(json)

    from metatc2.experiment import estimate as estimate_command
    from metatc2.report import estimate_table

    estimates, correlations = estimate_command.run(encoders, to, allow_seen=allow_seen, tell=note)
    show_table(estimate_table(estimates, correlations))
    write_json(target, [e.to_json() for e in estimates])
