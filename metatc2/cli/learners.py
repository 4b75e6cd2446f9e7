"""`metatc2 learners`: the learners that can be trained."""

from __future__ import annotations

from metatc2.io.terminal import PlainTable, bold, show_table


def learners() -> None:
    """List the learners that `pretrain --learner` knows, one line each with their source.

    For example:
        metatc2 learners
    """
    from metatc2.learners import LEARNERS, entry_of

    table = PlainTable(heading=False)
    table.add_row(bold("ssl"), "a self-supervised objective, calibrated or not (the default)", "see --objective")
    for name in LEARNERS.loadable():
        entry = entry_of(name)
        table.add_row(bold(name), entry.summary, entry.source)
    show_table(table)
