"""A command of `metatc2`, run in this process."""

from __future__ import annotations

from metatc2.cli import main


def call(*arguments: str) -> int:
    """Exit status of a command."""
    try:
        main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
