"""The package of docs/extending.md, installed: what each of its files registers works from the command line."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from metatc2.experiment.config import read_config
from metatc2.io import registries
from metatc2.io.registry import Registry
from metatc2.training.run_folder import RunFolder, State
from tests.command_line import PATIENCE, call

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
FILES = dict(re.findall(r'```python title="my_plugin/(\w+\.py)"\n(.*?)```', PAGE.read_text(), re.DOTALL))
PROJECT = tomllib.loads(re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)[0])["project"]
COMMANDS = re.findall(r"^metatc2 (pretrain .*)$", PAGE.read_text(), re.MULTILINE)
NAMES = {name: group for group, points in PROJECT["entry-points"].items() for name in points}
KINDS = [registry for registry in vars(registries).values() if isinstance(registry, Registry)]
SMALL = [
    *("trainer.steps=2", "trainer.accelerator=cpu", "trainer.threads=1"),
    *("encoder.width=8", "data.image_size=16", "views.recipe=glyphs"),
]
CUT = ["episode.batch=16", "episode.tasks=2", "head.projector_hidden=8", "head.projector_out=8"]
LABELED = ["episode.meta_batch=1", "episode.query=2"]


def about(folder: Path) -> None:
    """Metadata as pip writes it."""
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in PROJECT["entry-points"].items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(groups))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the package lies, as pip would leave it there."""
    place = tmp_path_factory.mktemp("site")
    package = place / "my_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name, text in FILES.items():
        (package / name).write_text(text)
    about(place / "my_plugin-1.0.dist-info")
    return place


@pytest.fixture
def plugin(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package on the search path; what it registers is forgotten at the end."""
    monkeypatch.syspath_prepend(str(installed))
    yield
    for registry in KINDS:
        for name in [name for name in registry._there if name in NAMES]:
            del registry._there[name]
    for name in [name for name in sys.modules if name.split(".")[0] == "my_plugin"]:
        del sys.modules[name]


def test_each_is_short_and_there_is_one_of_each() -> None:
    kinds = ("objective", "regularizer", "learner", "encoder", "source", "adjoint", "head", "protocol")
    assert set(FILES) == {f"{kind}.py" for kind in kinds}
    for name, text in FILES.items():
        assert len(text.splitlines()) <= 25, name
    assert len(NAMES) == len(FILES)


def test_every_kind_of_thing_stands_on_the_page() -> None:
    for registry in KINDS:
        assert f"`{registry._package}`" in PAGE.read_text()
        assert registry._decorator in PAGE.read_text()


@pytest.mark.usefixtures("plugin")
@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[:60])
def test_commands_of_the_page_run(command: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    settings = [
        *SMALL,
        *(LABELED if "--learner" in words else CUT),
        *(words[words.index("--set") + 1 :] if "--set" in words else []),
    ]
    head = words[: words.index("--set")] if "--set" in words else words
    assert call(*head, "--run", str(tmp_path / "run"), "--set", *settings) == 0
    assert RunFolder(tmp_path / "run").state is State.FINISHED
    config = read_config(RunFolder(tmp_path / "run").config)
    used = {config.objective.name, config.regularizer.name, config.learner.name, config.value("learner.adjoint")}
    used |= {config.encoder.name, config.data.source, config.head.told}
    assert used & set(NAMES)


def test_the_commands_use_all_of_it() -> None:
    words = " ".join(re.findall(r"^metatc2 (.*)$", PAGE.read_text(), re.MULTILINE))
    assert all(name in words for name in NAMES)


@pytest.mark.usefixtures("plugin")
def test_names_are_listed_and_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("learners") == 0
    assert "nearest-mean" in capsys.readouterr().out
    assert call("pretrain", "glyphs", "--objective", "alignmen") == 2
    assert "did you mean 'alignment'?" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("plugin")
@pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")
def test_a_run_transfers_to_a_source_of_the_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert (
        call("pretrain", "glyphs", "--encoder", "patches", "--run", run, "--set", *SMALL, *CUT, "data.source=digits")
        == 0
    )
    few = ("--way", "2", "--shot", "1", "--query", "2", "--episodes", "5")
    assert call("transfer", run, "--to", "gratings", *few) == 0
    assert "gratings" in capsys.readouterr().out
    own = ("--to", "gratings", "--protocol", "nearest-center", "--set")
    assert call("transfer", run, *own, "transfer.nearest-center.norm=1") == 0
    rows = json.loads((tmp_path / "run" / "transfer.json").read_text())
    assert {row["facts"]["norm"] for row in rows if row["protocol"] == "nearest-center"} == {1.0}
    assert "nearest-center, norm 1.0" in " ".join(capsys.readouterr().out.split())
    assert call("transfer", run, *own, "transfer.nearest-center.norm=2") == 0
    rows = json.loads((tmp_path / "run" / "transfer.json").read_text())
    assert {row["facts"]["norm"] for row in rows if row["protocol"] == "nearest-center"} == {1.0, 2.0}
    assert call("transfer", run, *own, "transfer.nearest-center.nrom=1") == 2
    assert "did you mean 'transfer.nearest-center.norm'?" in " ".join(capsys.readouterr().err.split())


def test_help_names_what_a_package_offers_and_imports_none_of_it(installed: Path) -> None:
    code = "from metatc2.cli import main; import sys\ntry: main(['pretrain', '--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'my_plugin'} & set(sys.modules), 'imported'"
    path = f"{installed}:{Path(__file__).parents[2]}"
    environment = {"PYTHONPATH": path, "PATH": "", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    for name in ("alignment", "least-variance", "patches", "every-other"):
        assert name in done.stdout


def test_a_run_whose_package_is_gone_says_which_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text('[objective]\nname = "alignment"\n')
    assert call("pretrain", "--resume", str(tmp_path / "run")) == 2
    shutil.rmtree(tmp_path / "run")
    assert 'objective.name cannot be "alignment"' in " ".join(capsys.readouterr().err.split())
