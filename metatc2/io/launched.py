"""Which of several processes this is, as launchers tell it: known before the processes have met, and without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping

# A number, and how many there are, of torchrun and accelerate, and of srun; then of Lightning on one machine and on several.
_RANKS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"), ("LOCAL_RANK", None), ("NODE_RANK", None))


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is alone, or the one that writes files and speaks for all of a launch.

    >>> is_first_process({}), is_first_process({"RANK": "3", "WORLD_SIZE": "4"}), is_first_process({"NODE_RANK": "1"})
    (True, False, False)
    >>> is_first_process({"SLURM_PROCID": "1"})  # of one task
    True
    """
    return not any(
        _number(environment, rank) and (size is None or _number(environment, size) > 1) for rank, size in _RANKS
    )


def process_number(environment: Mapping[str, str] = os.environ) -> int:
    """Its number, from 0: that of processes on other machines Lightning does not tell before they have met.

    >>> process_number({"RANK": "9", "LOCAL_RANK": "1"}), process_number({"LOCAL_RANK": "1"}), process_number({})
    (9, 1, 0)
    """
    return next((_number(environment, rank) for rank, _ in _RANKS if environment.get(rank, "").isdecimal()), 0)


def _number(environment: Mapping[str, str], name: str) -> int:
    told = environment.get(name, "")
    return int(told) if told.isdecimal() else 0
