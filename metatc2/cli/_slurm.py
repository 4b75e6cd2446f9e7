"""A job of SLURM that is put back into the queue after its checkpoint, and that knows when it runs again.

The form is that of Lightning: `scontrol requeue` with the number of the job, or of the array's task, from its first process.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping

PATIENCE = 60  # seconds that `scontrol` may take; it asks a controller over the network


def runs_again(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether SLURM runs this job again, after a requeue of ours, pre-emption, or the loss of a node.

    >>> runs_again({"SLURM_JOB_ID": "7"}), runs_again({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"})
    (False, True)
    """
    return "SLURM_JOB_ID" in environment and environment.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def job(environment: Mapping[str, str] = os.environ) -> str | None:
    """Number of the job that this process is part of, of the task where it is an array; None where it is none.

    A number that `scontrol` could not mean is none, and so is a shell that was opened within a job.

    >>> job({"SLURM_JOB_ID": "7"}), job({"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"})
    ('7', '7_2')
    >>> job({}), job({"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "interactive"}), job({"SLURM_JOB_ID": "--help"})
    (None, None, None)
    """
    if environment.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    number = f"{array}_{task}" if array and task else environment.get("SLURM_JOB_ID", "")
    return number if re.fullmatch(r"\d+(_\d+)?", number) else None


def requeue(number: str) -> str | None:
    """Have SLURM queue a job again, which also ends it; why that failed, None where it did not."""
    try:
        done = subprocess.run(
            ["scontrol", "requeue", number],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except FileNotFoundError:
        return "scontrol is not on the PATH"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"scontrol could not be run ({error})"
    if not done.returncode:
        return None
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return said[-1][:200] if said else f"scontrol ended with status {done.returncode}"
