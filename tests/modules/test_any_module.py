"""Whatever the module: a call leaves it as it was, gradients are those of central differences, buffers move by one rule."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.calibration import calibrated, named_calibrator
from metatc2.data import ImageStore
from metatc2.diagnostics import diagnose, task_loss
from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError
from metatc2.inner import FirstOrder, InnerLoop, Recompute, Unroll
from metatc2.learners import MAML, ProtoNet, SelfSupervised
from metatc2.learners.meta_learner import LabeledLearner
from metatc2.models.encoding import feature_dim
from metatc2.objectives import BYOL, SimCLR
from metatc2.ops.functional import Functional, call
from metatc2.transfer import FewShot, Target, evaluate, extract
from metatc2.transfer.protocols.fine_tune import fine_tune
from tests.learners.episodes import images
from tests.modules.zoo import MODULES, AuxiliaryLoss, build, mlp, shared_memory, snapshot

from ..covering import covered, some

WAY = 3
MOVES_WEIGHTS = "weights moved in forward"
NOT_MOVING = [name for name in MODULES if name != MOVES_WEIGHTS]


def episode() -> Any:
    return images(tasks=2, way=WAY, size=4)


def task() -> tuple[Tensor, Tensor, Tensor]:
    drawn = episode()
    return drawn.support.images[0, :, 0], drawn.support.labels[0], drawn.query.images[0, :, 0]


def maml(net: nn.Module, adjoint: Any = None, **options: Any) -> MAML:
    return MAML(net, InnerLoop(torchopt.sgd(0.2), steps=2, adjoint=adjoint or Unroll()), **options)


def copies(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}


def ssl(net: nn.Module) -> SelfSupervised:
    return SelfSupervised(net, SimCLR(), projector=nn.Identity())


def fails(net: nn.Module) -> None:
    def criterion(scores: Tensor, y: Tensor) -> Tensor:
        raise KeyError("a criterion that fails")

    with pytest.raises(KeyError):
        maml(net, criterion=criterion).predict(*task())


def looks_at_one_task(net: nn.Module) -> None:
    loss, params = task_loss(ssl(net))
    loss(params, torch.rand(4, 2, 1, 4, 4, dtype=torch.float64))


def adapts(net: nn.Module) -> None:
    module = calibrated(net, named_calibrator(5, 2).double(), inner=InnerLoop(torchopt.sgd(0.1), steps=1))
    module.adapt(torch.rand(6, 1, 4, 4, dtype=torch.float64), copies(module))


def toy() -> ImageStore:
    g = torch.Generator().manual_seed(0)
    return ImageStore("toy", torch.randint(0, 256, (24, 1, 4, 4), generator=g).byte(), torch.arange(24) % 3)


def is_fine_tuned(net: nn.Module) -> None:
    store = toy()
    sides = [part for start in (0, 12, 18) for part in (store.images[start:][:6], store.labels[start:][:6])]
    few: dict[str, Any] = {"steps": 1, "batch": 6, "rates": (0.01,), "weight_decays": (0.0,)}
    fine_tune(net, *sides, generator=torch.Generator().manual_seed(0), **few)


def is_evaluated(net: nn.Module) -> None:
    target = Target(toy(), "all", "toy")
    evaluate({"encoder": net}, [target], protocols=[FewShot(ways=(3,), shots=(1,), episodes=2)])


CALLS: dict[str, Callable[[nn.Module], Any]] = {
    "functional": lambda net: Functional(net)(copies(net), task()[0]),
    "functional, frozen": lambda net: Functional(net, "frozen")(copies(net), task()[0]),
    "call": lambda net: call(net, copies(net), task()[0]),
    "maml predicts": lambda net: maml(net).predict(*task()),
    "maml predicts in evaluation": lambda net: maml(net).eval().predict(*task()),
    "protonet predicts": lambda net: ProtoNet(net).predict(*task()),
    "maml's loss": lambda net: maml(net)(episode()),
    "maml's loss, recomputed, backward": lambda net: maml(net, Recompute())(episode()).loss.backward(),
    "maml's loss, first order": lambda net: maml(net, FirstOrder())(episode()),
    "protonet's loss": lambda net: ProtoNet(net)(episode()),
    "a criterion fails": fails,
    "width of the features": lambda net: feature_dim(net, 1, 4),
    "loss of one task": looks_at_one_task,
    "calibrator adapts": adapts,
    "features": lambda net: extract(net, toy().images, batch=7),
    "evaluated": is_evaluated,
    "fine-tuned": is_fine_tuned,
    "diagnosed": lambda net: diagnose(net, toy(), views=Views.none()),
}
#: A copy of this one computes with the parameters of the original.
NOT_COPIED = "closure"
#: vmap has no rule for these.
NOT_UNDER_VMAP = {"recurrent"}
#: Loss and gradient in training are what a forward of the module makes of them, and this one moves its weights.
TRAINS = {"functional", "functional, frozen", "call", *(name for name in CALLS if "loss" in name), "calibrator adapts"}


@pytest.mark.parametrize(
    ("name", "third"),
    [
        pytest.param(name, third, marks=[pytest.mark.slow] * ((i + third) % 3 != 0))
        for i, name in enumerate(MODULES)
        for third in range(3)
    ],
)
def test_a_call_leaves_a_module_as_it_was(name: str, third: int) -> None:
    """Of three neighbors each meets another third of the calls in the short suite."""
    for what, run in [*CALLS.items()][third::3]:
        if name == MOVES_WEIGHTS and what in TRAINS - {"functional", "functional, frozen", "call"}:
            continue
        net = build(name)
        if what == "fine-tuned" and name == NOT_COPIED:
            net = net.float()
        before = snapshot(net)
        if what == "fine-tuned" and name == NOT_COPIED:
            with pytest.raises(InputError, match="a copy of Custom still computes with parameters of the original"):
                run(net)
        else:
            run(net)
        after = snapshot(net)
        if what == "maml predicts in evaluation":  # `eval()` is the caller's
            before, after = ([part[:3] for part in each] for each in (before, after))
        assert after == before, f"{what} moved {[a[0] for a, b in zip(after, before, strict=True) if a != b]}"
        if "backward" not in what:
            assert all(p.grad is None for p in net.parameters()), what


def differentiable(name: str) -> nn.Module:
    """Spectral normalization in evaluation: in training torch takes its power iteration for a constant."""
    net = build(name)
    if name.startswith("spectral"):
        net[1].eval()
    return net


DIFFERENTIATED: dict[str, Callable[[nn.Module], LabeledLearner]] = {
    "maml": maml,
    "recomputed": lambda net: maml(net, Recompute()),
    "protonet": ProtoNet,
}


@pytest.mark.parametrize(
    ("name", "make"), covered([name for name in MODULES if name != MOVES_WEIGHTS], DIFFERENTIATED, strength=1)
)
def test_gradients_are_those_of_central_differences(name: str, make: str) -> None:
    learner, drawn = DIFFERENTIATED[make](differentiable(name)), episode()
    params = [p for p in learner.parameters() if p.requires_grad]
    g = torch.Generator().manual_seed(1)
    direction = [torch.randn(p.shape, generator=g, dtype=p.dtype) for p in params]

    def loss() -> Tensor:
        torch.manual_seed(2)
        return learner(drawn).loss

    found = torch.autograd.grad(loss(), params, allow_unused=True)
    slope = sum(float((f * d).sum()) for f, d in zip(found, direction, strict=True) if f is not None)
    ends = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            for p, d in zip(params, direction, strict=True):
                p.add_(d, alpha=step)
            ends.append(float(loss()))
            for p, d in zip(params, direction, strict=True):
                p.sub_(d, alpha=step)
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "adjoint"),
    covered(
        [name for name in MODULES if name != MOVES_WEIGHTS and "dropout" not in name],
        (Unroll(), FirstOrder()),
        strength=1,
    ),
)
def test_tasks_in_one_call_have_the_gradient_of_tasks_one_by_one(name: str, adjoint: Any) -> None:
    """Or are refused in one sentence: some parts of torch have no rule for vmap."""
    found = []
    for vmap_chunk in (1, 2):
        learner = maml(differentiable(name), adjoint, vmap_chunk=vmap_chunk)
        if vmap_chunk == 2 and name in NOT_UNDER_VMAP:
            with pytest.raises(InputError, match=r"under vmap .*vmap_chunk=1"):
                learner(episode())
            return
        loss = learner(episode()).loss
        params = [p for p in learner.parameters() if p.requires_grad]
        found.append(
            [torch.zeros(()) if g is None else g for g in torch.autograd.grad(loss, params, allow_unused=True)]
        )
    for one, both in zip(*found, strict=True):
        torch.testing.assert_close(both, one, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", some(MODULES, [*MODULES][::2]))
def test_predictions_do_not_depend_on_those_before(name: str) -> None:
    learner = maml(build(name)).eval()
    first, *others = (learner.predict(*task()) for _ in range(3))
    assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("name", some(NOT_MOVING, NOT_MOVING[1::2]))
def test_after_a_step_buffers_are_where_a_plain_forward_moves_them(name: str) -> None:
    drawn, net, plain = episode(), build(name), build(name)
    for learner in (maml(net), ProtoNet(net)):
        learner(drawn)
        torch.manual_seed(3)
        learner.end_step()
        torch.manual_seed(3)
        with torch.no_grad():
            plain(drawn.support.images[0].squeeze(1))
        for (key, ours), (_, theirs) in zip(net.named_buffers(), plain.named_buffers(), strict=True):
            torch.testing.assert_close(ours, theirs, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("kind", ["spectral norm by hook", "spectral norm as parametrization"])
def test_spectral_normalization_keeps_up_with_training(kind: str) -> None:
    learner = ProtoNet(build(kind))
    optimizer = torch.optim.SGD(learner.parameters(), lr=3.0)
    for _ in range(25):
        optimizer.zero_grad()
        learner(episode()).loss.backward()
        optimizer.step()
        learner.end_step()
    with torch.no_grad():
        learner.network(task()[0])
        largest = torch.linalg.matrix_norm(learner.network[1].weight, 2)
    assert float(largest) == pytest.approx(1.0, abs=0.02)


def test_lazy_layers_without_a_shape_are_refused() -> None:
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
    for make in (Functional, ProtoNet, lambda net: feature_dim(net, 1, 4)):
        with pytest.raises(InputError, match="lazy layer that has no shape yet; call the module once"):
            make(lazy)


def test_two_parameters_on_one_memory_are_refused() -> None:
    with pytest.raises(InputError, match=r"'3\.weight' and '5\.weight' share memory"):
        Functional(shared_memory())
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    net.register_buffer("seen", net[1].weight.data[:2])
    with pytest.raises(InputError, match=r"'1\.weight' and 'seen' share memory"):
        Functional(net)


class Kept(nn.Module):
    """Uses a parameter that it also keeps in a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 8), nn.Linear(8, 5)
        self.kept = [self.a.weight]

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(x.flatten(1) @ self.kept[0].T))


@pytest.mark.parametrize("make", [maml, lambda net: maml(net).eval(), ProtoNet])
def test_a_parameter_that_cannot_be_replaced_is_refused(make: Callable[[nn.Module], LabeledLearner]) -> None:
    for use in (lambda learner: learner.predict(*task()), lambda learner: learner(episode())):
        with pytest.raises(InputError, match=r"uses its parameter 'a\.weight' by a reference that is no registered"):
            use(make(Kept().double()))


@pytest.mark.parametrize("make", [maml, lambda net: maml(net).eval(), ProtoNet])
def test_a_buffer_that_cannot_be_replaced_is_refused(make: Callable[[nn.Module], LabeledLearner]) -> None:
    net = mlp(AuxiliaryLoss()).double()
    net[2].register_buffer("count", torch.zeros((), dtype=torch.float64))
    kept = [net[2].count]
    net[2].register_forward_hook(lambda m, args, out: out + kept[0].add_(1) * 0)
    for use in (lambda learner: learner.predict(*task()), lambda learner: learner(episode())):
        with pytest.raises(InputError, match=r"uses its parameter '2\.count' by a reference"):
            use(make(net))
    assert float(kept[0]) == 0.0


def test_it_is_looked_for_in_every_mode() -> None:
    class InEvaluation(Kept):
        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.tanh(self.a(x.flatten(1)))) if self.training else super().forward(x)

    learner = maml(InEvaluation().double())
    learner(episode())
    with pytest.raises(InputError, match="by a reference that is no registered"):
        learner.eval().predict(*task())


def test_parameters_made_in_forward_are_refused() -> None:
    class Late(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not hasattr(self, "layer"):
                self.layer = nn.Linear(16, 5, dtype=x.dtype)
            return self.layer(x.flatten(1))

    net = Late()
    with pytest.raises(InputError, match="makes parameters in its forward; call it once"):
        ProtoNet(net).predict(*task())
    assert not hasattr(net, "layer")
    net(task()[0])
    ProtoNet(net).predict(*task())


class Recomputing(torch.autograd.Function):
    """Checkpointing as Megatron and DeepSpeed have it."""

    @staticmethod
    def forward(ctx: Any, run: nn.Module, x: Tensor) -> Tensor:
        ctx.run = run
        ctx.save_for_backward(x)
        with torch.no_grad():
            return run(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            torch.autograd.backward(ctx.run(x), gradients)
        return None, x.grad


def test_checkpointing_by_a_function_of_ones_own_is_refused() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.body, self.head = nn.Linear(16, 8), nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(Recomputing.apply(self.body, torch.tanh(self.stem(x.flatten(1)))))

    net = Net().double()
    for use in (lambda learner: learner.predict(*task()), lambda learner: learner(episode())):
        with pytest.raises(InputError, match="activation checkpointing"):
            use(maml(net))
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", ["parametrized", "spectral norm as parametrization", "weight norm as parametrization"])
def test_weights_that_torch_caches_are_those_of_the_call(name: str) -> None:
    learner = maml(differentiable(name))
    expected, loss = learner.predict(*task()), learner(episode()).loss
    with torch.nn.utils.parametrize.cached():
        learner.network(task()[0])
        torch.testing.assert_close(learner.predict(*task()), expected)
        torch.testing.assert_close(learner(episode()).loss, loss)


@pytest.mark.parametrize("when", ["built", "trained", "copied", "loaded"])
def test_a_frozen_norm_is_frozen_for_good(when: str) -> None:
    learner = maml(build("frozen batch norm"))
    expected = learner.predict(*task())
    fresh = maml(build("frozen batch norm"))
    if when == "trained":
        fresh(episode())
    elif when == "copied":
        fresh = copy.deepcopy(fresh)
    elif when == "loaded":
        fresh = maml(build("batch norm"))
        fresh.load_state_dict(learner.state_dict())
    torch.testing.assert_close(fresh.eval().predict(*task()), expected)


def test_what_a_network_gives_back_is_checked() -> None:
    class Gives(nn.Module):
        def __init__(self, make: Callable[[Tensor], Any]) -> None:
            super().__init__()
            self.layer, self.make = nn.Linear(16, 5).double(), make

        def forward(self, x: Tensor) -> Any:
            return self.make(self.layer(x.flatten(1)))

    for make, got in ((lambda h: (h, h), "a tuple"), (lambda h: {"h": h}, "a dict"), (lambda h: h[:1], r"\(1, 5\)")):
        for learner in (maml(Gives(make)), ProtoNet(Gives(make))):
            with pytest.raises(InputError, match=f"must return a tensor with a row for each of 6 inputs, got {got}"):
                learner.predict(*task())
    with pytest.raises(InputError, match=r"must map 6 inputs to features \(6, d\), got \(6, 5, 1, 1\)"):
        ProtoNet(Gives(lambda h: h[..., None, None])).predict(*task())
    with pytest.raises(InputError, match=r"Sequential cannot take inputs \(6, 1, 4, 4\), torch.float64: .*dtype"):
        maml(mlp()).predict(*task())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_what_torch_jit_made_is_refused() -> None:
    with pytest.raises(InputError, match="made by torch.jit"):
        maml(torch.jit.trace(mlp().double(), task()[0]))


@pytest.mark.parametrize("name", ["spectral norm by hook", "weight norm by hook", "pruned", "auxiliary loss"])
def test_learners_are_copied_after_a_forward(name: str) -> None:
    learner = maml(build(name))
    learner.network(task()[0])
    made = copy.deepcopy(learner)
    torch.testing.assert_close(made.predict(*task()), learner.predict(*task()))
    SelfSupervised(learner.network, BYOL(), projector=nn.Identity(), predictor=nn.Identity())


def test_images_with_a_graph_have_a_momentum_branch() -> None:
    learner = SelfSupervised(build("plain"), BYOL(), projector=nn.Identity(), predictor=nn.Identity())
    x = torch.rand(1, 4, 2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    side = Samples(x, None, None, torch.zeros(1, 4, dtype=torch.int64))
    learner(Episode(side, side)).loss.backward()
    assert x.grad is not None


def test_a_momentum_branch_that_is_no_copy_is_refused() -> None:
    learner = SelfSupervised(build(NOT_COPIED), BYOL(), projector=nn.Identity(), predictor=nn.Identity())
    sides = [Samples(torch.rand(1, 4, 2, 1, 4, 4).double(), None, None, torch.zeros(1, 4, dtype=torch.int64))] * 2
    with pytest.raises(InputError, match="the momentum branch: a copy of Custom still computes"):
        learner(Episode(*sides))


def test_names_that_do_not_exist_and_two_tensors_for_one_are_refused() -> None:
    net = build("tied tensors")
    with pytest.raises(InputError, match=r"no parameter or buffer '1\.wieght'"):
        call(net, {"1.wieght": torch.zeros(8, 16)}, task()[0])
    with pytest.raises(InputError, match="tied to another name"):
        call(net, {"3.weight": torch.zeros(8, 8), "5.weight": torch.ones(8, 8)}, task()[0])
