"""The command line: every sub-command of `metatc2`, thin over the modules that do the work."""

from metatc2.cli.app import main

__all__ = ["main"]
