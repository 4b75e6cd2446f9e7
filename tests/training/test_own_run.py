"""Runs of a program of one's own: every command takes them, or says in a sentence what it lacks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchopt
from torch import nn

from metatc2.augment import Views
from metatc2.data import ImageStore, load
from metatc2.episodes import Episode, LabeledTasks, SplitBatch
from metatc2.errors import InputError
from metatc2.experiment.config import Config, EncoderConfig, PythonConfig, TrainerConfig
from metatc2.experiment.config.identity import flatten, method_key
from metatc2.experiment.hub import from_pretrained
from metatc2.experiment.run import load_run
from metatc2.experiment.run_config import read_run_config
from metatc2.experiment.weights import _of_labeled_tasks
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.learners import MAML, ProtoNet, SelfSupervised
from metatc2.models import Conv4, build_encoder
from metatc2.models.heads import Classifier, Projector
from metatc2.models.naming import encoder_name
from metatc2.objectives import SimCLR
from metatc2.training import Trainer, TrainerOptions
from metatc2.training.own_run import NotForCommands
from metatc2.training.run_folder import RunFolder, State
from metatc2.transfer import ADAPTED, ADAPTED_RANDOM

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

NETS = """
from torch import nn
import os

class Net(nn.Module):
    def __init__(self, features=6):
        super().__init__()
        self.layer = nn.Linear(784, features)
    def forward(self, images):
        return self.layer(images.flatten(1))

def wide(channels):
    return Net(9 * channels)

def other():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 9))
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's in the working directory."""
    (tmp_path / "my_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_nets", raising=False)
    yield tmp_path  # type: ignore[misc]
    sys.modules.pop("my_nets", None)


def trainer(encoder: nn.Module, dim: int, run: Path, seed: int = 0, made_by: str | None = None) -> Trainer:
    learner = SelfSupervised(encoder, SimCLR(), projector=Projector(dim, 8, 4))
    tasks = SplitBatch(load("digits"), Views.glyphs(), tasks=2, batch=16, split="meta-train", seed=seed)
    options = TrainerOptions(steps=2, log_every=1)
    return Trainer(learner, tasks, options, run=run, about={"seed": seed}, encoder=made_by)


FEW = ("--to", "digits:meta-test", "--way", "2", "--shot", "1", "--query", "2", "--episodes", "5")


def test_it_is_a_run_that_transfers_and_is_not_resumed_by_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = trainer(Conv4(channels=1, width=8), 8, tmp_path / "a")
    made.fit()
    assert RunFolder(tmp_path / "a").state is State.FINISHED
    images = torch.rand(3, 1, 28, 28)
    there = load_run(tmp_path / "a").encoder
    assert torch.equal(there(images), made.learner.eval().encoder(images))  # type: ignore[operator, union-attr]
    assert call("transfer", str(tmp_path / "a"), *FEW) == 0
    rows = json.loads((tmp_path / "a" / "transfer.json").read_text())
    assert {row["features"] for row in rows} == {"encoder", "random encoder", "raw pixels"}
    assert rows[0]["source"] == "digits:meta-train"
    capsys.readouterr()
    # Classes that were trained on are known.
    assert call("transfer", str(tmp_path / "a"), "--to", "digits:meta-train") == 2
    assert "meta-train" in capsys.readouterr().err
    assert call("pretrain", "--resume", str(tmp_path / "a")) == 0
    assert call("pretrain", "--resume", str(tmp_path / "a"), "--steps", "5") == 2
    assert "continue it there, with Trainer(..., run=...).resume()" in " ".join(capsys.readouterr().err.split())
    assert call("export", str(tmp_path / "a"), str(tmp_path / "exported")) == 0
    assert torch.equal(from_pretrained(tmp_path / "exported").encoder(images), there(images))


@pytest.mark.slow
def test_compare_and_report_name_it_as_it_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (str(tmp_path / name) for name in "ab")
    trainer(Conv4(channels=1, width=8), 8, tmp_path / "a").fit()
    other = trainer(Conv4(channels=1, width=8), 8, tmp_path / "b")
    other.about["method"] = "mine"
    other.fit()
    for run in (a, b):
        assert call("transfer", run, *FEW) == 0
    assert call("compare", a, b) == 0
    assert "SelfSupervised(SimCLR)" in (said := capsys.readouterr().out)
    assert "mine" in said
    assert call("report", a, b, "--out", str(tmp_path / "report.html")) == 0
    page = (tmp_path / "report.html").read_text()
    assert "was trained on digits, split meta-train, by a program with Trainer" in page
    assert "simclr" not in page  # nothing that is a default here was used there


def test_an_encoder_of_ones_own_is_built_by_its_module(
    nets: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sys.path.insert(0, str(nets))
    try:
        import my_nets  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(nets))
    trainer(my_nets.Net(), 6, nets / "found").fit()
    assert 'name = "python:my_nets:Net"' in (nets / "found" / "config.toml").read_text()
    trainer(my_nets.Net(9), 9, nets / "given", made_by="my_nets:wide").fit()
    assert 'name = "python:my_nets:wide"' in (nets / "given" / "config.toml").read_text()
    assert call("transfer", "given", *FEW) == 0
    with pytest.raises(InputError, match="encoder='my_nets:other' makes another module"):
        trainer(my_nets.Net(9), 9, nets / "wrong", made_by="my_nets:other").fit()
    with pytest.warns(NotForCommands, match=r'unsaid: commands cannot .* a Net, .* encoder="MODULE:FUNCTION"'):
        trainer(my_nets.Net(9), 9, nets / "unsaid").fit(until=1)  # before the training, and not at its end
    with pytest.warns(NotForCommands):
        trainer(my_nets.Net(9), 9, nets / "unsaid").fit()
    capsys.readouterr()
    assert call("transfer", "unsaid", *FEW) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert 'the run does not say how its encoder is made; write encoder.name = "python:MODULE:FACTORY"' in said
    (nets / "my_nets.py").rename(nets / "gone.py")
    # A command of its own has not imported it, and must be told.
    del sys.modules["my_nets"]
    assert call("transfer", "given", *FEW) == 2
    assert "set the environment variable METATC2_TRUST=my_nets" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setenv("METATC2_TRUST", "other, my_nets")
    assert call("transfer", "given", *FEW) == 2
    assert "Python finds no module 'my_nets'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_nets:wid", "did you mean 'wide'"),
        ("my_nets:os", "is no function or class of my_nets"),
        ("os:getcwd", "METATC2_TRUST=os"),  # nothing of Python's own is called, imported as it is
        ("shutil:rmtree", "METATC2_TRUST=shutil"),
        ("my_nets", "is not python:MODULE:NAME"),
    ],
)
@pytest.mark.usefixtures("nets")
def test_names_that_lead_to_no_network(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATC2_TRUST", "my_nets")
    before = list(sys.path)
    with pytest.raises(InputError, match=said):
        build_encoder(f"python:{name}", channels=1, image_size=28)
    assert sys.path == before


@pytest.mark.parametrize(("name", "width"), [("conv4", 8), ("resnet18", 4), ("timm:test_resnet.r160_in1k", None)])
def test_our_encoders_are_known_again(name: str, width: int | None) -> None:
    made = build_encoder(name, channels=3, image_size=32, width=width)
    assert encoder_name(made, channels=3, image_size=32) == (name, width)


@pytest.mark.parametrize("seed", [4, 20, 29])  # with these weights noise alone makes nothing that is below zero
def test_a_changed_encoder_of_ours_is_not_taken_for_it(seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = Conv4(channels=1, width=8)
    made.blocks[3][3] = nn.Identity()  # the same tensors, other features
    assert encoder_name(made, channels=1, image_size=28) == ("python:unknown", None)


@pytest.mark.filterwarnings("always::metatc2.experiment.transfer.UncheckedClasses")
def test_labeled_learners_and_episodes_without_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    g = torch.Generator().manual_seed(0)
    store = ImageStore(
        "x", torch.randint(0, 256, (30, 1, 16, 16), generator=g).to(torch.uint8), torch.arange(3).repeat(10)
    )
    tasks = LabeledTasks(store, way=2, shot=1, query=2, tasks=2, split="all")

    def episodes():  # type: ignore[no-untyped-def]
        while True:
            yield tasks.sample()

    Trainer(ProtoNet(Conv4(channels=1, width=8)), episodes(), TrainerOptions(steps=1), run=tmp_path / "run").fit()
    for asked in ("transfer", "estimate"):
        assert call(asked, str(tmp_path / "run")) == 2
        assert "does not say what images it was trained on" in " ".join(capsys.readouterr().err.split())
    assert call("transfer", str(tmp_path / "run"), *FEW) == 0
    assert "the classes it was trained on are not known" in " ".join(capsys.readouterr().err.split())


def test_a_store_of_a_program_is_no_source_and_its_images_in_a_file_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    g = torch.Generator().manual_seed(0)
    store = ImageStore.from_arrays(
        torch.randint(0, 256, (60, 1, 16, 16), generator=g).to(torch.uint8), torch.arange(60) % 6, "blobs"
    )
    for folder, width in (("run", 8), ("wide", 9)):
        learner = SelfSupervised(Conv4(channels=1, width=width), SimCLR(), projector=Projector(width, 8, 4))
        tasks = SplitBatch(store, Views.glyphs(), tasks=2, batch=16, split="meta-train")
        Trainer(learner, tasks, TrainerOptions(steps=1), run=tmp_path / folder).fit()
    for command in (
        ("transfer", "run"),
        ("transfer", "run", "--to", "blobs:meta-test"),
        ("estimate", "run"),
        ("fuse", "run", "wide"),
    ):
        assert call(*command) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "run learned from a store that a program made and named 'blobs', which no command can load" in said
        assert "--to npz:FILE.npz:all --allow-seen" in said
    assert call("diagnose", "run") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "which no command can load" in said
    assert "then --on npz:FILE.npz" in said
    assert call("transfer", "run", "--to", "blob") == 2
    assert "unknown source 'blob'" in capsys.readouterr().err
    np.savez("blobs.npz", images=store.images, labels=store.labels)
    assert call("transfer", "run", "--protocol", "knn", "--to", "npz:blobs.npz:all", "--allow-seen") == 0


@pytest.mark.filterwarnings("always::metatc2.experiment.diagnose.ViewsNotKnown")
def test_two_trainings_of_one_name_are_no_seeds_of_one_method(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = load("digits")

    def train(run: str, seed: int, temperature: float = 0.5, batch: int = 16) -> None:
        learner = SelfSupervised(Conv4(1, width=8), SimCLR(temperature), projector=Projector(8, 8, 4))
        tasks = SplitBatch(store, Views.natural(), tasks=2, batch=batch, split="meta-train", seed=seed)
        options = TrainerOptions(steps=2, log_every=1, optimizer=lambda sets: torch.optim.RMSprop(sets, lr=1e-3))
        Trainer(learner, tasks, options, run=tmp_path / run, about={"seed": seed}).fit()

    train("a", 0)
    train("again", 1)
    train("warm", 1, temperature=0.9)
    train("large", 1, batch=24)
    keys = {run: method_key(read_run_config(tmp_path / run)) for run in ("a", "again", "warm", "large")}
    assert keys["a"] == keys["again"]
    assert len(set(keys.values())) == 3
    # What is not known is not there: no view and no rate of a task that nothing was asked of.
    known = flatten(read_run_config(tmp_path / "a"))
    assert {key.partition(".")[0] for key in known} == {"data", "encoder", "learner", "trainer"}
    assert not {"trainer.lr", "trainer.weight_decay", "trainer.optimizer"} & known.keys()
    assert "recipe" not in (tmp_path / "a" / "config.toml").read_text()
    assert call("diagnose", str(tmp_path / "a"), "--max-images", "40") == 0
    assert "with views that cannot be made again from here" in capsys.readouterr().err


def test_images_that_commands_do_not_take_are_said_before_training(tmp_path: Path) -> None:
    def episodes() -> Iterator[Episode]:
        while True:
            images = torch.rand(2, 8, 1, 6, 10)
            yield Episode.of_views(images[0], images[1], tasks=2)

    encoder = nn.Sequential(nn.Flatten(), nn.Linear(60, 4))
    learner = SelfSupervised(encoder, SimCLR(), projector=Projector(4, 8, 4))
    with pytest.warns(
        NotForCommands, match="commands will not .*: images are 1 × 6 × 10, and .*; measure it from Python"
    ):
        Trainer(learner, episodes(), TrainerOptions(steps=1), run=tmp_path / "a").fit()
    assert RunFolder(tmp_path / "a").state is State.TRAINER


def test_a_learner_on_a_network_without_a_name_is_told_how_to_name_it(nets: Path) -> None:
    sys.path.insert(0, str(nets))
    try:
        import my_nets  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(nets))
    network = my_nets.other()
    learner = MAML(network, InnerLoop(inner_optimizer("sgd", 0.1), 1))
    tasks = LabeledTasks(load("digits"), way=3, shot=1, query=2, tasks=2, split="meta-train")
    with pytest.warns(NotForCommands, match=r'a Sequential, which .* pass Trainer\(..., encoder="MODULE:FUNCTION"\)'):
        Trainer(learner, tasks, TrainerOptions(steps=1), run=nets / "unsaid").fit()
    with pytest.warns(NotForCommands, match="will measure the encoder alone"):
        Trainer(learner, tasks, TrainerOptions(steps=1), run=nets / "said", encoder="my_nets:other").fit()
    assert 'name = "python:my_nets:other"' in (nets / "said" / "config.toml").read_text()


def maml(run: Path, inner: InnerLoop, kind: type[MAML] = MAML) -> Trainer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = kind(Classifier(Conv4(channels=1, width=8), 8, 3), inner)
    tasks = LabeledTasks(load("digits"), way=3, shot=1, query=2, tasks=2, split="meta-train")
    return Trainer(learner, tasks, TrainerOptions(steps=2, log_every=1, lr=0.05), run=run)


LABELED = ("--to", "digits:meta-test", "--way", "3", "--shot", "1", "--query", "2", "--episodes", "5")


def test_a_learner_on_labeled_tasks_is_measured_as_it_adapts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = maml(tmp_path / "a", InnerLoop(inner_optimizer("adam", 0.02), 2))
    made.fit()
    learner = load_run(tmp_path / "a").learner
    assert isinstance(learner, MAML)
    generator = torch.Generator().manual_seed(0)
    x, query = torch.rand(2, 6, 1, 28, 28, generator=generator)
    y = torch.arange(3).repeat(2)
    assert isinstance(made.learner, MAML)
    assert torch.equal(learner.predict(x, y, query), made.learner.eval().predict(x, y, query))
    assert call("transfer", str(tmp_path / "a"), *LABELED) == 0
    rows = json.loads((tmp_path / "a" / "transfer.json").read_text())
    assert {ADAPTED, ADAPTED_RANDOM, "encoder"} <= {row["features"] for row in rows}
    # A file that is not of this training is refused, and so are settings of anything but a learner.
    other = maml(tmp_path / "b", InnerLoop(inner_optimizer("adam", 0.03), 2))
    other.fit()
    (tmp_path / "a" / "learner.safetensors").write_bytes((tmp_path / "b" / "learner.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"of another training than the encoder"):
        load_run(tmp_path / "a")
    config = tmp_path / "b" / "config.toml"
    config.write_text(config.read_text().replace("learner.inner_lr=", "data.root="))
    with pytest.raises(InputError, match=r"may set learner\.KEY and episode\.way alone"):
        load_run(tmp_path / "b")


def test_what_is_made_again_has_the_encoder_and_the_seed_of_the_run() -> None:
    adapts = ("learner.name=maml", "learner.inner_lr=0.3", "episode.way=3")
    run = Config(learner=PythonConfig(adapts=adapts), encoder=EncoderConfig(width=8), trainer=TrainerConfig(seed=3))
    made = _of_labeled_tasks(run, Path("a"))
    assert made is not None
    keys = ("learner.name", "learner.inner_lr", "episode.way", "encoder.width", "trainer.seed")
    assert [made.value(key) for key in keys] == ["maml", 0.3, 3, 8, 3]


class Own(MAML):
    """One that commands do not know."""


@pytest.mark.parametrize(
    ("inner", "kind", "reason"),
    [
        (InnerLoop(torchopt.sgd(0.1, momentum=0.5), 1), MAML, "its inner optimizer has no name"),
        (InnerLoop(inner_optimizer("sgd", 0.1), 1), Own, "Own is no learner of metatc2"),
    ],
    ids=["optimizer", "class"],
)
def test_a_learner_that_cannot_be_made_again_is_said_before_training(
    inner: InnerLoop, kind: type[MAML], reason: str, tmp_path: Path
) -> None:
    made = maml(tmp_path / "a", inner, kind)
    with pytest.warns(NotForCommands, match=f"the encoder alone, and not the learner as it adapts to a task: {reason}"):
        made.fit(until=1)
    made.fit()
    assert load_run(tmp_path / "a").learner is None
    assert not (tmp_path / "a" / "learner.safetensors").exists()


def test_images_of_many_channels_are_measured_by_commands_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 4096, (60, 5, 16, 16)).astype(np.uint16)
    store = ImageStore.from_arrays(images, torch.arange(60) % 6, "bands")
    learner = SelfSupervised(Conv4(channels=5, width=4), SimCLR(), projector=Projector(4, 8, 4))
    Trainer(learner, SplitBatch(store, Views.none(), tasks=2, batch=16), TrainerOptions(steps=1), run="run").fit()
    np.savez("bands.npz", images=store.images, labels=store.labels)
    assert call("transfer", "run", "--protocol", "knn", "--to", "npz:bands.npz:all", "--allow-seen") == 0
    assert call("report", "run", "--out", "page.html") == 0
