"""What mkdocs does beside its own work: pages link to files of the repository, and those become part of the site.

A page may link to ``../examples/tc2_in_maml.py`` or show ``../benchmarks/studies/results/evidence.png``, as it does on GitHub.
The site has the layout of the repository, with ``docs/`` at its root: a file that a page links to is taken along at its own
path, text as a page, anything else as it is, and links are rewritten to go there.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

sys.path.append(str(Path(__file__).resolve().parent))

import notebooks

ROOT = Path(__file__).resolve().parents[1]
#: Pages that stand outside of docs/.
OUTSIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
LINK = re.compile(r"\]\(([^)\s#:]+)(#[^)\s]*)?\)")
#: The name of a notebook, which lies on the site alone.
NOTEBOOK = re.compile(r"`(\w+\.ipynb)`")
CODE = {".py": "python", ".toml": "toml", ".cff": "yaml"}


def on_files(files: Files, config: Any) -> Files:
    """Take along what pages link to."""
    for name in OUTSIDE:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    taken = {name for file in list(files.documentation_pages()) for name in linked(file.src_uri, file.content_string)}
    for name in sorted(taken):
        if site_path(name) not in files.src_uris:
            files.append(_file(name, config))
    for script in notebooks.scripts():
        files.append(File.generated(config, f"notebooks/{script.stem}.ipynb", content=notebooks.notebook(script)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links lead to where those files stand on the site."""
    here = page.file.src_uri
    if here == "examples.md":
        markdown = NOTEBOOK.sub(r"[\1](notebooks/\1)", markdown)

    def rewritten(link: re.Match[str]) -> str:
        name = target(here, link[1])
        if name is None:
            return link[0]
        return f"]({relpath(site_path(name), dirname(here) or '.')}{link[2] or ''})"

    return LINK.sub(rewritten, markdown)


def linked(page: str, markdown: str) -> set[str]:
    """Files of the repository that a page links to and that are not among mkdocs' own: outside of docs/, or code."""
    result = {target(page, link) for link, _ in LINK.findall(markdown)}
    return {name for name in result if name and not (name.startswith("docs/") and Path(name).suffix not in CODE)}


def target(page: str, link: str) -> str | None:
    """The file of the repository, from its root, that a link means; None where there is none.

    Args:
        page: of the site, e.g. ``tc2.md`` or ``benchmarks/README.md``.
        link: as it stands in the page.
    """
    source = page if page in OUTSIDE else f"docs/{page}"
    name = normpath(join(dirname(source), link))
    return name if not name.startswith("..") and (ROOT / name).is_file() else None


def site_path(name: str) -> str:
    """Where a file of the repository stands among the sources of the site."""
    name = name.removeprefix("docs/")
    return f"{name}.md" if Path(name).suffix in CODE else name


def _file(name: str, config: Any) -> File:
    path = ROOT / name
    language = CODE.get(path.suffix)
    if language is None:
        return File.generated(config, name, abs_src_path=str(path))
    text = path.read_text(encoding="utf-8")
    page = File.generated(config, site_path(name), content=f"# {name}\n\n````{language}\n{text}````\n")
    page.inclusion = InclusionLevel.NOT_IN_NAV  # found by the links that lead to it
    return page
