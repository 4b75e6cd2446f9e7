"""Everything that learns on a device that is not the CPU: nothing is mixed up, and values are those of the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from metatc2.augment import Views, build_recipe
from metatc2.augment.families import FAMILIES
from metatc2.augment.families import recipe as recipe_of
from metatc2.data import ImageStore
from metatc2.episodes import Episode
from metatc2.experiment.build import build_learner, build_sampler
from metatc2.experiment.config import override, read_task
from metatc2.io.registries import (
    ADJOINTS,
    AUXILIARY,
    CONDITIONS,
    ENCODERS,
    LEARNERS,
    OBJECTIVES,
    RECIPES,
    REGULARIZERS,
    TOLD,
)
from metatc2.learners import Learner
from metatc2.metrics.coding_rate import coding_rate, rate_reduction
from metatc2.models.registry import build_encoder

from ..covering import covered, some
from .elsewhere import DEVICE, DevicesMixed, Elsewhere, elsewhere, here, moved, there

ENCODER_NAMES = ["timm:vit_tiny_patch16_224" if ":" in name else name for name in ENCODERS]
SSL = (
    "data.image_size=16",
    "data.split=all",
    "episode.tasks=4",
    "episode.batch=32",
    "head.projector_hidden=8",
    "head.projector_out=6",
    "trainer.seed=1",
)
CALIBRATIONS: dict[str, tuple[str, ...]] = {
    "plain": ("calibration.name=none",),
    "tasks": ("calibration.name=tasks",),
    "standardized": ("calibration.name=standardize",),
    "tc2": ("calibration.name=tc2", "calibration.factors=4"),
    "shared tc2": ("calibration.name=tc2", "calibration.adapt=shared", "calibration.factors=4"),
}
FEW_SHOT = (
    "data.image_size=16",
    "data.split=all",
    "episode.way=3",
    "episode.shot=2",
    "episode.query=2",
    "episode.meta_batch=2",
)


WITH_STEPS = ("maml", "anil", "boil", "fomaml", "reptile", "meta-sgd", "maml++", "imaml")
OWN = {"imaml": ("learner.strength=50.0", "learner.inner_lr=0.01")}


@cache
def store() -> ImageStore:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (60, 3, 16, 16), generator=g, dtype=torch.uint8)
    return ImageStore("noise", images, torch.arange(60) % 6)


def small_encoder() -> nn.Module:
    torch.manual_seed(0)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 10), nn.BatchNorm1d(10), nn.Tanh())
    return nn.Sequential(*pooled, nn.Linear(10, 6))


def double(t: Tensor) -> Tensor:
    return t.double() if t.is_floating_point() else t


def of(episode: Episode, f: Callable[[Tensor], Tensor]) -> Episode:
    identity = None if episode.identity is None else episode.identity.map(f)
    return Episode(episode.support.map(f), episode.query.map(f), identity)


def compare(*settings: str) -> None:
    """A step of a learner on the CPU and elsewhere: loss, gradients, metrics and state after it."""
    config = override(read_task("glyphs"), list(settings))
    sampler = build_sampler(config, store())
    class_of = torch.as_tensor(store().labels)
    learner = build_learner(config, 3, 16, small_encoder(), class_of=class_of).double()
    other = moved(copy.deepcopy(learner))
    for _ in range(2):  # from the second step on there are averages, queues, momentum
        episode = of(sampler.sample(), double)
        expected = step(learner, episode)
        with elsewhere():
            got = step(other, of(episode, there))
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(here(got[name]), value, rtol=1e-6, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


def step(learner: Learner, episode: Episode) -> dict[str, Tensor]:
    learner.zero_grad()
    torch.manual_seed(3)
    learner.begin_step(0, 2)
    outcome = learner(episode)
    outcome.loss.backward()
    learner.end_step()
    found = {f"metric {name}": t for name, t in outcome.metrics.items() if isinstance(t, Tensor)}
    found |= {f"gradient {name}": p.grad for name, p in learner.named_parameters() if p.grad is not None}
    found |= {f"state {name}": t for name, t in learner.state_dict().items() if isinstance(t, Tensor)}
    assert any(name.startswith("gradient") for name in found)
    return {"loss": outcome.loss.detach(), **found}


@pytest.mark.parametrize(("objective", "calibration"), covered(OBJECTIVES, CALIBRATIONS, strength=1))
def test_objectives_and_calibrations(objective: str, calibration: str) -> None:
    small = {
        "moco": ("objective.queue=16",),
        "jigsaw": ("objective.tile=4", "objective.hidden=8"),
        "relative-position": ("objective.tile=4", "objective.hidden=8"),
    }
    compare(*SSL, f"objective.name={objective}", *small.get(objective, ()), *CALIBRATIONS[calibration])


@pytest.mark.parametrize(
    ("regularizer", "auxiliary", "condition", "calibration"),
    covered(REGULARIZERS, AUXILIARY, CONDITIONS, CALIBRATIONS, strength=1),
)
def test_what_is_asked_besides(regularizer: str, auxiliary: str, condition: str, calibration: str) -> None:
    compare(
        *SSL, "objective.name=byol", f"regularizer.name={regularizer}", f"auxiliary.name={auxiliary}",
        f"condition.name={condition}", "condition.where=both", "episode.share_descriptors=2", *CALIBRATIONS[calibration],
    )  # fmt: skip


KINDS = ("calibration.name=tasks", "episode.tasks_differ_by=views", "episode.recipes=one")


@pytest.mark.parametrize("told", some(TOLD, ("film", "heads", "mask-sparse")))
def test_told_projectors(told: str) -> None:
    factors = (
        ("calibration.factors=4",) if told in ("linear-map", "mask-sigmoid", "mask-softmax", "mask-sparse") else ()
    )
    compare(*SSL, *KINDS, *factors, f"head.told={told}")


def test_uncertainty_weights() -> None:
    compare(*SSL, *KINDS, "learner.aggregate=uncertainty")


# The inner loop of so few steps is far from a minimum.
@pytest.mark.filterwarnings("ignore:Implicit")
@pytest.mark.parametrize("name", some(LEARNERS, ("maml", "protonet", "r2d2", "linear-probe")))
def test_labeled_learners(name: str) -> None:
    few = ("learner.inner_steps=2",) if name in WITH_STEPS else ()
    compare(*FEW_SHOT, f"learner.name={name}", *few, *OWN.get(name, ()), "calibration.name=none")


@pytest.mark.filterwarnings("ignore:Implicit")
@pytest.mark.parametrize("adjoint", some(ADJOINTS, ("unroll", "recompute", "first-order")))
def test_adjoints(adjoint: str) -> None:
    options = {"evolution": ", samples = 1", "implicit": ", proximal = 20.0"}.get(adjoint, "")
    chosen = f'learner.adjoint={{name = "{adjoint}"{options}}}'
    compare(*FEW_SHOT, "learner.name=maml", "learner.inner_steps=2", chosen, "calibration.name=none")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["protonet", pytest.param("maml", marks=pytest.mark.slow)])
def test_calibrated_encoder(name: str) -> None:
    compare(
        *FEW_SHOT, f"learner.name={name}", "calibration.name=tc2", "calibration.factors=4", "calibration.inner_steps=1"
    )


@pytest.mark.parametrize("name", some(ENCODER_NAMES, ("conv4", "resnet18")))
def test_encoders(name: str) -> None:
    torch.manual_seed(0)
    size = 32
    encoder = build_encoder(name, channels=3, image_size=size, width=None if ":" in name else 4).double()
    other = moved(copy.deepcopy(encoder))
    images = torch.rand(3, 3, size, size, dtype=torch.float64)
    results = []
    for module, x in ((encoder, images), (other, there(images))):
        with elsewhere():
            out = module(x)
            (out * out.detach().cos()).sum().backward()
        results.append([out, *(p.grad for p in module.parameters())])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(here(got), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", some([name for name in ENCODERS if ":" not in name], ("conv4",)))
def test_encoders_under_the_name_of_cuda(name: str) -> None:
    """Kernels are chosen by the kind of device; no backward pass without a GPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), torch.device("cuda"):
        encoder = build_encoder(name, channels=3, image_size=32, width=4)
        out = encoder(torch.rand(2, 3, 32, 32))
    assert out.device.type == "cuda"
    assert out.shape[0] == 2


@pytest.mark.parametrize("recipe", RECIPES)
def test_views(recipe: str) -> None:
    check_views(build_recipe(recipe))


@pytest.mark.parametrize("family", FAMILIES)
def test_views_of_families(family: str) -> None:
    check_views(recipe_of([0.7 * (name == family) for name in FAMILIES]))


def check_views(views: Views) -> None:
    images = store().images[:12]
    descriptors = views.sample(24, torch.Generator().manual_seed(1)).unflatten(0, (12, 2))
    expected = views.make(images, descriptors)
    with elsewhere():
        got = views.make(there(images), descriptors)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(here(a), b, rtol=1e-4, atol=1e-5)


def test_coding_rate() -> None:
    z1, z2 = torch.rand(2, 40, 6, generator=torch.Generator().manual_seed(0))
    with elsewhere():
        assert coding_rate(there(z1)) == pytest.approx(coding_rate(z1))
        assert rate_reduction(there(z1), there(z2)) == pytest.approx(rate_reduction(z1, z2))


def test_mixing_devices_is_seen() -> None:
    x = there(torch.ones(3))
    with elsewhere():
        assert isinstance(x + torch.tensor(2.0), Elsewhere)  # a number
        for wrong in (
            lambda: x + torch.ones(3),
            lambda: torch.cat([x, torch.zeros(1)]),
            lambda: torch.ones(3)[torch.zeros(2, dtype=torch.int64, device=DEVICE)],
            lambda: torch.rand(3, device=DEVICE, generator=torch.Generator()),
        ):
            with pytest.raises(DevicesMixed):
                wrong()
    with pytest.raises((RuntimeError, TypeError)):
        x.numpy()


def test_a_mix_up_in_a_learner_is_seen() -> None:
    class Careless(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) + torch.zeros(images[0].numel())

    with elsewhere(), pytest.raises(DevicesMixed):
        Careless()(there(torch.rand(2, 3, 4, 4)))
