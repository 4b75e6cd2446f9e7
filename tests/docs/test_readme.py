"""What the README and its pages show runs, and their numbers are those of the committed results."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from metatc2.cli.app import PARSER

from ..command_line import run_script

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks" / "README.md",
]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


EXAMPLES = [*blocks("README.md"), *blocks("docs/library.md")]
COMMANDS = [
    line
    for page in ("README.md", "docs/index.md", "docs/commands.md")
    for line in re.findall(r"^metatc2 (.*)$", (ROOT / page).read_text(), re.MULTILINE)
]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
    (example,) = blocks("README.md")
    assert len(example.strip().splitlines()) <= 15


@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
@pytest.mark.usefixtures("few_shapes")
@pytest.mark.parametrize(
    "block",
    [
        EXAMPLES[0].replace("trainer.steps=20", "trainer.steps=2 transfer.few-shot.episodes=20"),
        *(
            pytest.param(block, marks=[pytest.mark.slow] * (i == 0 or ".fit()" in block))
            for i, block in enumerate(EXAMPLES)
        ),
    ],
    ids=["runs, in short", "runs", "self-supervised", "labeled tasks", "plug-in"],
)
def test_examples_run(block: str, capsys: pytest.CaptureFixture[str], seed_offset: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed_offset)
        exec(compile(block, "example", "exec"), {})
    printed = capsys.readouterr().out
    if "evaluate" in block:
        accuracy = [float(word) for word in re.findall(r" few-shot .* (0\.\d+) ±", printed)]
        assert len(accuracy) == 8  # encoder and raw pixels, two heads, two shots
        assert all(a > 0.3 for a in accuracy)  # 5-way chance is 0.2
        assert len(re.findall(r" knn None knn 0\.\d+ ±", printed)) == 2
    elif "LabeledTasks" in block:
        accuracy = [float(word) for word in re.findall(r"'accuracy': ([\d.]+)", printed)]
        assert len(accuracy) == 2
        assert all(a > 0.3 for a in accuracy)
    elif "metatc2.experiment.run" in block:
        rows = re.findall(r"^shapes:hue:test (.+) 5-way [15]-shot 0\.\d+ ± 0\.\d+$", printed, re.MULTILINE)
        assert sorted(rows) == sorted(2 * ["encoder", "random encoder", "raw pixels"])


def test_commands_are_ones_that_there_are() -> None:
    for line in COMMANDS:
        words = shlex.split(line.partition(" > ")[0], comments=True)  # a shell's part is cut off
        assert callable(PARSER.parse(words)), line


def test_links_lead_somewhere() -> None:
    named = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    }
    assert {ROOT / "docs" / "measured.md", ROOT / "benchmarks" / "studies" / "results" / "evidence.png"} <= named
    assert not {path for path in named if not path.exists()}


def test_the_readme_links_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert not [page.name for page in PAGES if page.parent.name == "docs" and f"(docs/{page.name})" not in text]


def test_tables_are_those_of_the_results() -> None:
    assert run_script(ROOT / "benchmarks" / "tables.py", "--check") == 0, "run: python benchmarks/tables.py"


@pytest.mark.filterwarnings("ignore")  # of the peers that some of them import
def test_every_benchmark_and_study_says_how_to_run_it(capsys: pytest.CaptureFixture[str]) -> None:
    folder = ROOT / "benchmarks"
    measured = {path.stem for path in (folder / "results").glob("*.json")}
    studied = {path.stem for path in (folder / "studies" / "results").glob("*.csv")}
    assert len(measured) >= 8
    assert len(studied) >= 13
    scripts = [(folder / f"{name}.py", "--json") for name in sorted(measured)]
    scripts += [(folder / "studies" / f"{name}.py", "--results") for name in sorted(studied)]
    for script, flag in scripts:
        assert run_script(script, "--help") == 0, script
        assert flag in capsys.readouterr().out, script
