"""`diagnose`: the figures of the parts, the same for the same seed, no trace left; and its table."""

from __future__ import annotations

import copy
import io
import json
import math
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from metatc2.augment import Views
from metatc2.calibration import named_calibrator
from metatc2.data.store import ImageStore
from metatc2.diagnostics import Diagnosis, alignment, diagnose, linear_cka, rankme, summarize
from metatc2.episodes import SplitBatch
from metatc2.errors import InputError
from metatc2.inner import InnerLoop, inner_optimizer
from metatc2.learners import SharedTC2
from metatc2.models.conv4 import Conv4
from metatc2.models.heads import Projector
from metatc2.objectives import SimCLR
from metatc2.report.diagnosis_table import diagnosis_table
from metatc2.transfer import extract

from .conftest import FEW


def noise(n: int = 60, classes: int = 6) -> ImageStore:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 1, 16, 16), generator=g, dtype=torch.uint8)
    rows = torch.arange(n)
    return ImageStore("noise", images, rows % classes, splits={"half": rows[n // 2 :], "one": rows[:1]})


def fresh(seed: int = 0) -> SharedTC2:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder, projector = Conv4(channels=1, width=8), Projector(8, 16, 12)
    calibrator = named_calibrator(8, 3, generator=torch.Generator().manual_seed(1))
    calibrator.track(torch.rand(50, 8, generator=torch.Generator().manual_seed(2)), torch.eye(3, 8))
    inner = InnerLoop(inner_optimizer("sgd", 0.1), 1)
    return SharedTC2(encoder, SimCLR(), projector=projector, calibrator=calibrator, inner=inner)


def whole(store: ImageStore, **options: Any) -> Diagnosis:
    learner = fresh()
    sampler = SplitBatch(store, Views.glyphs(), tasks=2, batch=16, seed=3)
    given = {
        "views": Views.glyphs(),
        "calibrator": learner.calibrator,
        "against": {"runs/[b]": fresh(1).encoder},
        "learner": learner,
        "sampler": sampler,
        "episodes": 1,
        "resplits": FEW,
        **options,
    }
    return diagnose(learner.encoder, store, "half", **given)


pytestmark = pytest.mark.usefixtures("few_resplits")


@pytest.fixture(scope="module")
def found(few_resplits: int) -> Diagnosis:
    return whole(noise())


def test_figures_are_those_of_the_parts(found: Diagnosis) -> None:
    store, learner = noise(), fresh()
    features = extract(learner.encoder, store.images[30:])
    calibrated = learner.calibrator.test_features(features, standardized=True).detach()
    assert (found.images, found.images_of, found.split) == (30, 30, "half")
    assert found.features["encoder"].rankme == pytest.approx(rankme(features))
    assert found.features["calibrated"].rankme == pytest.approx(rankme(calibrated))
    assert found.cka["calibrated"].cka == pytest.approx(linear_cka(features, calibrated))
    other = extract(fresh(1).encoder, store.images[30:])
    assert found.cka["runs/[b]"].debiased == pytest.approx(linear_cka(features, other, debiased=True))
    assert found.factors is not None
    assert found.factors.between_groups is not None
    assert found.conflict is not None
    assert (found.conflict.tasks, found.conflict.support, found.conflict.query) == (2, 4, 4)


def test_views_are_those_of_the_recipe() -> None:
    store, encoder = noise(), fresh().encoder.eval()
    same = diagnose(encoder, store, views=Views.none())
    assert same.features["encoder"].alignment == 0
    recipe, generator = Views.glyphs(), torch.Generator().manual_seed(4)
    torch.randperm(60, generator=generator)  # the draw of images comes first
    pair = [recipe.apply(store.images, recipe.sample(60, generator)) for _ in range(2)]
    with torch.no_grad():
        expected = alignment(*(encoder(view) for view in pair))
    assert diagnose(encoder, store, views=recipe, seed=4).features["encoder"].alignment == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.slow
def test_the_seed_decides_and_the_batch_does_not(found: Diagnosis) -> None:
    assert whole(noise()) == found
    by_seven = whole(noise(), batch=7, learner=None, sampler=None)
    assert by_seven.features["encoder"].alignment == pytest.approx(found.features["encoder"].alignment, rel=1e-4)
    assert by_seven.features["encoder"].rankme == pytest.approx(found.features["encoder"].rankme, rel=1e-4)
    assert (
        whole(noise(), seed=1, learner=None, sampler=None).features["encoder"].alignment
        != found.features["encoder"].alignment
    )


def test_at_most_so_many_images() -> None:
    store = noise()
    seen: list[Tensor] = []

    class Watch(nn.Flatten):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images)
            return super().forward(images)

    small = diagnose(Watch(), store, views=Views.none(), max_images=25, batch=10)
    assert (small.images, small.images_of, small.features["encoder"].rows) == (25, 60, 25)
    assert max(len(batch) for batch in seen) == 10
    rows = [
        store.images.flatten(1).tolist().index((255 * x).round().int().tolist()) for x in torch.cat(seen[:3]).flatten(1)
    ]
    assert len(set(rows)) == 25
    assert max(rows) > 30  # drawn from all of the split


def test_it_is_json_without_nan(found: Diagnosis) -> None:
    back = json.loads(found.to_json())
    assert back == found.to_dict()
    assert back["conflict"]["cosine"]["all"]["value"] == found.conflict.cosine["all"].value  # type: ignore[union-attr]
    flat = ImageStore("flat", torch.zeros(10, 1, 16, 16, dtype=torch.uint8), torch.arange(10) % 2)
    collapsed = diagnose(nn.Flatten(), flat, views=Views.none())
    assert math.isnan(collapsed.features["encoder"].power_law.alpha)
    assert json.loads(collapsed.to_json())["features"]["encoder"]["power_law"]["alpha"] is None
    assert "one point" in str(collapsed.features["encoder"].collapse.sentence)


@pytest.mark.slow
def test_nothing_changes() -> None:
    learner = fresh().train()
    before = copy.deepcopy(learner.state_dict())
    state = torch.get_rng_state()
    sampler = SplitBatch(noise(), Views.none(), tasks=2, batch=16)
    given = {"calibrator": learner.calibrator, "learner": learner, "sampler": sampler, "episodes": 1, "resplits": FEW}
    diagnose(learner.encoder, noise(), views=Views.none(), **given)
    assert all(torch.equal(value, learner.state_dict()[name]) for name, value in before.items())
    assert all(part.training for part in learner.modules())
    assert all(p.grad is None for p in learner.parameters())
    assert torch.equal(state, torch.get_rng_state())


def shown(diagnosis: Diagnosis, width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(diagnosis_table(diagnosis))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_names_every_figure_and_says_how_to_read_it(found: Diagnosis) -> None:
    text = shown(found)
    for word in ("RankMe", "α-ReQ", "uniformity", "calibrated", "runs/[b]", "factors used", "T, transferability"):
        assert word in text
    assert "cosine, blocks.3" in text
    assert f"{found.features['encoder'].uniformity:.3g}" in text
    assert "noise" in text
    assert "30 images, noise:half" in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_the_table_leaves_out_what_was_not_measured() -> None:
    flat = ImageStore("flat", torch.zeros(10, 1, 16, 16, dtype=torch.uint8), torch.zeros(10, dtype=torch.int64))
    text = shown(diagnose(nn.Flatten(), flat, views=Views.none(), max_images=8))
    assert "8 of 10 images" in text
    assert "collapsed to one point" in text
    assert "–" in text
    assert "Task conflict" not in text
    assert "Factors" not in text
    assert "CKA" not in text


def test_what_cannot_be_diagnosed_is_refused() -> None:
    store, learner = noise(), fresh()

    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1) / 0

    with pytest.raises(InputError, match="the encoder: 60 of 60 images have features that are NaN"):
        diagnose(Broken(), store, views=Views.none())
    with pytest.raises(InputError, match="noise:one has 1 images; spectra need at least 2"):
        diagnose(nn.Flatten(), store, "one", views=Views.none())
    with pytest.raises(InputError, match="no split 'haf'; did you mean 'half'"):
        diagnose(nn.Flatten(), store, "haf", views=Views.none())
    with pytest.raises(InputError, match="both a learner and a sampler"):
        diagnose(learner.encoder, store, views=Views.none(), learner=learner)
    with pytest.raises(InputError, match="features are 256 wide and the calibrator takes 8"):
        diagnose(nn.Flatten(), store, views=Views.none(), calibrator=learner.calibrator)
    with pytest.raises(InputError, match="max_images must be at least 2"):
        diagnose(nn.Flatten(), store, views=Views.none(), max_images=1)
    with pytest.raises(InputError, match="at least 2 rows, got 1"):
        summarize(torch.ones(1, 3), torch.ones(1, 3), torch.ones(1, 3))
