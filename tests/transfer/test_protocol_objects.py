"""Protocols as objects: what they are told is what they do, and one of another package is run by its name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from metatc2.data.store import ImageStore
from metatc2.errors import InputError
from metatc2.experiment.config import TransferConfig
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
    with pytest.raises(InputError, match="transfer: steps of fine-tuning must be at least 1, got 0"):
        FineTune(steps=0)


def test_the_configuration_sets_the_options_that_a_protocol_has() -> None:
    settings = TransferConfig(way=(7,), shot=(2,), query=3, episodes=9, fine_tune_steps=11, fractions=(0.3,))
    asked = ["few-shot", "fine-tune", "semi-supervised", "linear", KNN(ks=(4,))]
    assert protocols_of(settings, asked, fit=True) == [
        FewShot(ways=(7,), shots=(2,), query=3, episodes=9, fit=True),
        FineTune(steps=11, train_mode=True),
        SemiSupervised(fractions=(0.3,)),
        Linear(),
        KNN(ks=(4,)),
    ]
    assert protocols_of(TransferConfig(protocols=("knn",))) == [KNN()]
    with pytest.raises(InputError, match="did you mean 'linear'"):
        TransferConfig(protocols=("liner",))


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


@pytest.mark.usefixtures("installed")
def test_an_installed_package_adds_a_protocol_to_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    toy = target().store
    np.savez("toy.npz", images=toy.images.repeat(1, 3, 8, 8).numpy(), labels=toy.labels.numpy())
    words = ("transfer", "torchvision:resnet18:random", "--image-size", "32", "--to", "npz:toy.npz", "--out", "out")
    assert call(*words, "--protocol", "nearest-mean") == 0
    assert "nearest-mean" in capsys.readouterr().out
    rows, accuracies = read_results(Path("out/transfer.json"))
    assert {row.protocol for row in rows} == {"nearest-mean"}
    assert all(row.facts == {"query": 20, "shape": "round"} for row in rows)
    raw = next(row for row in rows if row.features == "raw pixels")
    assert (raw.mean, len(accuracies[raw.key]), raw.shot) == (1.0, 20, None)
    assert call(*words, "--protocol", "nearest-men") == 2
    assert "did you mean 'nearest-mean'" in capsys.readouterr().err
    # From Python the same function takes the object.
    made = PROTOCOLS["nearest-mean"](shape="square")  # type: ignore[call-arg]
    encoder = load_pretrained("torchvision:resnet18:random", image_size=32)
    again = transfer(encoder, targets=["npz:toy.npz"], protocols=[made], out="square")
    assert {row.value("shape") for row in again} == {"square"}
    assert [row.mean for row in again][-1] == raw.mean


@pytest.mark.usefixtures("installed")
def test_results_of_a_protocol_that_is_not_installed_any_more_are_read(tmp_path: Path) -> None:
    rows, values = evaluate({}, [target()], protocols=["nearest-mean"])
    write_results(tmp_path / "transfer.json", rows, values)
    PROTOCOLS._there.pop("nearest-mean")
    assert read_results(tmp_path / "transfer.json")[0] == rows
    assert json.loads((tmp_path / "transfer.json").read_text())[0]["facts"]["shape"] == "round"
