"""`metatc2 tasks`: the task files that ship with the library."""

from __future__ import annotations

from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.errors import InputError, nearest
from metatc2.io.suggest import command
from metatc2.io.terminal import PlainTable, bold, say, show_table


def tasks(
    name: Annotated[str | None, tyro.conf.Positional, option("NAME", default="all")] = None, /, *, show: bool = False
) -> None:
    """List the task files that ship with the library, one line each; with NAME, that one as it is.

    For example:
        metatc2 tasks
        metatc2 tasks glyphs --show
        metatc2 tasks glyphs --show > my.toml

    Args:
        name: A shipped task.
        show: Print its file, to be read or to be changed and given to `metatc2 pretrain`. `metatc2 config NAME` shows every
            value that would act, with its origin and meaning.
    """
    from metatc2.experiment.config.task_files import list_tasks, read_shipped

    if name is None:
        if show:
            raise InputError(f"tasks: --show needs the name of a task, e.g. {command('tasks', 'glyphs', '--show')}")
        _list(list_tasks())
        return
    described = dict(list_tasks())
    if name not in described:
        raise InputError(f"tasks: no shipped task {name!r}; {nearest(name, described)}")
    if show:
        say(read_shipped(name).rstrip(), stderr=False)
    else:
        _list([(name, described[name])])


def _list(described: list[tuple[str, str]]) -> None:
    table = PlainTable(heading=False)
    for name, description in described:
        table.add_row(bold(name), description)
    show_table(table)
