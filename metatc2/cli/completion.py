"""`metatc2 completion`: what a shell asks when Tab is pressed."""

from __future__ import annotations

from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.cli._completion_scripts import SCRIPTS
from metatc2.errors import InputError, nearest
from metatc2.io.terminal import say


def completion(shell: Annotated[str, tyro.conf.Positional, option("SHELL")], /) -> None:
    """Print a script with which a shell completes the commands of metatc2, their options, and names that options take.

    For example:
        metatc2 completion bash > ~/.local/share/bash-completion/completions/metatc2
        metatc2 completion zsh > ~/.zfunc/_metatc2
        metatc2 completion tcsh > ~/.metatc2.tcsh

    For zsh, ~/.zshrc needs the line fpath+=~/.zfunc before compinit; for tcsh, ~/.tcshrc the line source ~/.metatc2.tcsh. New
    shells then complete. Print it again after an update of metatc2, or of a package that adds names to it.

    Args:
        shell: bash, zsh or tcsh.
    """
    from metatc2.cli.app import PARSER  # which holds this command too

    if shell not in SCRIPTS:
        raise InputError(f"completion: no script for the shell {shell!r}; {nearest(shell, SCRIPTS)}")
    say(SCRIPTS[shell](PARSER.completions()).rstrip(), stderr=False)
