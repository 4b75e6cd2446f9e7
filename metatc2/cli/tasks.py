"""`metatc2 tasks`: the task files that ship with the library."""

from __future__ import annotations

from metatc2.io.terminal import PlainTable, bold, show


def tasks() -> None:
    """List the task files that ship with the library, one line each.

    For example:
        metatc2 tasks
    """
    from metatc2.experiment.config import list_tasks

    table = PlainTable(heading=False)
    for name, description in list_tasks():
        table.add_row(bold(name), description)
    show(table)
