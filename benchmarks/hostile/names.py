"""Names of classes, files and folders in what is shown: HTML, CSV, terminal, commands to be pasted. They stay text."""

from __future__ import annotations

import csv
import io
import shlex
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import strategies as st

from hostile.kind import Kind, Prepared
from metatc2.io.suggest import command
from metatc2.io.terminal import PlainTable, table_text
from metatc2.io.writing import csv_text, json_text
from metatc2.report.html.page import PageSection, TextTable, render

_HOSTILE = (
    *(
        "<script>alert(1)</script>",
        "</td><b>",
        "<!--",
        "&lt;",
        '" onload="x',
        "javascript:x",
        "{{ 7 * 7 }}",
        "{% raw %}",
    ),
    *(
        "=1+1",
        "+1",
        "-x",
        "@x",
        "\t=1",
        "＝1",
        "[red]x[/red]",
        ":cat:",
        "\x1b[31m",
        "\x9b31m",
        "\u202e",
        "\r",
        "$(id)",
        "`id`",
    ),
    *("'; rm -rf x", "-rf", "--help", "a\nb", "\udcff", "\0", "%s%n", "../../x"),
)
_NAMES = st.lists(st.one_of(st.sampled_from(_HOSTILE), st.text(max_size=8)), min_size=1, max_size=3).map("".join)


class _Tags(HTMLParser):
    """Start tags with the names of their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(sorted(name for name, _ in attributes))))

    def handle_comment(self, data: str) -> None:
        self.tags.append(("comment", ()))


def _page(name: str) -> list[tuple[str, tuple[str, ...]]]:
    table = TextTable(name, [name, "b"], [[name, 1.0]])
    section = PageSection("a", name, [name, (name, name)], tables=[table], missing=[name])
    # The second line of a cell stands in smaller letters, by design.
    return [tag for tag in _Tags(render(name, [section], version="1")).tags if tag != ("small", ())]


def _html(folder: Path) -> Prepared:
    plain = _page("a name")

    def read(name: str) -> None:
        if _page(name) != plain:
            raise AssertionError("a name has changed what the page is made of")

    return _NAMES, read


def _acts(character: str) -> bool:
    """Control characters, half surrogates, ends of lines, and what turns the direction of writing."""
    turns = unicodedata.bidirectional(character) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return turns or unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}


def _table(name: str) -> str:
    table = PlainTable(name)
    table.add_column(name)
    table.add_row(name)
    table.say_below([name])
    return table_text(table, width=400)


def _terminal(folder: Path) -> Prepared:
    def read(name: str) -> None:
        if odd := [character for character in _table(name) if character != "\n" and _acts(character)]:
            raise AssertionError(f"{odd[0]!r} reaches the terminal")

    return _NAMES, read


def _files(folder: Path) -> Prepared:
    def read(name: str) -> None:
        cell = list(csv.reader(io.StringIO(csv_text(["a", "b"], [[name, 1]]))))[1][0]
        if (
            cell.lstrip().startswith(("=", "+", "-", "@", "＝"))
            and not cell.strip().lstrip("+-").replace(".", "").isalnum()
        ):
            raise AssertionError(f"a spreadsheet computes {cell!r}")
        json_text({name: name}).encode("ascii")
        pasted = command("transfer", Path(name) if "\0" not in name and name else "x")
        if "$'" not in pasted:
            words = shlex.split(pasted)
            if len(words) != 3 or words[2].startswith("-") or any(c in pasted for c in "\x1b\n"):
                raise AssertionError(f"{pasted!r} is not one command with one argument")

    return _NAMES, read


KINDS = (
    Kind("name in HTML", "a page of a report", 5, _html),
    Kind("name on a terminal", "a table", 10, _terminal),
    Kind("name in files and commands", "CSV, JSON, a command to be pasted", 100, _files),
)
