"""The lower bounds in pyproject.toml as constraints for pip: what `>=` allows at the least is what is installed.

python .github/lowest_dependencies.py > lowest.txt
pip install --constraint lowest.txt .
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def lowest(requirements: list[str]) -> list[str]:
    """`name==version` for each `name>=version`.

    Raises:
        ValueError: if a requirement has no lower bound.

    >>> lowest(["torch>=2.6", "torchjd[nash-mtl]>=0.18"])
    ['torch==2.6', 'torchjd==0.18']
    """
    found = []
    for requirement in requirements:
        parts = re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?>=([\d.]+)", requirement)
        if parts is None:
            raise ValueError(f"{requirement!r} in pyproject.toml has no lower bound alone; write it as name>=version")
        found.append(f"{parts[1]}=={parts[2]}")
    return found


def main() -> None:
    """Print the bounds of what everybody needs; extras are installed at their newest."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    sys.stdout.write("\n".join(lowest(project["dependencies"])) + "\n")


if __name__ == "__main__":
    main()
