"""A step that is not finite is named, kept whole, and made again; nothing else of the run moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metatc2.episodes import Episode
from metatc2.episodes.episode import Samples
from metatc2.inner import InnerLoopDiverged
from metatc2.learners import Learner, Outcome
from metatc2.learners.base import ParameterGroup
from metatc2.training import Trainer, TrainerOptions, TrainingDiverged, load_failure, replay
from metatc2.training.finite_data import not_finite_in

OPTIONS = TrainerOptions(steps=4, checkpoint_every=1, log_every=1, lr=0.1)
AT = 2  # steps done before the one that fails


class Root(nn.Module):
    """The square root: at 0 the derivative of 0 · √0 is NaN, and its value is not."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


class Net(Learner):
    """Batch normalization, dropout and two optimizers; where `where` says so the step with a mark in its images fails."""

    def __init__(self, where: str = "") -> None:
        super().__init__()
        self.where = where
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.root, self.out = Root(), nn.Linear(4, 1)

    def groups(self) -> list[ParameterGroup]:
        return [
            ParameterGroup("body", list(self.body.parameters())),
            ParameterGroup("out", list(self.out.parameters())),
        ]

    def forward(self, episode: Episode) -> Outcome:
        x = episode.images.flatten(0, 2)
        marked = bool((x > 50).any())
        h = self.body(x)
        if marked and self.where == "inner":
            raise InnerLoopDiverged("the inner loss is NaN or infinite at step 1 of 3")
        if marked and self.where == "loss":
            h = self.root(h - 1e6)
        if marked and self.where == "gradient":
            h = h + 0 * self.root(h - h.detach())
        if marked and self.where == "matrix":
            torch.linalg.eigvalsh(h.T @ h * torch.nan)
        return Outcome(self.out(h).square().mean(), {"of": 1.0})


def episodes(mark: float) -> Iterator[Episode]:
    g = torch.Generator().manual_seed(0)
    for step in range(100):
        images = torch.rand(2, 4, 1, 3, generator=g)
        if step == AT:
            images[1, 2, 0, 1] = mark
        side = Samples(images, None, None, torch.arange(8).view(2, 4))
        yield Episode(side, replace(side, images=images.flip(1), index=torch.full((2, 4), -1)))


class Sampler:
    """Can be resumed, as a run asks of it."""

    def __init__(self, mark: float = 99.0) -> None:
        self.mark, self.at = mark, 0
        self.made = episodes(mark)

    def sample(self) -> Episode:
        self.at += 1
        return next(self.made)

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.made, self.at = episodes(self.mark), state["at"]
        for _ in range(self.at):
            next(self.made)


def learner(where: str = "") -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(where)


@pytest.mark.parametrize(
    ("where", "mark", "said", "first"),
    [
        (
            "",
            torch.nan,
            r"the data are not finite: the support image of task 1, sample 2, view 0, row 6 of the store",
            None,
        ),
        (
            "loss",
            99.0,
            "the loss is not finite",
            "output of root (Root) (16, 4): 64 NaN of 64 values; what went in was finite",
        ),
        (
            "gradient",
            99.0,
            "the gradient of 'body' is not finite",
            "gradient of the output of body.2 (Dropout) (16, 4): ",
        ),
        ("inner", 99.0, "the inner loss is NaN or infinite at step 1 of 3", None),
        ("matrix", 99.0, "linalg.eigh|linalg.eigvalsh", None),
    ],
)
def test_a_step_that_is_not_finite_is_named_and_kept_and_made_again(
    where: str, mark: float, said: str, first: str | None, tmp_path: Path
) -> None:
    torch.manual_seed(7)  # of dropout
    trainer = Trainer(learner(where), Sampler(mark), OPTIONS, run=tmp_path, about={"fingerprint": "x"})
    trainer.fit(until=AT)
    before = {name: tensor.clone() for name, tensor in trainer.learner.state_dict().items()}
    random, records = torch.get_rng_state(), (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(TrainingDiverged, match=f"step 3: .*({said}).*failure/step-00000002 holds this step"):
        trainer.fit()
    # The parameters that were, the last checkpoint and the records stay; two optimizers, and none has moved.
    for name, parameter in trainer.learner.named_parameters():
        assert torch.equal(parameter, before[name]), name
    assert trainer.folder is not None
    assert trainer.folder.latest == tmp_path / "checkpoint" / "step-00000002"
    assert (tmp_path / "metrics.jsonl").read_bytes() == records
    # What is kept is the state before the step, running statistics too, which the forward pass has moved since.
    failure = load_failure(tmp_path / "failure")
    assert (failure.step, failure.length, failure.about) == (AT, 4, {"fingerprint": "x"})
    assert failure.learner.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(failure.learner[name], tensor), name
    assert torch.equal(failure.random["cpu"], random)
    wanted = list(zip(range(AT + 1), episodes(mark), strict=False))[AT][1]
    assert torch.equal(failure.episode.support.images.nan_to_num(), wanted.support.images.nan_to_num())
    # The current code, which may be another: here once the same and once mended.
    again = Trainer(learner(where), Sampler(mark), OPTIONS)
    with torch.random.fork_rng():
        replayed = replay(again, failure)
    assert replayed.error is not None
    if first is not None:
        assert replayed.not_finite[0].startswith(first)
    if where == "gradient":
        assert any(s.startswith("gradient of the parameter body.0.weight (4, 3)") for s in replayed.not_finite)
        with torch.random.fork_rng():
            told = replay(Trainer(learner(where), Sampler(mark), OPTIONS), failure, anomaly=True)
        assert "SqrtBackward0" in (told.error or "")
        assert "x.sqrt()" in told.trace
    if where:
        with torch.random.fork_rng():
            mended = replay(Trainer(learner(), Sampler(mark), OPTIONS), failure)
        assert mended.error is None
        assert mended.not_finite == []


def test_a_replayed_step_is_the_step(tmp_path: Path) -> None:
    """The random state is that of the step: dropout drops the same."""
    torch.manual_seed(7)
    broken = Trainer(learner("loss"), Sampler(), OPTIONS, run=tmp_path)
    with pytest.raises(TrainingDiverged):
        broken.fit()
    with torch.random.fork_rng():
        made = replay(Trainer(learner(), Sampler(), OPTIONS), load_failure(tmp_path / "failure"))
    torch.manual_seed(7)
    whole = Trainer(learner(), Sampler(), OPTIONS)
    whole.fit()
    assert made.loss == whole.history[AT]["loss"]


def test_one_failure_is_kept_and_a_resumed_run_meets_it_again(tmp_path: Path) -> None:
    def run(where: str) -> Trainer:
        return Trainer(learner(where), Sampler(), OPTIONS, run=tmp_path)

    with pytest.raises(TrainingDiverged):
        run("loss").fit()
    again = run("loss")
    assert again.resume() == AT
    with pytest.raises(TrainingDiverged):
        again.fit()
    assert [path.name for path in (tmp_path / "failure").iterdir()] == ["step-00000002"]
    mended = run("")
    mended.resume()
    mended.fit()
    assert mended.step == 4
    facts = json.loads((tmp_path / "failure" / "step-00000002" / "state.json").read_text())
    assert facts["step"] == AT


def test_what_cannot_be_kept_is_said_with_the_failure(tmp_path: Path) -> None:
    class Odd(Net):
        def get_extra_state(self) -> Any:
            return object()

    trainer = Trainer(Odd("loss"), Sampler(), replace(OPTIONS, checkpoint_every=0), run=tmp_path)
    with pytest.raises(TrainingDiverged, match=r"the loss is not finite.*the step could not be kept \(.*is an object"):
        trainer.fit()


def spoil(side: str, part: str, place: tuple[int, ...], value: float) -> Callable[[], Episode]:
    def made() -> Episode:
        samples = Samples(
            torch.zeros(2, 3, 2, 1, 4, 4), torch.zeros(2, 3), torch.zeros(2, 3, 2, 5), torch.full((2, 3), -1)
        )
        other = samples.map(torch.clone)
        getattr(other, part)[place] = value
        return Episode(other, samples) if side == "support" else Episode(samples, other)

    return made


@pytest.mark.parametrize(
    ("episode", "said"),
    [
        (
            spoil("query", "images", (1, 2, 1, 0, 3, 3), torch.nan),
            "the query image of task 1, sample 2, view 1 holds NaN (1 of 16",
        ),
        (
            spoil("support", "images", (0, 1, 0), torch.inf),
            "the support image of task 0, sample 1, view 0 holds infinity (16 of",
        ),
        (spoil("query", "labels", (1, 0), torch.nan), "the query label of task 1, sample 0 holds NaN (1 of 1"),
        (
            spoil("query", "descriptors", (1, 0, 1, 2), torch.nan),
            "the query descriptor of task 1, sample 0, view 1 holds NaN",
        ),
        # Finite values whose sum overflows are finite.
        (spoil("query", "images", (1, 2), 3e38), None),
    ],
)
def test_data_that_are_not_finite_are_named(episode: Callable[[], Episode], said: str | None) -> None:
    found = not_finite_in(episode())
    assert found is None if said is None else (found or "").startswith(said)
