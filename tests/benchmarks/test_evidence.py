"""The studies' own arithmetic: what makes a cell another one, pairing by seed, the table's marks."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import ablation
import evidence
import mechanism
import recipes
import recovery
from cells import Cell, Judged, _make, identity, mean_over, rows_of, seeds_in
from evidence import ARMS, OBJECTIVES, OURS, SCRIPTS, SOURCES, cell, differences, table, titled
from recipes import GRID, best

from metatc2.errors import InputError
from metatc2.experiment.config import flatten, override


def one(arm: str, *settings: str) -> Cell:
    made = cell(Path("runs"), "glyphs", "simclr", arm, 0, ())
    return Cell(made.path, made.task, (*made.settings, *settings), made.judged)


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
    assert identity(one("plain").config) == identity(one("plain", "transfer.episodes=7").config)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_cell_has_a_valid_configuration_of_its_own(source: str, objective: str) -> None:
    made = [cell(Path("runs"), source, objective, arm, 3, best()[objective]) for arm in ARMS]
    assert len({identity(c.config) for c in made}) == len({c.path for c in made}) == len(ARMS)
    assert {c.config.trainer.seed for c in made} == {3}
    assert {c.config.objective.name for c in made} == {objective}


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
    targets = {t for source in SOURCES.values() for judged in source.judged for t in judged.targets}
    searched = {recipes.TARGET, *(t for judged in ablation.JUDGED.values() for t in judged.targets)}
    assert all(target.endswith(":meta-validation") for target in searched)
    assert not searched & targets


def test_every_setting_of_the_ablation_has_a_folder_of_its_own() -> None:
    values = list(dict.fromkeys(v for _, _, tried in ablation.SWITCHES.values() for v in tried.values()))
    made = [ablation.cell(Path("runs"), source, "simclr", v, 0, ()) for source in ablation.JUDGED for v in values]
    assert len({c.path for c in made}) == len(ablation.JUDGED) * len(values)
    on_letters = made[: len(values)]
    assert len({identity(c.config) for c in on_letters}) == len(values)
    assert identity(ablation.cell(Path("runs"), "glyphs", "simclr", (), 0, ()).config) not in {
        identity(c.config) for c in on_letters
    }


def test_a_cell_is_done_only_as_it_was_judged(tmp_path: Path) -> None:
    made = cell(tmp_path, "glyphs", "simclr", "plain", 0, ())
    made.path.mkdir()
    assert not made.done
    (made.path / "judged").write_text(made.stamp)
    assert made.done
    assert not Cell(made.path, made.task, made.settings, made.judged[:1]).done
    assert not Cell(made.path, made.task, (*made.settings, "transfer.episodes=7"), made.judged).done


def row(target: str, mean: float) -> Any:
    return SimpleNamespace(target=target, way=20, shot=1, mean=mean, compute={"seconds": 10.0})


def measured(mean: float) -> list[Any]:
    ways = [SimpleNamespace(target=t, way=20, shot=5, mean=0.9, compute={"seconds": 10.0}) for t in SCRIPTS]
    return [row(t, mean + 0.01 * i) for i, t in enumerate(SCRIPTS)] + ways


def test_differences_pair_the_seeds_that_both_arms_have() -> None:
    done = {("glyphs", "simclr", OURS, s): measured(0.7 + 0.01 * s) for s in range(4)}
    done |= {("glyphs", "simclr", "plain", s): measured(0.6 + 0.02 * s) for s in (2, 0, 1)}
    done |= {("glyphs", "simclr", "calibrated", s): measured(0.8) for s in range(4)}
    found = next(d for d in differences(done, "glyphs", 0, "simclr") if d["shot"] == 1)
    assert (found["against"], sorted(found["seeds"])) == ("plain", [0, 1, 2])
    assert found["difference"] == pytest.approx(0.09)  # 0.10, 0.09, 0.08
    assert found["ci95"] == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-3)
    assert found["ours_calibrated_features"] == pytest.approx(0.815)
    text = table([found])
    assert "| SimCLR | 63.5 ± 2.0 | 72.5 (81.5) | 3 | 1.00 × | **+9.0 ± 2.5** |" in text
    assert "**" not in table([{**found, "difference": 0.01}])
    assert "| +9.0 (2) |" in table([{**found, "seeds": [0, 1]}])  # too few for an interval
    more = {**found, "against": "tasks", "seeds": [0, 1, 2, 3]}
    assert "| **+9.0 ± 2.5** | **+9.0 ± 2.5** (4 seeds) |" in table([found, more])
    beside = {"control": "raw-pixels", "source": "glyphs", "targets": found["targets"], "shot": 1, "mean": 0.7}
    assert table([found, beside]).splitlines()[-1] == "| raw pixels | 70.0 | – | – | – | – |"


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
    facts = {"source": "glyphs", "switch": "gamma", "value": "1", "seeds": [0, 1, 2], "ci95": 0.01}
    rows = [
        {**facts, "objective": "simclr", "difference": -0.03, "time_ratio": 1.2},
        {**facts, "objective": "barlow", "difference": 0.002, "time_ratio": 1.4},
        {**facts, "objective": "simclr", "difference": 0.01, "time_ratio": 1.0, "value": "3", "seeds": [0]},
    ]
    lines = ablation.table(rows).splitlines()
    assert lines[0] == "| switch (default) | tried | glyphs, SimCLR | glyphs, Barlow Twins |"
    assert lines[2] == "| objective in the inner loss γ (0) | 1 | **-3.0 ± 1.0** | +0.2 ± 1.0 |"
    assert lines[3].endswith("| 3 | +1.0 (1) | – |")


def judged_cell(folder: Path, **changes: Any) -> Cell:
    settings = [f"transfer.{name}={value}" for name, value in changes.items()]
    small = ("encoder.width=8", "trainer.steps=2", "calibration.name=none")
    return Cell(folder / "study-s3", "digits", (*small, *settings), (Judged(("digits:meta-test",), (3,)),))


def test_a_cell_judged_in_another_way_is_judged_again_and_shows_that_alone(tmp_path: Path) -> None:
    first = judged_cell(tmp_path, episodes=20)
    _make(first, first.path)
    before = (first.path / "encoder.safetensors").read_bytes()
    assert {row.episodes for row in rows_of(first)} == {20}
    again = judged_cell(tmp_path, episodes=30)
    assert first.done
    assert not again.done
    _make(again, again.path)
    assert again.done
    assert {row.episodes for row in rows_of(again)} == {30}
    assert len(rows_of(again)) == 2  # 1 and 5 shots
    assert (again.path / "encoder.safetensors").read_bytes() == before  # not trained again
    assert seeds_in(tmp_path) == [3]
    # A folder of keys that are no more is made anew.
    (again.path / "judged").unlink()
    written = again.path / "config.toml"
    written.write_text(written.read_text().replace("[calibration]", "[calibration]\nisotropy = 0.03"))
    _make(again, again.path)
    assert again.done
    assert "isotropy" not in tomllib.loads(written.read_text())["calibration"]


@pytest.mark.parametrize("study", [evidence, ablation, mechanism, recovery], ids=lambda study: study.__name__)
def test_nothing_is_written_over_results_by_a_study_without_cells(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, nowhere = tmp_path / "results.json", str(tmp_path / "none")
    kept.write_text("results")
    words = ["study.py", "--collect", "--runs", nowhere, "--json", str(kept)]
    words += ["--measured", nowhere] if study is recovery else []
    for more, said in (([], "nothing has been measured"), (["--seeds", "0"], "'0' is not a whole number of 1 or more")):
        monkeypatch.setattr(sys, "argv", [*words, *more])
        with pytest.raises(SystemExit) as stopped:
            study.main()
        assert (stopped.value.code, kept.read_text()) == (2, "results")
        assert said in capsys.readouterr().err
