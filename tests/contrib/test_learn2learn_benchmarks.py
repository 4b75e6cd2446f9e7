"""learn2learn's five benchmarks from files in their real formats: `get_tasksets` itself reads them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from metatc2.contrib.learn2learn import BENCHMARKS, TasksetSampler, benchmark_tasksets, require_learn2learn
from metatc2.errors import InputError
from tests.contrib import learn2learn_fixtures as files

MAKERS: dict[str, Callable[[Path], None]] = {
    "mini-imagenet": files.mini_imagenet,
    "tiered-imagenet": files.tiered_imagenet,
    "cifarfs": files.cifarfs,
    "fc100": files.fc100,
}
SIZES = {"mini-imagenet": 84, "tiered-imagenet": 84, "cifarfs": 32, "fc100": 32}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def classes_told(sampler: TasksetSampler, episodes: int, scale: float = 1.0) -> set[int]:
    return {int(c) // 100 for _ in range(episodes) for c in files.told(sampler.sample().images / scale).flatten()}


def test_these_are_all_that_learn2learn_has() -> None:
    assert sorted(require_learn2learn().vision.benchmarks.list_tasksets()) == sorted(BENCHMARKS)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_every_split_draws_its_own_classes(tmp_path: Path, name: str) -> None:
    MAKERS[name](tmp_path)
    scale = 255 if name == "mini-imagenet" else 1
    for split, sampler in enumerate(benchmark_tasksets(name, way=3, shot=1, query=2, tasks=5, root=tmp_path)):
        episode = sampler.sample()
        assert episode.support.images.shape == (5, 3, 1, 3, SIZES[name], SIZES[name])
        assert episode.query.images.shape == (5, 6, 1, 3, SIZES[name], SIZES[name])
        for task in range(5):
            # What the images say themselves: one class a label, no sample twice.
            told = files.told(torch.cat([episode.support.images, episode.query.images], 1)[task, :, 0] / scale)
            labels = [*range(3), 0, 0, 1, 1, 2, 2]
            assert len(set(told.tolist())) == 9
            assert {(label, c // 100) for label, c in zip(labels, told.tolist(), strict=True)} == {
                (label, int(told[label]) // 100) for label in range(3)
            }
        assert classes_told(sampler, 20, scale) == set(range(6 * split, 6 * split + 6))


@pytest.mark.parametrize("name", MAKERS)
def test_values_are_as_stated(tmp_path: Path, name: str) -> None:
    MAKERS[name](tmp_path)
    sampler = benchmark_tasksets(name, way=6, shot=1, query=4, tasks=1, root=tmp_path)[0]
    found = sampler.sample().images.unique()
    reds, greens = {10 * c + 5 for c in range(6)}, {40 * s + 5 for s in range(5)}
    scale = 1 if name == "mini-imagenet" else 255  # mini-imagenet alone comes in [0, 255]
    assert {round(float(v) * scale) for v in found} == reds | greens | {100}


def test_mini_imagenet_normalized(tmp_path: Path) -> None:
    files.mini_imagenet(tmp_path)
    raw, normal = (
        benchmark_tasksets(
            "mini-imagenet", way=3, shot=1, query=1, root=tmp_path, data_augmentation=how, device=device
        )[0].sample()
        for how, device in ((None, None), ("normalize", "cpu"))
    )
    torch.testing.assert_close(raw.images / 255, normal.images)
    assert float(normal.images.max()) < 1


def test_the_seed_decides(tmp_path: Path) -> None:
    files.fc100(tmp_path)

    def drawn(seed: int, **options: Any) -> list[Tensor]:
        found = benchmark_tasksets("fc100", way=3, shot=1, query=1, root=tmp_path, seed=seed, **options)
        return [sampler.sample().images for sampler in found]

    assert all(torch.equal(a, b) for a, b in zip(drawn(1), drawn(1), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(drawn(1), drawn(2), strict=True))
    fixed = benchmark_tasksets("fc100", way=3, shot=1, query=1, tasks=1, root=tmp_path, num_tasks=2)[0]
    assert len({fixed.sample().images.numpy().tobytes() for _ in range(20)}) == 2


@pytest.mark.slow
def test_cifarfs_from_the_archives_own_folders(tmp_path: Path) -> None:
    files.cifarfs(tmp_path, archive=True)
    samplers = benchmark_tasksets("cifarfs", way=3, shot=1, query=1, root=tmp_path)
    assert [classes_told(s, 20) for s in samplers] == [set(range(6 * i, 6 * i + 6)) for i in range(3)]


# All of Omniglot's 1623 characters are drawn for these, since learn2learn counts on them.


@pytest.fixture(scope="module")
def omniglot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("omniglot")
    with pytest.MonkeyPatch.context() as patch:
        files.omniglot(folder, patch)
        yield folder


def drawings(images: Tensor) -> list[tuple[int, int]]:
    return [files.omniglot_told(image) for image in images.flatten(0, -4)]


@pytest.mark.slow
def test_omniglot_never_trains_on_classes_it_is_tested_on(omniglot: Path) -> None:
    samplers = benchmark_tasksets("omniglot", way=20, shot=1, query=1, tasks=5, root=omniglot)
    seen = [{told // 100 for _ in range(9) for told, _ in drawings(sampler.sample().images)} for sampler in samplers]
    assert [len(s.taskset.dataset.labels) for s in samplers] == [1100, 100, 423]  # type: ignore[attr-defined]
    assert len(seen[0]) > 450  # 900 draws of 1100
    assert len(seen[1]) == 100
    assert len(seen[2]) > 300
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


@pytest.mark.slow
def test_omniglot_images(omniglot: Path) -> None:
    sampler = benchmark_tasksets("omniglot", way=5, shot=1, query=1, tasks=8, root=omniglot)[0]
    episode = sampler.sample()
    assert episode.support.images.shape == (8, 5, 1, 1, 28, 28)
    assert episode.images.min() == 0
    assert episode.images.max() == 1
    turns = set()
    for support, query in zip(episode.support.images, episode.query.images, strict=True):
        own, asked = drawings(support), drawings(query)
        assert [told // 100 for told, _ in own] == [told // 100 for told, _ in asked]
        assert all(a != b for (a, _), (b, _) in zip(own, asked, strict=True))
        turns |= {frozenset(turn for _, turn in own + asked)}
    assert all(len(of_a_task) == 1 for of_a_task in turns)  # as documented: learn2learn turns a whole task alike
    assert len(turns) > 1


@pytest.mark.slow
def test_what_is_wrong_with_learn2learns_omniglot_is_still_wrong(omniglot: Path) -> None:
    """If this fails, learn2learn has been repaired and ours can take its tasks as they are."""
    sets = require_learn2learn().vision.benchmarks.get_tasksets("omniglot", 20, 1, 20, 1, root=str(omniglot))
    train, test = ({told // 100 for _ in range(30) for told, _ in drawings(s.sample()[0])} for s in (sets[0], sets[2]))
    assert train & test


@pytest.mark.slow
def test_omniglot_needs_whole_archives(omniglot: Path, tmp_path: Path) -> None:
    (tmp_path / "omniglot-py" / "images_background").mkdir(parents=True)
    (tmp_path / "omniglot-py" / "images_background.zip").write_text("cut off")
    message = r"lacks .*images_background\.zip \(there, but damaged\), .*images_evaluation\.zip, .*images_evaluation;"
    with pytest.raises(InputError, match=message):
        benchmark_tasksets("omniglot", way=5, shot=1, query=1, root=tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "mini-imagenet",
            "mini-imagenet-cache-train.pkl, mini-imagenet-cache-validation.pkl, mini-imagenet-cache-test.pkl",
        ),
        ("tiered-imagenet", "tiered-imagenet/train_images_png.pkl, tiered-imagenet/train_labels.pkl"),
        ("fc100", "FC100_train.pickle, FC100_val.pickle, FC100_test.pickle"),
        ("cifarfs", "cifarfs/processed, or in its place cifarfs/cifar100/data"),
        ("omniglot", "omniglot-py/images_background.zip, omniglot-py/images_background"),
    ],
)
def test_missing_files_are_named_and_not_fetched(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        benchmark_tasksets(name, way=5, shot=1, query=1, root=tmp_path)
    assert f"{name}: {tmp_path} lacks {expected}" in str(caught.value)
    assert "download=True" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("mini-imagenet", "mini-imagenet-cache-test.pkl"),
        ("tiered-imagenet", "tiered-imagenet/val_labels.pkl"),
        ("fc100", "FC100_test.pickle"),
    ],
)
def test_one_missing_file(tmp_path: Path, name: str, gone: str) -> None:
    MAKERS[name](tmp_path)
    (tmp_path / gone).unlink()
    with pytest.raises(InputError, match=f"lacks {gone};"):
        benchmark_tasksets(name, way=3, shot=1, query=1, root=tmp_path)


def test_download_asks_learn2learn_to_fetch(tmp_path: Path) -> None:
    # The network is refused, so that learn2learn is seen to reach for it.
    with pytest.raises(AssertionError, match="network"):
        benchmark_tasksets("fc100", way=3, shot=1, query=1, root=tmp_path, download=True)


@pytest.mark.parametrize("name", ["mini-imagenet", "tiered-imagenet", "fc100"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    MAKERS[name](tmp_path)
    for file in [*tmp_path.glob("*train*"), *tmp_path.glob("*/train_images*")]:
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=f"{name}: learn2learn cannot read its files .* fetch it again"):
        benchmark_tasksets(name, way=3, shot=1, query=1, root=tmp_path)


@pytest.mark.parametrize("sizes", [{"way": 7}, {"shot": 4}])
def test_more_than_there_is(tmp_path: Path, sizes: dict[str, int]) -> None:
    files.fc100(tmp_path)
    with pytest.raises(
        InputError, match=r"fc100 \(train\): tasks of \d classes .* from 6 classes of 5 samples or more"
    ):
        benchmark_tasksets("fc100", **{"way": 3, "shot": 1, "query": 2, **sizes}, root=tmp_path)


def test_names_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'mini-imagenet'"):
        benchmark_tasksets("mini_imagenet", way=5, shot=1, query=1, root=tmp_path)
    with pytest.raises(InputError, match="data_augmentation is of mini-imagenet and tiered-imagenet only"):
        benchmark_tasksets("fc100", way=5, shot=1, query=1, root=tmp_path, data_augmentation="normalize")
    with pytest.raises(InputError, match="lee2019.* wrong in learn2learn"):
        benchmark_tasksets("mini-imagenet", way=5, shot=1, query=1, root=tmp_path, data_augmentation="lee2019")
    with pytest.raises(InputError, match="unknown data_augmentation 'normalise'; did you mean 'normalize'"):
        benchmark_tasksets(
            "mini-imagenet",
            way=5,
            shot=1,
            query=1,
            root=tmp_path,
            data_augmentation="normalise",  # type: ignore[arg-type]
        )
