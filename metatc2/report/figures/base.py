"""What every figure of the report is: a matplotlib figure, what it shows in words, and its numbers."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from metatc2.io.plain_text import visible

# Colors that stay apart in gray print and for color-blind readers (Okabe and Ito 2008), black first.
PALETTE = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
FONT = 9  # points; 12 pixels on a screen

Value = str | int | float


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure ready to be shown and saved.

    Args:
        name: of its files and of its anchor in the page, e.g. ``"learning-curves"``; unique in a page.
        caption: what is seen and how it was made.
        alt: the same for who cannot see it: kind of chart, axes, and the main values.
        figure: natural size in inches.
        columns: headings of `rows`.
        rows: the numbers drawn.
    """

    name: str
    caption: str
    alt: str
    figure: Figure
    columns: tuple[str, ...]
    rows: Sequence[tuple[Value, ...]]


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: a name with dollar signs is no formula, and nothing in it acts.

    >>> plain("a$b$")
    'a\\\\$b\\\\$'
    """
    return visible(text, keep_lines=True).replace("$", r"\$")


def in_legend(name: str) -> str:
    """As `plain`, for a legend: matplotlib leaves out of it what begins with an underscore.

    >>> in_legend("_a"), in_legend("a_")
    ('\\u200b_a', 'a_')
    """
    label = plain(name)
    return f"\u200b{label}" if label.startswith("_") else label  # a space of no width is not seen


def shorten(text: str, length: int) -> str:
    """Text of at most `length` characters, the middle left out.

    >>> shorten("abcdefgh", 5)
    'ab…gh'
    """
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def to_png(drawn: Drawn) -> bytes:
    """The figure as PNG, 150 dots an inch."""
    content = io.BytesIO()
    with _quiet():
        _arrange(drawn.figure)
        drawn.figure.set_dpi(150)
        FigureCanvasAgg(drawn.figure).print_png(content, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return content.getvalue()


def to_svg(drawn: Drawn) -> str:
    """The figure as an ``<svg>`` element for a page: text stays text, ids are its own, the same each time.

    >>> figure = Figure(figsize=(2, 1))
    >>> _ = figure.subplots().plot([0, 1])
    >>> svg = to_svg(Drawn("line", "", 'A "line".', figure, (), ()))
    >>> svg[:45], 'aria-label="A &#34;line&#34;."' in svg
    ('<svg role="img" width="192px" height="96px" a', True)
    """
    from markupsafe import escape

    content = io.StringIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    with _quiet(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": drawn.name}):
        _arrange(drawn.figure)
        with _without_background(drawn.figure):
            drawn.figure.set_dpi(144)
            FigureCanvasSVG(drawn.figure).print_svg(content, metadata=nothing)  # type: ignore[no-untyped-call]
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :]
    # A style inside one SVG would hold for the whole page; the page's own says the same.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    # Matplotlib before 3.11 names a picture by its content, so the same one twice has one id; nothing refers to it.
    svg = re.sub(r'(<image\b[^>]*?)\sid="[^"]+"', r"\1", svg)
    # matplotlib numbers its groups from one in every figure; in one page ids must differ. Between tags are names as they are.
    svg = re.sub(r"<[^>]*>", lambda tag: _renamed(tag[0], drawn.name), svg)
    width, height = (round(96 * inches) for inches in drawn.figure.get_size_inches())
    view = re.search(r'viewBox="[^"]+"', svg)
    assert view is not None  # matplotlib always writes one
    attributes = f'role="img" width="{width}px" height="{height}px" aria-label="{escape(visible(drawn.alt))}" {view[0]}'
    return re.sub(
        r"<svg[^>]*>",
        lambda _: f'<svg {attributes} xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">',
        svg,
        count=1,
    )


def _renamed(tag: str, figure: str) -> str:
    tag = re.sub(r'\bid="([^"]+)"', rf'id="{figure}-\1"', tag)
    tag = re.sub(r'href="#([^"]+)"', rf'href="#{figure}-\1"', tag)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{figure}-\1)", tag)


def _arrange(figure: Figure) -> None:
    """Where the parts of a figure lie, once for all files: `savefig` finds it again for each, by one more drawing."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


@contextmanager
def _without_background(figure: Figure) -> Iterator[None]:
    color = figure.get_facecolor()
    figure.set_facecolor("none")
    try:
        yield
    finally:
        figure.set_facecolor(color)


@contextmanager
def _quiet() -> Iterator[None]:
    """A class name in a script that the font lacks is drawn as a box; the page has it as text besides."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # Matplotlib 3.8 words the rest otherwise
        yield
