"""Pretext tasks by name: under every calibration, with what the command line adds, and refused in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metatc2.data.pairs import Pairs
from metatc2.diagnostics import task_loss
from metatc2.episodes import Episode, Samples, TaskIdentity
from metatc2.errors import InputError
from metatc2.experiment.build import build_learner
from metatc2.experiment.command_config import MethodFlags, configured
from metatc2.experiment.config import override, read_task
from metatc2.experiment.context import adapt_to_pairs
from metatc2.learners import TC2, SelfSupervised
from metatc2.objectives import OBJECTIVES

from ..command_line import call
from ..covering import covered

PRETEXTS = [name for name, kind in OBJECTIVES.items() if not kind.two_views]
CALIBRATIONS = {
    "none": (),
    "standardize": (),
    "tasks": (),
    "tc2": ("calibration.outer_on=others",),
    "shared": ("calibration.adapt=shared", "calibration.gamma=1"),
    "look ahead": ("calibration.adapt=shared", "calibration.look_ahead=true"),
}
SMALL = (
    "encoder.width=8",
    "episode.tasks=2",
    "episode.batch=8",
    "episode.tasks_differ_by=views",
    "head.projector_out=8",
)


def episode() -> Episode:
    g = torch.Generator().manual_seed(0)
    whole = Samples(
        torch.rand(2, 4, 2, 3, 32, 32, generator=g),
        None,
        torch.rand(2, 4, 2, 24, generator=g),
        torch.zeros(2, 4).long(),
    )
    return Episode(whole.map(lambda t: t[:, :2]), whole.map(lambda t: t[:, 2:]))


@pytest.mark.parametrize(("pretext", "calibration"), covered(PRETEXTS, CALIBRATIONS, strength=1))
def test_every_calibration_trains_them(pretext: str, calibration: str) -> None:
    name = calibration if calibration in ("none", "standardize", "tasks") else "tc2"
    settings = [f"objective.name={pretext}", f"calibration.name={name}", *CALIBRATIONS[calibration], *SMALL]
    learner = build_learner(override(read_task("shapes"), settings), 3, 32)
    assert isinstance(learner, SelfSupervised)
    learner.begin_step(0, 10)
    outcome = learner(episode())
    outcome.loss.backward()
    assert outcome.loss.isfinite()
    for part in (learner.encoder, learner.projector, learner.objective):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters()), part


@pytest.mark.parametrize("kind", ["pcgrad", "uncertainty"])
def test_rivals_see_what_the_objective_makes(kind: str) -> None:
    if kind == "pcgrad":
        pytest.importorskip("torchjd")
    settings = [
        "objective.name=rotation",
        "calibration.name=tasks",
        f"learner.aggregate={kind}",
        *SMALL,
        "episode.recipes=one",
    ]
    learner = build_learner(override(read_task("shapes"), settings), 3, 32)
    seen: list[int] = []
    learner.encoder.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    identity = TaskIdentity(torch.arange(2), ("a", "b", "c", "d"), torch.zeros(2, 4))
    learner(replace(episode(), identity=identity)).loss.backward()
    assert seen == [2 * 4 * 4]  # tasks, samples, turns


@pytest.mark.parametrize("pretext", PRETEXTS)
def test_conflict_of_calibrated_pretexts_is_measured(pretext: str) -> None:
    settings = [f"objective.name={pretext}", "calibration.name=tc2", *SMALL]
    loss, parameters = task_loss(build_learner(override(read_task("shapes"), settings), 3, 32))
    assert loss(parameters, episode().images[0]).isfinite()


def test_tiles_too_small_for_the_encoder_are_known_before_anything_is_written() -> None:
    settings = ["objective.name=jigsaw", "objective.tile=8", *SMALL]
    with pytest.raises(
        InputError, match=r"'jigsaw' makes images of 8 pixels of those of 32, and Conv4 does not take them"
    ):
        build_learner(override(read_task("shapes"), settings), 3, 32)


def test_pairs_say_nothing_to_a_pretext() -> None:
    settings = ["objective.name=rotation", "calibration.name=tc2", *SMALL]
    learner = build_learner(override(read_task("shapes"), settings), 3, 32)
    assert isinstance(learner, TC2)
    with pytest.raises(InputError, match="pairs say what counts as the same, and rotation compares no two images"):
        adapt_to_pairs(learner, Pairs(torch.zeros(3, 2, 3, 32, 32, dtype=torch.uint8), "pairs"))


def test_heads_start_by_the_seed_and_change_no_other() -> None:
    made = [
        build_learner(override(read_task("shapes"), [*SMALL, "objective.name=jigsaw", f"trainer.seed={seed}"]), 3, 32)
        for seed in (0, 0, 1)
    ]
    first, again, other = (dict(learner.named_parameters()) for learner in made)
    assert torch.equal(first["objective.head.0.weight"], again["objective.head.0.weight"])
    assert not torch.equal(first["objective.head.0.weight"], other["objective.head.0.weight"])


def test_isotropy_is_added_where_views_shall_be_alike() -> None:
    assert configured("shapes", MethodFlags(objective="simclr")).regularizer.name == "isotropy"
    assert configured("shapes", MethodFlags(objective="rotation")).regularizer.name == "none"
    assert configured("shapes", MethodFlags(), ["objective.name=jigsaw"]).regularizer.name == "none"
    assert configured("shapes", MethodFlags(), ['objective.name="simclr"']).regularizer.name == "isotropy"
    asked = configured("shapes", MethodFlags(objective="rotation", regularize="isotropy"))
    assert asked.regularizer.name == "isotropy"
    with pytest.raises(InputError, match=r"cannot be .rotate.; did you mean 'rotation'\?"):
        configured("shapes", MethodFlags(objective="rotate"))


def test_gray_images_have_no_colors_to_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = call("pretrain", "digits", "--objective", "colorization", "--steps", "2", "--run", str(tmp_path / "run"))
    assert code == 2
    assert "use a source of color images, or another objective" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
