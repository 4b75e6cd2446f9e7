"""The page as plain data, and the template that makes HTML of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from metatc2.io.plain_text import visible
from metatc2.report.figures import Drawn, to_svg

TableCell = str | int | float


@dataclass(frozen=True)
class TextTable:
    """A table of text and numbers.

    Args:
        caption: what it shows.
        columns: headings.
        rows: each as long as `columns`; a cell's second line, if any, comes after a line break.
        heads: how many cells at the start of a row are its headings.
        folded: whether it is closed until asked for.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    heads: int = 1
    folded: bool = False


@dataclass(frozen=True)
class MapData:
    """What the script of the embedding map needs.

    Args:
        width, height: of the map in its own units.
        classes: name, color and shape of each.
        points: class, words, and place ``(x, y)`` in the sprite sheet of each.
        views: encoder, projection and ``(x, y)`` of every point in each.
        sprite: PNG as a data URI.
        tile: side of a picture in the sprite sheet, pixels.
    """

    width: int
    height: int
    classes: Sequence[dict[str, str]]
    points: Sequence[dict[str, Any]]
    views: Sequence[dict[str, Any]]
    sprite: str
    tile: int


@dataclass(frozen=True)
class PageSection:
    """One part of the page.

    Args:
        id: its anchor.
        title: its heading.
        paragraphs: sentences that come first; of a pair the first part is in bold.
        figures: drawn as SVG, but for the embedding map if `interactive` is given.
        tables: below the figures.
        missing: why there is less than there could be, and the command that changes it; one sentence each.
        interactive: takes the place of the figure "embedding-map".
        opening: whether it is open at the start of the page; the others are folded until asked for.
    """

    id: str
    title: str
    paragraphs: Sequence[str | tuple[str, str]] = ()
    figures: Sequence[Drawn] = ()
    tables: Sequence[TextTable] = ()
    missing: Sequence[str] = ()
    interactive: MapData | None = field(default=None, repr=False)
    opening: bool = False


def render(title: str, sections: Sequence[PageSection], *, version: str) -> str:
    """The page as HTML.

    Args:
        title: of the page.
        sections: in order.
        version: of the library, for the foot of the page.

    >>> page = render("Report", [PageSection("a", "A & B", ["x < y"])], version="1")
    >>> page[:15], "A &amp; B" in page, "x &lt; y" in page
    ('<!DOCTYPE html>', True, True)
    """
    environment = Environment(
        loader=PackageLoader("metatc2.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = lambda drawn: Markup(to_svg(drawn))
    environment.filters["cell"] = cell
    return environment.get_template("template.html.j2").render(title=title, sections=sections, version=version)


def _seen(value: Any) -> Any:
    """What a template prints: characters of a name that would act, and those that UTF-8 lacks, as their escapes."""
    return visible(value, keep_lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


def cell(value: TableCell) -> str:
    """A value as it stands in a table: four digits are enough to read, the CSV has them all.

    >>> cell(0.123456), cell(3), cell("a"), cell(True)
    ('0.1235', '3', 'a', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
