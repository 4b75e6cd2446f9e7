"""Judging what was measured: `metatc2 compare`, `matrix`, `estimate` and `diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metatc2.cli._json_file import json_target, write_json
from metatc2.io.run_files import DIAGNOSIS
from metatc2.io.terminal import show


def compare(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR_A DIR_B")],
    /,
    *,
    features: str = "encoder",
    json: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Paired differences of the first run against each other run, target by target.

    Runs that differ in nothing but their seed are taken together: differences are then paired by seed and the interval is
    over seeds. With one seed the interval is over episodes and says nothing about other seeds.

    For example:
        metatc2 compare runs/tc2-s0 runs/tc2-s1 runs/tc2-s2 runs/plain-s0 runs/plain-s1 runs/plain-s2

    Args:
        runs: Run folders with a transfer.json (see `metatc2 transfer`), the method in question first.
        features: What to compare: encoder, calibrated, or adapted (learners on labeled tasks, adapted to each episode).
        json: Write the differences to a file too.
    """
    target = json_target(json)

    from metatc2.experiment import compare as result_folders
    from metatc2.report import comparison_table

    differences = result_folders.compare([Path(run) for run in runs], features=features)
    show(comparison_table(differences))
    write_json(target, [difference.to_json() for difference in differences])


def matrix(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR...")],
    /,
    *,
    features: str = "encoder",
) -> None:
    """The transfer matrix: every source on every target, with the rows "random encoder" and "raw pixels".

    For example:
        metatc2 transfer runs/latin --to glyphs:greek digits:all
        metatc2 transfer runs/digits --to glyphs:greek digits:meta-test
        metatc2 matrix runs/latin runs/digits

    Args:
        runs: Run folders with a transfer.json; those that differ in their seed alone are one source.
        features: Which rows: encoder, calibrated or adapted.
    """
    from metatc2.experiment import compare as result_folders
    from metatc2.report import matrix_tables

    show(matrix_tables(result_folders.matrices([Path(run) for run in runs], features=features)))


def estimate(
    encoders: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ENCODER...")],
    /,
    *,
    to: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOURCE[:SPLIT]")] = (),
    allow_seen: bool = False,
    json: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Estimate transfer without training (LogME, H-score), and say how well it ranks encoders that were measured.

    For example:
        metatc2 estimate runs/tc2 runs/plain timm:resnet18:random --to glyphs:greek

    Args:
        encoders: As for `metatc2 transfer`.
        to: Targets; by default those of the first run's task.
        allow_seen: Allow targets with classes of the pre-training images.
        json: Write the estimates to a file too.
    """
    target = json_target(json)

    from metatc2.experiment import estimate as estimate_command
    from metatc2.report import estimate_table

    estimates, correlations = estimate_command.run(encoders, to, allow_seen=allow_seen)
    show(estimate_table(estimates, correlations))
    write_json(target, [e.to_json() for e in estimates])


def diagnose(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    /,
    *,
    on: Annotated[str | None, tyro.conf.arg(metavar="SOURCE[:SPLIT]")] = None,
    against: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ENCODER")] = (),
    episodes: int = 2,
    resplits: int = 39,
    max_images: int = 4096,
    seed: int = 0,
    json: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Diagnose a run: spectra, alignment, uniformity, collapse, CKA, use of the factors, task conflict against its null.

    On shapes, whose images are rendered, it also says which of their factors the features tell. Writes DIR/diagnose.json,
    which `metatc2 report` draws.

    For example:
        metatc2 diagnose runs/tc2
        metatc2 diagnose runs/tc2 --on glyphs:greek --against runs/plain runs/tc2@blocks.2

    Args:
        run: Run folder.
        on: Whose images are looked at; by default those the run was trained on.
        against: Further encoders whose features are compared with this one's (CKA); ENCODER@LAYER for an inner stage.
        episodes: Episodes that task conflict and gradient agreement are measured on; more make both sharper.
        resplits: Random re-splits of each episode for the noise null; at least 39, for a 95 % interval.
        max_images: Images looked at, at most.
        seed: Of all draws.
        json: Write the result to a further file.
    """
    target = json_target(json, own=Path(run) / DIAGNOSIS)

    from metatc2.experiment import diagnose as diagnose_command
    from metatc2.report.diagnosis_table import diagnosis_table

    diagnosis = diagnose_command.run(
        Path(run), on=on, against=against, episodes=episodes, resplits=resplits, max_images=max_images, seed=seed
    )
    show(diagnosis_table(diagnosis))
    write_json(target, diagnosis.to_dict())
