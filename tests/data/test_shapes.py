"""Rendered shapes: each factor moves what it names and nothing else; images are dealt to parts once, whatever the labels."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from metatc2.data import SOURCES, GenerativeFactors, ImageStore, known_sources, load, load_shapes, shape_factors
from metatc2.data.sources.shapes import dataset as shapes
from metatc2.data.sources.shapes.outlines import OUTLINES
from metatc2.data.sources.shapes.render import FACTORS, KINDS, LISTS, RANGES, draw_factors, render
from metatc2.data.sources.shapes.textures import TEXTURES
from metatc2.errors import InputError

from ..covering import some

PLAIN = LISTS["texture"].index("plain")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load` without the 20 000 images."""

    def loaded(labels: str = "shape+texture", image_size: int | None = None) -> ImageStore:
        return load_shapes(labels, image_size, count=1000)

    for name in ("shapes", "shapes:FACTORS"):
        monkeypatch.setitem(SOURCES._there, name, loaded)


def one(**changes: float) -> Tensor:
    """Factors of one image: a plain object in the middle, lit from the right."""
    values = {"shape": 0, "texture": PLAIN, "size": 0.7, "orientation": 0.0, "hue": 0.0, "background": 0.5}
    values |= {"x": 0.0, "y": 0.0, "lighting": 0.0}
    return torch.tensor([[{**values, **changes}[name] for name in FACTORS]], dtype=torch.float64)


def drawn(side: int = 64, **changes: float) -> np.ndarray:
    """One image as float64 ``(side, side, 3)`` in [0, 1]."""
    return render(one(**changes), side)[0].permute(1, 2, 0).double().numpy() / 255


def ink(image: np.ndarray) -> np.ndarray:
    """Where a red object covers the cyan ground: redder than blue."""
    return image[..., 0] > image[..., 2]


def coordinates(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the pixels, x to the right and y up, in halves of the side."""
    middle = (2 * np.arange(side) + 1) / side - 1
    return np.meshgrid(middle, -middle)


def same_place(u: np.ndarray, v: np.ndarray, shape: str) -> np.ndarray:
    return OUTLINES[shape](torch.from_numpy(u), torch.from_numpy(v)).numpy() < 0


@pytest.mark.parametrize("shape", LISTS["shape"])
def test_an_object_lies_where_size_place_and_orientation_say(shape: str) -> None:
    """The outline at coordinates moved and turned here by complex numbers, against the pixels that are red."""
    turn, x, y, size = 0.13, -0.15, 0.1, 0.6
    across, up = coordinates(64)
    frame = (across + 1j * up - (x + 1j * y)) / size * np.exp(-2j * math.pi * turn)
    distance = OUTLINES[shape](torch.from_numpy(frame.real), torch.from_numpy(frame.imag)).numpy() * size * 64 / 2
    found = ink(drawn(shape=LISTS["shape"].index(shape), orientation=turn, x=x, y=y, size=size))
    # Of pixels that the outline cuts either may be the stronger color.
    clear = np.abs(distance) > 1
    assert (found == (distance < 0))[clear].all()
    assert clear.mean() > 0.7
    assert 0.08 < found.mean() < 0.3


@pytest.mark.parametrize("shape", LISTS["shape"])
def test_outlines_stay_in_the_image_and_show_their_orientation(shape: str) -> None:
    u, v = np.meshgrid(np.linspace(-1.4, 1.4, 281), np.linspace(-1.4, 1.4, 281))
    inside = same_place(u, v, shape)
    furthest = np.hypot(u, v)[inside].max()
    assert furthest > 0.9
    assert furthest * RANGES["size"][1] + RANGES["x"][1] <= 1
    distance = torch.from_numpy(OUTLINES[shape](torch.from_numpy(u), torch.from_numpy(v)).numpy())
    rise = torch.stack(torch.gradient(distance, spacing=0.01)).norm(dim=0)
    assert float(rise[distance.abs() < 0.03].median()) == pytest.approx(1, abs=0.02)
    for turn in np.arange(1, 12) / 12:
        turned = (u + 1j * v) * np.exp(2j * math.pi * turn)
        other = same_place(turned.real, turned.imag, shape)
        assert (inside & other).sum() / (inside | other).sum() < 0.9


def test_hues_are_colorsys_own() -> None:
    for hue in np.linspace(0, 1, 25)[:-1]:
        # The ground, seen at a right angle to the light, where its shade is 1.
        image = drawn(side=129, background=hue, lighting=0.0, x=-0.2, y=-0.2, size=0.55)
        np.testing.assert_allclose(image[0, 64], colorsys.hsv_to_rgb(hue, 0.65, 0.38), atol=0.003)
        inner = drawn(side=65, hue=hue, shape=LISTS["shape"].index("heart"))[32, 32]
        assert math.cos(2 * math.pi * (colorsys.rgb_to_hsv(*inner)[0] - hue)) > math.cos(2 * math.pi * 0.02)


@pytest.mark.parametrize("turn", [0.0, 0.2, 0.45, 0.7])
def test_light_comes_from_where_it_should(turn: float) -> None:
    image = drawn(lighting=turn, shape=LISTS["shape"].index("heart"), hue=0.0, background=0.5)
    across, up = coordinates(64)
    for chosen in (ink(image), ~ink(image)):
        weights = image.max(2)[chosen] - image.max(2)[chosen].mean()
        x, y = across[chosen], up[chosen]
        plane = np.linalg.lstsq(np.stack([x, y, np.ones_like(x)], 1), weights, rcond=None)[0]
        found = math.atan2(plane[1], plane[0]) / (2 * math.pi)
        assert abs((found - turn + 0.5) % 1 - 0.5) < 0.08


@pytest.mark.parametrize("name", RANGES)
def test_circular_factors_close_and_linear_ones_do_not(name: str) -> None:
    low, high = (drawn(32, **{name: bound}) for bound in RANGES[name])
    middle = drawn(32, **{name: sum(RANGES[name]) / 2})
    kind = KINDS[FACTORS.index(name)]
    assert (np.abs(low - high).max() < 0.01) == (kind == "circular")
    assert np.abs(low - middle).max() > 0.15


@pytest.mark.parametrize("side", [28, 32])
def test_all_shapes_and_textures_look_different_at_the_smallest_size(side: int) -> None:
    kinds = torch.cartesian_prod(torch.arange(len(OUTLINES)), torch.arange(len(TEXTURES))).tolist()
    images = render(torch.cat([one(shape=s, texture=t, size=0.55) for s, t in kinds]), side).flatten(1).double() / 255
    apart = torch.cdist(images, images).fill_diagonal_(math.inf)
    # The nearest two differ by as much as five pixels turned from black to white.
    assert float(apart.min()) > (5 * 3) ** 0.5 * 0.6


def test_stripes_and_checker_are_as_wide_as_said() -> None:
    """Shares and periods on a fine grid, where nothing is smoothed."""
    side = torch.linspace(-1.8, 1.8, 1801)[:-1]
    u, v = torch.meshgrid(side, side, indexing="xy")
    deep, pixel = torch.full_like(u, 0.5), torch.tensor(0.001)
    for name, period in (("stripes", 0.6), ("checker", 0.9)):
        mark = TEXTURES[name](u, v, deep, pixel)
        assert float(mark.mean()) == pytest.approx(0.5, abs=0.01)
        steps = round(period / 0.002)
        assert (mark - mark.roll(steps, 0)).abs().mean() < 0.02
        assert (mark - mark.roll(steps // 2, 0)).abs().mean() > 0.9
    assert float(TEXTURES["dots"](u, v, deep, pixel).mean()) == pytest.approx(math.pi * 0.2**2 / 0.62**2, abs=0.02)
    assert TEXTURES["halves"](u, v, deep, pixel).equal(((u / pixel) + 0.5).clamp(0, 1))
    assert float(TEXTURES["border"](u, v, torch.full_like(u, 0.2), pixel).max()) == 0
    assert float(TEXTURES["border"](u, v, torch.full_like(u, 0.1), pixel).min()) == 1


def test_an_image_depends_on_its_own_factors_alone() -> None:
    values = draw_factors(300, torch.Generator().manual_seed(5)).values
    whole = render(values, 16)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(6))
    assert render(values[order], 16).equal(whole[order])
    assert render(values[7:8], 16).equal(whole[7:8])
    assert render(values[:0], 16).shape == (0, 3, 16, 16)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert render(values, 16).equal(whole)
    finally:
        torch.set_num_threads(threads)


def test_the_same_images_on_every_machine() -> None:
    """A golden number: the renderer changed, or this machine draws otherwise, if it differs."""
    store = load_shapes(count=960)
    assert store.checksum()[:16] == "afb8d43612e1addb"


def test_factors_are_independent_and_uniform() -> None:
    known = shape_factors(20_000)
    for name, column in zip(known.names, known.values.unbind(1), strict=True):
        low, high = RANGES.get(name, (0, len(LISTS.get(name, ()))))
        assert low <= column.min() <= column.max() < high
        share = torch.histc((column - low) / (high - low) + 1e-9, 4, 0, 1) / len(known)
        assert (share - 0.25).abs().max() < 0.015
    correlation = torch.corrcoef(known.values.T) - torch.eye(9)
    assert correlation.abs().max() < 5 / 20_000**0.5
    assert not shape_factors(50, seed=1).values.equal(shape_factors(50).values)


def labeling(labels: str) -> ImageStore:
    return load_shapes(labels, 8, count=8000)


@pytest.mark.parametrize(
    "labels",
    some(["shape+texture", "hue", "shape", "x+texture", "size+shape", "texture+hue+shape"], ["hue", "x+texture"]),
)
def test_every_labeling_has_the_same_images_and_parts(labels: str) -> None:
    first, store = labeling("shape+texture"), labeling(labels)
    assert store.images.equal(first.images)
    assert store.domains.equal(first.domains)
    seen = set(first.rows("meta-train").tolist())
    for part in ("train", "validation", "test"):
        assert store.rows(part).equal(first.rows(part))
        assert first.rows(part).equal(first.rows(f"meta-{part}"))
        assert set(store.rows(f"meta-{part}").tolist()) <= set(store.rows(part).tolist())
    for split in ("test", "validation", "held-out", "meta-test", "meta-validation"):
        assert not seen & set(store.rows(split).tolist())
    classes = [set(store.labels[store.rows(f"meta-{part}")].tolist()) for part in ("train", "validation", "test")]
    assert not classes[0] & classes[1]
    assert not (classes[0] | classes[1]) & classes[2]
    assert set.union(*classes) == set(range(len(store.class_names)))


def test_classes_are_parts_of_ranges() -> None:
    store, known = labeling("size+shape"), shape_factors(8000)
    assert store.name == "shapes:shape+size"
    assert labeling("texture+shape").name == "shapes"
    size = known.select("size").values[:, 0]
    names = [store.class_names[label] for label in store.labels.tolist()]
    for name, value, shape in zip(names, size.tolist(), known.select("shape").values[:, 0].tolist(), strict=True):
        part = next(k for k in range(8) if value < 0.55 + (k + 1) * (0.76 - 0.55) / 8)
        assert name == f"shape {LISTS['shape'][int(shape)]}, size {part + 1}/8"
    background = known.select("background").values[:, 0]
    assert store.domains.tolist() == [math.floor(8 * value) for value in background.tolist()]
    assert store.domain_names[2] == "background 3/8"


@pytest.mark.slow
def test_the_default_has_enough_classes_for_20_way() -> None:
    store = load_shapes(image_size=8)
    assert len(store) == 20_000
    counts = {
        part: len(store.labels[store.rows(part)].unique()) for part in ("meta-train", "meta-validation", "meta-test")
    }
    assert counts == {"meta-train": 48, "meta-validation": 24, "meta-test": 24}
    assert int(store.labels.bincount().min()) > 150
    # Every shape and every texture is met in every part; only their combinations are new.
    for part in counts:
        classes = store.labels[store.rows(part)].unique()
        assert (len((classes // 8).unique()), len((classes % 8).unique())) == (12, 8)


@pytest.mark.usefixtures("few")
def test_as_a_source() -> None:
    assert {"shapes", "shapes:FACTORS"} <= set(known_sources())
    assert load("shapes").images.shape == (1000, 3, 32, 32)
    hue = load("shapes:hue", image_size=28, channels=1)
    assert (hue.name, hue.images.shape) == ("shapes:hue", (1000, 1, 28, 28))
    # Drawn at the size, not resized.
    assert load("shapes", image_size=28).images.equal(render(shape_factors(1000).values, 28))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ("hu", "shapes:hu: unknown factor 'hu'; did you mean 'hue'"),
        ("shape+textur", "unknown factor 'textur'; did you mean 'texture'"),
        ("hue+hue", "a factor is named twice; name each once, e.g. shapes:hue"),
        (
            "hue+size+x+y",
            "shapes:size+hue+x+y: 4096 classes for 20000 images leave under 10 a class; name fewer factors",
        ),
        ("", "shapes:' lacks its factors; write shapes:FACTORS"),
    ],
)
def test_bad_labels(labels: str, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        load(f"shapes:{labels}")
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: render(torch.zeros(2, 3), 32), "factors must be (N, 9)"),
        (lambda: render(one(), 7), "image_size must be at least 8, got 7"),
        (lambda: render(one(size=0.9), 32), "size must be a value in 0.55..0.76, got 0.9"),
        (lambda: render(one(shape=12), 32), "shape must be a whole number in 0..11, got 12"),
        (lambda: render(one(texture=0.5), 32), "texture must be a whole number in 0..7, got 0.5"),
        (lambda: render(one(hue=math.nan), 32), "hue must be a value in 0..1, got nan"),
        (lambda: shape_factors(0), "count must be at least 1"),
        (lambda: GenerativeFactors(torch.zeros(2, 2), ("a",), ("linear",)), "(N, F) with F names"),
        (lambda: GenerativeFactors(torch.zeros(2, 2), ("a", "a"), ("linear",) * 2), "names must differ"),
        (lambda: GenerativeFactors(torch.zeros(2, 1), ("a",), ("liner",)), "did you mean 'linear'"),  # type: ignore[arg-type]
        (lambda: GenerativeFactors(torch.full((2, 1), 0.5), ("a",), ("categorical",)), "whole numbers from 0"),
        (lambda: GenerativeFactors(torch.full((2, 1), math.inf), ("a",), ("linear",)), "must be finite"),
        (lambda: shape_factors(5).select("hu"), "unknown factor 'hu'; did you mean 'hue'"),
    ],
)
def test_bad_factors(call: object, sentence: str) -> None:
    assert callable(call)
    with pytest.raises(InputError) as error:
        call()
    assert sentence in str(error.value)


def test_rows_and_permutations_of_factors() -> None:
    known = shape_factors(40)
    rows = torch.tensor([3, 1])
    assert known.take(rows).values.equal(known.values[rows])
    picked = known.select("hue", "shape")
    assert picked.kinds == ("circular", "categorical")
    assert picked.values.equal(known.values[:, [FACTORS.index("hue"), FACTORS.index("shape")]])
    mixed = known.permuted(torch.Generator().manual_seed(0))
    assert not mixed.values.equal(known.values)
    assert sorted(map(tuple, mixed.values.tolist())) == sorted(map(tuple, known.values.tolist()))
    assert len(shape_factors()) == shapes.COUNT
