"""The documentation site: it builds without a warning, its reference knows every public name, and what its pages show runs."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from ..command_line import PATIENCE, run_script

pytest.importorskip("mkdocs")
ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def script(name: str) -> ModuleType:
    """A file of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once: half a dozen seconds of work."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    # The variable silences a banner about the successor of mkdocs.
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "WARNING" not in said, said
    return out


@pytest.mark.slow
def test_every_page_of_docs_is_there(site: Path) -> None:
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert not [page for page in pages if not (site / page / "index.html").is_file()]


@pytest.mark.slow
def test_links_out_of_docs_lead_to_pages_and_pictures_of_the_site(site: Path) -> None:
    library = (site / "library" / "index.html").read_text()
    assert 'href="../examples/tc2_in_maml.py/"' in library
    assert "calibrated" in (site / "examples" / "tc2_in_maml.py" / "index.html").read_text()
    pictures = {
        (page.parent / picture).resolve()
        for page in (site / name / "index.html" for name in ("concepts", "evidence", "measured", "benchmarks"))
        for picture in re.findall(r'<img [^>]*src="([^":]+)"', page.read_text())
    }
    assert {"tc2.svg", "evidence.png"} <= {picture.name for picture in pictures}
    assert not [picture for picture in pictures if not picture.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({path.stem for path in (DOCS / "reference").glob("*.md")} - {"names"}))
def test_the_reference_has_every_public_class_and_function(site: Path, page: str) -> None:
    written = (site / "reference" / page / "index.html").read_text()
    shown = re.findall(r"^::: (\S+)$", (DOCS / "reference" / f"{page}.md").read_text(), re.MULTILINE)
    assert shown
    for name in shown:
        if find_spec_of(name) is None:
            continue  # a function that has the name of its module, which hides it in the package: it is shown by itself
        module = import_module(name)
        public = {n: getattr(module, n) for n in getattr(module, "__all__", ())}
        ours = {
            n: thing
            for n, thing in public.items()
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__.startswith("metatc2")
        }
        places = {n: (f"{name}.{n}", f"{thing.__module__}.{thing.__qualname__}") for n, thing in ours.items()}
        assert not [n for n, ids in places.items() if not any(f'id="{i}"' in written for i in ids)], name


def find_spec_of(name: str) -> object:
    """What is there to import by that name; None for a function."""
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None


@pytest.mark.slow
def test_examples_of_docstrings_are_code(site: Path) -> None:
    inner = (site / "reference" / "inner" / "index.html").read_text()
    assert "&gt;&gt;&gt; " in re.sub(r"<[^>]+>", "", inner)
    assert "<blockquote>" not in inner


def test_links_are_read_from_the_page_that_they_are_on() -> None:
    hooks = script("hooks")
    assert hooks.target("tc2.md", "../examples/tc2_in_maml.py") == "examples/tc2_in_maml.py"
    assert hooks.target("benchmarks/README.md", "../docs/tc2.md") == "docs/tc2.md"
    assert hooks.target("tc2.md", "../../somewhere-else") is None
    assert hooks.target("tc2.md", "not-there.md") is None  # left as it is, for mkdocs to refuse
    assert hooks.linked("tc2.md", "[a](evidence.md) [b](../LICENSE) `x[0](y)`") == {"LICENSE"}


def test_docstrings_are_brought_into_the_style_of_the_site() -> None:
    found = doctest.testmod(script("docstrings"))
    assert found.attempted
    assert not found.failed


def test_pictures_are_those_of_the_script(tmp_path: Path) -> None:
    assert run_script(DOCS / "figures.py", "--out", str(tmp_path)) == 0
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (DOCS / "figures").iterdir()}
    text = (DOCS / "index.md").read_text() + (DOCS / "concepts.md").read_text()
    assert not [name for name in drawn if f"](figures/{name})" not in text]


def test_the_start_shows_what_the_readme_shows() -> None:
    assert blocks("docs/index.md") == blocks("README.md")  # where it is run


@pytest.mark.parametrize("block", blocks("docs/concepts.md"), ids=["episode", "inner loop"])
def test_concepts_run(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, "concepts.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    if "FactorTasks" in block:
        assert printed[0].startswith("(4, 4, 2, 3, 32, 32) ('nothing more', 'hue'")
    else:
        assert printed == ["0.5", "1.0"]
