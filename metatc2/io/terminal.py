"""All that reaches a terminal goes through here, so that text from outside is printed as it is written.

Nothing is read as markup, as an emoji name or as something to color, and what would act on the terminal is shown as its
escape (`metatc2.io.plain_text.visible`). Styles are made of pieces: ``say(bold(name), ": done")``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from metatc2.io.plain_text import visible

__all__ = [
    "Group",
    "PlainConsole",
    "PlainTable",
    "RenderableType",
    "bold",
    "console",
    "fail",
    "say",
    "show_table",
    "table_text",
    "warn",
    "wide_console",
]


class PlainConsole(Console):
    """A console that interprets no text; a character that its encoding lacks is replaced by its escape."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        reconfigure = getattr(self.file, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")

    def render_str(self, text: str, **options: Any) -> Text:
        """Text as it is, whatever the caller asks for."""
        options.update(markup=False, emoji=False, highlight=False)
        return super().render_str(visible(text, keep_lines=True), **options)

    def on_broken_pipe(self) -> None:
        """Whoever reads has had enough: the command line ends quietly."""
        raise  # rich calls this while it handles the BrokenPipeError


class PlainTable(Table):
    """A table for the terminal whose headings and cells are text as it is, in whatever console it is shown.

    Args:
        title: above it.
        heading: whether its columns have headings.

    >>> table = PlainTable("set[/b]")
    >>> table.add_column("name")
    >>> table.add_row(":cat:")
    >>> print(*[line.strip() for line in table_text(table).splitlines()], sep="|")
    set[/b]||name|─────|:cat:|
    """

    def __init__(self, title: str = "", *, heading: bool = True) -> None:
        super().__init__(
            title=Text(visible(title), style="table.title") if title else None,
            title_justify="left",
            box=SIMPLE_HEAD if heading else None,
            show_header=heading,
            padding=(0, 1, 0, 0) if heading else (0, 1),
            pad_edge=False,
        )
        self.caption_justify = "left"

    def add_column(self, header: RenderableType = "", *rest: Any, **options: Any) -> None:
        """A column under its heading."""
        super().add_column(_plain(header), *rest, **options)

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """A row; a text is shown as it is."""
        super().add_row(*[None if cell is None else _plain(cell) for cell in cells], **options)

    def say_below(self, sentences: Sequence[str]) -> None:
        """Sentences under the table, one a line."""
        text = "\n".join(visible(sentence) for sentence in sentences)
        self.caption = Text(text, style="table.caption") if text else None


def console(*, stderr: bool = False, width: int | None = None) -> PlainConsole:
    """A console on standard output or error, as it is at this moment."""
    return PlainConsole(stderr=stderr, width=width)


def wide_console() -> PlainConsole:
    """Standard output; where it is no terminal, 120 columns wide, so that tables in a log do not wrap."""
    default = console()
    return default if default.is_terminal else console(width=120)


def table_text(table: RenderableType, *, width: int = 120) -> str:
    """What `show_table` prints where there is no terminal."""
    on = PlainConsole(file=io.StringIO(), width=width, color_system=None)
    with on.capture() as captured:
        on.print(table)
    return captured.get()


def show_table(table: RenderableType) -> None:
    """Print a table, or a group of tables, on standard output."""
    wide_console().print(table)


def say(*pieces: str | Text, stderr: bool = True) -> None:
    """Print one line of text, by default on standard error; line breaks between sentences stay."""
    text = Text("").join(Text(visible(piece, keep_lines=True)) if isinstance(piece, str) else piece for piece in pieces)
    console(stderr=stderr).print(text, soft_wrap=True)


def bold(text: str) -> Text:
    """A piece of text that stands out."""
    return Text(visible(text), style="bold")


def fail(sentence: str, how: str = "error") -> None:
    """What went wrong, as one line on standard error."""
    console(stderr=True).print(Text(visible(f"metatc2: {how}: {sentence}")), soft_wrap=True)


def warn(sentence: str) -> None:
    """A warning as one line on standard error."""
    fail(sentence, "warning")


def note(sentence: str) -> None:
    """What is good to know, as one line on standard error."""
    fail(sentence, "note")


def _plain(cell: RenderableType) -> RenderableType:
    return Text(visible(cell)) if isinstance(cell, str) else cell
