"""UMM: `metatc2 umm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.io.suggest import command
from metatc2.io.terminal import bold, say


def umm(
    run: Annotated[str, tyro.conf.Positional, option("DIR")],
    /,
    *,
    split: Annotated[str, option("STAGE")],
    mode: Annotated[str | None, option("NAME", default="exact")] = None,
    steps: Annotated[int | None, option("N", default="200")] = None,
    set: Annotated[tuple[str, ...], option("KEY=VALUE")] = (),
    out: Annotated[str | None, option("FOLDER", default="DIR-umm")] = None,
) -> None:
    """Tune the late stages of a finished run, the early ones frozen (UMM, arXiv 2410.00772); writes a new run folder.

    For example:
        metatc2 umm runs/plain --split blocks.1
        metatc2 umm runs/plain --split blocks.1 --mode first-order --steps 50 --set umm.beta=0.5

    Args:
        run: Run folder of an objective, with its heads.safetensors.
        split: Last stage that stays as it is: blocks.0 to blocks.2 of conv4, layer1 to layer3 of a ResNet.
        mode: How the outer gradient is taken: exact, finite-difference, first-order (the inner step a constant), or alternate
            (steps on the inner and the outer loss in turn).
        steps: Outer steps, of two batches each.
        set: Keys of [umm] to change, e.g. umm.beta=0.5 umm.gamma=2.
        out: New folder.
    """
    from metatc2.experiment import umm as stage
    from metatc2.experiment.seed_folders import require_one

    require_one(run, ["umm"], ["--split", split])
    done = stage.run(
        Path(run), split=split, mode=mode, steps=steps, assignments=set, out=Path(out) if out else None, show=True
    )
    say(bold(str(done.path)), f" holds the encoder; next: {command('compare', done.path, run)} after both are measured")
