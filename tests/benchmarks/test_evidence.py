"""The studies' own arithmetic: what makes a cell another one, pairing by seed, the table's marks."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "studies"))

import ablation
import ablation_switches
import ablation_tables
import evidence
import mechanism
import recipes
import recovery
from cells import Cell, Evaluation, _make, identity, mean_over, rows_of, seeds_in
from evidence_cells import ARMS, OBJECTIVES, OURS, SCRIPTS, SOURCES, cell, titled
from evidence_rows import differences
from evidence_tables import table
from recipes import GRID, best

from metatc2.errors import InputError
from metatc2.experiment.config import flatten, override

from ..covering import covered


def one(arm: str, *settings: str) -> Cell:
    made = cell(Path("runs"), "glyphs", "simclr", arm, 0, ())
    return Cell(made.path, made.task, (*made.settings, *settings), made.evaluations)


def test_a_plain_cell_does_not_depend_on_settings_of_calibration() -> None:
    for arm in ("plain", "tasks", "standardize", "isotropy"):
        assert not any(key in flatten(one(arm).config) for key in ("calibration.gamma", "calibration.adapt"))
        for key in ("gamma=3", "adapt=shared"):
            with pytest.raises(InputError, match="is for calibration.name = 'tc2'"):
                _ = one(arm, f"calibration.{key}").config
        assert identity(one(arm).config) != identity(one(arm, "calibration.where=projector").config)
    assert identity(one(OURS).config) != identity(one(OURS, "calibration.gamma=3").config)
    assert identity(one(OURS).config) != identity(one(OURS, "calibration.adapt=task").config)
    for arm in ARMS:  # whatever calibrates
        assert identity(one(arm).config) != identity(one(arm, "regularizer.name=sigreg").config)
    assert identity(one("isotropy").config) != identity(one("isotropy", "regularizer.weight=0.5").config)
    assert identity(one("plain").config) != identity(one("plain", "trainer.lr=0.5").config)
    assert identity(one("plain").config) == identity(one("plain", "transfer.few-shot.episodes=7").config)


@pytest.mark.parametrize(("source", "objective"), covered(SOURCES, OBJECTIVES, strength=1))
def test_every_cell_has_a_valid_configuration_of_its_own(source: str, objective: str) -> None:
    made = [cell(Path("runs"), source, objective, arm, 3, best()[objective]) for arm in ARMS]
    configs = [c.config for c in made]
    assert len({identity(config) for config in configs}) == len({c.path for c in made}) == len(ARMS)
    assert {config.trainer.seed for config in configs} == {3}
    assert {config.objective.name for config in configs} == {objective}


def test_arms_say_what_calibrates_and_what_else_is_asked() -> None:
    made = {arm: one(arm).config for arm in ARMS}
    asked = [arm for arm, c in made.items() if c.regularizer.name == "isotropy"]
    assert asked == [OURS, "random projection", "shuffled weights", "isotropy"]
    of_tc2 = {arm: c.calibration.adapt for arm, c in made.items() if c.calibration.name == "tc2"}
    assert of_tc2 == {OURS: "shared", "random projection": "shared", "shuffled weights": "shared"}
    assert made["isotropy"].calibration.name == "standardize"
    assert (titled(OURS), titled("isotropy")) == ("shared TC² + isotropy", "isotropy")


def test_no_target_of_the_evidence_is_searched_on() -> None:
    assert set(GRID) == set(OBJECTIVES)
    targets = {t for source in SOURCES.values() for asked in source.evaluations for t in asked.targets}
    searched = {recipes.TARGET, *(t for asked in ablation.EVALUATIONS.values() for t in asked.targets)}
    assert all(target.endswith(":meta-validation") for target in searched)
    assert not searched & targets


@pytest.mark.slow
def test_every_setting_of_the_ablation_has_a_folder_of_its_own() -> None:
    values = list(dict.fromkeys(v for _, _, tried in ablation_switches.SWITCHES.values() for v in tried.values()))
    made = [ablation.cell(Path("runs"), source, "simclr", v, 0, ()) for source in ablation.EVALUATIONS for v in values]
    assert len({c.path for c in made}) == len(ablation.EVALUATIONS) * len(values)
    on_letters = made[: len(values)]
    assert len({identity(c.config) for c in on_letters}) == len(values)
    assert identity(ablation.cell(Path("runs"), "glyphs", "simclr", (), 0, ()).config) not in {
        identity(c.config) for c in on_letters
    }


def test_a_cell_is_done_only_as_it_was_evaluated(tmp_path: Path) -> None:
    made = cell(tmp_path, "glyphs", "simclr", "plain", 0, ())
    made.path.mkdir()
    assert not made.done
    (made.path / "evaluated").write_text(made.stamp)
    assert made.done
    assert not Cell(made.path, made.task, made.settings, made.evaluations[:1]).done
    assert not Cell(made.path, made.task, (*made.settings, "transfer.few-shot.episodes=7"), made.evaluations).done


def row(target: str, mean: float) -> Any:
    return SimpleNamespace(target=target, way=20, shot=1, mean=mean, compute={"seconds": 10.0})


def measured(mean: float) -> list[Any]:
    ways = [SimpleNamespace(target=t, way=20, shot=5, mean=0.9, compute={"seconds": 10.0}) for t in SCRIPTS]
    return [row(t, mean + 0.01 * i) for i, t in enumerate(SCRIPTS)] + ways


def test_differences_pair_the_seeds_that_both_arms_have() -> None:
    at = {"source": "glyphs", "objective": "simclr", "train_seconds": 10.0}
    rows: list[dict[str, Any]] = [
        {**at, "arm": OURS, "seed": s, "accuracy": 0.715 + 0.01 * s, "calibrated": 0.815} for s in range(4)
    ]
    rows += [{**at, "arm": "plain", "seed": s, "accuracy": 0.615 + 0.02 * s} for s in (2, 0, 1)]
    rows += [{**at, "arm": "tasks", "seed": 0, "diverged": True}]
    (found,) = differences(rows, "glyphs")
    assert (found["against"], found["seeds"]) == ("plain", [0, 1, 2])
    assert found["difference"] == pytest.approx(0.09)  # 0.10, 0.09, 0.08
    assert found["ci95"] == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-3)
    text = table(rows)
    assert "| SimCLR | 63.5 ± 2.0 | 72.5 (81.5) | 3 | 1.00 × | **+9.0 ± 2.5** |" in text
    wide = [{**r, "accuracy": 0.7 * r["seed"]} if r["arm"] == "plain" else r for r in rows]
    assert "**" not in table(wide)
    assert "| +9.5 (2) |" in table([r for r in rows if r["seed"] < 2])  # too few for an interval
    more = [{**at, "arm": "tasks", "seed": s, "accuracy": 0.615 + 0.01 * s} for s in range(4)]
    assert "| **+9.0 ± 2.5** | **+10.0 ± 0.0** (4 seeds) |" in table([*rows, *more])
    beside = {"control": "raw-pixels", "source": "glyphs", "accuracy": 0.7}
    assert table([*rows, beside]).splitlines()[-1] == "| raw pixels | 70.0 | – | – | – | – |"


def test_a_target_that_was_not_measured_is_named() -> None:
    with pytest.raises(ValueError, match="glyphs:armenian"):
        mean_over(measured(0.5)[:3], SCRIPTS, 20, 1)


def test_longer_runs_differ_in_their_steps_alone() -> None:
    recipe = best()["simclr"]
    for arm in ARMS:
        short, long = (cell(Path("runs"), source, "simclr", arm, 0, recipe) for source in ("glyphs", "glyphs-long"))
        assert long.config.trainer.steps == 4 * short.config.trainer.steps
        assert identity(override(long.config, [f"trainer.steps={short.config.trainer.steps}"])) == identity(
            short.config
        )
    steps = {arm: cell(Path("runs"), "shapes", "simclr", arm, 0, recipe).config.trainer.steps for arm in ARMS}
    assert steps == {arm: 375 if arm == "equal compute" else 300 for arm in ARMS}


def test_the_ablation_s_table_has_a_line_a_value_and_a_column_a_source_and_objective() -> None:
    default = {"source": "glyphs", "switch": "default"}
    facts = {"source": "glyphs", "switch": "gamma", "value": "1"}
    rows: list[dict[str, Any]] = [
        {**default, "objective": o, "seed": s, "accuracy": 0.5 + 0.1 * s}
        for o in ("simclr", "barlow")
        for s in range(3)
    ]
    for objective, gains in (("simclr", (-0.03, -0.034, -0.026)), ("barlow", (0.002, -0.008, 0.012))):
        rows += [
            {**facts, "objective": objective, "seed": s, "accuracy": 0.5 + 0.1 * s + gain}
            for s, gain in enumerate(gains)
        ]
    rows += [{**facts, "value": "3", "objective": "simclr", "seed": 0, "accuracy": 0.51}]
    lines = ablation_tables.table(rows).splitlines()
    assert lines[0] == "| switch (default) | tried | glyphs, SimCLR | glyphs, Barlow Twins |"
    assert lines[2] == "| objective in the inner loss γ (0) | 1 | **-3.0 ± 1.0** | +0.2 ± 2.5 |"
    assert lines[3].endswith("| 3 | +1.0 (1) | – |")


def evaluated_cell(folder: Path, **changes: Any) -> Cell:
    settings = [f"transfer.few-shot.{name}={value}" for name, value in changes.items()]
    small = ("encoder.width=8", "trainer.steps=2", "calibration.name=none")
    return Cell(folder / "study-s3", "digits", (*small, *settings), (Evaluation(("digits:meta-test",), (3,)),))


@pytest.mark.slow
def test_a_cell_evaluated_in_another_way_is_evaluated_again_and_shows_that_alone(tmp_path: Path) -> None:
    first = evaluated_cell(tmp_path, episodes=20)
    _make(first, first.path)
    before = (first.path / "encoder.safetensors").read_bytes()
    assert {row.episodes for row in rows_of(first)} == {20}
    again = evaluated_cell(tmp_path, episodes=30)
    assert first.done
    assert not again.done
    _make(again, again.path)
    assert again.done
    assert {row.episodes for row in rows_of(again)} == {30}
    assert len(rows_of(again)) == 2  # 1 and 5 shots
    assert (again.path / "encoder.safetensors").read_bytes() == before  # not trained again
    assert seeds_in(tmp_path) == [3]
    # A folder of keys that are no more is made anew.
    (again.path / "evaluated").unlink()
    written = again.path / "config.toml"
    written.write_text(written.read_text().replace("[calibration]", "[calibration]\nisotropy = 0.03"))
    _make(again, again.path)
    assert again.done
    assert "isotropy" not in tomllib.loads(written.read_text())["calibration"]


@pytest.mark.parametrize("study", [evidence, ablation, mechanism, recovery], ids=lambda study: study.__name__)
def test_nothing_is_written_over_results_by_a_study_without_cells(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, nowhere = tmp_path / "results.csv", str(tmp_path / "none")
    kept.write_text("results")
    words = ["study.py", "--collect", "--runs", nowhere, "--results", str(kept)]
    words += ["--measured", nowhere] if study is recovery else []
    for more, said in (([], "nothing has been measured"), (["--seeds", "0"], "'0' is not a whole number of 1 or more")):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        with pytest.raises(SystemExit) as stopped:
            study.main()
        assert (stopped.value.code, kept.read_text()) == (2, "results")
        assert said in capsys.readouterr().err
