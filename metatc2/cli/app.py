"""The sub-commands together, and how a command ends: its exit status and one sentence about what went wrong."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import tyro
from rich.console import Console

from metatc2.cli.arguments import merge_repeated
from metatc2.cli.catalogue import learners, tasks
from metatc2.cli.judge import compare, diagnose, estimate, matrix
from metatc2.cli.show import demo, export, report
from metatc2.cli.train import pretrain
from metatc2.cli.transfer import transfer
from metatc2.errors import InputError

# In the order of --help.
COMMANDS: tuple[Callable[..., None], ...] = (
    tasks,
    learners,
    pretrain,
    transfer,
    compare,
    matrix,
    estimate,
    diagnose,
    report,
    export,
    demo,
)
app = tyro.extras.SubcommandApp()
for command in COMMANDS:
    app.command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exit status: 0 done, 1 the run diverged, 2 bad input, 130 interrupted."""
    console = Console(stderr=True, soft_wrap=True)
    warnings.showwarning = _show_warning
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every precision
    try:
        app.cli(
            args=merge_repeated(sys.argv[1:] if arguments is None else arguments),
            prog="metatc2",
            description="Self-supervised pre-training as meta-learning: task conflict calibration, transfer, comparison.",
        )
    except InputError as error:
        console.print(f"metatc2: error: {error}", markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print(
            "metatc2: interrupted; metatc2 pretrain --resume DIR goes on from the run's last checkpoint, where one was written "
            "(every trainer.checkpoint_every steps)",
            markup=False,
        )
        sys.exit(130)
    except Exception as error:
        if type(error).__name__ != "TrainingDiverged":
            raise
        console.print(f"metatc2: stopped: {error}", markup=False, highlight=False)
        sys.exit(1)


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
    # One line a person can use; a warning's source line says nothing to someone at a terminal.
    Console(stderr=True, soft_wrap=True).print(f"metatc2: warning: {message}", markup=False, highlight=False)
