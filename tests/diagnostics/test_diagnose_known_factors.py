"""`diagnose` on rendered images: known factors and gradient agreement in the record, the tables and the report's files."""

from __future__ import annotations

import io
import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from metatc2.augment import Views
from metatc2.data import GenerativeFactors, ImageStore, load_shapes
from metatc2.diagnostics import Agreement, Diagnosis, diagnose, probe_factors
from metatc2.episodes import Episode, SplitBatch
from metatc2.episodes.episode import TaskIdentity
from metatc2.errors import InputError
from metatc2.experiment.config import Config
from metatc2.learners import SelfSupervised
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Projector
from metatc2.objectives import SimCLR
from metatc2.report.conflict_file import _AGREEMENT, read_conflict
from metatc2.report.diagnosis_table import diagnosis_table
from metatc2.report.factor_file import read_known_factors
from metatc2.report.html.sections import known_factors
from metatc2.report.methods import Folder, Method
from metatc2.transfer import extract


class Named:
    """Tasks of a random cut that claim to be of two kinds, in turning order."""

    def __init__(self, store: ImageStore) -> None:
        self.sampler, self.count = SplitBatch(store, Views.none(), tasks=2, batch=16, seed=3), 0

    def sample(self) -> Episode:
        self.count += 1
        kinds = torch.tensor([0, 1] if self.count % 2 else [1, 0])
        return replace(self.sampler.sample(), identity=TaskIdentity(kinds, ("[b]hue", "place"), torch.zeros(2, 0)))


@pytest.fixture(scope="module")
def store() -> ImageStore:
    return load_shapes(image_size=16, count=1000)


@pytest.fixture(scope="module")
def found(store: ImageStore, few_resplits: int) -> Diagnosis:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, projector = Conv4(channels=3, width=8), Projector(8, 16, 12)
    learner = SelfSupervised(encoder, SimCLR(), projector=projector)
    few = {"max_images": 400, "episodes": 2, "resplits": few_resplits}
    return diagnose(encoder, store, views=Views.none(), learner=learner, sampler=Named(store), **few)


def test_known_factors_are_those_of_the_images_looked_at(store: ImageStore) -> None:
    encoder = nn.Flatten()
    found = diagnose(encoder, store, "test", views=Views.none(), seed=4)
    assert found.known_factors is not None
    assert store.factors is not None
    rows = store.rows("test")
    held, features, table = len(rows) // 4, extract(encoder, store.images[rows]), store.factors.take(rows).values
    matrix, names = found.known_factors["encoder"], store.factors.names
    assert (matrix.train, matrix.test, tuple(matrix.factors)) == (len(rows) - held, held, names)
    generator = torch.Generator().manual_seed(0)
    other = probe_factors(
        features[held:], table[held:], features[:held], table[:held], names, store.factors.kinds, generator=generator
    )
    # Another cut of the same images: near, not equal.
    assert other.factors["background"].value > 0.8
    assert matrix.factors["background"].value == pytest.approx(other.factors["background"].value, abs=0.1)


def test_the_record_holds_both(found: Diagnosis) -> None:
    back = json.loads(found.to_json())
    assert back["known_factors"]["encoder"]["factors"]["hue"].keys() == {
        "kind",
        "value",
        "chance",
        "control",
        "selectivity",
        "penalty",
    }
    assert back["agreement"]["kinds"] == back["conflict"]["kinds"] == ["[b]hue", "place"]
    assert [(p["step"], p["evaluated"]) for p in back["conflict"]["pairs"]][:2] == [
        ("[b]hue", "[b]hue"),
        ("[b]hue", "place"),
    ]
    assert back["agreement"]["pairs"][0]["difference"]["draws"] == 39


def test_the_table_shows_both(found: Diagnosis) -> None:
    console = Console(width=120, file=io.StringIO(), color_system=None)
    console.print(diagnosis_table(found))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 120
    text = " ".join(text.split())  # titles are broken where their table ends
    for word in ("Known factors: linear probes fit to 300 images, tested on 100", "orientation", "selectivity"):
        assert word in text
    for word in ("agreement, all", "within a task", "gain, [b]hue → place", "difference, [b]hue | place"):
        assert word in text


def test_the_report_reads_both(found: Diagnosis, tmp_path: Path) -> None:
    (tmp_path / "diagnose.json").write_text(found.to_json())
    assert found.agreement is not None
    measures = {m.name: m for m in read_conflict(tmp_path) or []}
    pair = measures["difference of expected gradients, [b]hue and place"]
    assert pair.value == found.agreement.pairs[0].difference.value
    assert "gain of place by a step on [b]hue" in measures
    ratio = found.agreement.ratio["all"]
    assert (f"{_AGREEMENT['ratio']}, all parameters" in measures) == (ratio is not None)
    assert found.known_factors is not None
    matrix = found.known_factors["encoder"]
    read = read_known_factors(tmp_path)["encoder"]
    assert read["hue"] == (matrix.factors["hue"].value, matrix.factors["hue"].selectivity)
    assert read["mean"] == (matrix.mean, matrix.mean_selectivity)
    assert set(_AGREEMENT) <= {field.name for field in fields(Agreement)}


def test_the_report_has_a_table_of_known_factors(found: Diagnosis, tmp_path: Path) -> None:
    (tmp_path / "diagnose.json").write_text(found.to_json())
    assert found.known_factors is not None
    matrix = found.known_factors["encoder"]
    run = Folder(tmp_path, Config(), [], None, None, read_known_factors(tmp_path))
    (section,) = known_factors([Method("simclr", [run])])
    (table,) = section.tables
    assert table.columns == ("run", "features", *matrix.factors, "mean")
    (row,) = table.rows
    probe = matrix.factors["hue"]
    assert row[:2] == ("simclr, seed 0", "encoder")
    assert row[table.columns.index("hue")] == f"{100 * probe.value:.1f}\n({100 * probe.selectivity:.1f})"
    assert known_factors([Method("simclr", [replace(run, known_factors={})])]) == []


def test_records_of_older_versions_are_read(found: Diagnosis, tmp_path: Path) -> None:
    record = found.to_dict()
    for key in ("agreement", "known_factors"):
        del record[key]
    for key in ("kinds", "pairs"):
        del record["conflict"][key]
    (tmp_path / "diagnose.json").write_text(json.dumps(record))
    assert len(read_conflict(tmp_path) or []) == 10  # T, C, own gain, cosines of five blocks, and two more
    assert read_known_factors(tmp_path) == {}
    (tmp_path / "diagnose.json").write_text('{"conflict": null, "known_factors": {"encoder": 3}}')
    with pytest.raises(InputError, match=r"diagnose\.json is no diagnosis"):
        read_known_factors(tmp_path)


def test_factors_that_do_not_vary_and_stores_too_small_are_left_out() -> None:
    images = torch.randint(0, 256, (60, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    values = torch.stack([torch.zeros(60), torch.rand(60, generator=torch.Generator().manual_seed(1))], 1)
    table = GenerativeFactors(values, ("shape", "x"), ("categorical", "linear"))
    labels = torch.arange(60) % 3
    store = ImageStore("made", images, labels, splits={"few": torch.arange(20)}, factors=table)
    matrix = diagnose(nn.Flatten(), store, views=Views.none()).known_factors
    assert matrix is not None
    assert list(matrix["encoder"].factors) == ["x"]
    assert diagnose(nn.Flatten(), store, "few", views=Views.none()).known_factors is None
    constant = replace(store, factors=table.select("shape"))
    assert diagnose(nn.Flatten(), constant, views=Views.none()).known_factors is None
    assert diagnose(nn.Flatten(), replace(store, factors=None), views=Views.none()).known_factors is None


@pytest.mark.slow
@pytest.mark.usefixtures("few_shapes")
def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "conflict.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text().split("## Measures")[1].split("\n## ")[0], re.DOTALL)
    with torch.random.fork_rng():
        exec(compile(block, "conflict.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1].startswith("10.0")
