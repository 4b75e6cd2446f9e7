"""Protocols as objects: what they are told is what they do, and one of another package is run by its name."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from metatc2.data.store import ImageStore
from metatc2.errors import InputError
from metatc2.experiment.config import Config, TransferConfig, merge, override, read_config, write_config
from metatc2.experiment.config.explain import explained
from metatc2.experiment.load import load_pretrained
from metatc2.experiment.protocols import protocols_of
from metatc2.experiment.transfer import transfer
from metatc2.transfer import (
    KNN,
    PROTOCOLS,
    FewShot,
    FineTune,
    Linear,
    Measured,
    NearestClip,
    Protocol,
    Retrieval,
    SemiSupervised,
    Subject,
    Target,
    evaluate,
    read_results,
    write_results,
)

from ..command_line import call

pytestmark = pytest.mark.usefixtures("small_grids")

PLUG_IN = '''
from dataclasses import dataclass
import torch
from metatc2.transfer import Measured, Protocol, register_protocol

@register_protocol("nearest-mean")
@dataclass(frozen=True, kw_only=True)
class NearestMean(Protocol):
    """Every second image goes to the nearest mean of the others."""

    facts = ("query", "shape")
    shape: str = "round"

    def run(self, subject):
        rows = subject.target.store.rows(subject.target.split)
        known, asked = rows[::2], rows[1::2]
        labels = subject.labels(known)
        for name in subject.names:
            features = subject.table.at(name, known)
            means = torch.stack([features[labels == c].mean(0) for c in labels.unique()])
            found = labels.unique()[torch.cdist(subject.table.at(name, asked), means).argmin(1)]
            right = (found == subject.labels(asked)).double()
            yield Measured(name, right, rows, {"query": len(asked), "shape": self.shape})
'''


def target() -> Target:
    brightness = (torch.arange(40) // 8 * 50 + torch.arange(40) % 8).byte()
    images = brightness.view(40, 1, 1, 1).expand(40, 1, 4, 4)
    return Target(ImageStore("toy", images, torch.arange(40) // 8), "all", "toy:all")


def test_objects_and_names_side_by_side() -> None:
    asked = [FewShot(ways=(3,), shots=(1, 2), query=2, episodes=4, heads=("ridge",)), KNN(ks=(3,)), "linear"]
    rows, _ = evaluate({"encoder": nn.Flatten()}, [target()], protocols=asked)
    own = [row for row in rows if row.features == "encoder"]
    assert [(row.protocol, row.way, row.shot, row.query, row.episodes, row.head, row.k) for row in own] == [
        ("few-shot", 3, 1, 2, 4, "ridge", None),
        ("few-shot", 3, 2, 2, 4, "ridge", None),
        ("knn", 5, None, 20, None, "knn", 3),
        ("linear", 5, None, 10, None, "linear", None),
    ]
    assert evaluate({"encoder": nn.Flatten()}, [target()], protocols=[*asked[:2], Linear()])[0] == rows


def test_rows_have_the_facts_that_their_protocol_declares() -> None:
    asked = [FewShot(episodes=4), KNN(ks=(3,)), Linear(), Retrieval(ks=(2,)), SemiSupervised(fractions=(0.5,))]
    rows, _ = evaluate({"encoder": nn.Flatten()}, [target()], protocols=asked)
    for row in rows:
        assert set(row.facts) == set(PROTOCOLS[row.protocol].facts)
        assert None not in row.facts.values()


def test_each_has_its_own_options_and_no_other() -> None:
    assert {name for name in PROTOCOLS if issubclass(PROTOCOLS[name], Protocol)} == set(PROTOCOLS)
    for name, kind in PROTOCOLS.items():
        made = kind()
        assert made.name == name
        assert made == kind()
        assert hash(made) == hash(kind())
        with pytest.raises(dataclasses.FrozenInstanceError):
            made.name = "other"  # type: ignore[misc]
        with pytest.raises(TypeError, match="unexpected keyword"):
            kind(**{"nobody's": 1})
    with pytest.raises(InputError, match=r"each of transfer: fractions must be a finite number above 0 and at most 1"):
        SemiSupervised(fractions=(0.1, 2))
    with pytest.raises(InputError, match="transfer: steps must be at least 1, got 0"):
        FineTune(steps=0)


def test_the_configuration_sets_the_options_that_a_protocol_has() -> None:
    tree = {
        "protocols": ["few-shot", "fine-tune", "semi-supervised", "linear"],
        "few-shot": {"ways": [7], "shots": [2], "query": 3, "episodes": 9},
        "fine-tune": {"steps": 11},
        "semi-supervised": {"fractions": [0.3]},
        "linear": {},
        "retrieval": {"ks": [2]},  # not run, and may stand there
    }
    config = merge(Config(), {"transfer": tree}, "my.toml")
    made = [
        FewShot(ways=(7,), shots=(2,), query=3, episodes=9, fit=True),
        FineTune(steps=11, train_mode=True),
        SemiSupervised(fractions=(0.3,)),
        Linear(),
    ]
    assert protocols_of(config, fit=True) == made
    assert protocols_of(config, ["linear", KNN(ks=(4,)), "few-shot"], fit=True) == [made[3], KNN(ks=(4,)), made[0]]
    assert protocols_of(override(Config(), ["transfer.protocols=knn"])) == [KNN()]
    with pytest.raises(InputError, match="did you mean 'linear'"):
        TransferConfig(protocols=("liner",))


def test_fewer_classes_are_taken_where_no_number_of_them_was_asked_for() -> None:
    assert protocols_of(Config()) == [FewShot(fit=True)]
    assert protocols_of(override(Config(), ["transfer.few-shot.query=3"])) == [FewShot(query=3, fit=True)]
    assert protocols_of(override(Config(), ["transfer.few-shot.ways=4"])) == [FewShot(ways=(4,))]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"way": (3,)}, "no protocol of those chosen (few-shot, knn) has 'way'; did you mean 'ways'?"),
        ({"ks": (0,)}, "command line: each item of transfer.knn.ks must be a whole number ≥ 1, found 0"),
        ({"ks": ()}, "command line: [transfer.knn] ks must be at least one number, got none"),
        ({"protocols": [KNN()], "ks": (3,)}, "no protocol of those chosen (none by name) has 'ks'"),
        ({"protocols": ["nkn"]}, "no item of transfer.protocols can be \"nkn\"; did you mean 'knn'?"),
        (
            {"assignments": ["transfer.retrieval.ks=3"]},
            "--set: transfer.retrieval.ks is for transfer.protocols with 'retriev",
        ),
    ],
)
def test_what_no_chosen_protocol_takes_is_refused(given: dict[str, Any], told: str, tmp_path: Path) -> None:
    encoder = load_pretrained("torchvision:shufflenet_v2_x0_5:random", image_size=32)
    with pytest.raises(InputError, match=re.escape(told)):
        transfer(encoder, **{"targets": ["digits"], "protocols": ["few-shot", "knn"], "out": tmp_path / "out", **given})
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_run_is_known_before_anything_is_computed() -> None:
    asked: list[nn.Module] = []

    class Encoder(nn.Flatten):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            asked.append(self)
            return super().forward(x)

    for wrong in (NearestClip(), FewShot(ways=(6,))):
        with pytest.raises(InputError, match=r"holds images|6-way 1-shot needs 6 classes"):
            evaluate({"encoder": Encoder()}, [target()], protocols=[KNN(), wrong])
    assert not asked


def test_rows_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(InputError, match="two rows have the key 'knn"):
        evaluate({}, [target()], protocols=[KNN(ks=(3,)), KNN(ks=(3,), temperature=0.5)])
    rows, _ = evaluate({}, [target()], protocols=[KNN(ks=(3,)), "linear", KNN(ks=(3,))])
    assert [row.protocol for row in rows] == ["knn", "linear"]


def test_a_fact_that_was_not_declared_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Talkative(Protocol):
        facts = ("query",)

        def run(self, subject: Subject) -> Iterator[Measured]:
            yield Measured(subject.names[0], torch.ones(2).double(), torch.arange(2), {"query": 2, "mood": "good"})

    with pytest.raises(InputError, match="Talkative gives the facts mood and does not declare them"):
        evaluate({}, [target()], protocols=[Talkative()])


def test_a_fact_with_the_name_of_a_field_is_refused_before_anything_is_computed() -> None:
    @dataclasses.dataclass(frozen=True)
    class Forward(Protocol):
        facts = ("pairs", "seed")

        def run(self, subject: Subject) -> Iterator[Measured]:
            pytest.fail("was run")

    with pytest.raises(
        InputError, match=r"Forward declares the facts seed, which every row has as fields \(ci95, .*give"
    ):
        evaluate({}, [target()], protocols=[Forward()])


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that adds a protocol, as pip would leave it."""
    site = tmp_path / "site"
    about = site / "nearest_mean-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "nearest_mean.py").write_text(PLUG_IN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nearest-mean\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[metatc2.transfer.protocols]\nnearest-mean = nearest_mean:NearestMean\n")
    monkeypatch.syspath_prepend(site)
    vars(PROTOCOLS).pop("_elsewhere", None)  # a process looks once
    yield
    vars(PROTOCOLS).pop("_elsewhere", None)
    PROTOCOLS._there.pop("nearest-mean", None)


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_an_installed_package_adds_a_protocol_to_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    toy = target().store
    np.savez("toy.npz", images=toy.images.repeat(1, 3, 8, 8).numpy(), labels=toy.labels.numpy())
    words = (
        "transfer",
        "torchvision:shufflenet_v2_x0_5:random",
        "--image-size",
        "32",
        "--to",
        "npz:toy.npz",
        "--out",
        "out",
    )
    assert call(*words, "--protocol", "nearest-mean") == 0
    assert "nearest-mean" in capsys.readouterr().out
    rows, accuracies = read_results(Path("out/transfer.json"))
    assert {row.protocol for row in rows} == {"nearest-mean"}
    assert all(row.facts == {"query": 20, "shape": "round"} for row in rows)
    assert call(*words, "--protocol", "nearest-mean", "--set", "transfer.nearest-mean.shape=oval") == 0
    assert "oval" in {row.value("shape") for row in read_results(Path("out/transfer.json"))[0]}
    capsys.readouterr()
    assert call(*words, "--protocol", "nearest-mean", "--set", "transfer.nearest-mean.shap=oval") == 2
    assert "did you mean 'transfer.nearest-mean.shape'?" in " ".join(capsys.readouterr().err.split())
    raw = next(row for row in rows if row.features == "raw pixels")
    assert (raw.mean, len(accuracies[raw.key]), raw.shot) == (1.0, 20, None)
    assert call(*words, "--protocol", "nearest-men") == 2
    assert "did you mean 'nearest-mean'" in capsys.readouterr().err
    # From Python the same function takes the object.
    made = PROTOCOLS["nearest-mean"](shape="square")  # type: ignore[call-arg]
    encoder = load_pretrained("torchvision:shufflenet_v2_x0_5:random", image_size=32)
    again = transfer(encoder, targets=["npz:toy.npz"], protocols=[made], out="square")
    assert {row.value("shape") for row in again} == {"square"}
    assert [row.mean for row in again][-1] == raw.mean


@pytest.mark.usefixtures("installed")
def test_the_options_of_an_installed_protocol_are_its_section(tmp_path: Path) -> None:
    tree = {"transfer": {"protocols": ["nearest-mean"], "nearest-mean": {"shape": "square"}}}
    config = merge(Config(), tree, "my.toml")
    write_config(config, tmp_path / "config.toml")
    assert read_config(tmp_path / "config.toml") == config
    (made,) = protocols_of(read_config(tmp_path / "config.toml"))
    assert made == PROTOCOLS["nearest-mean"](shape="square")  # type: ignore[call-arg]
    lines = explained(config).partition("[transfer.nearest-mean]")[2]
    assert 'shape = "square"  # my.toml: shape of nearest-mean' in lines
    with pytest.raises(InputError, match=r"my\.toml: transfer\.nearest-mean\.shape must be text, found 3"):
        merge(Config(), {"transfer": {"nearest-mean": {"shape": 3}}}, "my.toml")
    assert override(Config(), ["transfer.protocols=[]"]).protocols == {}


@pytest.mark.usefixtures("installed")
def test_results_of_a_protocol_that_is_not_installed_any_more_are_read(tmp_path: Path) -> None:
    rows, values = evaluate({}, [target()], protocols=["nearest-mean"])
    write_results(tmp_path / "transfer.json", rows, values)
    PROTOCOLS._there.pop("nearest-mean")
    assert read_results(tmp_path / "transfer.json")[0] == rows
    assert json.loads((tmp_path / "transfer.json").read_text())[0]["facts"]["shape"] == "round"
