"""`metatc2 fuse`: one classifier on several frozen encoders."""

from __future__ import annotations

from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.cli._json_file import json_target, write_json
from metatc2.io.registries import ATTENTIONS, FUSION_BASELINES
from metatc2.io.terminal import note, show_table

_ATTENTIONS = f"Attention over encoders; the first is compared with everything else. Known: {', '.join(ATTENTIONS)}."
_BASELINES = f"What it is compared with. Known: {', '.join(FUSION_BASELINES)}."


def fuse(
    encoders: Annotated[tuple[str, ...], tyro.conf.Positional, option("ENCODER ENCODER...")],
    /,
    *,
    to: Annotated[tuple[str, ...], option("SOURCE[:SPLIT]", default="those of the first run's task")] = (),
    labels_per_class: Annotated[tuple[int, ...], option("N", default="1 2 5 10 50")] = (),
    draws: int = 20,
    attention: Annotated[tuple[str, ...], option("NAME", help=_ATTENTIONS, default="sample static random")] = (),
    baseline: Annotated[tuple[str, ...], option("NAME", help=_BASELINES, default="all")] = (),
    equal_compute: Annotated[str | None, option("ENCODER")] = None,
    probes: bool = True,
    width: Annotated[int | None, option("N", default="that of the widest encoder, at most 256")] = None,
    allow_seen: bool = False,
    root: Annotated[str | None, option("DIR", default="as in the first run")] = None,
    download: bool = False,
    json: Annotated[str | None, option("FILE")] = None,
) -> None:
    """Weigh several frozen encoders by attention for one task with few labels, beside simple ways to use them.

    Draws of labels are the same for every method; whatever is chosen is chosen by cross-validation inside the labels given.

    For example:
        metatc2 fuse runs/simclr runs/vicreg runs/barlow --to digits:meta-test
        metatc2 fuse runs/simclr runs/vicreg --to glyphs:greek --labels-per-class 1 5 --draws 50 --json fusion.json
        metatc2 fuse runs/simclr runs/vicreg --to digits --attention queries sparsemax --equal-compute runs/longer

    Args:
        encoders: Two or more, each as for `metatc2 transfer`, of images of one size and number of channels.
        to: Targets.
        labels_per_class: Labels of each class; a column each.
        draws: Sets of labels; differences are paired over them.
        attention: Attention over encoders.
        baseline: What it is compared with.
        equal_compute: One encoder that was trained for as long as all others together, measured alone.
        probes: Measure what an untrained encoder, and the first encoder given twice, do to the result.
        width: Of aligned features.
        allow_seen: Allow targets with classes of the pre-training images.
        root: Where data sets lie.
        download: Allow downloads of data sets.
        json: Write rows, differences and the weights of encoders by class to a file too.
    """
    target = json_target(json)

    from metatc2.experiment import fuse as fuse_command
    from metatc2.experiment.targets import Sources
    from metatc2.report import fusion_tables

    results = fuse_command.fuse(
        encoders,
        to,
        labels_per_class=labels_per_class or fuse_command.LABELS_PER_CLASS,
        draws=draws,
        attentions=attention or fuse_command.ATTENTIONS_SHOWN,
        baselines=baseline,
        equal_compute=equal_compute,
        probes=probes,
        width=width,
        allow_seen=allow_seen,
        sources=Sources(root, download),
        tell=note,
    )
    show_table(fusion_tables(results.rows, results.differences, results.notes))
    write_json(target, results.to_json())
