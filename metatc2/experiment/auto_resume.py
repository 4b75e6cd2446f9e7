"""Whether a run is to be started or continued, for one command that does either."""

from __future__ import annotations

from pathlib import Path

from metatc2.errors import InputError
from metatc2.experiment.config import Config, differences, fingerprint
from metatc2.experiment.run_config import read_run_config
from metatc2.experiment.run_lengths import at_every_length
from metatc2.training.run_folder import RunFolder, State


def is_resumable(path: Path, config: Config) -> bool:
    """Whether a folder holds a run of this configuration that has a checkpoint or is finished.

    A run that was made longer is of the configuration of every length that it had. False where a run may only be started, or
    where `pretrain` has a sentence of its own for what is in the folder.

    Raises:
        InputError: if the run there is of another configuration.

    >>> is_resumable(Path("no such folder"), Config())
    False
    """
    if RunFolder(path).state not in (State.CUT, State.FINISHED):
        return False
    there = read_run_config(path)
    if fingerprint(config) not in {fingerprint(one) for one in (there, *at_every_length(there))}:
        raise InputError(
            f"{path} holds a run with another configuration ({'; '.join(differences(there, config))}); give that one's "
            "options, or name another folder with --run"
        )
    return True
