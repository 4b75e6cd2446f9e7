"""The parts of a report that are there when something was asked for: what the monitor saw, and what fusion gave."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from metatc2.errors import InputError
from metatc2.experiment.config import merge, write_config
from metatc2.experiment.run_config import read_run_config
from metatc2.report.fusion_file import read_fusion
from metatc2.report.html import sections
from metatc2.report.html.report import write_report
from metatc2.report.methods import read_methods
from metatc2.transfer.fusion.measure import AS_GIVEN, FusionDifference, FusionRow


@pytest.fixture
def monitored(folders: list[Path], tmp_path: Path) -> Path:
    copy = shutil.copytree(folders[0], tmp_path / "monitored")
    lines = [
        {
            "step": step,
            "epoch": 0.0,
            "split": "train",
            "images": 8,
            "rate_reduction": {"early": 1.0 + step, "late": 5.0 - step},
            "knn": {"early": 0.1 * step, "late": 0.1 * step},
        }
        for step in range(3)
    ]
    (copy / "monitor.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return copy


@pytest.fixture
def fused(tmp_path: Path) -> Path:
    """Of two targets: one with weights of classes, one without."""
    encoders = ("runs/a", "runs/b")
    rows = []
    for target, classes in (("digits", ("zero", "one")), ("letters", ())):
        for n, mean in ((1, 0.5), (5, 0.75)):
            by_class = ((0.25, 0.75), (0.5, 0.5)) if classes else ()
            weights = (0.375, 0.625) if classes else ()
            common = (AS_GIVEN, encoders, mean, 0.02, (mean - 0.01, mean + 0.01))
            rows.append(FusionRow(target, n, "attention", "sample", *common, weights, by_class, classes))
            rows.append(FusionRow(target, n, "baseline", "sur", *common))
    apart = [FusionDifference("digits", 5, ("sample", AS_GIVEN), ("sur", AS_GIVEN), 0.03, 0.01, 20)]
    file = tmp_path / "fusion.json"
    file.write_text(
        json.dumps(
            {"rows": list(map(asdict, rows)), "differences": list(map(asdict, apart)), "notes": ["one is left out"]}
        )
    )
    return file


def test_nothing_is_said_where_nothing_was_asked_for(folders: list[Path]) -> None:
    assert list(sections.monitored(read_methods(folders[:1]))) == []
    assert list(sections.fusion(None)) == []


def test_every_stage_is_drawn_over_the_steps(monitored: Path) -> None:
    (section,) = sections.monitored(read_methods([monitored]))
    (drawn,) = section.figures
    assert [row[1:] for row in drawn.rows] == [
        *(("early", step, 1.0 + step, 0.1 * step) for step in range(3)),
        *(("late", step, 5.0 - step, 0.1 * step) for step in range(3)),
    ]
    above, below = drawn.figure.axes
    assert [list(line.get_ydata()) for line in above.lines] == [[1, 2, 3], [5, 4, 3]]
    assert list(below.lines[0].get_ydata()) == pytest.approx([0, 10, 20])
    assert [row[1:] for row in section.tables[0].rows] == [["early", "1.00"], ["late", "-1.00"]]


def test_the_page_says_the_steps_that_were_made(monitored: Path) -> None:
    """Measured last at step 2, of the four steps that were asked for."""
    config = merge(read_run_config(monitored), {"monitor": {"name": "coding-rate", "stop_after": 1}}, "test")
    write_config(config, monitored / "config.toml")

    def said() -> str:
        paragraphs = sections.configuration(read_methods([monitored])).paragraphs
        return " ".join(map(str, paragraphs))

    assert ": 2 of 4 steps, ended by the monitor, of " in said()
    (monitored / "encoder.safetensors").rename(monitored / "aside")  # cut, and not ended
    assert ": 4 steps of " in said()


@pytest.mark.slow
def test_weights_stand_by_class_and_accuracies_by_labels(
    monitored: Path, fused: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (section,) = sections.fusion(read_fusion(fused))
    (drawn,) = section.figures
    assert drawn.rows[:2] == [
        ("digits: sample, 5 labels a class", "zero", "a", 0.25),
        ("digits: sample, 5 labels a class", "zero", "b", 0.75),
    ]
    assert len(drawn.rows) == 6  # two classes and all; none of letters
    assert section.tables[0].rows[0] == ["attention: sample", AS_GIVEN, "50.0 ± 2.0", "75.0 ± 2.0"]
    assert section.tables[1].rows == [["sample", "sur", "–", "+3.0 ± 1.0*"]]
    assert section.paragraphs[-1] == "One is left out."
    monkeypatch.setattr(sections, "images", lambda methods: [])  # which take the longest to draw
    page = write_report([monitored], tmp_path / "page.html", assets=True, fusion=fused)
    assert all(f'id="{part}"' in page.read_text() for part in ("monitor", "fusion"))
    assert "Are several encoders better than one?" in page.read_text()
    assert (tmp_path / "page_assets" / "encoder-weights.csv").exists()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"rows": []}', '{"rows": [], "differences": [], "notes": []}', "nothing"]
)
def test_another_file_is_no_result_of_fusion(content: str, folders: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    if content != "nothing":
        file.write_text(content)
    with pytest.raises(InputError, match=r"--fusion .*other\.json: is no result of fusion \(.*metatc2 fuse"):
        write_report(folders[:1], tmp_path / "page.html", fusion=file)
    assert not (tmp_path / "page.html").exists()
