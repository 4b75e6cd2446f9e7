"""Fine-tuning against a plain `torch.optim.SGD` loop; what it leaves alone, and how it chooses."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from metatc2.errors import InputError
from metatc2.models.registry import build_encoder
from metatc2.transfer.protocols import fine_tune as module
from metatc2.transfer.protocols.fine_tune import CROP_AND_FLIP, FineTuned, fine_tune

from ..covering import covered

Parts = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def data() -> Parts:
    """Three classes with gaps between their labels: a bright bar at one of three heights, in noise."""
    g = torch.Generator().manual_seed(0)
    kinds = torch.arange(90) % 3
    images = 120 * torch.rand(90, 1, 6, 6, generator=g)
    images[torch.arange(90), 0, 2 * kinds] += 60
    images, labels = images.byte(), 5 * kinds
    return images[:40], labels[:40], images[40:60], labels[40:60], images[60:], labels[60:]


def network(*extra: nn.Module) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *extra, nn.Flatten())


def run(encoder: nn.Module, parts: Parts, **options: object) -> FineTuned:
    settings: dict[str, object] = {
        "generator": torch.Generator().manual_seed(1),
        "steps": 12,
        "batch": 16,
        "rates": (0.01, 0.1),
        "weight_decays": (0.0, 0.01),
        **options,
    }
    return fine_tune(encoder, *parts, **settings)  # type: ignore[arg-type]


def plain_loop(encoder: nn.Module, x: Tensor, y: Tensor, rate: float, decay: float, *, frozen: bool) -> nn.Module:
    model = nn.Sequential(copy.deepcopy(encoder), nn.Linear(64, 3))
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    model.train()
    if frozen:
        model[0][1].eval()
    g = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(1))))
    order = [rows for _ in range(12) for rows in torch.randperm(len(x), generator=g).split(16) if len(rows) == 16][:12]
    speed = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for step, rows in enumerate(order):
        loss = nn.functional.cross_entropy(model(x[rows].float() / 255), y[rows] // 5)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        now = rate * (1 + torch.cos(torch.tensor(step / 12 * torch.pi))) / 2
        with torch.no_grad():
            for (name, p), gradient in zip(model.named_parameters(), gradients, strict=True):
                # Nesterov as Sutskever et al. have it: the step looks ahead along the new velocity.
                full = gradient + decay * p
                speed[name] = 0.9 * speed[name] + full
                p -= now * (full + 0.9 * speed[name])
    return model.eval()


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_equals_a_plain_loop(batch_norm: str) -> None:
    x, y, validation, validation_labels, test, test_labels = parts = data()
    encoder = network()
    found = run(encoder, parts, batch_norm=batch_norm, refit=False, rates=(0.1, 0.5))
    best = None
    for i, rate in enumerate(found.rates):
        for j, decay in enumerate(found.weight_decays):
            model = plain_loop(encoder, x, y, rate, decay, frozen=batch_norm == "frozen")
            accuracy = (5 * model(validation.float() / 255).argmax(1) == validation_labels).double().mean()
            assert float(found.validation[i, j]) == pytest.approx(float(accuracy))
            if best is None or accuracy > best[0]:
                best = (accuracy, rate, decay, 5 * model(test.float() / 255).argmax(1))
    assert best is not None
    assert (found.learning_rate, found.weight_decay) == best[1:3]
    assert torch.equal(found.predicted, best[3])
    assert torch.equal(found.correct, (best[3] == test_labels).double())
    assert found.validation.unique().numel() > 1


class Blocks(nn.Module):
    """Conv-4 block by block, as torch runs it: no part of it knows of another."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        x = self.encoder.normalize(images)  # type: ignore[operator]
        for block in self.encoder.blocks:  # type: ignore[union-attr]
            for part in block:
                x = part(x)
        return x.mean((-2, -1))


@pytest.mark.parametrize(("kind", "how"), covered(("standard", "conv4"), ("argument", "modes"), strength=1))
def test_frozen_batch_normalization_keeps_its_statistics(kind: str, how: str) -> None:
    """Both ways to freeze it equal a network whose normalizations are fixed affine maps."""
    torch.manual_seed(0)
    x, y, *others = data()
    big = tuple(p.repeat_interleave(3, 2).repeat_interleave(3, 3) if p.ndim == 4 else p for p in (x, y, *others))
    encoder = build_encoder("conv4", channels=1, image_size=18, width=8) if kind == "conv4" else network()
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    plain = Blocks(copy.deepcopy(encoder)) if kind == "conv4" else copy.deepcopy(encoder)
    for part in plain.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    if how == "modes":
        for part in encoder.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
    options = {"refit": False, "rates": (0.05, 0.2), "weight_decays": (0.01,), "steps": 6}
    found = run(encoder, big, batch_norm="frozen" if how == "argument" else "kept", **options)  # type: ignore[arg-type]
    wanted = run(plain, big, batch_norm="frozen", **options)  # type: ignore[arg-type]
    torch.testing.assert_close(found.validation_loss, wanted.validation_loss, rtol=1e-4, atol=1e-5)
    free = run(encoder.train(), big, batch_norm="train", **options)  # type: ignore[arg-type]
    assert not torch.allclose(found.validation_loss, free.validation_loss, rtol=1e-3)


def test_modes_are_the_caller_s_and_arguments_override_them_for_batch_norm() -> None:
    options = {"refit": False, "rates": (0.1,), "weight_decays": (0.0,)}
    train, frozen = (run(network(), data(), batch_norm=how, **options).validation_loss for how in ("train", "frozen"))
    assert not torch.equal(train, frozen)
    assert torch.equal(run(network(), data(), **options).validation_loss, train)
    assert torch.equal(run(network().eval(), data(), **options).validation_loss, frozen)
    assert torch.equal(run(network().eval(), data(), batch_norm="train", **options).validation_loss, train)
    with pytest.raises(InputError, match="1 keeps no running statistics"):
        run(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36, track_running_stats=False)), data(), batch_norm="frozen")


def test_refit_trains_on_both_and_tests_once() -> None:
    x, y, validation, validation_labels, test, _ = parts = data()
    encoder = network()
    found = run(encoder, parts, rates=(0.1,), weight_decays=(0.01,))
    both = torch.cat([x, validation]), torch.cat([y, validation_labels])
    model = plain_loop(encoder, *both, 0.1, 0.01, frozen=False)
    assert torch.equal(found.predicted, 5 * model(test.float() / 255).argmax(1))
    assert found.accuracy == float(found.correct.mean())


def test_learns_and_leaves_the_encoder_alone() -> None:
    encoder = network(nn.Dropout(0.2))
    encoder[0].requires_grad_(False)
    encoder[1].eval()
    before = copy.deepcopy(encoder.state_dict())
    state = torch.get_rng_state()
    found = run(encoder, data(), steps=60, rates=(0.1,), weight_decays=(0.0,))
    assert found.accuracy > 0.8
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert [p.requires_grad for p in encoder.parameters()] == [False, False, True, True]
    assert all(p.grad is None for p in encoder.parameters())
    assert (encoder.training, encoder[1].training) == (True, False)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_frozen_encoder_is_trained_too() -> None:
    """A head of zeros on features of noise learns the training images only if the encoder moves."""
    frozen = network().requires_grad_(False)
    assert torch.equal(run(frozen, data()).predicted, run(network(), data()).predicted)


def test_repeats_whatever_the_global_seed_and_differs_with_its_own() -> None:
    encoder = network(nn.Dropout(0.5))
    options = {"rates": (0.1,), "weight_decays": (0.0, 0.01), "steps": 6}
    torch.manual_seed(0)
    first = run(encoder, data(), views=CROP_AND_FLIP, **options)
    torch.manual_seed(9)
    second = run(encoder, data(), views=CROP_AND_FLIP, **options)
    assert torch.equal(first.predicted, second.predicted)
    assert torch.equal(first.validation_loss, second.validation_loss)
    other = run(encoder, data(), views=CROP_AND_FLIP, generator=torch.Generator().manual_seed(2), **options)
    plain = run(encoder, data(), **options)
    assert not torch.equal(first.validation_loss, other.validation_loss)
    assert not torch.equal(first.validation_loss, plain.validation_loss)


def test_choice_does_not_look_at_the_test_images() -> None:
    parts = data()
    first, second = run(network(), parts), run(network(), (*parts[:4], parts[4].flip(0), 5 - parts[5]))
    assert torch.equal(first.validation, second.validation)
    assert torch.equal(first.predicted, second.predicted.flip(0))


def test_diverged_runs_are_not_chosen() -> None:
    found = run(network(), data(), rates=(0.01, 1e20))
    assert found.learning_rate == 0.01
    assert found.validation.isnan().tolist() == [[False, False], [True, True]]
    with pytest.raises(InputError, match="diverged at every rate"):
        run(network(), data(), rates=(1e20,))


def test_defaults_are_the_protocol() -> None:
    assert (module.STEPS, module.VTAB_1K_STEPS) == (5000, 1000)
    assert (len(module.RATES), len(module.WEIGHT_DECAYS)) == (4, 5)


def test_bad_input() -> None:
    parts = data()
    for change, words in (
        ({"steps": 0}, "steps"),
        ({"rates": ()}, "rates"),
        ({"rates": (0.0,)}, "rates"),
        ({"weight_decays": (-1.0,)}, "weight_decays"),
        ({"batch_norm": "eval"}, "batch_norm"),
    ):
        with pytest.raises(InputError, match=words):
            run(network(), parts, **change)
    with pytest.raises(InputError, match="with parameters to train, got Flatten"):
        run(nn.Flatten(), parts)
    with pytest.raises(InputError, match=r"got \(2, 4, 4, 4\)"):
        run(nn.Conv2d(1, 4, 3), parts)
    with pytest.raises(InputError, match="test images must be uint8"):
        run(network(), (*parts[:4], parts[4].float(), parts[5]))
    with pytest.raises(InputError, match="all of one size"):
        run(network(), (*parts[:4], parts[4][..., :4, :4], parts[5]))
    with pytest.raises(InputError, match="train_labels"):
        run(network(), (parts[0], parts[1][1:], *parts[2:]))
