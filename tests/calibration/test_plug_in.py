"""The plug-in against TC²'s formulas restated in numpy, finite differences, and every way in which parameters are replaced."""

from __future__ import annotations

import copy
import io
import math
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torchopt
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from metatc2.calibration import CalibratedModule, NoAveragesWarning, add, calibrated, named_calibrator, project
from metatc2.contrib import require_learn2learn
from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError
from metatc2.inner import FirstOrder, InnerLoop
from metatc2.learners import MAML, ProtoNet
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Classifier

DIM, FACTORS = 6, 3
# The numpy oracle's features, weights, factors and L_tc2.
Expected = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def moved(module: nn.Module) -> Any:
    """The module in float64, its parameters away from the zeros of the start."""
    module.double()
    with torch.no_grad():
        for seed, p in enumerate(module.parameters()):
            p.add_(0.2 * draw(*p.shape, seed=100 + seed))
    return module


def module(
    inner: InnerLoop | None = None,
    encoder: nn.Module | None = None,
    form: Any = "add",
    seed: int = 0,
    **options: Any,
) -> CalibratedModule:
    """A small one: 5 inputs, 6 features, 3 factors."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = encoder or nn.Sequential(nn.Linear(5, DIM), nn.Tanh())
        made = calibrated(encoder, named_calibrator(DIM, FACTORS, form=form), inner=inner, **options)
    return moved(made)


def three_steps(**options: Any) -> InnerLoop:
    return InnerLoop(torchopt.sgd(0.3), steps=3, **options)


def buffers(made: nn.Module) -> dict[str, Tensor]:
    return {name: b.clone() for name, b in made.named_buffers()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.allclose(a[name], b[name], rtol=1e-6) for name in a)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def expected(made: CalibratedModule, x: Tensor) -> Expected:
    """TC² (arXiv 2511.13787) in numpy."""
    p = {name: value.detach().numpy() for name, value in made.calibrator.named_parameters()}
    h = made.encoder(x).detach().numpy()
    z = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) if made.standardize else h
    scores = z @ p["factor_network.key"]
    attention = np.exp(scores) / np.exp(scores).sum(0)
    value = gelu(z @ p["factor_network.value_in"]) @ p["factor_network.value_out"]
    v = p["factor_network.basis"] + attention.T @ value
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    hidden = gelu(z @ p["weight_network.w1"] + p["weight_network.b1"])
    w = (z + hidden @ p["weight_network.w2"] + p["weight_network.b2"]) @ v.T
    loss = ((z - w @ v) ** 2).mean() + ((v @ v.T - np.eye(FACTORS)) ** 2).sum() / FACTORS
    loss += 0.05 * np.abs(w).sum(1).mean() / math.sqrt(FACTORS)
    kept = {add: 1.0, project: 1 - made.blend}[made.calibrator.compose]
    return kept * z + made.blend * w @ v, w, v, float(loss)


@pytest.mark.parametrize("form", ["add", "blend"])
@pytest.mark.parametrize(("blend", "standardized"), [(1.0, True), (0.4, True), (0.4, False)])
def test_features_and_loss_restate_the_formulas(form: str, blend: float, standardized: bool) -> None:
    made, x = module(form=form, blend=blend, standardize=standardized), draw(9, 5)
    features, _, _, loss = expected(made, x)
    np.testing.assert_allclose(made(x).detach().numpy(), features, rtol=1e-9, atol=1e-12)
    assert made.calibration_loss().item() == pytest.approx(loss)
    assert made.dim == DIM


def test_evaluation_uses_averages_and_takes_each_image_by_itself() -> None:
    made = module()
    for seed in range(3):
        made(draw(9, 5, seed=seed))
    made.eval()
    x = draw(7, 5, seed=8)
    out = made(x)
    torch.testing.assert_close(out, made.calibrator.test_features(made.encoder(x), standardized=True))
    torch.testing.assert_close(made(x[2:3])[0], out[2])
    made.train()
    assert not torch.allclose(made(x), out, rtol=0.05)


def test_the_averages_move_as_the_calibrator_tracks_them() -> None:
    made = module(three_steps())
    by_hand = copy.deepcopy(made)
    first, second = draw(9, 5), draw(9, 5, seed=1)
    made(first)
    made.adapt(second)
    for x in (first, second):
        by_hand.calibrator.track(by_hand.encoder(x), torch.from_numpy(expected(by_hand, x)[2]))
    assert_same(buffers(made), buffers(by_hand))
    before = buffers(made)
    made.eval()
    made(first)
    made.adapt(second)
    assert_same(buffers(made), before)


def test_the_loss_can_be_read_once_and_keeps_nothing_alive() -> None:
    made = module()
    with pytest.raises(InputError, match="no forward since it was last read"):
        made.calibration_loss()
    made(draw(9, 5))
    loss = made.calibration_loss()
    graph = weakref.ref(loss)
    del loss
    assert graph() is None
    with pytest.raises(InputError, match="no forward since"):
        made.calibration_loss()


def test_the_loss_reaches_the_calibrator_and_not_the_encoder() -> None:
    made = module()
    made(draw(9, 5))
    made.calibration_loss().backward()
    assert all(p.grad is None for p in made.encoder.parameters())
    assert all(p.grad is not None and bool(p.grad.any()) for p in made.calibrator.parameters())
    made(draw(9, 5)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in made.encoder.parameters())


def test_replaced_parameters_are_used_and_move_nothing() -> None:
    made, x = module(), draw(9, 5)
    made(x)
    before = buffers(made)
    other = {n: (p.detach() + 0.1 * draw(*p.shape, seed=7)).requires_grad_() for n, p in made.named_parameters()}
    out = functional_call(made, other, (x,))
    loss = made.calibration_loss()
    loaded = copy.deepcopy(made)
    loaded.load_state_dict(loaded.state_dict() | other)
    assert_same(buffers(made), before)
    torch.testing.assert_close(out, loaded(x))
    torch.testing.assert_close(loss, loaded.calibration_loss())
    found = torch.autograd.grad(loss + out.square().mean(), list(other.values()))
    assert all(bool(g.any()) for g in found)


def test_several_tasks_under_vmap_equal_one_by_one() -> None:
    made = module(three_steps())
    support, queries = draw(4, 8, 5), draw(4, 6, 5, seed=1)
    params = dict(made.named_parameters())
    before = buffers(made)

    def task(params: dict[str, Tensor], x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        out = functional_call(made, {**params, **made.adapt(x, params)}, (q,))
        return out.square().mean() + made.calibration_loss(), out

    losses, out = torch.func.vmap(task, in_dims=(None, 0, 0))(params, support, queries)
    apart = [task(params, x, q) for x, q in zip(support, queries, strict=True)]
    torch.testing.assert_close(out, torch.stack([o for _, o in apart]))
    torch.testing.assert_close(losses, torch.stack([loss for loss, _ in apart]))
    together = torch.autograd.grad(losses.sum(), list(params.values()))
    separately = torch.autograd.grad(sum(loss for loss, _ in apart), list(params.values()))
    torch.testing.assert_close(together, separately)
    assert_same(buffers(made), before)


def test_vmap_with_a_normalizing_encoder_needs_no_buffer() -> None:
    made = moved(calibrated(Conv4(1, DIM), named_calibrator(DIM, FACTORS), inner=three_steps()))
    images, params = (
        torch.rand(2, 6, 1, 16, 16, generator=generator(), dtype=torch.float64),
        dict(made.named_parameters()),
    )
    before = buffers(made)
    together = torch.func.vmap(lambda x: made.adapt(x, params))(images)
    for i in range(2):
        alone = made.adapt(images[i], params)
        assert all(torch.allclose(together[name][i], p) for name, p in alone.items())
    assert_same(buffers(made), before)


@pytest.mark.filterwarnings("ignore")  # of the import
def test_a_learn2learn_clone_adapts_and_leaves_the_averages() -> None:
    l2l = require_learn2learn()
    made, x = module(three_steps()), draw(9, 5)
    out = made(x)  # its loss is left unread: the clone must not take it for its own
    before = buffers(made)
    clone = l2l.clone_module(made)
    with pytest.raises(InputError, match="no forward since"):
        clone.calibration_loss()
    torch.testing.assert_close(clone(x), out)
    features = functional_call(clone, clone.adapt(x), (x,))
    assert_same(buffers(made), before)
    (features.square().mean() + clone.calibration_loss()).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in made.parameters())
    assert made.calibration_loss().item() == pytest.approx(expected(made, x)[3])


@pytest.mark.filterwarnings("ignore")
def test_the_loop_of_learn2learns_maml(seed_offset: int) -> None:
    l2l = require_learn2learn()
    encoder = module(three_steps(), seed=seed_offset)
    maml = l2l.algorithms.MAML(nn.Sequential(encoder, nn.Linear(DIM, 2)).double(), lr=0.03)
    x, y = draw(8, 5, seed=seed_offset), torch.arange(8) % 2
    before = buffers(encoder)
    learner = maml.clone()
    losses = []
    for _ in range(3):
        losses.append(cross_entropy(learner(x), y) + learner.module[0].calibration_loss())
        learner.adapt(losses[-1])
    (cross_entropy(learner(x), y) + learner.module[0].calibration_loss()).backward()
    assert losses[-1] < losses[0]
    assert all(p.grad is not None and bool(p.grad.any()) for p in maml.parameters())
    assert_same(buffers(encoder), before)


def test_copies_and_files() -> None:
    made, x, file = module(), draw(9, 5), io.BytesIO()
    made(x)  # with a loss that nobody has read
    torch.save(made, file)
    file.seek(0)
    fresh = module()
    fresh.load_state_dict(made.state_dict())
    out = copy.deepcopy(made).eval()(x)
    torch.testing.assert_close(fresh.eval()(x), out)
    torch.testing.assert_close(torch.load(file, weights_only=False).eval()(x), out)
    assert made.calibration_loss().requires_grad
    adapted = module(three_steps())
    torch.testing.assert_close(copy.deepcopy(adapted).adapt(x), adapted.adapt(x))


def test_without_gradients() -> None:
    made, x = module(three_steps()), draw(9, 5)
    adapted = made.adapt(x)
    out = functional_call(made, adapted, (x,))
    made.calibration_loss()
    with torch.no_grad():
        same = made.adapt(x)
        torch.testing.assert_close(functional_call(made, same, (x,)), out)
        assert not made.calibration_loss().requires_grad
    assert not any(p.requires_grad for p in same.values())


def test_adaptation_is_gradient_descent_on_the_loss_of_the_support(seed_offset: int) -> None:
    made, x = module(InnerLoop(torchopt.sgd(0.03), steps=3), seed=seed_offset), draw(9, 5, seed=seed_offset)
    by_hand = copy.deepcopy(made)
    start = expected(by_hand, x)[3]
    for _ in range(3):
        values = {}
        for name, p in by_hand.calibrator.named_parameters():
            values[name] = torch.zeros_like(p)
            for i in range(p.numel()):  # the gradient by differences of the numpy oracle
                for sign in (1, -1):
                    with torch.no_grad():
                        p.view(-1)[i] += sign * 1e-6
                        values[name].view(-1)[i] += sign * expected(by_hand, x)[3] / 2e-6
                        p.view(-1)[i] -= sign * 1e-6
        with torch.no_grad():
            for name, p in by_hand.calibrator.named_parameters():
                p -= 0.03 * values[name]
    adapted = made.adapt(x)
    assert expected(by_hand, x)[3] < start
    assert set(adapted) == {f"calibrator.{name}" for name, _ in made.calibrator.named_parameters()}
    for name, p in by_hand.named_parameters():
        if name in adapted:
            torch.testing.assert_close(adapted[name], p, atol=1e-7, rtol=1e-6)


def test_the_gradient_through_adaptation_is_that_of_finite_differences() -> None:
    made, x, q = module(three_steps()), draw(9, 5), draw(7, 5, seed=1)
    start = {name: p.detach() for name, p in made.named_parameters()}

    def outer(part: str, t: Tensor) -> Tensor:
        params = {n: p + t * draw(*p.shape, seed=5) if n.startswith(part) else p for n, p in start.items()}
        out = functional_call(made, {**params, **made.adapt(x, params)}, (q,))
        return out.pow(3).mean() + made.calibration_loss()

    for part in ("calibrator.factor_network", "calibrator.weight_network"):
        assert derivative(partial(outer, part)) == pytest.approx(difference(partial(outer, part)), rel=1e-5)


@pytest.mark.parametrize("standardized", [True, False])
def test_the_gradient_to_the_encoder_stops_where_the_formulas_stop_it(standardized: bool) -> None:
    made, x, q = module(three_steps(), standardize=standardized), draw(9, 5), draw(7, 5, seed=1)
    start = {name: p.detach() for name, p in made.named_parameters()}

    def outer(t: Tensor) -> Tensor:
        params = {n: p + t * draw(*p.shape, seed=5) if n.startswith("encoder") else p for n, p in start.items()}
        return functional_call(made, {**params, **made.adapt(x, params)}, (q,)).pow(3).mean()

    def represent(x: Tensor, t: Tensor) -> Tensor:
        params = {n.removeprefix("encoder."): p for n, p in start.items() if n.startswith("encoder")}
        h = functional_call(made.encoder, {n: p + t * draw(*p.shape, seed=5) for n, p in params.items()}, (x,))
        return (h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt() if standardized else h

    def restated(t: Tensor) -> Tensor:
        """Stopped representations stay at t = 0."""
        omega = {n.removeprefix("calibrator."): p.clone().requires_grad_() for n, p in start.items() if "calib" in n}
        parts = {n: n.split(".")[0] for n in omega}

        def calibrate(omega: dict[str, Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            live, stopped = represent(x, t), represent(x, torch.zeros_like(t))
            networks = [
                {n.split(".")[1]: p for n, p in omega.items() if parts[n] == part}
                for part in ("factor_network", "weight_network")
            ]
            v = functional_call(made.calibrator.factor_network, networks[0], (stopped,))
            return live, stopped, functional_call(made.calibrator.weight_network, networks[1], (live, v)), v

        for _ in range(3):
            _, z, w, v = calibrate(omega, x)
            loss = (z - w @ v).square().mean() + (v @ v.T - torch.eye(FACTORS)).square().sum() / FACTORS
            loss = loss + 0.05 * w.abs().sum(1).mean() / math.sqrt(FACTORS)
            found = torch.autograd.grad(loss, list(omega.values()))
            omega = {n: (p - 0.3 * g).detach().requires_grad_() for (n, p), g in zip(omega.items(), found, strict=True)}
        z, _, w, v = calibrate(omega, q)
        return (z + w @ v).pow(3).mean()

    zero = torch.zeros((), dtype=torch.float64)
    assert outer(zero).item() == pytest.approx(restated(zero).item())
    assert derivative(outer) == pytest.approx(difference(restated), rel=1e-5)


def derivative(f: Callable[[Tensor], Tensor]) -> float:
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(f(t), t)[0].item()


def difference(f: Callable[[Tensor], Tensor], step: float = 1e-5) -> float:
    up, down = (f(torch.tensor(sign * step, dtype=torch.float64)).item() for sign in (1, -1))
    return (up - down) / (2 * step)


def test_only_the_features_of_the_support_carry_gradient_to_the_encoder() -> None:
    made, x, q = module(three_steps()), draw(9, 5), draw(7, 5, seed=1)
    weight = made.encoder[0].weight
    functional_call(made, made.adapt(x), (q,))
    assert bool(torch.autograd.grad(made.calibration_loss(), weight)[0].any())
    first_order = module(three_steps(adjoint=FirstOrder()))
    functional_call(first_order, first_order.adapt(x), (q,))
    first_order.calibration_loss().backward()
    assert first_order.encoder[0].weight.grad is None


def test_the_encoder_runs_once_in_adaptation() -> None:
    made = module(three_steps())
    calls: list[int] = []
    made.encoder.register_forward_hook(lambda *_: calls.append(1))
    made.adapt(draw(9, 5))
    made.adapt(draw(9, 5), dict(made.named_parameters()))
    assert len(calls) == 2


def test_nothing_to_adapt() -> None:
    x = draw(9, 5)
    assert module().adapt(x) == {}
    assert module(three_steps()).requires_grad_(False).adapt(x) == {}
    projection = named_calibrator(DIM, FACTORS, control="random-projection")
    assert calibrated(nn.Linear(5, DIM), projection, inner=three_steps()).adapt(x.float()) == {}


def test_frozen_parts_stay_as_they_are() -> None:
    made = module(three_steps())
    made.calibrator.factor_network.requires_grad_(False)
    names = {f"calibrator.weight_network.{name}" for name, _ in made.calibrator.weight_network.named_parameters()}
    assert set(made.adapt(draw(9, 5))) == names


def test_given_parameters_stand_for_those_of_the_module() -> None:
    made, x = module(three_steps()), draw(9, 5)
    other = {n: p.detach() + 0.1 * draw(*p.shape, seed=7) for n, p in made.named_parameters() if "bias" not in n}
    loaded = copy.deepcopy(made)
    loaded.load_state_dict(loaded.state_dict() | other)
    torch.testing.assert_close(made.adapt(x, other), loaded.adapt(x))


def test_policies_of_batch_normalization_in_adaptation() -> None:
    encoder = nn.Sequential(nn.Linear(5, DIM), nn.BatchNorm1d(DIM), nn.Tanh())
    made, x = module(three_steps(), encoder), draw(9, 5)
    made(draw(20, 5, seed=3) * 3 + 1)
    params, before = dict(made.named_parameters()), buffers(made)
    batch, frozen = (made.adapt(x, params, norm=norm) for norm in ("batch", "frozen"))
    assert not all(torch.allclose(batch[name], frozen[name]) for name in batch)
    torch.testing.assert_close(made.adapt(x, params), batch)
    assert_same(buffers(made), before)
    encoder.eval()
    torch.testing.assert_close(made.adapt(x), frozen)
    made.train()
    running = encoder[1].running_mean.clone()
    torch.testing.assert_close(made.adapt(x), batch)
    assert not torch.equal(encoder[1].running_mean, running)  # a plain call
    made.eval()
    torch.testing.assert_close(made.adapt(x, params), made.adapt(x))


def test_half_precision_stops_at_the_encoder() -> None:
    made = calibrated(nn.Linear(5, DIM), named_calibrator(DIM, FACTORS, generator=generator()), inner=three_steps())
    x = draw(9, 5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made.encoder(x).dtype == torch.bfloat16
        adapted = made.adapt(x)
        out = functional_call(made, adapted, (x,))
    assert out.dtype == made.calibration_loss().dtype == torch.float32
    z = made.encoder(x).detach()
    z = (z - z.mean(0)) / z.std(0, correction=0)
    result = functional_call(
        made.calibrator, {n.removeprefix("calibrator."): p for n, p in adapted.items()}, (z[None],)
    )
    torch.testing.assert_close(out, result.features[0], atol=0.1, rtol=0.1)


@pytest.mark.parametrize("vmap_chunk", [1, 2])
@pytest.mark.parametrize("learner", [ProtoNet, partial(MAML, inner=InnerLoop(torchopt.sgd(0.1), steps=2))])
def test_labeled_learners_adapt_it_on_each_support_and_add_its_loss(learner: Any, vmap_chunk: int) -> None:
    encoder = module(three_steps())
    network = encoder if learner is ProtoNet else Classifier(encoder, DIM, way=2).double()
    made = learner(network, vmap_chunk=vmap_chunk, calibration_weight=0.7)
    x, q, y = draw(2, 4, 1, 5), draw(2, 6, 1, 5, seed=1), torch.arange(6).expand(2, 6) % 2
    episode = Episode(*(Samples(s, y[:, : s.shape[1]], None, y[:, : s.shape[1]]) for s in (x, q)))
    theta, prefix = made.theta(), "network." if learner is ProtoNet else "network.encoder."
    total = torch.zeros((), dtype=torch.float64)
    for i in range(2):
        own = {n.removeprefix(prefix): p for n, p in theta.items() if n.startswith(prefix)}
        adapted = {prefix + n: p for n, p in encoder.adapt(x[i, :, 0], own).items()}
        scores = made.fit({**theta, **adapted}, x[i, :, 0], y[i, :4], 2)(q[i, :, 0])
        total = total + (cross_entropy(scores, y[i]) + 0.7 * encoder.calibration_loss()) / 2
    loss = made(episode).loss
    torch.testing.assert_close(loss, total)
    torch.testing.assert_close(
        torch.autograd.grad(loss, list(theta.values())), torch.autograd.grad(total, list(theta.values()))
    )


def test_errors_say_what_to_do() -> None:
    with pytest.raises(
        InputError, match=r"encoder has 8 features and the calibrator is for 6; .* PooledFactors\(8, K\)"
    ):
        calibrated(Conv4(1, 8), named_calibrator(DIM, FACTORS))
    with pytest.raises(InputError, match=r"map 9 images to features \(9, 6\), got \(9, 7\)"):
        module(encoder=nn.Linear(5, 7))(draw(9, 5))
    with pytest.raises(InputError, match=r"map 9 images to features \(9, 6\), got \(9, 2, 6\)"):
        module(three_steps(), nn.Sequential(nn.Linear(5, 12), nn.Unflatten(1, (2, 6)))).adapt(draw(9, 5))
    with pytest.raises(InputError, match="a single image cannot be standardized"):
        module()(draw(1, 5))
    assert module(standardize=False)(draw(1, 5)).shape == (1, DIM)
    with pytest.warns(NoAveragesWarning, match="evaluated before it was trained or loaded"):
        module().eval()(draw(9, 5))
    with pytest.raises(InputError, match="no parameter 'encoder.weight'; names are those of named_parameters"):
        module(three_steps()).adapt(draw(9, 5), {"encoder.weight": torch.zeros(6, 5)})
