"""Measures of an encoder during training: right, on any source, and training is what it is without them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn

from metatc2.augment import Views
from metatc2.data import ImageStore
from metatc2.episodes import SplitBatch
from metatc2.errors import InputError
from metatc2.experiment.config import Config, fingerprint, merge
from metatc2.experiment.measures import MEASURES, Seen
from metatc2.experiment.online import MeasuresLeftOut, Online
from metatc2.experiment.run import pretrain
from metatc2.learners import SelfSupervised
from metatc2.metrics.lidar import lidar
from metatc2.metrics.rank import rankme
from metatc2.models.heads import Projector
from metatc2.objectives import SimCLR
from metatc2.training import Trainer, TrainerOptions
from metatc2.training.metrics_file import read_metrics
from metatc2.transfer import extract

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")


@pytest.fixture
def store() -> ImageStore:
    """Two classes that brightness tells apart."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat(20)
    images = torch.randint(0, 90, (40, 1, 8, 8), generator=g) + 120 * labels[:, None, None, None]
    return ImageStore("toy", images.to(torch.uint8), labels)


def trained(store: ImageStore, *callbacks: Online) -> Trainer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6), nn.Dropout(0.2))
        learner = SelfSupervised(encoder, SimCLR(), projector=Projector(6, 8, 4))
        tasks = SplitBatch(store, Views(size=8), tasks=2, batch=16)
        made = Trainer(learner, tasks, TrainerOptions(steps=4, log_every=4), callbacks=callbacks)
        made.fit()
    return made


def test_all_of_the_registry_on_a_store_and_training_is_as_without(store: ImageStore) -> None:
    online = Online(store, measures=tuple(MEASURES), every=2, neighbors=3)
    made, plain = trained(store, online), trained(store)
    assert [set(one) for one in online.history] == [{"step", *MEASURES}] * 2
    assert [record["step"] for record in made.history] == [2, 4]
    assert {f"online_{name}" for name in MEASURES} <= set(made.history[0])
    assert online.history[-1]["knn"] == online.history[-1]["linear"] == 1.0  # brightness tells them apart
    assert online.history[-1]["rankme"] == pytest.approx(
        rankme(extract(made.encoder, store.images[online._rows])),
        rel=1e-4,  # type: ignore[arg-type]
    )
    assert 1 <= online.history[-1]["lidar"] <= 6
    for name, tensor in plain.learner.state_dict().items():
        assert torch.equal(tensor, made.learner.state_dict()[name]), name


def test_another_source_by_name_and_an_own_measure(store: ImageStore) -> None:
    def width(seen: Seen) -> float:
        return float(seen.features.shape[1])

    online = Online("digits", measures=["knn", width], images=40, prefix="digits")
    last = trained(store, online).history[-1]
    assert last["digits_width"] == 6
    assert 0 <= last["digits_knn"] <= 1
    assert online.store is not None
    assert online.store.image_size == 8  # as the images that are trained on


def test_every_measure_is_what_it_says() -> None:
    g = torch.Generator().manual_seed(0)
    labels, asked = torch.arange(3).repeat(12), torch.arange(3).repeat(8)
    bank, queries = (torch.randn(len(y), 5, generator=g) + 1.5 * torch.eye(3, 5)[y] for y in (labels, asked))
    views = torch.randn(9, 4, 5, generator=g)
    seen = Seen(queries, bank, labels, queries, asked, views, neighbors=1)
    scale = StandardScaler().fit(bank.numpy())
    oracle = RidgeClassifier(alpha=1.0).fit(scale.transform(bank.numpy()), labels.numpy())
    assert MEASURES["linear"](seen) == oracle.score(scale.transform(queries.numpy()), asked.numpy())
    nearest = labels[(nn.functional.normalize(queries) @ nn.functional.normalize(bank).T).argmax(1)]
    assert MEASURES["knn"](seen) == pytest.approx(float((nearest == asked).double().mean()))
    assert MEASURES["rankme"](seen) == rankme(queries)
    assert MEASURES["lidar"](seen) == lidar(views)
    without = Seen(queries)
    assert [MEASURES[name](without) for name in ("knn", "linear", "lidar")] == [None] * 3


def test_without_labels_probes_are_left_out() -> None:
    images = torch.randint(0, 256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    online = Online(store := ImageStore("one", images, torch.zeros(20, dtype=torch.int64)), every=4)
    with pytest.warns(MeasuresLeftOut, match="knn, linear of one:all cannot be measured.*its classes are 0; no split"):
        trained(store, online)
    assert set(online.history[-1]) == {"step", "rankme"}


def test_of_a_split_of_one_class_another_is_measured_or_named(
    store: ImageStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    six = ImageStore.from_arrays(store.images.repeat(3, 1, 1, 1), torch.arange(120) % 6, "six")
    with pytest.raises(
        InputError, match=r'knn of six:meta-validation .* take split="meta-train".*monitor.split=meta-tr'
    ):
        Online(six, measures=["knn"], split="meta-validation")
    with pytest.warns(MeasuresLeftOut, match="linear of six:meta-validation cannot"):
        trained(six, online := Online(six, measures=["linear", "rankme"], split="meta-validation"))
    assert set(online.history[-1]) == {"step", "rankme"}
    # Where none was asked for, one is taken that can be measured, and that is said; test images never.
    with pytest.warns(MeasuresLeftOut, match="measured on six:meta-train, since linear need"):
        trained(six, online := Online(six, measures=["linear", "rankme"]))
    assert set(online.history[-1]) == {"step", "linear", "rankme"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(six, fitting := Online(six, measures=["linear"], split="meta-train"))
    assert set(fitting.history[-1]) == {"step", "linear"}
    np.savez(tmp_path / "six.npz", images=six.images[:, 0].numpy().repeat(2, 1).repeat(2, 2), labels=six.labels.numpy())
    asked = [f"npz:{tmp_path / 'six.npz'}", "--encoder", "conv4", "--steps", "1", "--set", "episode.batch=16"]
    asked += ["monitor.split=meta-validation"]
    assert call("pretrain", *asked, "--monitor", "knn", "--run", str(tmp_path / "run")) == 2
    assert "six.npz:meta-validation cannot be measured" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.toml").exists()


def test_what_cannot_be_measured_is_said(store: ImageStore) -> None:
    with pytest.raises(InputError, match="did you mean 'rankme'"):
        Online(store, measures=["rank-me"])
    with pytest.raises(InputError, match="neighbors must be at least 1"):
        Online(store, neighbors=0)
    few = ImageStore("few", store.images[:5], store.labels[:5])
    with pytest.raises(InputError, match="few:all has 5 images"):
        trained(store, Online(few))


def test_the_flag_of_pretrain(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitored = merge(config, {"monitor": {"name": "online", "every": 1, "images": 16, "neighbors": 1}}, "test")
    assert fingerprint(monitored) == fingerprint(config)
    one, two = pretrain(config, tmp_path / "plain"), pretrain(monitored, tmp_path / "monitored")
    assert one.encoder_sha256 == two.encoder_sha256
    records = read_metrics(tmp_path / "monitored" / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3]
    assert all({f"online_{name}" for name in ("knn", "linear", "rankme", "lidar")} <= set(record) for record in records)
    assert call("config", "glyphs", "--monitor", "knn+rankme") == 0
    said = capsys.readouterr().out
    assert 'name = "online"' in said
    assert call("config", "glyphs", "--monitor", "knn+rank") == 2
