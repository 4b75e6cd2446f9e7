"""Every method has a page: its defaults are those of the code, its command and its example run, its numbers are committed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from metatc2.data import ImageStore, load
from metatc2.io.options import Options, show
from metatc2.io.registries import AGGREGATORS, AUXILIARY, LEARNERS, OBJECTIVES, REGULARIZERS, TOLD
from metatc2.learners.options import LearnerOptions
from metatc2.learners.registry import entry_of, learner_options
from metatc2.objectives.registry import objective_options
from metatc2.training.run_folder import RunFolder, State

from ..command_line import call

DOCS = Path(__file__).resolve().parents[2] / "docs"
INDEX = (DOCS / "methods" / "index.md").read_text()
PRETEXTS = ("rotation", "jigsaw", "relative-position", "colorization")
LABELED, PLAIN = list(LEARNERS), [name for name in OBJECTIVES if name not in PRETEXTS]
NAMES = [*LABELED, *PLAIN]
TINY = [
    *("trainer.steps=1", "trainer.accelerator=cpu", "trainer.threads=1"),
    *("encoder.width=4", "data.source=digits", "data.image_size=16"),
]
UNLABELED = ["episode.batch=8", "episode.tasks=1", "head.projector_hidden=8", "head.projector_out=8"]
LABELS = ["episode.meta_batch=1", "episode.query=1", "episode.way=2"]


def text(name: str) -> str:
    return (DOCS / "methods" / f"{name.replace('++', '-plus-plus')}.md").read_text()


def defaults(page: str) -> dict[str, str]:
    """What a page says of defaults, by key."""
    return dict(re.findall(r"^\| `((?:learner|objective)\.[\w-]+)` \| `?([^|`]+)`? \|", page, re.MULTILINE))


def said(value: object) -> str:
    return "unset" if value is None else show(value).strip('"')


def fields(options: type[Options], section: str, **given: Any) -> dict[str, str]:
    """Defaults of options by key, as pages write them."""
    made = options(**given)
    names = [name for name in type(made).model_fields if name not in ("name", "adjoint")]
    return {f"{section}.{name}": said(getattr(made, name)) for name in names}


@pytest.fixture(scope="module")
def digits() -> ImageStore:
    return load("digits")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_all_that_is_looked_for(name: str) -> None:
    page = text(name)
    for heading in ("Equation", "What is open in the paper, and chosen here", "Defaults", "Known numbers", "In Python"):
        assert f"\n## {heading}\n" in page, heading
    assert len(page.splitlines()) <= 70
    assert re.search(r"<!-- table method_\w+ -->\n\| ", page)
    if name in LABELED:
        arxiv = re.findall(r"arXiv (\d{4}\.\d{4,5})", entry_of(name).source)
        assert not arxiv or f"https://arxiv.org/abs/{arxiv[0]}" in page


@pytest.mark.parametrize("name", LABELED)
def test_defaults_of_a_learner_are_those_of_the_code(name: str) -> None:
    here, shared = defaults(text(name)), defaults(INDEX)
    true = fields(learner_options(name), "learner")
    wrong = {key: value for key, value in true.items() if {**shared, **here}.get(key) != value}
    assert not wrong, f"on the page { ({key: {**shared, **here}.get(key) for key in wrong}) }"
    assert here.keys() <= true.keys()
    # What no page but the index names is what other learners have too.
    own = {f"learner.{field}" for field in learner_options(name).model_fields} - defaults(INDEX).keys()
    assert own - {"learner.name"} == here.keys() - shared.keys()


@pytest.mark.parametrize("name", PLAIN)
def test_defaults_of_an_objective_are_those_of_the_code(name: str) -> None:
    assert defaults(text(name)) == fields(objective_options(name), "objective", name=name)


@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")  # two steps are no training
@pytest.mark.parametrize("name", NAMES)
def test_the_example_runs(
    name: str, digits: ImageStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("metatc2.data.load", lambda source: {"digits": digits}[source])
    (block,) = re.findall(r"```python\n(.*?)```", text(name), re.DOTALL)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(block, f"{name}.md", "exec"), {})
    value = float(capsys.readouterr().out)
    assert 0 <= value <= 1 if name in LABELED else value == value


@pytest.mark.slow  # half a second each; tests of learners and objectives cover what trains
@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning", "ignore:Implicit")
@pytest.mark.parametrize("name", NAMES)
def test_the_command_runs(name: str, tmp_path: Path) -> None:
    (line,) = re.findall(r"^metatc2 (pretrain .*)$", text(name), re.MULTILINE)
    words = shlex.split(line)
    words[words.index("--run") + 1] = str(tmp_path / "run")
    assert call(*words, "--set", *TINY, *(LABELS if name in LABELED else UNLABELED)) == 0
    assert RunFolder(tmp_path / "run").state is State.FINISHED


def test_the_index_names_every_method_with_the_page_that_it_is_on() -> None:
    for name in NAMES:
        assert f"[`{name}`]({name.replace('++', '-plus-plus')}.md)" in INDEX
    pages = {
        "pretexts": PRETEXTS,
        "regularizers": REGULARIZERS,
        "conditioned-heads": AUXILIARY,
        "rivals": [*TOLD, *AGGREGATORS],
    }
    for page, names in pages.items():
        assert f"](../{page}.md)" in INDEX
        missing = [name for name in names if f"`{name}`" not in (DOCS / f"{page}.md").read_text()]
        assert not missing, f"{page} says nothing of {missing}"
    assert set(PRETEXTS) <= set(OBJECTIVES)
    assert {path.stem for path in (DOCS / "methods").glob("*.md")} == {n.replace("++", "-plus-plus") for n in NAMES} | {
        "index"
    }


def test_every_adjoint_is_named() -> None:
    from metatc2.inner.adjoints.registry import ADJOINTS

    assert not [name for name in ADJOINTS if f"`{name}`" not in INDEX]


def test_what_the_index_says_of_shared_settings_is_true_of_all() -> None:
    shared = defaults(INDEX)
    for key in ("learner.freeze", "learner.norm", "learner.vmap_chunk"):
        assert shared[key] == said(LearnerOptions.model_fields[key.partition(".")[2]].default).replace("()", "[]")
