"""Runs that pre-training neither begins nor continues: stages of UMM, and runs that a program trained."""

from __future__ import annotations

from pathlib import Path

from metatc2.errors import InputError
from metatc2.experiment.config import Config, PythonConfig, UMMConfig
from metatc2.io.suggest import command

_OF_A_PROGRAM = "learner.name = 'python' is of a run that a program of yours trained with Trainer(..., run=...)"


def require_begun_by_pretrain(config: Config) -> None:
    """Refuse to begin what is begun elsewhere.

    Raises:
        InputError: if the configuration is that of a stage of UMM or of a program.
    """
    if config.umm.name != "none":
        raise InputError(
            f"umm.name = {config.umm.name!r} is of a stage on a finished run; leave it out, and call `metatc2 umm DIR` on this "
            "run when it is finished"
        )
    if isinstance(config.learner, PythonConfig):
        raise InputError(f"{_OF_A_PROGRAM}; leave learner.name out, or name one of `metatc2 learners`")


def require_continued_by_pretrain(config: Config, path: Path, *, further: bool) -> None:
    """Refuse to continue what is continued elsewhere.

    Args:
        config: of the run.
        path: run folder.
        further: whether steps are left to make.

    Raises:
        InputError: if it is a stage of UMM, or of a program and has steps left to make.
    """
    if isinstance(config.umm, UMMConfig):
        raise InputError(
            f"{path} is a stage of UMM on {config.umm.start}, which is not resumed; make it anew with: "
            f"{command('umm', config.umm.start or 'DIR', '--split', config.umm.split)}"
        )
    if isinstance(config.learner, PythonConfig) and further:
        raise InputError(f"{path}: {_OF_A_PROGRAM}; continue it there, with Trainer(..., run=...).resume()")
