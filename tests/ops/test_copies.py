"""Whatever a user may copy or save whole gives the same numbers afterwards, and shares nothing with what it came from."""

from __future__ import annotations

import copy
import dataclasses
import io
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel

from metatc2.augment import Views
from metatc2.calibration import TaskCalibrator, calibrated, named_calibrator
from metatc2.data import ImageStore
from metatc2.episodes import Episode, LabeledTasks, Sampler, Samples, SinusoidTasks, SplitBatch
from metatc2.errors import InputError
from metatc2.inner import (
    INNER_OPTIMIZERS,
    Adjoint,
    EvolutionStrategies,
    FirstOrder,
    Implicit,
    InnerLoop,
    Recompute,
    Truncated,
    Unroll,
    clip_norm,
    inner_optimizer,
    picklable,
)
from metatc2.learners import MAML, TC2, Learner, LookAheadTC2, SelfSupervised, SharedTC2, Tasks, build_labeled
from metatc2.learners.registry import LEARNERS, learner_options
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Classifier, Predictor, Projector
from metatc2.objectives import Embeddings, build_objective
from metatc2.objectives.regularizers import Isotropy
from metatc2.ops.functional import Functional

from ..covering import covered
from ..two_views import TWO_VIEWS

Copy = Callable[[Any], Any]


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def saved(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def averaged(module: nn.Module) -> Any:
    return AveragedModel(module).module


WAYS: dict[str, Copy] = {"deepcopy": copy.deepcopy, "pickle": pickled, "save": saved}
every_way = pytest.mark.parametrize("again", WAYS.values(), ids=list(WAYS))
# Files of torch.save hold what pickle makes, and AveragedModel calls deepcopy: the short suite has those two.
SLOW = [pytest.param(way, marks=pytest.mark.slow) for way in (saved, averaged)]
# What cannot be copied cannot be pickled either, so of the long lists of adjoints and learners it is pickle alone.
DEEP = pytest.param(copy.deepcopy, marks=pytest.mark.slow)
every_way_of_adjoints = pytest.mark.parametrize("again", [DEEP, pickled, SLOW[0]], ids=list(WAYS))
every_way_of_learners = pytest.mark.parametrize("again", [DEEP, pickled, *SLOW], ids=[*WAYS, "AveragedModel"])
every_way_of_modules = pytest.mark.parametrize("again", [copy.deepcopy, pickled, *SLOW], ids=[*WAYS, "AveragedModel"])


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def store() -> ImageStore:
    images = torch.randint(0, 255, (60, 1, 8, 8), dtype=torch.uint8)
    return ImageStore("noise", images, torch.arange(60) % 6)


def labeled_episode() -> Episode:
    return LabeledTasks(store(), way=3, shot=2, query=2, tasks=2, seed=1).sample()


def split_episode() -> Episode:
    return SplitBatch(store(), Views.none(), tasks=2, batch=16, seed=1).sample()


def step(learner: Learner, episode: Episode) -> list[Tensor]:
    """Loss, gradients and everything that moved after a step; dropout and directions from the same random state."""
    torch.manual_seed(5)
    learner.zero_grad(set_to_none=True)
    loss = learner(episode).loss
    loss.backward()
    with torch.no_grad():
        for p in learner.parameters():
            if p.grad is not None:
                p.sub_(0.1 * p.grad)
    learner.end_step()
    gradients = [p.grad for p in learner.parameters() if p.grad is not None]
    return [loss.detach(), *gradients, *learner.state_dict().values()]


def assert_independent(learner: Learner, again: Copy, episode: Episode) -> None:
    """A copy in the middle of training steps as the original does, and neither moves the other."""
    learner(episode).loss.backward()  # a copy is often made between a forward and the end of its step
    made = again(learner)
    learner.end_step()
    made.end_step()
    before = [t.clone() for t in learner.state_dict().values()]
    found = step(made, episode)
    torch.testing.assert_close(list(learner.state_dict().values()), before, rtol=0, atol=0)
    torch.testing.assert_close(found, step(learner, episode), rtol=0, atol=0)
    own = {t.untyped_storage().data_ptr() for t in (*learner.parameters(), *learner.buffers()) if t.numel()}
    assert not any(t.untyped_storage().data_ptr() in own for t in (*made.parameters(), *made.buffers()) if t.numel())


@pytest.mark.filterwarnings("ignore:Implicit. the inner loop stopped short")  # one step is enough here
@every_way_of_learners
@pytest.mark.parametrize("name", LEARNERS)
def test_labeled_learners(name: str, again: Copy) -> None:
    tasks = Tasks(dim=4, way=3, class_of=torch.arange(60) % 6)
    options = {"inner_steps": 1} if "inner_steps" in learner_options(name).model_fields else {}
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))
    assert_independent(build_labeled(learner_options(name)(**options), encoder, tasks), again, labeled_episode())


@every_way_of_adjoints
@pytest.mark.parametrize(
    "adjoint",
    [
        Unroll(),
        Recompute(),
        Truncated(1),
        FirstOrder(),
        Implicit(proximal=2.0, warn_above=float("inf")),
        EvolutionStrategies(2),
        EvolutionStrategies(2, generator=torch.Generator().manual_seed(3)),
    ],
    ids=lambda adjoint: type(adjoint).__name__,
)
def test_adjoints_with_a_calibrated_encoder(adjoint: Adjoint, again: Copy) -> None:
    loop = InnerLoop(inner_optimizer("sgd", 0.1, clip=1.0), 2, adjoint)
    network = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), 4, 3)
    if not isinstance(adjoint, Implicit | EvolutionStrategies):  # these take what they differentiate as arguments
        network.encoder = calibrated(network.encoder, named_calibrator(4, 2), inner=loop)
    assert_independent(MAML(network, loop), again, labeled_episode())


@every_way
@pytest.mark.parametrize(("clip", "name"), covered((0.0, 0.2), INNER_OPTIMIZERS, strength=1))
def test_inner_optimizers(name: str, clip: float, again: Copy) -> None:
    loop = InnerLoop(inner_optimizer(name, 0.1, clip), 3)
    made = again(loop)
    assert made == loop
    assert made is not loop
    start = torch.tensor([0.5, -1.5], requires_grad=True)
    found = []
    for each in (loop, made):
        adapted = each(lambda p: (p["w"] ** 2).sum(), {"w": start})["w"]
        found.append((adapted.detach(), torch.autograd.grad(adapted.sum(), start)[0]))
    torch.testing.assert_close(*found, rtol=0, atol=0)


UNNAMED = {
    "sgd": lambda: torchopt.sgd(0.1),
    "method chain": lambda: clip_norm(1.0).chain(torchopt.sgd(0.1)),
    "torchopt's method chain": lambda: torchopt.sgd(0.1).chain(clip_norm(1.0)),
    "function chain": lambda: torchopt.chain(clip_norm(1.0), torchopt.adam(0.1)),
    "chain of chains": lambda: torchopt.chain(torchopt.chain(clip_norm(1.0), clip_norm(2.0)), torchopt.sgd(0.1)),
}


@pytest.mark.parametrize("rule", UNNAMED)
def test_torchopts_own_transformations_are_copied_and_refused_by_pickle_in_one_sentence(rule: str) -> None:
    loop = InnerLoop(UNNAMED[rule](), 2)
    start = torch.tensor([0.5, -1.5], requires_grad=True)
    found = [made(lambda p: (p["w"] ** 2).sum(), {"w": start})["w"] for made in (loop, copy.deepcopy(loop))]
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert copy.copy(loop) == loop
    learner = MAML(Classifier(nn.Flatten(), 64, 3), loop)
    assert_independent(learner, copy.deepcopy, labeled_episode())
    for again in (pickled, saved):
        with pytest.raises(InputError, match=r"cannot be pickled or saved.*inner_optimizer\('sgd', 0.1.*picklable\("):
            again(learner)


@every_way
def test_chains_of_what_can_be_pickled(again: Copy) -> None:
    parts = clip_norm(0.2), picklable(torchopt.adam, 0.1, eps_root=1e-8)
    by_torchopt = InnerLoop(torchopt.chain(*parts), 2)
    assert again(by_torchopt) == by_torchopt
    assert by_torchopt != InnerLoop(torchopt.chain(*parts[::-1]), 2)
    rule = again(parts[0].chain(parts[1]))
    update, _ = rule.update({"w": torch.ones(3)}, rule.init({"w": torch.ones(3)}), params=None, inplace=False)
    torch.testing.assert_close(update["w"], torch.full((3,), -0.1))  # Adam's first step: the sign of the gradient
    assert repr(parts[0]) == "clip_norm(0.2)"


@every_way_of_adjoints
@pytest.mark.parametrize(
    ("kind", "objective"), covered(("plain", "task", "shared", "look-ahead"), TWO_VIEWS, strength=1)
)
def test_self_supervised_learners(kind: str, objective: str, again: Copy) -> None:
    loss = build_objective(objective)
    parts: dict[str, Any] = {
        "projector": Projector(4, 6, 4, norm_out=loss.normalized_projector),
        "predictor": Predictor(4, 4) if loss.predictor else None,
        "regularizer": Isotropy(),
    }
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))
    if kind == "plain":
        learner: Learner = SelfSupervised(encoder, loss, **parts)
    elif kind == "task":
        own = TaskCalibrator(4, 2, weights="sample")
        learner = TC2(encoder, loss, calibrator=own, inner=InnerLoop(inner_optimizer("sgd", 1.0), 1), **parts)
    else:
        inner = InnerLoop(inner_optimizer("sgd", 0.1, clip=1.0), 1)
        make: Any = SharedTC2 if kind == "shared" else LookAheadTC2
        learner = make(encoder, loss, calibrator=named_calibrator(4, 2), inner=inner, gamma=1.0, **parts)
    assert_independent(learner, again, split_episode())


@every_way_of_modules
def test_calibrated_modules(again: Copy) -> None:
    loop = InnerLoop(inner_optimizer("adam", 0.1, clip=1.0), 2)
    module = calibrated(Conv4(1, 4), named_calibrator(4, 2), inner=loop)
    x = torch.rand(6, 1, 16, 16)
    module(x)  # with a loss that nobody has read
    made = again(module)
    for each in (module, made):
        each.zero_grad(set_to_none=True)
        features = functional_call(each, each.adapt(x), (x,))
        (features.square().mean() + each.calibration_loss()).backward()
    before = {name: p.clone() for name, p in module.state_dict().items()}
    torch.testing.assert_close([p.grad for p in made.parameters()], [p.grad for p in module.parameters()])
    with torch.no_grad():
        for t in (*made.parameters(), *made.buffers()):
            t.zero_()
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


@every_way
def test_queues_and_heads(again: Copy) -> None:
    moco = build_objective("moco", queue=6)
    targets = torch.randn(1, 4, 2, 3)
    moco.update(Embeddings(targets, targets=targets))
    made = again(moco)
    e = Embeddings(torch.randn(1, 4, 2, 3), targets=torch.randn(1, 4, 2, 3))
    torch.testing.assert_close(made(e), moco(e), rtol=0, atol=0)
    made.update(e)
    assert (int(made.filled), int(moco.filled)) == (6, 6)
    assert not torch.equal(made.keys, moco.keys)
    for head in (Projector(4, 6, 3, layers=3), Predictor(4, 3), Classifier(nn.Linear(4, 4), 4, 3)):
        x = torch.randn(2, 5, 2, 4) if not isinstance(head, Classifier) else torch.randn(5, 4)
        torch.testing.assert_close(again(head)(x), head(x), rtol=0, atol=0)


@every_way
def test_functional_and_the_module_in_it(again: Copy) -> None:
    function = Functional(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), "support")
    made, x = again(function), torch.randn(8, 3)
    theta = {name: p + 0.5 for name, p in function.module.named_parameters()}
    torch.testing.assert_close(made(theta, x, x[:4]), function(theta, x, x[:4]), rtol=0, atol=0)
    learner = again(build_labeled(learner_options("maml")(), nn.Flatten(), Tasks(dim=64, way=3)))
    assert learner._function.module is learner.network  # and not a copy beside it


SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "split": lambda: SplitBatch(store(), dataclasses.replace(Views.natural(), size=8), tasks=2, batch=16, seed=1),
    "clusters": lambda: SplitBatch(
        store(), dataclasses.replace(Views.glyphs(), size=8), tasks=2, batch=16, assign="cluster", seed=1
    ),
    "labeled": lambda: LabeledTasks(store(), way=(2, 3), shot=(1, 2), query=2, tasks=2, seed=1),
    "sinusoid": lambda: SinusoidTasks(tasks=2, seed=1),
}


@every_way
@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_go_on_where_they_were(name: str, again: Copy) -> None:
    sampler = SAMPLERS[name]()
    sampler.sample()
    made = again(sampler)
    for _ in range(4):  # into the next epoch
        for one, other in zip(_tensors(sampler.sample()), _tensors(made.sample()), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def _tensors(episode: Episode) -> list[Tensor]:
    sides: tuple[Samples, ...] = (episode.support, episode.query)
    return [t for side in sides for t in (side.images, side.labels, side.index) if t is not None]


def test_a_learner_keeps_no_graph_between_its_forward_and_the_end_of_the_step() -> None:
    inner = InnerLoop(inner_optimizer("sgd", 0.1), 1)
    make = partial(SharedTC2, nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), projector=Projector(4, 6, 4))
    learner = make(objective=build_objective("simclr"), calibrator=named_calibrator(4, 2), inner=inner, gamma=1.0)
    learner(split_episode())
    assert learner._embeddings is not None
    assert learner._embeddings.projections.grad_fn is None
    assert learner._seen is not None
    assert all(t.grad_fn is None for t in learner._seen)
    own = partial(TC2, nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), projector=Projector(4, 6, 4))
    adapting = own(objective=build_objective("simclr"), calibrator=TaskCalibrator(4, 2), inner=inner)
    adapting(split_episode())
    assert adapting._embeddings is not None
    assert adapting._embeddings.projections.grad_fn is None
    assert adapting.sensitivity.grad_fn is None
