"""What there is to choose from: `metatc2 tasks` and `metatc2 learners`."""

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


def learners() -> None:
    """List the learners that `pretrain --learner` knows, one line each with their source.

    For example:
        metatc2 learners
    """
    from metatc2.learners import LEARNERS, entry_of

    table = PlainTable(heading=False)
    table.add_row(bold("ssl"), "a self-supervised objective, calibrated or not (the default)", "see --objective")
    for name in LEARNERS:
        entry = entry_of(name)
        table.add_row(bold(name), entry.summary, entry.source)
    show(table)
