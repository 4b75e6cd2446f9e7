"""How the API reference reads docstrings: what ours have beyond Google's style is brought into it, for the site only.

Two things: parameters that share one description (``support, query: images of ...``), and examples that stand as bare doctests,
which Markdown would take for quotations.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTIONS = ("Args:", "Attributes:")
JOINT = re.compile(r"    (\w+(?:, \w+)+): ")
DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


def split_joint_parameters(text: str) -> str:
    """One item for each of several parameters that are described together.

    >>> print(split_joint_parameters("Means.\\n\\nArgs:\\n    x, y: rows\\n        of numbers.\\n    z: more."))
    Means.
    <BLANKLINE>
    Args:
        x: rows
            of numbers.
        y: rows
            of numbers.
        z: more.
    """
    out: list[str] = []
    section, lines = False, text.split("\n")
    while lines:
        line = lines.pop(0)
        if line and not line.startswith(" "):
            section = line in SECTIONS
        joint = JOINT.match(line) if section else None
        if joint is None:
            out.append(line)
            continue
        rest = []
        while lines and lines[0].startswith(" " * 5):
            rest.append(lines.pop(0))
        for name in joint[1].split(", "):
            out += [f"    {name}: {line[joint.end() :]}", *rest]
    return "\n".join(out)


def fence_doctests(text: str) -> str:
    """Doctests as blocks of code.

    >>> fence_doctests("Adds.\\n\\n>>> 1 + 1\\n2")
    'Adds.\\n\\n```pycon\\n>>> 1 + 1\\n2\\n```'
    """
    return DOCTEST.sub(lambda result: f"```pycon\n{result[0]}\n```", text)


class Docstrings(griffe.Extension):
    """Applied to every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the text of an object's docstring, if it has one."""
        if obj.docstring is not None:
            obj.docstring.value = fence_doctests(split_joint_parameters(obj.docstring.value))
