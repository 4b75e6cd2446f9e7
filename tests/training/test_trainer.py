"""The outer loop: resumption in the same bits, checkpoints that survive damage, divergence, collapse, any learner."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn

from metatc2.augment import Views
from metatc2.calibration import TaskCalibrator, named_calibrator
from metatc2.data.store import ImageStore
from metatc2.episodes import Episode, SplitBatch
from metatc2.errors import InputError
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.learners import TC2, Learner, Outcome, SelfSupervised, SharedTC2
from metatc2.models.heads import Predictor, Projector
from metatc2.objectives import BYOL, MoCo, Objective, SimCLR
from metatc2.objectives.regularizers import Isotropy, SIGReg
from metatc2.training import HealthWarning, Trainer, TrainerOptions, TrainingDiverged
from metatc2.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint

from ..covering import covered

# A few steps on noise: embeddings and factors are not healthy, and need not be.
pytestmark = pytest.mark.filterwarnings(
    "ignore::metatc2.training.HealthWarning", "ignore::metatc2.training.own_run.NotForCommands"
)


def sampler(seed: int = 0) -> SplitBatch:
    g = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (40, 1, 16, 16), generator=g).to(torch.uint8)
    store = ImageStore("noise", images, torch.zeros(40, dtype=torch.int64))
    return SplitBatch(store, Views.glyphs(), tasks=2, batch=16, seed=seed)


def small_encoder() -> nn.Module:
    convolution = nn.Conv2d(1, 8, 3, stride=4)
    return nn.Sequential(convolution, nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 8))


def learner(
    objective: Objective, seed: int = 0, calibrated: Literal["no", "task", "shared"] = "shared", **options: Any
) -> SelfSupervised:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        common: dict[str, Any] = {
            "encoder": small_encoder(),
            "objective": objective,
            "projector": Projector(8, 16, 12),
            "predictor": Predictor(12, 16) if objective.predictor else None,
        }
    generator = torch.Generator().manual_seed(seed)
    if calibrated == "no":
        return SelfSupervised(**common, **options)
    if calibrated == "task":
        own = TaskCalibrator(8, 3, weights="sample", generator=generator)
        return TC2(**common, **options, calibrator=own, inner=InnerLoop(inner_optimizer("adam", 1.0), 2))
    return SharedTC2(
        **common,
        **options,
        calibrator=named_calibrator(8, 3, generator=generator),
        inner=InnerLoop(inner_optimizer("adam", 0.01), 2),
    )


OPTIONS = TrainerOptions(steps=9, checkpoint_every=4, log_every=2)


CUTS: list[tuple[int, dict[str, Any]]] = [
    (4, {}),
    (7, {}),
    (7, {"gamma": 1.0, "regularizer": Isotropy(), "weight": 0.5}),
    (4, {"calibrated": "no", "standardize": True, "regularizer": Isotropy(), "weight": 0.5}),
    (4, {"calibrated": "task"}),
    (7, {"calibrated": "task", "outer_on": "others", "regularizer": SIGReg(slices=8), "weight": 0.5}),
]


@pytest.mark.parametrize(
    ("make", "cut_with"),
    [
        *covered((SimCLR, BYOL, MoCo), CUTS[::2], strength=1),
        *(pytest.param(make, cut, marks=pytest.mark.slow) for make in (SimCLR, BYOL, MoCo) for cut in CUTS[1::2]),
    ],
    ids=str,
)
def test_cut_and_resumed_ends_in_the_same_bits(
    tmp_path: Path, make: type[Objective], cut_with: tuple[int, dict[str, Any]]
) -> None:
    cut, options = cut_with
    whole = Trainer(learner(make(), **options), sampler(), OPTIONS, run=tmp_path / "whole")
    whole.fit()
    Trainer(learner(make(), **options), sampler(), OPTIONS, run=tmp_path / "cut").fit(until=cut)
    # Other seeds: everything that matters must come from the checkpoint.
    again = Trainer(learner(make(), seed=9, **options), sampler(seed=9), OPTIONS, run=tmp_path / "cut")
    assert again.resume() == 4
    # The average magnitude of the objective too, which regularizers and the shared calibrator's γ are measured by, and the
    # unit of each task's own inner loss.
    assert bool(again.learner.scale.item() > 0) == bool(options.keys() & {"gamma", "regularizer"})
    assert "sensitivity" not in dict(again.learner.named_buffers()) or again.learner.sensitivity.item() > 0
    again.fit()
    for name, tensor in whole.learner.state_dict().items():
        assert torch.equal(tensor, again.learner.state_dict()[name]), name
    one, two = (
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "cut")
    )
    assert [r["step"] for r in one] == [2, 4, 6, 8, 9] == [r["step"] for r in two]
    assert [r["loss"] for r in one] == [r["loss"] for r in two]
    assert {"loss", "ssl", "lr", "images_per_second", "data_wait"} <= set(one[0])


def test_dropout_resumes_too(tmp_path: Path) -> None:
    def build() -> SelfSupervised:
        made = learner(SimCLR(), calibrated="no")
        made.projector = nn.Sequential(nn.Dropout(0.5), made.projector)
        return made

    torch.manual_seed(1)
    whole = Trainer(build(), sampler(), OPTIONS, run=tmp_path / "whole")
    whole.fit()
    torch.manual_seed(1)
    Trainer(build(), sampler(), OPTIONS, run=tmp_path / "cut").fit(until=4)
    torch.manual_seed(2)
    again = Trainer(build(), sampler(), OPTIONS, run=tmp_path / "cut")
    again.resume()
    again.fit()
    assert all(torch.equal(t, again.learner.state_dict()[n]) for n, t in whole.learner.state_dict().items())


def test_checkpoint_holds_no_pickle_and_only_the_last_is_kept(tmp_path: Path) -> None:
    Trainer(learner(SimCLR()), sampler(), OPTIONS, run=tmp_path).fit()
    folders = list((tmp_path / "checkpoint").iterdir())
    assert [f.name for f in folders] == ["step-00000009"]
    assert sorted(f.name for f in folders[0].iterdir()) == ["state.json", "state.safetensors"]


def damaged(tmp_path: Path, how: str) -> Path:
    Trainer(learner(SimCLR()), sampler(), OPTIONS, run=tmp_path).fit(until=4)
    folder = latest_checkpoint(tmp_path / "checkpoint")
    assert folder is not None
    tensors, facts = folder / "state.safetensors", folder / "state.json"
    if how == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-100])
    elif how == "flipped":
        content = bytearray(tensors.read_bytes())
        content[-1] ^= 1
        tensors.write_bytes(content)
    elif how == "json":
        facts.write_text(facts.read_text()[:-10])
    elif how == "missing":
        tensors.unlink()
    else:
        shutil.rmtree(folder)
    return tmp_path


@pytest.mark.parametrize("how", ["truncated", "flipped", "json", "missing", "gone"])
def test_damaged_checkpoints_are_refused(tmp_path: Path, how: str) -> None:
    trainer = Trainer(learner(SimCLR()), sampler(), OPTIONS, run=damaged(tmp_path, how))
    with pytest.raises(InputError, match="damaged|cannot be read|no checkpoint"):
        trainer.resume()


def test_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    Trainer(learner(SimCLR()), sampler(), OPTIONS, run=tmp_path, about={"fingerprint": "a"}).fit(until=4)
    other = Trainer(learner(SimCLR()), sampler(), OPTIONS, run=tmp_path, about={"fingerprint": "b"})
    with pytest.raises(InputError, match="fingerprint: a in the checkpoint, b now"):
        other.resume()


def test_states_round_trip(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).view(2, 3)
    state = {"a": tensor, "b": [1, None, {"c": tensor.t(), 3: True}], "d": "x", "e": 1.5}
    step, loaded, about = load_checkpoint(save_checkpoint(tmp_path, 3, state, {"f": "g"}))
    assert (step, about) == (3, {"f": "g"})
    assert torch.equal(loaded["b"][2]["c"], tensor.t())
    assert loaded["b"][2][3] is True
    assert (loaded["b"][0], loaded["b"][1], loaded["d"], loaded["e"]) == (1, None, "x", 1.5)
    with pytest.raises(TypeError, match="/bad is a set"):
        save_checkpoint(tmp_path, 4, {"bad": {1}}, {})
    assert latest_checkpoint(tmp_path) == tmp_path / "step-00000003"


def test_an_iterator_is_a_sampler_that_cannot_be_resumed(tmp_path: Path) -> None:
    episodes = [sampler().sample() for _ in range(3)]
    options = TrainerOptions(steps=3, checkpoint_every=2)
    Trainer(learner(SimCLR()), iter(episodes), options, run=tmp_path).fit(until=2)
    with pytest.raises(InputError, match="cannot be resumed"):
        Trainer(learner(SimCLR()), iter(episodes), options, run=tmp_path).resume()
    with pytest.raises(InputError, match="ended before training did"):
        Trainer(learner(SimCLR()), iter(episodes), TrainerOptions(steps=4)).fit()


class Exploding(Learner):
    """Loss or gradient stops being finite at the sixth step."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.where, self.calls = where, 0

    def forward(self, episode: Episode) -> Outcome:
        self.calls += 1
        late = self.calls > 5
        loss = self.w.square().sum()
        if late and self.where == "loss":
            loss = loss / 0
        if late and self.where == "gradient":
            loss = loss + (self.w - self.w.detach()).sqrt().sum()
        return Outcome(loss, {"calls": float(self.calls)})


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_divergence_names_step_metrics_and_checkpoint(tmp_path: Path, where: str) -> None:
    trainer = Trainer(Exploding(where), sampler(), OPTIONS, run=tmp_path)
    with pytest.raises(TrainingDiverged, match=rf"step 6: the {where}.*calls 6.*step-00000004"):
        trainer.fit()
    assert trainer.learner.w.isfinite().all()


class Constant(Learner):
    """Every image has the same embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(8))

    def forward(self, episode: Episode) -> Outcome:
        z = self.w.expand(32, 8)
        return Outcome(z.square().mean(), {}, z.detach())


def test_collapse_is_warned_of_once_and_written_down(tmp_path: Path) -> None:
    with pytest.warns(HealthWarning) as caught:
        Trainer(Constant(), sampler(), OPTIONS, run=tmp_path).fit()
    assert len(caught) == 1
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(line["alarms"] for line in lines)


def test_schedule_and_clipping() -> None:
    trainer = Trainer(Constant(), sampler(), TrainerOptions(steps=100, lr=1.0, warmup=0.1))
    rates = [trainer.options.learning_rate(step) for step in range(100)]
    assert max(rates) == rates[10] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001
    assert rates[55] == pytest.approx(0.5)

    sgd = TrainerOptions(steps=1, optimizer="sgd", lr=1.0, warmup=0.0, clip=0.1, weight_decay=0.0)
    made = Constant()
    before = made.w.detach().clone()
    Trainer(made, sampler(), sgd).fit()
    # Nesterov's first step is 1.9 times the (clipped) gradient.
    assert (made.w - before).norm().item() == pytest.approx(1.9 * 0.1, rel=1e-3)


def test_bf16_runs_the_encoder_in_half_precision_and_the_rest_in_full() -> None:
    made = learner(SimCLR())
    seen = []
    made.encoder.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    made.projector.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    Trainer(made, sampler(), TrainerOptions(steps=2, precision="bf16-mixed")).fit()
    assert torch.bfloat16 in seen
    assert seen[0] == torch.bfloat16
    assert set(seen[1:-1]) >= {torch.float32}
    assert all(p.dtype == torch.float32 for p in made.parameters())
