"""The sub-commands together, and how a command ends: its exit status and one sentence about what went wrong."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from metatc2 import __version__
from metatc2.cli._boundary import ending_of
from metatc2.cli._parsing import Parser
from metatc2.cli.advise import advise
from metatc2.cli.compare import compare
from metatc2.cli.completion import completion
from metatc2.cli.config import config
from metatc2.cli.demo import demo
from metatc2.cli.diagnose import diagnose
from metatc2.cli.doctor import doctor
from metatc2.cli.estimate import estimate
from metatc2.cli.export import export
from metatc2.cli.fuse import fuse
from metatc2.cli.learners import learners
from metatc2.cli.matrix import matrix
from metatc2.cli.pretrain import pretrain
from metatc2.cli.replay import replay
from metatc2.cli.report import report
from metatc2.cli.tasks import tasks
from metatc2.cli.transfer import transfer
from metatc2.cli.umm import umm
from metatc2.io.launched import is_first_process, process_number
from metatc2.io.terminal import console, fail, say, warn

# In the order of --help.
COMMANDS: tuple[Callable[..., None], ...] = (
    tasks,
    learners,
    config,
    advise,
    pretrain,
    replay,
    umm,
    transfer,
    compare,
    matrix,
    estimate,
    fuse,
    diagnose,
    report,
    export,
    demo,
    doctor,
    completion,
)
PARSER = Parser(COMMANDS)
# What is there after Ctrl-C, and how it goes on.
_INTERRUPTED = {
    "pretrain": "metatc2 pretrain --resume DIR goes on from the run's last checkpoint, where one was written (every "
    "trainer.checkpoint_every steps)",
    "transfer": "no row was written; features that were computed are kept for the next call",
    "advise": "the same command goes on with what is in its folder",
    "demo": "metatc2 demo makes its runs anew when it is called again",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exit status: 0 done, 1 the run diverged, 2 bad input, 130 interrupted,
    141 the output was closed, 143 ended by SIGTERM."""
    warnings.showwarning = _show_warning
    for stderr in (False, True):
        console(stderr=stderr)  # a stream that cannot write every character is told to escape it, tyro's help included
    try:
        words = sys.argv[1:] if arguments is None else arguments
        if list(words) == ["--version"]:
            say(f"metatc2 {__version__}", stderr=False)
        else:
            PARSER.parse(words)()
        _flush()
    except KeyboardInterrupt:
        say(f"metatc2: interrupted; {_after_interruption(sys.argv[1:] if arguments is None else arguments)}")
        sys.exit(130)
    except BrokenPipeError:
        _forget_output()
        sys.exit(141)  # what a shell reports of a program that a closed pipe has ended
    except Exception as error:
        ending = ending_of(error)
        if ending is None:
            raise
        fail(f"{_rank()}{ending.sentence}", ending.how)
        sys.exit(ending.status)


def _rank() -> str:
    """Which of several processes this is, where it is not the first: they have one terminal."""
    return "" if is_first_process() else f"rank {process_number()}: "


def _after_interruption(arguments: Sequence[str]) -> str:
    return _INTERRUPTED.get(arguments[0] if arguments else "", "nothing was written; call it again")


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _forget_output() -> None:
    """Let nothing more be written, not even by the interpreter when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):  # standard output is no file of the system
        return


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
    # One line a person can use; a warning's source line says nothing to someone at a terminal.
    warn(str(message))
