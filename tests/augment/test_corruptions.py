"""Each corruption against another library or its formula, then what holds for all of them."""

from __future__ import annotations

import math
from functools import cache
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur, resize

from metatc2.augment.corruptions import CORRUPTIONS, SEVERITIES, corrupt, digital, weather
from metatc2.augment.corruptions import blur as blurs
from metatc2.errors import InputError


@cache
def photographs(size: int, count: int = 16) -> Tensor:
    """Windows of scikit-learn's two photographs, uint8."""
    pictures = [torch.from_numpy(picture.copy()).permute(2, 0, 1) for picture in load_sample_images().images]
    g = torch.Generator().manual_seed(0)
    windows = []
    for i in range(count):
        y, x = int(torch.randint(27, (), generator=g)), int(torch.randint(240, (), generator=g))
        windows.append(resize(pictures[i % 2][:, y : y + 400, x : x + 400], [size, size], antialias=True))
    return torch.stack(windows)


@pytest.fixture(scope="module")
def small() -> Tensor:
    return photographs(32)


def by(name: str, images: Tensor, severity: int, seed: int = 0) -> Tensor:
    return corrupt(images, name, severity, torch.Generator().manual_seed(seed))


def strength(name: str, severity: int, size: int) -> float:
    return CORRUPTIONS[name].parameters(severity, size)[0]


# --- strengths ---


def test_tables_are_the_published_ones() -> None:
    """A sample of the authors' constants for CIFAR-10-C (32 pixels) and ImageNet-C (224 pixels)."""
    published = {
        ("gaussian_noise", 5): ((0.10,), (0.38,)),
        ("shot_noise", 1): ((500,), (60,)),
        ("impulse_noise", 4): ((0.05,), (0.17,)),
        ("speckle_noise", 3): ((0.12,), (0.35,)),
        ("gaussian_blur", 5): ((1,), (6,)),
        ("motion_blur", 5): ((9, 2.5), (20, 15)),
        ("fog", 2): ((0.5, 3), (2, 2)),
        ("brightness", 3): ((0.15,), (0.3,)),
        ("contrast", 5): ((0.15,), (0.05,)),
        ("jpeg_compression", 1): ((80,), (25,)),
    }
    for (name, severity), (at_32, at_224) in published.items():
        assert CORRUPTIONS[name].parameters(severity, 32) == pytest.approx(at_32)
        assert CORRUPTIONS[name].parameters(severity, 224) == pytest.approx(at_224)


def test_strengths_follow_the_size() -> None:
    middle = round(math.sqrt(32 * 224))
    assert strength("gaussian_noise", 5, middle) == pytest.approx(math.sqrt(0.1 * 0.38), rel=1e-2)
    assert CORRUPTIONS["gaussian_blur"].parameters(3, 8) == CORRUPTIONS["gaussian_blur"].parameters(3, 32)
    assert strength("gaussian_blur", 3, 448) == pytest.approx(2 * strength("gaussian_blur", 3, 224))
    assert strength("contrast", 3, 448) == strength("contrast", 3, 224)


# --- each against its oracle ---


def test_gaussian_noise_has_its_deviation() -> None:
    noise = by("gaussian_noise", torch.full((8, 3, 32, 32), 0.5), 5) - 0.5
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(noise.mean())) < 0.002


def test_shot_noise_has_the_variance_of_photons() -> None:
    for value in (0.2, 0.6):
        made = by("shot_noise", torch.full((8, 3, 32, 32), value), 5)
        assert float(made.mean()) == pytest.approx(value, rel=0.01)
        assert float(made.var()) == pytest.approx(value / 50, rel=0.05)
        assert torch.allclose((made * 50).round(), made * 50, atol=1e-4)


def test_impulse_noise_replaces_its_share() -> None:
    made = by("impulse_noise", torch.full((20, 3, 32, 32), 0.5), 5)
    assert float((made == 0).double().mean()) == pytest.approx(0.035, rel=0.1)
    assert float((made == 1).double().mean()) == pytest.approx(0.035, rel=0.1)
    assert float((made == 0.5).double().mean()) == pytest.approx(0.93, rel=0.01)


def test_speckle_noise_grows_with_the_value() -> None:
    for value in (0.1, 0.4):
        made = by("speckle_noise", torch.full((8, 3, 32, 32), value), 5)
        assert float(made.std()) == pytest.approx(0.2 * value, rel=0.02)
        assert float(made.mean()) == pytest.approx(value, rel=0.01)


def test_gaussian_blur_is_torchvisions(small: Tensor) -> None:
    sigma = strength("gaussian_blur", 5, 32)
    expected = gaussian_blur(small.float() / 255, [9, 9], [sigma, sigma])
    found = by("gaussian_blur", small.float() / 255, 5)
    assert torch.allclose(found[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4], atol=1e-4)


def point(side: int = 41) -> Tensor:
    image = torch.zeros(1, 1, side, side)
    image[0, 0, side // 2, side // 2] = 1
    return image


def spread(image: Tensor) -> tuple[float, float, float, float]:
    """Mean place and variance of light, down and right, from the middle."""
    place = torch.arange(image.shape[-1]) - image.shape[-1] // 2
    down, right = image[0, 0].sum(1), image[0, 0].sum(0)
    y, x = float(down @ place.float()), float(right @ place.float())
    return y, x, float(down @ place.float() ** 2) - y**2, float(right @ place.float() ** 2) - x**2


def covariance(image: Tensor) -> float:
    place = (torch.arange(image.shape[-1]) - image.shape[-1] // 2).float()
    y, x, *_ = spread(image)
    return float(place @ image[0, 0] @ place) - y * x


@pytest.mark.parametrize("radius", [1.0, 3.0, 6.5, 10.0])
def test_defocus_spreads_a_point_as_a_disc(radius: float) -> None:
    made = blurs.defocus_blur(point(), [0], radius)
    assert float(made.sum()) == pytest.approx(1, abs=1e-5)
    y, x, down, right = spread(made)
    assert (y, x) == pytest.approx((0, 0), abs=1e-5)
    # A disc of radius r has the variance r²/4 along each axis; the soft edge adds a little.
    assert down == pytest.approx(right, abs=1e-4)
    assert down == pytest.approx(radius**2 / 4, abs=0.16)
    distance = torch.hypot(*(t.float() - 20 for t in torch.meshgrid(torch.arange(41), torch.arange(41), indexing="ij")))
    inside = made[0, 0][distance <= radius - 0.5]
    assert torch.allclose(inside, inside[0].expand_as(inside))
    assert float(made[0, 0][distance > radius + 0.5].abs().max()) < 1e-6


def test_defocus_at_32_pixels_has_the_variance_of_the_published_kernels() -> None:
    # A pixel or disc of 1, 5 or 9 pixels, softened by a 3 × 3 Gaussian of width a.
    discs = [(0.0, 0.4), (0.0, 0.5), (0.0, 0.6), (2 / 5, 0.2), (6 / 9, 0.1)]
    for severity, (own, a) in zip(SEVERITIES, discs, strict=True):
        neighbor = math.exp(-1 / (2 * a**2))
        expected = own + 2 * neighbor / (1 + 2 * neighbor)
        assert spread(by("defocus_blur", point(31), severity))[2] == pytest.approx(expected, rel=0.1)


def test_motion_leaves_a_trail_along_one_direction() -> None:
    angles = []
    for seed in range(40):
        made = blurs.motion_blur(point(), [seed], 20, 3.0)
        assert float(made.sum()) == pytest.approx(1, abs=1e-4)
        y, x, down, right = spread(made)
        # Half a Gaussian of width σ: its mean lies at σ √(2/π), here sampled at whole steps from 0 on.
        weights = np.exp(-0.5 * (np.arange(13) / 3.0) ** 2)
        assert math.hypot(x, y) == pytest.approx(np.average(np.arange(13), weights=weights), abs=1e-2)
        angles.append(math.degrees(math.atan2(y, x)))
        # It is a line: across itself it is no wider than bilinear sampling makes it.
        assert down * right - covariance(made) ** 2 < 0.3 * max(down, right)
    assert -45 <= min(angles) < -25
    assert 25 < max(angles) <= 45


def test_motion_trail_is_cut_at_its_radius() -> None:
    made = blurs.motion_blur(point(61), [1], 4, 15.0)
    y, x, *_ = spread(made)
    weights = np.exp(-0.5 * (np.arange(9) / 15.0) ** 2)
    assert math.hypot(x, y) == pytest.approx(np.average(np.arange(9), weights=weights), abs=1e-2)


def test_zoom_is_the_mean_of_enlarged_images() -> None:
    """On an image that is linear from its center, enlarging by z divides by z."""
    ramp = ((torch.arange(33.0) - 16) / 40 + 0.5).expand(1, 1, 33, 33)
    made = blurs.zoom_blur(ramp, [0], 0.5)
    factor = float(np.mean(1 / np.linspace(1, 1.5, 11)))
    assert torch.allclose(made - 0.5, (ramp - 0.5) * factor, atol=1e-5)


def test_fog_is_the_formula_on_a_cloud_from_0_to_1() -> None:
    for brightest in (1.0, 0.6):
        images = torch.full((6, 3, 32, 32), brightest)
        images[:, :, :16] = 0
        made = weather.fog(images, range(6), 0.75, 2.5)
        # Solved for the cloud: (x + c p) m / (m + c).
        cloud = (made * (brightest + 0.75) / brightest - images) / 0.75
        assert torch.allclose(cloud[:, 0], cloud[:, 1], atol=1e-5)
        assert torch.allclose(cloud.amin((1, 2, 3)), torch.zeros(6), atol=1e-5)
        assert torch.allclose(cloud.amax((1, 2, 3)), torch.ones(6), atol=1e-5)
        assert not torch.allclose(cloud[0], cloud[1], atol=0.1)


def test_fog_is_rougher_with_less_decay() -> None:
    flat = torch.ones(20, 1, 64, 64)
    rough = [
        float((made[..., 1:] - made[..., :-1]).square().mean() / made.var())
        for made in (weather.fog(flat, range(20), 1.0, decay) for decay in (3.0, 2.0, 1.4))
    ]
    assert rough[0] < rough[1] / 1.5 < rough[2] / 3


def test_brightness_raises_the_value_of_hsv(small: Tensor) -> None:
    hsv = rgb_to_hsv(small.permute(0, 2, 3, 1).double().numpy() / 255)
    hsv[..., 2] = np.clip(hsv[..., 2] + 0.15, 0, 1)
    expected = torch.from_numpy(hsv_to_rgb(hsv)).permute(0, 3, 1, 2).float()
    assert torch.allclose(by("brightness", small.float() / 255, 3), expected, atol=1e-5)
    black = by("brightness", torch.zeros(1, 3, 8, 8), 3)
    assert torch.allclose(black, torch.full_like(black, 0.15))


def test_contrast_shrinks_about_the_mean(small: Tensor) -> None:
    x = small.double().numpy() / 255
    mean = x.mean((2, 3), keepdims=True)
    expected = torch.from_numpy((x - mean) * 0.3 + mean).float()
    assert torch.allclose(by("contrast", small.float() / 255, 4), expected, atol=1e-5)


def test_pixelate_is_pillows_box_where_boxes_are_whole(small: Tensor) -> None:
    for share in (0.5, 0.25):
        made = (digital.pixelate(small.float() / 255, [], share) * 255).round()
        few = int(32 * share)
        for image, found in zip(small, made, strict=True):
            shrunk = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((few, few), Image.Resampling.BOX)
            expected = torch.from_numpy(np.array(shrunk.resize((32, 32), Image.Resampling.BOX))).permute(2, 0, 1)
            assert float((found - expected).abs().max()) <= 1


def test_pixelate_shares_pixels_between_boxes() -> None:
    """Three pixels in two boxes: the middle one belongs to both by halves."""
    row = torch.tensor([0.0, 0.6, 0.9]).view(1, 1, 1, 3).expand(1, 1, 3, 3)
    left, right = (0.0 + 0.6 / 2) / 1.5, (0.6 / 2 + 0.9) / 1.5
    made = digital.pixelate(row, [], 0.7)
    assert torch.allclose(made, torch.tensor([left, (left + right) / 2, right]).expand(1, 1, 3, 3))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(small: Tensor, channels: int) -> None:
    for severity, quality in ((1, 80), (5, 40)):
        found = by("jpeg_compression", small[:4, :channels], severity)
        for image, made in zip(small[:, :channels], found, strict=False):
            file = BytesIO()
            Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(file, format="jpeg", quality=quality)
            expected = np.array(Image.open(file)).reshape(32, 32, channels)
            assert np.array_equal(made.permute(1, 2, 0).numpy(), expected)


def test_elastic_moves_pixels_by_its_amplitude() -> None:
    """On a ramp the change of value is the displacement; the border, where the ramp is mirrored, is left out."""
    ramp = (torch.arange(64.0) / 64).expand(1, 1, 64, 64)
    both = torch.cat([ramp, ramp.transpose(2, 3)]).repeat(20, 1, 1, 1)
    seeds = [seed for seed in range(20) for _ in range(2)]
    moved = (digital.elastic_transform(both, seeds, 0.03) - both)[..., 8:-8, 8:-8]
    assert float(moved[::2].square().mean().sqrt()) == pytest.approx(0.03, rel=0.15)
    assert float(moved[1::2].square().mean().sqrt()) == pytest.approx(0.03, rel=0.15)
    # Smooth: neighbors move alike.
    assert float((moved[..., 1:] - moved[..., :-1]).square().mean().sqrt()) < 0.3 * 0.03


# --- what holds for all ---


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 8, 13), (3, 40, 32), (1, 33, 57)])
def test_shape_type_and_range(name: str, channels: int, height: int, width: int) -> None:
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, channels, height, width), dtype=torch.uint8, generator=g)
    for severity in (1, 5):
        made = by(name, images, severity)
        assert (made.dtype, made.shape) == (images.dtype, images.shape)
        floats = by(name, images.double() / 255, severity)
        assert (floats.dtype, floats.shape) == (torch.float64, images.shape)
        assert bool(floats.isfinite().all())
        assert 0 <= float(floats.min()) <= float(floats.max()) <= 1
        assert float((floats * 255 - made).abs().max()) <= 0.51
        assert not torch.equal(made, images)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [28, 64])
def test_every_severity_is_further_from_the_image(name: str, size: int) -> None:
    images = photographs(size, 12)
    apart = [float((by(name, images, s).float() - images).square().mean()) for s in SEVERITIES]
    assert all(less < more for less, more in pairwise(apart)), apart


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_at_the_large_size(name: str) -> None:
    images = photographs(224, 2)
    apart = [float((by(name, images, s).float() - images).square().mean()) for s in (1, 3, 5)]
    assert apart[0] < apart[1] < apart[2]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_same_seed_same_images_however_they_are_cut(name: str, small: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = by(name, small, 3)
    assert torch.equal(by(name, small, 3), whole)
    g = torch.Generator().manual_seed(0)
    parts = [corrupt(some, name, 3, g) for some in small.split([1, 5, 10])]
    assert float((torch.cat(parts).int() - whole.int()).abs().max()) <= 1
    monkeypatch.setitem(corrupt.__globals__, "_BLOCK", 7000)
    assert float((by(name, small, 3).int() - whole.int()).abs().max()) <= 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_chance_differs_between_images_and_seeds_where_there_is_any(name: str) -> None:
    images = photographs(32, 2)[:1].repeat(2, 1, 1, 1)
    made, other = by(name, images, 3), by(name, images, 3, seed=1)
    drawn = CORRUPTIONS[name].family == "noise" or name in ("motion_blur", "fog", "elastic_transform")
    assert torch.equal(made[0], made[1]) != drawn
    assert torch.equal(made, other) != drawn


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_leaves_its_input_and_the_global_seed_alone(name: str) -> None:
    images = photographs(16, 2).float() / 255
    before, state = images.clone(), torch.get_rng_state()
    by(name, images, 5)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_flat_images_stay_finite() -> None:
    for name in CORRUPTIONS:
        for value in (0.0, 1.0):
            made = by(name, torch.full((2, 3, 16, 16), value), 5)
            assert bool(made.isfinite().all())
    assert by("gaussian_noise", torch.zeros(0, 3, 16, 16), 1).shape == (0, 3, 16, 16)


def test_the_set() -> None:
    assert len(CORRUPTIONS) == 14
    assert {c.family for c in CORRUPTIONS.values()} == {"noise", "blur", "weather", "digital"}


def test_bad_input() -> None:
    images = torch.zeros(2, 3, 16, 16)
    with pytest.raises(InputError, match="did you mean 'gaussian_noise'"):
        by("gausian_noise", images, 1)
    for severity in (0, 6):
        with pytest.raises(InputError, match="severity must be"):
            by("fog", images, severity)
    with pytest.raises(InputError, match="at least 8"):
        by("fog", images[..., :7], 1)
    with pytest.raises(InputError, match="1 or 3"):
        by("fog", images[:, :2], 1)
    with pytest.raises(InputError, match="uint8"):
        by("fog", images.long(), 1)
    with pytest.raises(InputError, match=r"values from 0 to 255"):
        by("fog", images + torch.tensor([0.0, 255.0]).repeat(8), 1)
