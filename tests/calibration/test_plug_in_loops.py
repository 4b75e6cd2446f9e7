"""The plug-in inside other people's training loops: precisions, sanity checks, exports, several forwards a step."""

from __future__ import annotations

import copy
import gc
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torchopt
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from metatc2.calibration import CalibratedModule, NoAveragesWarning, calibrated, named_calibrator
from metatc2.episodes import Episode, Samples
from metatc2.errors import InputError
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.learners import ProtoNet

DIM, FACTORS = 6, 3
HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def module(**options: Any) -> CalibratedModule:
    encoder = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, DIM))
    made = calibrated(encoder, named_calibrator(DIM, FACTORS), **options)
    with torch.no_grad():
        for p in made.calibrator.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made


def trained(**options: Any) -> CalibratedModule:
    made = module(**options)
    for _ in range(3):
        made(torch.randn(9, 5) + 0.5)
    made.calibration_loss()
    return made


# Precision


@pytest.mark.parametrize("dtype", [*HALVES, torch.float64])
@pytest.mark.parametrize("inner", [None, InnerLoop(inner_optimizer("adam", 0.05), 2)], ids=["plain", "adapted"])
def test_a_module_in_another_precision_computes_the_same(dtype: torch.dtype, inner: InnerLoop | None) -> None:
    made, x = trained(inner=inner), torch.randn(9, 5)
    cast, tolerance = copy.deepcopy(made).to(dtype), {torch.float16: 0.02, torch.bfloat16: 0.2}.get(dtype, 1e-5)
    for training in (True, False):
        made.train(training)
        cast.train(training)
        out, same = (
            functional_call(m, m.adapt(x.to(d)), (x.to(d),)) for m, d in ((cast, dtype), (made, torch.float32))
        )
        assert out.dtype == dtype
        torch.testing.assert_close(out.float(), same, atol=tolerance, rtol=tolerance)
        loss = cast.calibration_loss()
        assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        torch.testing.assert_close(loss.float(), made.calibration_loss(), atol=tolerance, rtol=tolerance)
    cast.train()
    (cast(x.to(dtype)).float().square().mean() + cast.calibration_loss()).backward()
    assert all(
        p.grad is not None and p.grad.dtype == dtype and bool(p.grad.isfinite().all()) for p in cast.parameters()
    )


@pytest.mark.parametrize("dtype", HALVES)
def test_averages_stay_in_single_precision_and_move(dtype: torch.dtype) -> None:
    made = module().to(dtype)
    for seed in range(50):
        made(torch.randn(64, 5, generator=torch.Generator().manual_seed(seed)).to(dtype))
    # One hundredth of a step is lost in half precision: the averages would stand where the first batch had put them.
    by_hand, ema = None, made.calibrator.ema
    for seed in range(50):
        h = made.encoder(torch.randn(64, 5, generator=torch.Generator().manual_seed(seed)).to(dtype)).double().mean(0)
        by_hand = h if by_hand is None else ema * by_hand + (1 - ema) * h
    assert {b.dtype for b in made.calibrator.buffers()} == {torch.float32}
    torch.testing.assert_close(made.calibrator.mean.double(), by_hand, atol=1e-4, rtol=1e-3)
    assert made.to(torch.float64).calibrator.mean.dtype == torch.float64


def test_parts_of_different_precision_are_promoted() -> None:
    x = torch.randn(9, 5)
    for encoder, calibrator, expected in (
        (torch.float64, torch.float32, torch.float64),
        (torch.float32, torch.float64, torch.float64),
        (torch.float16, torch.float32, torch.float32),
        (torch.float32, torch.bfloat16, torch.float32),
        (torch.float16, torch.bfloat16, torch.float32),
    ):
        made = trained(inner=InnerLoop(torchopt.sgd(0.1), 1))
        made.encoder.to(encoder)
        made.calibrator.to(calibrator)
        for training in (True, False):
            made.train(training)
            assert made(x.to(encoder)).dtype == expected
            assert functional_call(made, made.adapt(x.to(encoder)), (x.to(encoder),)).dtype == expected


# Evaluation before training


def test_before_training_it_evaluates_as_a_norm_does_and_says_so_once() -> None:
    made, x = module(inner=InnerLoop(torchopt.sgd(0.1), 2)).eval(), torch.randn(9, 5)
    with pytest.warns(NoAveragesWarning, match="evaluated before it was trained or loaded"):
        out = made(x)
    factors = nn.functional.normalize(made.calibrator.factor_network.basis, dim=-1)
    z = made.encoder(x) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(out, made.calibrator(z[:, None], 1.0, factors).features[:, 0])
    torch.testing.assert_close(made(x[:1])[0], out[0])  # without a word; each image by itself
    assert functional_call(made, made.adapt(x), (x,)).shape == out.shape
    torch.testing.assert_close(torch.func.vmap(made)(x[:, None])[:, 0], out)


@pytest.mark.parametrize("loaded", ["trained", "state", "averaged", "copied"])
def test_it_says_nothing_where_there_are_averages(loaded: str) -> None:
    source = trained()
    made = {"trained": lambda: source, "state": module, "copied": lambda: copy.deepcopy(source)}.get(loaded, module)()
    if loaded == "state":
        made.load_state_dict(source.state_dict())
    if loaded == "averaged":  # copies buffers in place, behind the module's back
        average = AveragedModel(module())
        average.update_parameters(source)
        made = average.module
    x = torch.randn(4, 5)
    torch.testing.assert_close(made.eval()(x), source.eval()(x))
    if loaded == "averaged":  # nor has anything to be looked at first
        torch.testing.assert_close(torch.export.export(copy.deepcopy(made), (x,)).module()(x), source(x))


def test_the_first_training_call_replaces_the_start() -> None:
    made, x = module(), torch.randn(9, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoAveragesWarning)
        made.eval()(x)
    made.train()(x)
    torch.testing.assert_close(made.calibrator.mean, made.encoder(x).mean(0))
    made(x + 1)
    torch.testing.assert_close(
        made.calibrator.mean, 0.99 * made.encoder(x).mean(0) + 0.01 * made.encoder(x + 1).mean(0)
    )


class Classified(nn.Module):
    """What a user of Lightning writes: one loss for training and validation."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = module(), nn.Linear(DIM, 3)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self.head(self.encoder(x)), y) + self.encoder.calibration_loss()


def test_a_training_loop_that_validates_first() -> None:
    """The order of a Lightning trainer: sanity check in evaluation without gradients, then training and validation in turn."""
    model = Classified()
    batch = torch.randn(12, 5), torch.arange(12) % 3
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def validate() -> float:
        model.eval()
        with torch.no_grad():
            found = model.loss(batch).item()
        model.train()
        return found

    with pytest.warns(NoAveragesWarning):
        validate()
    values = []
    for _ in range(5):
        model.zero_grad()
        model.loss(batch).backward()
        optimizer.step()
        values.append(validate())
    assert values[-1] < values[0]


# Compiled, traced, exported


@pytest.mark.slow
def test_evaluation_is_exported_with_any_number_of_images() -> None:
    made, x = trained().eval(), torch.randn(9, 5)
    program = torch.export.export(made, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=2, max=1024)},))
    for count in (2, 9, 20):
        images = torch.randn(count, 5)
        torch.testing.assert_close(program.module()(images), made(images))


@pytest.mark.slow
def test_evaluation_is_compiled_as_one_graph() -> None:
    made, x = trained().eval(), torch.randn(9, 5)
    torch.compiler.reset()
    compiled = torch.compile(made, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), made(x))
    made.calibration_loss()  # of the plain call
    compiled(x)
    with pytest.raises(InputError, match="no forward since"):
        made.calibration_loss()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch has given it up
def test_evaluation_is_traced() -> None:
    made, x, file = trained().eval(), torch.randn(9, 5), io.BytesIO()
    torch.jit.save(torch.jit.trace(made, (x,)), file)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(x[:4]), made(x[:4]))


def test_exported_before_training_it_is_what_it_was() -> None:
    made, x = module().eval(), torch.randn(9, 5)
    out = torch.export.export(made, (x,)).module()(x)
    with pytest.warns(NoAveragesWarning):
        torch.testing.assert_close(out, made(x))


# Several forwards a step


def own(made: CalibratedModule, x: Tensor) -> Tensor:
    made(x)
    return made.calibration_loss()


def test_the_loss_is_the_mean_over_the_forwards_of_a_step() -> None:
    made, views = module(), torch.randn(3, 9, 5)
    apart = [own(made, view) for view in views]
    for view in views:
        made(view)
    together = made.calibration_loss()
    torch.testing.assert_close(together, sum(apart, torch.zeros(())) / 3)
    omega = list(made.calibrator.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(together, omega), torch.autograd.grad(sum(apart, torch.zeros(())) / 3, omega)
    )


def test_latest_takes_the_last_and_forgets_the_others() -> None:
    made, one, two = module(), torch.randn(9, 5), torch.randn(9, 5)
    expected = own(made, two)
    made(one)
    made(two)
    torch.testing.assert_close(made.calibration_loss(latest=True), expected)
    with pytest.raises(InputError, match="no forward since"):
        made.calibration_loss(latest=True)


def test_evaluation_and_forwards_without_gradient_do_not_count_in_a_step() -> None:
    made, x, other = module(), torch.randn(9, 5), torch.randn(9, 5)
    expected = own(made, x)
    made(x)
    with torch.no_grad():
        made(other)
    made.eval()
    made(other)
    made(x)
    assert made.calibration_loss().item() == pytest.approx(own(made, x).item())  # the latest of evaluation
    made.train()
    torch.testing.assert_close(made.calibration_loss(), expected)


def test_replaced_parameters_give_that_of_the_latest_forward() -> None:
    made, x, other = module(), torch.randn(9, 5), torch.randn(9, 5)
    params = {name: p * 1.1 for name, p in made.named_parameters()}
    functional_call(made, params, (x,))
    expected = made.calibration_loss()
    made(other)
    functional_call(made, params, (other,))
    functional_call(made, params, (x,))
    torch.testing.assert_close(made.calibration_loss(), expected)
    with pytest.raises(InputError, match="no forward since"):
        made.calibration_loss()


def test_forwards_from_before_an_optimizer_step_are_forgotten() -> None:
    made, x = module(), torch.randn(9, 5)
    optimizer = torch.optim.SGD(made.parameters(), 0.1)
    made(x).square().mean().backward()  # its loss is not read
    optimizer.step()
    made(x)
    made.calibration_loss().backward()  # a graph from before the step would raise
    made(x)
    torch.testing.assert_close(made.calibration_loss(), own(made, x))


def test_a_checkpointed_module_counts_once() -> None:
    made, x = module(), torch.randn(9, 5)
    expected, averages = own(copy.deepcopy(made), x), None
    for _ in range(2):  # gradient accumulation: the repetition of the first must not enter the second
        out = checkpoint(made, x, use_reentrant=False)
        assert isinstance(out, Tensor)
        loss = made.calibration_loss()
        torch.testing.assert_close(loss, expected)
        averages = made.calibrator.average_factors.clone()
        (out.square().mean() + loss).backward()
        assert torch.equal(made.calibrator.average_factors, averages)


def graphs() -> int:
    gc.collect()
    return sum(type(t) is Tensor and t.grad_fn is not None for t in gc.get_objects())


def training(made: CalibratedModule, x: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(made.parameters(), 0.01)

    def step() -> None:
        made(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def test_a_loss_that_is_never_read_takes_no_memory() -> None:
    made, x = module(), torch.randn(9, 5)
    step = training(made, x)
    counts = []
    for steps in (5, 20):
        for _ in range(steps):
            step()
        counts.append(graphs())
    assert counts[0] == counts[1]
    for _ in range(2):  # where nothing is trained either, it is bounded
        for _ in range(70):
            made(x)
        counts.append(graphs())
    assert counts[2] == counts[3]


@pytest.mark.parametrize("vmap_chunk", [1, 2])
def test_labeled_learners_take_the_loss_of_the_queries(vmap_chunk: int) -> None:
    made = module().double()
    x, q, y = torch.randn(2, 4, 1, 5).double(), torch.randn(2, 6, 1, 5).double(), torch.arange(6).expand(2, 6) % 2
    learner = ProtoNet(made, vmap_chunk=vmap_chunk)
    learner(Episode(*(Samples(s, y[:, : s.shape[1]], None, y[:, : s.shape[1]]) for s in (x, q))))
    plain = copy.deepcopy(learner)
    plain.calibration_weight = 0.0
    episode = Episode(*(Samples(s, y[:, : s.shape[1]], None, y[:, : s.shape[1]]) for s in (x, q)))
    queries = torch.stack([own(copy.deepcopy(made), q[i, :, 0]) for i in range(2)]).mean()
    torch.testing.assert_close(learner(episode).loss - plain(episode).loss, queries)
