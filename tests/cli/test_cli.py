"""The command line as a user meets it: the contract of its files, every error as one sentence with exit status 2."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

import metatc2
from metatc2.cli.app import PARSER
from metatc2.experiment import run as experiment
from metatc2.experiment.config import Config, read_config
from metatc2.experiment.run import load_run

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

SMALL = [
    "data.image_size=16",
    "encoder.width=8",
    "episode.batch=32",
    "trainer.log_every=2",
    "trainer.checkpoint_every=2",
]
TO = ["--to", "digits", "--episodes", "8", "--shot", "1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods × two seeds, and TC² with one calibrator for all, pre-trained and transferred on scikit-learn's digits."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for calibration in ("tc2", "none"):
            for seed in ("0", "1"):
                run = f"{calibration}-{seed}"
                words = ["digits", "--calibration", calibration, "--seed", seed, "--steps", "4", "--run", run]
                assert call("pretrain", *words, "--set", *SMALL) == 0
                assert call("transfer", run, *TO) == 0
        words = ["digits", "--calibration", "tc2", "--steps", "4", "--run", "shared-0"]
        assert call("pretrain", *words, "--set", *SMALL, "calibration.adapt=shared") == 0
        assert call("transfer", "shared-0", *TO) == 0
    return folder


@pytest.mark.parametrize(("name", "also"), [("tc2-0", set()), ("shared-0", {"calibrated"})])
def test_run_folder_holds_what_is_promised(runs: Path, name: str, also: set[str]) -> None:
    run = runs / name
    assert {
        "calibrator.safetensors",
        "config.toml",
        "metrics.jsonl",
        "encoder.safetensors",
        "transfer.json",
        "checkpoint",
    } <= {p.name for p in run.iterdir()}
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["objective"]["name"] == "simclr"
    assert config["calibration"]["name"] == "tc2"
    assert config["encoder"]["width"] == 8
    rows = json.loads((run / "transfer.json").read_text())
    wanted = [
        "protocol",
        "source",
        "target",
        "split",
        "mean",
        "ci95",
        "seed",
        "encoder_sha256",
        "inductive",
        "facts",
    ]
    assert all(set(wanted) <= set(row) for row in rows)
    assert all({"way", "shot", "query", "episodes", "head"} <= set(row["facts"]) for row in rows)
    assert {row["features"] for row in rows} >= {"encoder", "random encoder", "raw pixels"} | also
    assert all(row["facts"]["episodes"] == 8 and row["facts"]["shot"] == 1 and row["inductive"] for row in rows)
    # The random encoder is this run's own before its first step: it must not have been trained.
    other = json.loads((runs / "none-0" / "transfer.json").read_text())
    for kind, same in (("random encoder", True), ("raw pixels", True), ("encoder", False)):
        one, two = ([r["mean"] for r in found if r["features"] == kind] for found in (rows, other))
        assert (one == two) is same


def test_transfer_adds_rows_and_replaces_those_measured_again(runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "none-0", run)
    before = json.loads((run / "transfer.json").read_text())
    assert call("transfer", str(run), *TO) == 0
    assert json.loads((run / "transfer.json").read_text()) == before
    out = tmp_path / "rows.json"
    assert call("transfer", str(run), "--protocol", "knn", "--to", "digits:meta-test", "--json", str(out)) == 0
    new = json.loads(out.read_text())
    assert {row["protocol"] for row in new} == {"knn"}
    after = json.loads((run / "transfer.json").read_text())
    assert len(after) == len(before) + len(new)


def test_compare_pairs_by_seed(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "difference.json"
    names = [str(runs / name) for name in ("tc2-0", "tc2-1", "none-0", "none-1")]
    assert call("compare", *names, "--json", str(out)) == 0
    found = json.loads(out.read_text())
    means = {
        (name, row["facts"]["head"]): row["mean"]
        for name in ("tc2-0", "tc2-1", "none-0", "none-1")
        for row in json.loads((runs / name / "transfer.json").read_text())
        if row["features"] == "encoder"
    }
    assert {d["head"] for d in found} == {"cosine", "euclidean"}
    for d in found:
        expected = [means[f"tc2-{s}", d["head"]] - means[f"none-{s}", d["head"]] for s in (0, 1)]
        assert d["per_seed"] == pytest.approx(expected)
        assert d["interval"] == "seeds"
        assert d["verdict"] == "not distinguishable"  # two seeds never suffice
    assert "simclr+tc2" in capsys.readouterr().out


def test_compare_two_single_runs(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "difference.json"
    assert call("compare", str(runs / "tc2-0"), str(runs / "none-0"), "--json", str(out)) == 0
    assert {d["interval"] for d in json.loads(out.read_text())} == {"episodes"}


def test_a_run_cut_and_resumed_is_the_run_never_cut(runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "cut"
    shutil.copytree(runs / "tc2-0", run)
    # As if the process had been killed between step 2 and 4.
    whole = (run / "encoder.safetensors").read_bytes()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    for name in ("encoder.safetensors", "calibrator.safetensors", "metrics.jsonl"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoint")
    experiment._trainer(read_config(run / "config.toml"), run, None, False)[0].fit(until=3)
    assert [p.name for p in (run / "checkpoint").iterdir()] == ["step-00000002"]
    assert call("transfer", str(run)) == 2  # not finished
    assert call("pretrain", "--resume", str(run)) == 0
    again = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert again == [json.loads(line)["loss"] for line in lines]
    assert _tensors(whole) == _tensors((run / "encoder.safetensors").read_bytes())


def _tensors(content: bytes) -> bytes:
    start = 8 + int.from_bytes(content[:8], "little")
    return content[start:]


def asked(monkeypatch: pytest.MonkeyPatch, *words: str) -> Config:
    """What a command would train."""
    found: list[Config] = []

    def begun(config: Config, *_: object, **__: object) -> None:
        found.append(config)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(import_module("metatc2.cli.pretrain"), "_pretrain", begun)
        assert call("pretrain", *words) == 130
    return found[0]


@pytest.mark.slow
def test_flags_win_over_set_and_set_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["digits", "--steps", "1", "--run"]
    a = asked(monkeypatch, *words, "a", "--set", *SMALL, "objective.name=vicreg", "--set", "calibration.name=tasks")
    more = ["objective.name=vicreg", "calibration.factors=4"]
    b = asked(monkeypatch, *words, "b", "--objective", "byol", "--set", *SMALL, *more)
    assert [(c.objective.name, c.calibration.name) for c in (a, b)] == [("vicreg", "tasks"), ("byol", "tc2")]
    # K is left to the encoder's width, here 8: six factors.
    small = ["--set", "encoder.width=8", "episode.batch=32", "data.image_size=16"]
    control = asked(monkeypatch, *words, "c", "--calibration", "standardize", "--regularize", "isotropy", *small)
    usual = asked(monkeypatch, *words, "usual", *small)
    assert call("pretrain", *words, "d", "--calibration", "tc2", *small) == 0
    assert call("pretrain", *words, "e", "--regularize", "sigreg", *small, "calibration.adapt=shared") == 0
    own, shared = (load_run(Path(run)) for run in ("d", "e"))
    # Where the command says nothing, what helps where tasks do not differ.
    assert (usual.calibration.name, usual.regularizer.name) == ("none", "isotropy")
    assert (control.calibration.name, control.regularizer.name) == ("standardize", "isotropy")
    assert (own.config.calibration.adapt, own.config.regularizer.name) == ("task", "none")
    with safe_open(Path("d") / "calibrator.safetensors", framework="pt") as kept:
        assert (own.path, kept.get_tensor("calibrator.basis").shape) == (Path("d"), (6, 8))
    assert shared.config.regularizer.name == "sigreg"
    assert shared.calibrator.average_factors.shape == (6, 8)  # type: ignore[union-attr]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"metatc2 {metatc2.__version__}\n"


def test_tasks_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("tasks") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("glyphs", "digits", "cifar10", "stl10", "omniglot", "folder"))
    for command in ("pretrain", "transfer", "compare", "demo", "tasks"):
        assert call(command, "--help") == 0
        page = capsys.readouterr().out
        assert f"metatc2 {command}" in page.split("xample", 1)[1]
        assert "None" not in page  # what is left out is said in words


def test_the_help_of_all_commands_fits_on_a_screen_or_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    page = capsys.readouterr().out
    assert all(f" {name} " in page for name in PARSER.names)
    assert "metatc2 COMMAND --help" in page
    assert len(page.splitlines()) < 3 * len(PARSER.names)


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence on standard error of a command that must fail with status 2."""
    capsys.readouterr()
    assert call(*arguments) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("metatc2: error: ")
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["glyps"], "did you mean 'glyphs'"),
        (["digits", "--objective", "simcl"], "did you mean 'simclr'"),
        (["digits", "--encoder", "conv5"], "did you mean 'conv4'"),
        (["digits", "--set", "episode.task=2"], "did you mean 'episode.tasks'"),
        (["digits", "--set", "episode.batch=30", "episode.tasks=4"], "nearest valid batch is 32"),
        (["digits", "--set", "episode.batch=5000"], "fewer than a batch of 5000"),
        (
            ["digits", "--set", "episode.batch=8", "episode.tasks=4", "calibration.gamma=1"],
            "simclr needs at least 2 samples",
        ),
        (["digits", "--set", "encoder.width=16", "calibration.factors=16"], "calibration.factors = 12 or a wider"),
        (
            ["digits", "--set", "encoder.width=16", "calibration.factors=16", "calibration.adapt=shared"],
            "calibration.factors = 4 or a wider",
        ),
        (["digits", "--calibration", "decorrelate"], "write --calibration standardize --regularize isotropy"),
        (["digits", "--set", "calibration.name=decorrelate"], "write --calibration standardize --regularize isotropy"),
        (
            ["digits", "--set", "calibration.isotropy=0.1"],
            "write regularizer.name = 'isotropy' (--regularize isotropy)",
        ),
        (["digits", "--set", "calibration.form=gate"], "set calibration.adapt = 'shared'"),
        (["digits", "--regularize", "isotropi"], "isotropi"),
        (
            ["digits", "--learner", "maml", "--regularize", "isotropy"],
            "regularizer.name is for self-supervised objectives",
        ),
        (["digits", "--set", "trainer.lr=fast"], "trainer.lr"),
        (["digits", "--set", "trainer.lr=-1"], "trainer.lr"),
        (["digits", "--set", "data.source=nowhere"], "unknown source 'nowhere'"),
        (["digits", "--set", "data.split=north"], "no split 'north'"),
        (["digits", "--set", "trainer.accelerator=quantum"], "accelerator"),
        (["folder:nowhere"], "no such folder"),
        (["npz:nowhere.npz"], "no such file"),
        ([], "no TASK"),
        (["digits", "--resume", "x"], "not both"),
    ],
)
def test_pretrain_errors_write_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    said = error(
        capsys, "pretrain", *arguments, *(["--run", "run"] if "--resume" not in arguments and arguments else [])
    )
    assert re.search(re.escape(message), said), said
    assert not list(tmp_path.iterdir())


def folder_of_images(path: Path, classes: int, truncated: bool = False) -> Path:
    rng = np.random.default_rng(0)
    path.mkdir()
    for c in range(classes):
        (path / f"class{c}").mkdir()
        for i in range(20):
            Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path / f"class{c}" / f"{i}.png")
    if truncated:
        file = path / "class0" / "3.png"
        file.write_bytes(file.read_bytes()[:100])
    return path


@pytest.mark.filterwarnings("ignore::metatc2.data.UnreadableImages")
def test_a_folder_of_ones_own_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folder_of_images(tmp_path / "photos", 6, truncated=True)
    words = [f"folder:{folder}", "--steps", "2", "--encoder", "conv4", "--run", "run"]
    assert call("pretrain", *words, "--set", *SMALL, "views.recipe=natural") == 0
    seen = ["transfer", "run", "--to", f"folder:{folder}:all", "--way", "3", "--shot", "1", "--episodes", "5"]
    assert call(*seen) == 2, "classes of the pre-training images"
    assert not (tmp_path / "run" / "transfer.json").exists()
    assert call(*seen, "--allow-seen") == 0
    rows = json.loads((tmp_path / "run" / "transfer.json").read_text())
    assert all(row["classes_seen"] for row in rows)


def test_empty_and_one_class_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    folder_of_images(tmp_path / "one", 1)
    assert "at least two" in error(capsys, "pretrain", "folder:empty", "--run", "run")
    assert "one class, 'class0'" in error(capsys, "pretrain", "folder:one", "--run", "run")
    assert not (tmp_path / "run").exists()


def test_targets_and_runs_that_do_not_fit(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = str(runs / "none-0")
    before = (runs / "none-0" / "transfer.json").read_bytes()
    assert "20-way 1-shot needs 20 classes" in error(capsys, "transfer", run, "--to", "digits", "--way", "20")
    assert "500-shot" in error(capsys, "transfer", run, "--to", "digits", "--shot", "500")
    assert "did you mean 'glyphs'" in error(capsys, "transfer", run, "--to", "glyhs:greek")
    assert "did you mean 'meta-test'" in error(capsys, "transfer", run, "--to", "digits:meta-tst")
    assert "not a run folder" in error(capsys, "transfer", str(tmp_path / "nowhere"))
    assert "not a run folder" in error(capsys, "pretrain", "--resume", str(tmp_path / "nowhere"))
    assert "exists already" in error(capsys, "pretrain", "digits", "--run", run)
    assert "same configuration" in error(capsys, "compare", run, str(runs / "none-1"))
    assert (runs / "none-0" / "transfer.json").read_bytes() == before


@pytest.mark.parametrize("file", ["encoder.safetensors", "calibrator.safetensors", "config.toml", "transfer.json"])
def test_truncated_files(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / ("shared-0" if file.startswith("calibrator") else "tc2-0"), run)
    content = (run / file).read_bytes()
    (run / file).write_bytes(content[: len(content) // 2])
    assert file.split(".")[0] in error(capsys, "transfer", str(run), *TO)


def test_a_changed_config_is_noticed(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "tc2-0", run)
    config = run / "config.toml"
    config.write_text(config.read_text().replace("inner_steps = 3", "inner_steps = 2"))
    assert "another configuration" in error(capsys, "transfer", str(run))
    assert "another configuration" in error(capsys, "pretrain", "--resume", str(run))


def test_a_run_of_former_keys_is_told_in_one_sentence(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs / "tc2-0", run)
    config = run / "config.toml"
    config.write_text(config.read_text().replace("[calibration]", "[calibration]\nisotropy = 0.03"))
    page = str(tmp_path / "page.html")
    calls = [["transfer", str(run)], ["pretrain", "--resume", str(run)], ["report", str(run), "--out", page]]
    calls += [["diagnose", str(run)], ["export", str(run), str(tmp_path / "out")], ["compare", str(run), str(run)]]
    for words in calls:
        assert "there is no key 'calibration.isotropy' any more; isotropy is a regularizer" in error(capsys, *words), (
            words
        )


def test_unwritable_json(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    said = error(
        capsys, "compare", str(runs / "tc2-0"), str(runs / "none-0"), "--json", str(tmp_path / "file" / "x.json")
    )
    assert "cannot be written" in said
