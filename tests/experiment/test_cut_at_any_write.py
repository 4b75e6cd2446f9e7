"""A process that dies at any write, rename or removal leaves a run that goes on to the same bits, and messages that agree."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.config import Config
from metatc2.learners import Learner, Outcome
from metatc2.training import Trainer, TrainerOptions
from metatc2.training.metrics_file import read_metrics
from metatc2.training.run_folder import RunFolder, State

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")


class Killed(BaseException):
    """The process is gone: what it would have done in `finally` is not done either."""


class Life:
    """Counts what changes the disk, and ends before one of it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.done, self.last = 0, 10**9
        for module, name in ((os, "replace"), (os, "rename"), (os, "unlink"), (os, "mkdir"), (shutil, "rmtree")):
            patch.setattr(module, name, self._mortal(getattr(module, name)))
        patch.setattr(os, "fsync", self._sync)

    def _mortal(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*args: Any, **options: Any) -> Any:
            self._live()
            return act(*args, **options)

        return mortal

    def _sync(self, opened: int) -> None:
        try:
            self._live()
        except Killed:
            if os.path.isfile(f"/proc/self/fd/{opened}"):
                os.ftruncate(opened, os.fstat(opened).st_size // 2)  # half of it had reached the disk
            raise

    def _live(self) -> None:
        if self.done >= self.last:
            raise Killed
        self.done += 1


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> Life:
    return Life(monkeypatch)


class Walk(Learner):
    """Moves a weight by what the sampler says."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(3))

    def forward(self, episode: Episode) -> Outcome:
        return Outcome((self.w * episode.support.images.flatten()[:3]).square().sum(), {})


class Numbers:
    """Episodes of random numbers, which go on where they were."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(4)

    def sample(self) -> Episode:
        images, index = torch.rand(1, 1, 1, 1, 2, 2, generator=self.generator), torch.zeros(1, 1, dtype=torch.int64)
        side = Samples(images, None, None, index)
        return Episode(side, side)

    def state_dict(self) -> dict[str, Tensor]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.generator.set_state(state["generator"])


def trainer(path: Path) -> Trainer:
    options = TrainerOptions(steps=3, checkpoint_every=1, log_every=1, accelerator="cpu")
    return Trainer(Walk(), Numbers(), options, run=path)


@pytest.mark.slow
def test_a_trainer_cut_anywhere_goes_on_to_the_same_bits(tmp_path: Path, life: Life) -> None:
    whole = trainer(tmp_path / "whole")
    whole.fit()
    count, life.done = life.done, 0
    assert count >= 30
    for last in range(0, count, 2):
        path = tmp_path / f"cut{last}"
        life.done, life.last = 0, last
        with pytest.raises(Killed):
            trainer(path).fit()
        life.last = 10**9
        again = trainer(path)
        if RunFolder(path).latest is not None:
            with pytest.raises(InputError, match="holds a run at step"):
                trainer(path).fit()
            again.resume()
        again.fit()
        assert torch.equal(again.learner.w, whole.learner.w), last
        assert [record["step"] for record in read_metrics(path / "metrics.jsonl")] == [1, 2, 3]
        assert sorted(p.name for p in path.iterdir()) == ["checkpoint", "metrics.jsonl"], last
        left = [p.name for p in (path / "checkpoint").iterdir() if str(os.getpid()) not in p.name]
        # An earlier one that could not be removed any more does no harm.
        assert "step-00000003" in left
        assert set(left) <= {"step-00000002", "step-00000003"}, last


def test_a_run_cut_anywhere_is_started_or_resumed_as_its_state_says(config: Config, tmp_path: Path, life: Life) -> None:
    whole = runs.pretrain(config, tmp_path / "whole")
    count, met = life.done, set()
    for share in (0.0, 0.2, 0.4, 0.95, 0.99):
        path = tmp_path / f"cut{share}"
        life.last, life.done = int(share * count), 0
        with pytest.raises(Killed):
            runs.pretrain(config, path)
        life.last = 10**9
        state = RunFolder(path).state
        met.add(state)
        if state in (State.CUT, State.FINISHED):
            with pytest.raises(InputError, match="exists already.*--resume"):
                runs.pretrain(config, path)
        if state in (State.BEGUN, State.CUT):
            with pytest.raises(InputError, match="not finished; metatc2 pretrain --resume"):
                runs.load_run(path)
        if state is State.NEW:
            with pytest.raises(InputError, match="not a run folder.*metatc2 pretrain TASK --run"):
                runs.resume(path)
        again = (runs.pretrain if state is State.NEW else lambda _, path: runs.resume(path))(config, path)
        assert again.encoder_sha256 == whole.encoder_sha256
        assert RunFolder(path).state is State.FINISHED
    assert met == {State.NEW, State.BEGUN, State.CUT, State.FINISHED}
