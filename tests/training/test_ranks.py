"""Two and three processes take the steps of one."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from metatc2.augment import Views
from metatc2.conditioning import TaskHeads
from metatc2.data import ImageStore
from metatc2.episodes import Episode, FromIterable, Samples, SinusoidTasks, SplitBatch
from metatc2.errors import InputError, RanksDiffer
from metatc2.experiment.build import build_learner, build_sampler, build_trainer_options
from metatc2.experiment.config import override, read_task
from metatc2.learners import Learner, Outcome
from metatc2.learners.separate import SeparateLearner
from metatc2.learners.surgery import GradientSurgery
from metatc2.objectives import SimCLR
from metatc2.ops.ranks import ALONE
from metatc2.training import Trainer, TrainerOptions, TrainingDiverged, load_failure, replay

from ..ranks import together

# Of encoders without a name, which commands cannot measure.
pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.own_run.NotForCommands")

# Not many more: rounding grows tenfold a step, and with ten of them reached a millionth on one processor.
STEPS, SIX = 4, "trainer.steps=6"
SMALL = (
    "data.image_size=16",
    f"trainer.steps={STEPS}",
    "trainer.threads=1",
    "trainer.accelerator=cpu",
    "trainer.lr=0.01",
    "trainer.log_every=2",
)
SSL = ("episode.tasks=4", "episode.batch=32", "head.projector_hidden=16", "head.projector_out=8")
FEW_SHOT = ("episode.way=3", "episode.shot=2", "episode.query=3", "episode.meta_batch=4")
LEARNERS: dict[str, tuple[str, ...]] = {
    "simclr": (*SSL, "calibration.name=none"),
    "simclr, conv4": (*SSL, "calibration.name=none", "encoder.width=8"),
    "simclr, tasks apart": (*SSL, "calibration.name=tasks", "regularizer.name=isotropy"),
    "moco": (*SSL, "objective.name=moco", "objective.queue=48", "calibration.name=none"),
    "byol": (*SSL, "objective.name=byol", "calibration.name=none"),
    "barlow": (*SSL, "objective.name=barlow", "calibration.name=none"),
    "vicreg": (*SSL, "objective.name=vicreg", "calibration.name=none"),
    "tc2": (*SSL, "calibration.name=tc2", "calibration.factors=4"),
    "shared tc2": (*SSL, "calibration.name=tc2", "calibration.adapt=shared", "calibration.factors=4"),
    "conditioned": (*SSL, "calibration.name=none", "condition.name=concatenate"),
    "rotation": (*SSL, "calibration.name=none", "objective.name=rotation"),
    "maml": (*FEW_SHOT, "learner.name=maml", "calibration.name=none"),
    "protonet": (*FEW_SHOT, "learner.name=protonet", "calibration.name=none"),
}


def small_encoder() -> nn.Module:
    """With batch normalization, whose statistics are of all processes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 8))


@cache
def store() -> ImageStore:
    """Noise with a class in it, so that nothing is the same by chance."""
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (96, 1, 16, 16), generator=g, dtype=torch.uint8)
    return ImageStore("noise", images, torch.arange(96) % 6)


def trainer(name: str, *more: str, encoder: nn.Module | None = None, **arguments: Any) -> Trainer:
    """Of a learner of the list, in double precision, where rounding cannot hide a wrong gradient."""
    config = override(read_task("glyphs"), [*SMALL, "data.split=all", *LEARNERS[name], *more])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = build_learner(config, 1, 16, encoder or (None if "conv4" in name else small_encoder())).double()
    sampler = _Double(build_sampler(config, store()))
    return Trainer(learner, sampler, build_trainer_options(config), **arguments)


class _Double:
    """Episodes with images in double precision; it passes on how tasks are divided."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler
        self.divide, self.state_dict, self.load_state_dict = sampler.divide, sampler.state_dict, sampler.load_state_dict

    def sample(self) -> Any:
        episode = self.sampler.sample()
        return type(episode)(
            *(
                side.map(lambda t: t.double() if t.is_floating_point() else t)
                for side in (episode.support, episode.query)
            ),
            episode.identity,
        )


def trained(name: str, *more: str) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """State and records after all steps."""
    made = trainer(name, *more)
    records = made.fit()
    return state_of(made), records


def state_of(made: Trainer) -> dict[str, torch.Tensor]:
    return {key: t.detach().clone() for key, t in made.learner.state_dict().items() if isinstance(t, torch.Tensor)}


# Of each kind of exchange between processes one; the others do what these do.
QUICK = ("simclr", "moco", "byol", "barlow", "tc2", "shared tc2", "conditioned", "maml")
OTHERS = tuple(name for name in LEARNERS if name not in QUICK)


def all_trained(rank: int, *more: str, names: Collection[str] = LEARNERS) -> dict[str, Any]:
    """Of every learner, on a process."""
    return {name: trained(name, *more) for name in names}


def others_trained(rank: int) -> dict[str, Any]:
    return all_trained(rank, names=OTHERS)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes have, and what they wrote."""
    folder = tmp_path_factory.mktemp("two")
    alone = trainer("tc2", run=folder / "of one")
    alone.fit(2)
    alone.save()
    return together(2, on_two, folder)


def on_two(rank: int, folder: Path) -> dict[str, Any]:
    answer: dict[str, Any] = dict(all_trained(rank, names=QUICK))
    # Cut in the middle, with a checkpoint that one process alone goes on from, and so do two.
    cut = trainer("tc2", "trainer.checkpoint_every=2", run=folder / "cut")
    cut.fit(2)
    cut.save()
    again = trainer("tc2", run=folder / "cut")
    again.resume()
    again.fit()
    answer["resumed"] = state_of(again)
    # Of one process, by two; and the other way round.
    longer = trainer("tc2", run=folder / "of one")
    longer.resume()
    longer.fit()
    answer["longer"] = state_of(longer)
    half = trainer("tc2", run=folder / "of two")
    half.fit(2)
    half.save()
    answer["ranks after"] = half.learner.ranks
    try:
        Trainer(Square(), SinusoidTasks(rank=1), TrainerOptions(accelerator="cpu"))
    except InputError as error:
        answer["ranked"] = str(error)
    noisy = trainer("protonet", encoder=with_dropout())
    noisy.options = dataclasses.replace(noisy.options, check_every=1)
    noisy.fit()
    try:
        noisy.ranks.first_does(lambda: refuse("only the first knows"))
    except InputError as error:
        answer["refused"] = str(error)
    answer["folder"] = str(folder / "cut")
    answer["stopped"] = trainer("protonet", run=folder / "stopped")
    answer["stopped"].fit(stop=lambda: rank == 1 and answer["stopped"].step == 3)
    answer["stopped"] = answer["stopped"].step
    # One process alone meets a loss that is not finite.
    try:
        options = TrainerOptions(steps=3, accelerator="cpu")
        Trainer(Diverging(rank), FromIterable(uneven_episodes()), options, run=folder / "diverged").fit()
    except TrainingDiverged as error:
        answer["diverged"] = str(error)
    own = Trainer(Square(), FromIterable(uneven_episodes()), TrainerOptions(steps=3, accelerator="cpu", warmup=0.0))
    answer["own records"] = own.fit()[-1]
    answer["own weight"] = own.learner.weight.detach().clone()
    odd = Trainer(Odd(rank), FromIterable(uneven_episodes()), TrainerOptions(steps=9, accelerator="cpu", check_every=2))
    try:
        odd.fit()
    except RanksDiffer as error:
        answer["differ"] = (odd.step, str(error))
    try:
        trainer("protonet", about={"fingerprint": f"of rank {rank}"})
    except InputError as error:
        answer["unlike"] = str(error)
    try:
        Trainer(undivided(), FromIterable(uneven_episodes()), TrainerOptions(accelerator="cpu"))
    except InputError as error:
        answer["undivided"] = str(error)
    return answer


def with_dropout() -> nn.Module:
    """Whose running statistics depend on random numbers."""
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(256, 12), nn.BatchNorm1d(12), nn.Linear(12, 8))


def refuse(sentence: str) -> None:
    raise InputError(sentence)


class Square(Learner):
    """A learner of one's own, whose loss is a mean over tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, episode: Episode) -> Outcome:
        losses = (episode.images.flatten(1).double()[:, :2] * self.weight - 3).square().sum(1)
        return Outcome(losses.mean(), {"largest": losses.detach().mean() * 2})


class Diverging(Square):
    """Its loss is not finite on one rank, at the second step."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank

    def begin_step(self, step: int, steps: int) -> None:
        self.step = step

    def forward(self, episode: Episode) -> Outcome:
        outcome = super().forward(episode)
        bad = self.rank == 1 and self.step == 1
        return Outcome(outcome.loss * float("nan")) if bad else outcome


class Odd(Square):
    """One rank moves a buffer that the other does not."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.register_buffer("seen", torch.zeros(1))

    def end_step(self) -> None:
        self.seen += self.rank


def undivided() -> Learner:
    encoders = [nn.Sequential(nn.Flatten(), nn.Linear(4, 3)) for _ in range(2)]
    return SeparateLearner(encoders, SimCLR(), projector=TaskHeads(3, 4, 2, kinds=2))


def uneven_episodes() -> Iterator[Episode]:
    """Of three tasks, drawn alike on every process, which keeps no state of them."""
    g = torch.Generator().manual_seed(3)
    while True:
        images = torch.rand(3, 2, 1, 1, 2, 2, generator=g)
        yield Episode(*(Samples(images[:, i : i + 1], None, None, torch.full((3, 1), -1)) for i in range(2)))


def check_like_one(name: str, answers: list[dict[str, Any]], *more: str) -> None:
    alone, records = trained(name, *more)
    start = dict(trainer(name).learner.state_dict())
    assert any(not torch.equal(t, start[key]) for key, t in alone.items()), "nothing was learned"
    for answer in answers:
        assert_same(answer[name][0], alone)
    assert answers[1][name][1][-1].keys() == records[-1].keys()
    for own, one in zip(answers[0][name][1], records, strict=True):
        for key in one.keys() - {"seconds", "images_per_second", "data_wait"}:
            assert own[key] == pytest.approx(one[key], rel=1e-5, abs=1e-7), key


def assert_same(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert state.keys() == expected.keys()
    for key, t in expected.items():
        torch.testing.assert_close(state[key], t, rtol=1e-5, atol=1e-6, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("name", QUICK)
def test_two_processes_take_the_steps_of_one(name: str, two: list[dict[str, Any]]) -> None:
    check_like_one(name, two)


@pytest.fixture(scope="module")
def two_of_others() -> list[dict[str, Any]]:
    return together(2, others_trained)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_two_processes_take_the_steps_of_one_with_other_learners(
    name: str, two_of_others: list[dict[str, Any]]
) -> None:
    check_like_one(name, two_of_others)


@pytest.fixture(scope="module")
def three() -> list[dict[str, Any]]:
    return together(3, all_trained, SIX)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_three_processes_share_four_tasks(name: str, three: list[dict[str, Any]]) -> None:
    check_like_one(name, three, SIX)


def test_a_cut_training_goes_on_with_two_processes_or_one(two: list[dict[str, Any]]) -> None:
    expected = trained("tc2")[0]
    for answer in two:
        assert_same(answer["resumed"], expected)
    folder = Path(two[0]["folder"])
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 4], "records of one process, each once"
    for answer in two:
        assert_same(answer["longer"], expected)
    # From the checkpoint of two, by one.
    made = trainer("tc2", run=folder.with_name("of two"))
    assert made.resume() == 2
    made.fit()
    assert_same(state_of(made), expected)


def test_what_one_process_knows_all_do(two: list[dict[str, Any]]) -> None:
    for answer in two:
        assert answer["stopped"] == 3
        assert "step 2: the loss" in answer["diverged"]
        assert answer["differ"][0] == 2
        assert answer["differ"][1].startswith("step 2: seen is not the same on rank 1 as on rank 0")
        assert answer["ranks after"] == ALONE
        assert answer["refused"] == "only the first knows"
        assert "SinusoidTasks: rank = 1 draws other episodes" in answer["ranked"]
        assert "fingerprint is of rank 0 on rank 0 and of rank 1 on rank 1" in answer["unlike"]
        assert "SeparateLearner cannot be trained with 2 processes" in answer["undivided"]
    assert "of another rank" in two[0]["diverged"]


def test_a_failed_step_of_two_processes_is_kept_whole_and_made_again_by_one(two: list[dict[str, Any]]) -> None:
    kept = Path(two[0]["folder"]).with_name("diverged") / "failure"
    for answer in two:
        assert "failure/step-00000001 holds this step" in answer["diverged"]
    failure = load_failure(kept)
    wanted = [episode for _, episode in zip(range(2), uneven_episodes(), strict=False)][1]
    assert torch.equal(failure.episode.images, wanted.images)
    alone = Trainer(Square(), FromIterable([]), TrainerOptions(steps=3, accelerator="cpu"))
    made = replay(alone, failure)
    assert made.error is None
    assert made.loss == pytest.approx(float(stepped(failure.learner["weight"], wanted)))


def stepped(weight: torch.Tensor, episode: Episode) -> torch.Tensor:
    learner = Square()
    learner.load_state_dict({"weight": weight})
    loss: torch.Tensor = learner(episode).loss.detach()
    return loss


def test_a_learner_of_ones_own_is_a_mean_over_tasks(two: list[dict[str, Any]]) -> None:
    alone = Trainer(Square(), FromIterable(uneven_episodes()), TrainerOptions(steps=3, accelerator="cpu", warmup=0.0))
    record = alone.fit()[-1]
    for answer in two:
        torch.testing.assert_close(answer["own weight"], alone.learner.weight.detach())
    assert two[0]["own records"]["loss"] == pytest.approx(record["loss"])
    assert two[0]["own records"]["largest"] == pytest.approx(record["largest"])


@pytest.mark.parametrize("name", ["tc2", "byol", "simclr"])
def test_a_part_at_a_time_is_the_same_step(name: str) -> None:
    """Without batch normalization, which is by one part at a time."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(256, 12), nn.Tanh(), nn.Linear(12, 8))
    states = []
    for more in ((), ("trainer.accumulate=3",)):
        made = trainer(name, *more, encoder=copy.deepcopy(encoder))
        made.fit()
        states.append(state_of(made))
    assert_same(states[1], states[0])


def test_a_part_at_a_time_moves_running_statistics_once() -> None:
    made, like = (trainer("simclr", "trainer.accumulate=2") for _ in range(2))
    first, norm = like.learner.encoder[:2], like.learner.encoder[2]
    images = like.sampler.sample().merged().images.flatten(0, 2)
    with torch.no_grad():  # what two plain calls do
        for part in images.tensor_split(2):
            norm(first(part))
    made.fit(1)
    trained = made.learner.encoder[2]
    assert trained.num_batches_tracked == 2
    torch.testing.assert_close(trained.running_mean, norm.running_mean)
    torch.testing.assert_close(trained.running_var, norm.running_var)


def test_gradients_of_tasks_a_part_at_a_time_are_taken_again_and_again() -> None:
    encoder = small_encoder()
    losses = []
    for parts in (1, 2):
        torch.manual_seed(0)
        learner = GradientSurgery(
            copy.deepcopy(encoder).double().eval(),
            SimCLR(),
            projector=nn.Linear(8, 4).double(),
            aggregator="mean",
        )
        options = TrainerOptions(steps=2, accelerator="cpu", accumulate=parts)
        sampler = _Double(SplitBatch(store(), Views.none(), tasks=4, batch=32))
        losses.append(
            [record["loss"] for record in Trainer(learner, sampler, dataclasses.replace(options, log_every=1)).fit()]
        )
    assert losses[0] == pytest.approx(losses[1])
    assert losses[0][0] != losses[0][1]


def test_what_cannot_be_done_a_part_at_a_time_is_refused() -> None:
    with pytest.raises(
        InputError, match="64 images cannot be cut into so many parts of two or more; ask for at most 32"
    ):
        trainer("simclr", "trainer.accumulate=33").fit()
    with pytest.raises(InputError, match="accumulate = 2 does nothing for ProtoNet, which has one task at a time"):
        trainer("protonet", "trainer.accumulate=2")
