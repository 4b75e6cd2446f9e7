"""Episodes of streamed images are those of the same images in memory, bit for bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from metatc2.augment import Views
from metatc2.data import ImageStore, load
from metatc2.episodes import DomainTasks, Episode, LabeledTasks, RecipeTasks, Sampler, SplitBatch
from metatc2.experiment.build import build_data, build_sampler
from metatc2.experiment.config import Config, override

from ..covering import covered, some


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for c in range(6):
        (folder / f"class{c}").mkdir()
        for i in range(8):
            pixels = random.integers(0, 256, (20 + c, 30 - i, *([3] * (i % 2))), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"class{c}" / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def make(kind: str, store: ImageStore) -> Sampler:
    if kind in ("random", "cluster"):
        return SplitBatch(store, Views.natural(), tasks=2, batch=12, assign=kind, seed=3)  # type: ignore[arg-type]
    if kind == "recipes":
        return RecipeTasks(store, tasks=2, batch=12, seed=3)
    if kind == "domains":
        by_class = replace(store, domains=store.labels, domain_names=store.class_names)
        return DomainTasks(by_class, Views.natural(), tasks=2, batch=12, seed=3)
    return LabeledTasks(
        store,
        way=(2, 4),
        shot=(1, 2),
        query=2,
        tasks=3,
        views=Views.glyphs() if kind == "views" else None,
        replacement=kind != "orders",
        seed=3,
    )


def equal(one: Episode, other: Episode) -> bool:
    sides = ((one.support, other.support), (one.query, other.query))
    return same_identity(one, other) and all(
        mine is theirs is None or (mine is not None and theirs is not None and torch.equal(mine, theirs))
        for a, b in sides
        for mine, theirs in zip(vars(a).values(), vars(b).values(), strict=True)
    )


def same_identity(one: Episode, other: Episode) -> bool:
    if one.identity is None or other.identity is None:
        return one.identity is other.identity
    told = (one.identity.kinds, other.identity.kinds), (one.identity.conditions, other.identity.conditions)
    return all(torch.equal(mine, theirs) for mine, theirs in told)


KINDS = ("cluster", "domains", "tasks", "views")
# Of samplers that share their reading with those.
SLOW = [
    pytest.param(workers, kind, marks=pytest.mark.slow)
    for kind in ("random", "recipes", "orders")
    for workers in (2, 0)
]


@pytest.mark.parametrize(("workers", "kind"), [*covered((2, 0), KINDS, strength=1), *SLOW])
def test_same_episodes(root: Path, kind: str, workers: int) -> None:
    held = make(kind, load(f"folder:{root}", image_size=16))
    streamed = make(kind, load(f"folder:{root}", image_size=16, stream=True, workers=workers))
    for _ in range(5):  # over the end of an epoch
        assert equal(held.sample(), streamed.sample())
    # What is read ahead is no part of the state: the run goes on in memory, and back.
    state = streamed.state_dict()  # type: ignore[attr-defined]
    expected = [streamed.sample() for _ in range(2)]
    held.load_state_dict(state)  # type: ignore[attr-defined]
    assert all(equal(held.sample(), episode) for episode in expected)
    streamed.load_state_dict(state)  # type: ignore[attr-defined]
    assert all(equal(streamed.sample(), episode) for episode in expected)


@pytest.mark.parametrize("kind", ["random", "cluster"])
@pytest.mark.parametrize("stream", [False, True])
def test_images_lie_at_their_index(root: Path, kind: str, stream: bool) -> None:
    store = load(f"folder:{root}", image_size=16, stream=stream)
    episode = SplitBatch(store, Views.none(), tasks=2, batch=12, assign=kind, seed=3).sample()  # type: ignore[arg-type]
    index = torch.cat([episode.support.index, episode.query.index], 1)
    assert len(index.unique()) == 12
    torch.testing.assert_close(episode.images[:, :, 0], store.images[index].float() / 255)


@pytest.mark.parametrize("kind", some(("random", "recipes", "domains", "tasks", "orders"), ("random", "tasks")))
def test_the_next_episode_is_read_ahead(root: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of the next episode, and no others: of two epochs' worth, an image is read once for each use."""
    store = load(f"folder:{root}", image_size=16, stream=True, workers=2)
    sampler = make(kind, store)
    asked = []
    monkeypatch.setattr(store.images, "prefetch", lambda rows: asked.append(rows.clone()))
    for _ in range(3):
        before = len(asked)
        sampler.sample()
        episode = sampler.sample()
        used = torch.cat([episode.support.index, episode.query.index], 1).flatten()
        assert asked[before].sort().values.equal(used.sort().values)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_a_loader_with_processes(root: Path) -> None:
    """Threads of the sampler's store run in each of the loader's workers."""

    def first(stream: bool) -> list[Episode]:
        source = make("tasks", load(f"folder:{root}", image_size=16, stream=stream, workers=2 * stream))
        source.sample()
        loader = DataLoader(source, batch_size=None, num_workers=1, generator=torch.Generator().manual_seed(0))
        episodes = iter(loader)
        return [next(episodes) for _ in range(3)]

    assert all(equal(held, streamed) for held, streamed in zip(first(False), first(True), strict=True))


def test_from_a_configuration(root: Path) -> None:
    def first(*more: str) -> Episode:
        config = override(Config(), [f"data.source=folder:{root}", "data.split=all", "episode.batch=16", *more])
        return build_sampler(config, build_data(config)).sample()

    assert equal(first(), first("data.stream=true", "data.workers=2"))
