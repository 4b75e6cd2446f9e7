"""`metatc2 replay`: the step of a run that was not finite, by the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from metatc2.episodes import Episode
from metatc2.errors import InputError
from metatc2.experiment import replay
from metatc2.experiment import run as runs
from metatc2.experiment.config import Config, override
from metatc2.learners import Outcome, SharedTC2
from metatc2.training import TrainingDiverged
from metatc2.training.run_folder import RunFolder, State

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")


@pytest.fixture
def diverged(config: Config, tmp_path: Path) -> Path:
    """The first step makes the weights so large that the second is not finite."""
    with pytest.raises(
        TrainingDiverged, match=r"step 2: .*failure/step-00000001 holds this step, and metatc2 replay .*diverged"
    ):
        runs.pretrain(override(config, ["trainer.lr=1e20", "trainer.clip=0"]), tmp_path / "diverged")
    return tmp_path / "diverged"


def test_a_run_that_diverged_is_replayed(diverged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in diverged.rglob("*") if path.is_file()}
    assert RunFolder(diverged).state is State.CUT
    capsys.readouterr()
    assert call("replay", str(diverged)) == 1
    out, said = capsys.readouterr()
    assert out == ""
    lines = said.splitlines()
    assert lines[0].startswith("kept: step 2: ")
    assert lines[1].startswith("first not finite: output of encoder.")
    assert "what went in was finite" in lines[1]
    assert any(line.startswith("metatc2: fails again: step 2: ") for line in lines)
    assert {path: path.read_bytes() for path in diverged.rglob("*") if path.is_file()} == before


def test_a_step_that_the_code_makes_finite_now_is_said_so(
    diverged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forward = SharedTC2.forward

    def mended(self: SharedTC2, episode: Episode) -> Outcome:
        for parameter in self.parameters():
            parameter.data.clamp_(-1, 1)
        return forward(self, episode)

    monkeypatch.setattr(SharedTC2, "forward", mended)
    capsys.readouterr()
    assert call("replay", str(diverged)) == 0
    assert "step 2 is finite now (loss " in capsys.readouterr().err


def test_what_cannot_be_replayed_is_one_sentence(run: Path, diverged: Path) -> None:
    with pytest.raises(InputError, match="failure holds no step to be made again"):
        replay.run(run)
    with pytest.raises(InputError, match="is not a run folder"):
        replay.run(run.parent / "none")
    config = (diverged / "config.toml").read_text()
    (diverged / "config.toml").write_text(config.replace("width = 8", "width = 12"))
    with pytest.raises(InputError, match="does not fit the learner that .*config.toml names"):
        replay.run(diverged)
    (diverged / "config.toml").write_text(config)
    (state,) = diverged.rglob("failure/*/state.safetensors")
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(InputError, match="is damaged"):
        replay.run(diverged)
