"""Runs that are made longer: which configuration follows, and where what the shorter run made goes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from metatc2.errors import InputError
from metatc2.experiment.config import Config, write_config
from metatc2.io.files import read_file, write_folder_atomically, write_synced, writing
from metatc2.io.run_files import CONFIG, ENCODER, TRAINED
from metatc2.training.run_folder import RunFolder, State


def lengthened(config: Config, steps: int | None, folder: RunFolder) -> Config:
    """The configuration of a run that is made `steps` steps long; the same one where that is its length already.

    Raises:
        InputError: if the run is longer than that.
    """
    trainer = config.trainer
    if steps is None or steps == trainer.steps:
        return config
    if steps < trainer.steps:
        raise InputError(
            f"{folder.path} is a run of {trainer.steps} steps; --steps {steps} would shorten it: give a greater number"
        )
    lengths = (*(trainer.lengthened or ()), trainer.steps)
    return replace(config, trainer=trainer.replace(steps=steps, lengthened=lengths))


def at_every_length(config: Config) -> Iterator[Config]:
    """The configurations that a run had before it was made longer; their checkpoints are its own.

    >>> from metatc2.experiment.config import merge
    >>> longer = merge(Config(), {"trainer": {"steps": 30, "lengthened": [10, 20]}}, "")
    >>> [(c.trainer.steps, c.trainer.lengthened) for c in at_every_length(longer)]
    [(10, None), (20, (10,))]
    """
    lengths = config.trainer.lengthened or ()
    for i, length in enumerate(lengths):
        yield replace(config, trainer=config.trainer.replace(steps=length, lengthened=lengths[:i] or None))


def archive(folder: RunFolder, config: Config, longer: Config) -> None:
    """Make a run longer: what its encoder of the old length is in moves to ``at-STEPS``, its config.toml says the new length.

    A cut at any moment leaves a run that can be made longer by the same call.

    Args:
        folder: of the run; must be owned.
        config, longer: of the old and of the new length.

    Raises:
        InputError: if it cannot be written.
    """
    earlier = folder.path / f"at-{config.trainer.steps}"
    present = [name for name in TRAINED if (folder.path / name).exists()]
    with writing(earlier):
        if folder.encoder.exists() and RunFolder(earlier).state is not State.FINISHED:
            if earlier.exists():
                raise InputError(
                    f"{earlier} is in the way of what the run of {config.trainer.steps} steps made; move it"
                )

            def fill(aside: Path) -> None:
                for name in (CONFIG, *present):
                    write_synced(aside / name, read_file(folder.path / name))
                if folder.metrics.exists():
                    shutil.copyfile(folder.metrics, aside / folder.metrics.name)

            write_folder_atomically(earlier, fill)
        # The encoder first: without it the folder is that of a run which was cut.
        for name in sorted(present, key=lambda name: name != ENCODER):
            (folder.path / name).unlink(missing_ok=True)
        write_config(longer, folder.config)
