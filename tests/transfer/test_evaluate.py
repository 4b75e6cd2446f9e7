"""Evaluation end to end: the same episodes for all, one pass an encoder, controls, rows that say what was done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from metatc2.data import load
from metatc2.data.store import ImageStore
from metatc2.errors import InputError
from metatc2.transfer import (
    KNN,
    FewShot,
    Protocol,
    Row,
    Target,
    episodes_seed,
    evaluate,
    few_shot,
    fingerprint,
    knn,
    knn_split,
    raw_pixels,
    read_results,
    sample_episodes,
    write_results,
)


class Counting(nn.Module):
    """Flattens, and counts the images it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.images = 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        return x.flatten(1)


def store(per_class: int = 12, classes: int = 8, **splits: Tensor) -> ImageStore:
    g = torch.Generator().manual_seed(0)
    means = 60 + 80 * torch.rand(classes, 1, 5, 5, generator=g)
    labels = torch.arange(classes).repeat_interleave(per_class)
    images = (means[labels] + 40 * torch.randn(len(labels), 1, 5, 5, generator=g)).clamp(0, 255).byte()
    return ImageStore("toy", images, labels, splits=splits)


def run(encoders: dict[str, Any], target: Target, **options: Any) -> tuple[list[Row], dict[str, Tensor]]:
    facts: dict[str, Any] = {
        "seed": 3,
        "source": "glyphs",
        "encoder_sha256": "cafe",
        "protocols": [FewShot(episodes=30)],
    }
    return evaluate(encoders, [target], **(facts | options))


def few(**options: Any) -> list[Protocol | str]:
    return [FewShot(**{"episodes": 30, **options})]


def test_few_shot_rows_restate_the_protocol(tmp_path: Path) -> None:
    s = store(odd=torch.arange(1, 96, 2).flip(0))
    target = Target(s, "odd", "toy:odd", classes_seen=True)
    rows, accuracies = run(
        {"encoder": Counting()}, target, protocols=few(shots=(1, 2), query=15), compute={"steps": 9.0}
    )
    assert [(r.shot, r.features, r.head) for r in rows] == [
        (shot, features, head)
        for shot in (1, 2)
        for features in ("encoder", "raw pixels")
        for head in ("cosine", "euclidean")
    ]
    own = s.rows("odd")
    for r in rows:
        g = torch.Generator().manual_seed(episodes_seed("toy:odd", 5, r.shot))
        drawn = sample_episodes(s.labels[own], way=5, shot=r.shot, query=15, episodes=30, generator=g)
        expected = few_shot(raw_pixels(s.images[own]), drawn, r.head)
        assert torch.equal(accuracies[r.key], expected)
        assert r.mean == pytest.approx(float(expected.mean()))
        assert (r.query, r.value("query_asked")) == (6 - r.shot, 15)
        assert f"{6 - r.shot} queries a class instead of 15" in r.note
        assert (r.target, r.split, r.source, r.seed, r.way, r.episodes) == ("toy:odd", "odd", "glyphs", 3, 5, 30)
        assert r.target_sha256 == fingerprint(s, own)
        assert r.classes_seen
        assert r.inductive
    assert {(r.features, r.encoder_sha256, len(r.compute)) for r in rows} == {
        ("encoder", "cafe", 1),
        ("raw pixels", "", 0),
    }
    write_results(tmp_path / "transfer.json", rows, accuracies)
    assert read_results(tmp_path / "transfer.json")[0] == rows


def test_every_encoder_meets_the_same_episodes_and_each_image_once() -> None:
    encoders = {"encoder": Counting(), "random encoder": Counting()}
    rows, accuracies = run(encoders, Target(store(), "all", "toy:all"), protocols=[*few(shots=(1, 3)), "knn"])
    assert [e.images for e in encoders.values()] == [96, 96]
    found = {name: [accuracies[r.key] for r in rows if r.features == name] for name in (*encoders, "raw pixels")}
    for name in ("random encoder", "raw pixels"):
        assert all(torch.equal(a, b) for a, b in zip(found["encoder"], found[name], strict=True))
    assert {r.encoder_sha256 for r in rows if r.features == "random encoder"} == {""}


def test_functions_are_encoders_and_get_bytes() -> None:
    def inverted(images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        assert len(images) <= 10
        return 255.0 - images.flatten(1)

    rows, accuracies = run(
        {"calibrated": inverted}, Target(store(), "all", "t"), protocols=few(heads=("euclidean",)), batch=10
    )
    by_features = {r.features: accuracies[r.key] for r in rows if r.shot == 1}
    assert torch.equal(by_features["calibrated"], by_features["raw pixels"])
    assert {r.encoder_sha256 for r in rows if r.features == "calibrated"} == {"cafe"}


def test_random_labels_are_chance() -> None:
    s = store(per_class=40)
    mixed = ImageStore("mixed", s.images, s.labels[torch.randperm(320, generator=torch.Generator().manual_seed(0))])
    rows, _ = run({}, Target(mixed, "all", "mixed"), protocols=few(episodes=400))
    assert all(abs(r.mean - 0.2) < 0.02 for r in rows)


def test_small_classes_are_told() -> None:
    s = store()
    rows, _ = run({}, Target(ImageStore("cut", s.images[5:], s.labels[5:]), "all", "cut"), protocols=few(shots=(8,)))
    assert {r.value("classes_excluded") for r in rows} == {1}
    assert "classes with fewer than 9 images left out: 1" in rows[0].note


def test_knn_rows() -> None:
    s = store(train=torch.arange(0, 96, 2), test=torch.arange(1, 96, 2), rest=torch.arange(30))
    rows, accuracies = run({}, Target(s, "test", "toy:test"), protocols=[KNN(ks=(200, 48, 20))])
    assert [(r.k, r.value("k_asked"), r.value("bank"), r.query, r.episodes, r.way) for r in rows] == [
        (48, 200, "train", 48, None, 8),
        (20, 20, "train", 48, None, 8),
    ]
    assert "k = 48 instead of 200" in rows[0].note
    pixels = raw_pixels(s.images)
    expected = knn(pixels[0::2], s.labels[0::2], pixels[1::2], s.labels[1::2], k=20)
    assert torch.equal(accuracies[rows[1].key], expected)

    rest, found = run({}, Target(s, "rest", "toy:rest"), protocols=[KNN(ks=(5,), temperature=0.5)])
    bank, asked, _ = knn_split(s, "rest")
    expected = knn(pixels[bank], s.labels[bank], pixels[asked], s.labels[asked], k=5, temperature=0.5)
    assert torch.equal(found[rest[0].key], expected)
    assert rest[0].value("temperature") == 0.5


def test_protocols_do_not_disturb_each_other() -> None:
    """k-NN needs more rows than the split (its bank), in another order than the split has them."""
    s = store(train=torch.arange(0, 96, 2), test=torch.arange(1, 96, 2).flip(0))
    target = Target(s, "test", "toy:test")
    both: list[Protocol] = [FewShot(episodes=30), KNN(ks=(5,))]
    together, all_accuracies = run({}, target, protocols=both)
    for protocol in both:
        rows, accuracies = run({}, target, protocols=[protocol])
        assert [r for r in together if r.protocol == protocol.name] == rows
        assert all(torch.equal(all_accuracies[key], value) for key, value in accuracies.items())


def test_episode_seed_depends_on_what_is_drawn_only() -> None:
    seeds = {episodes_seed(name, way, shot) for name in ("a", "b") for way in (5, 20) for shot in (1, 5)}
    assert len(seeds) == 8
    _, first = run({}, Target(store(), "all", "toy"), seed=0)
    _, second = run({"encoder": Counting()}, Target(store(), "all", "toy"), seed=1, protocols=few(ways=(2, 5)))
    assert all(torch.equal(second[key], value) for key, value in first.items())


def test_bad_input() -> None:
    target = Target(store(), "all", "toy")
    for options, match in (
        ({"heads": ("euclid",)}, "did you mean 'euclidean'"),
        ({"episodes": 1}, "at least 2"),
        ({"ways": (20,)}, "toy: 20-way 1-shot needs 20 classes"),
    ):
        with pytest.raises(InputError, match=match):
            run({}, target, protocols=few(**options))
    with pytest.raises(InputError, match="did you mean 'few-shot'"):
        run({}, target, protocols=("fewshot",))
    with pytest.raises(InputError, match=r"a name or an object of a Protocol class.* got 5"):
        run({}, target, protocols=(5,))
    with pytest.raises(InputError, match="my encoder: 96 of 96"):
        run({"my encoder": lambda images: images.flatten(1) * torch.nan}, target, batch=96)


def test_rows_know_the_same_files_at_two_sizes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label in ("ant", "bee"):
        (tmp_path / label).mkdir()
        for i in range(4):
            Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(tmp_path / label / f"{i}.png")
    rows = [
        evaluate({}, [Target(load(f"folder:{tmp_path}", image_size=size), "all", "photos:all")], protocols=[KNN()])[0][
            0
        ]
        for size in (8, 16)
    ]
    assert [r.image_shape for r in rows] == ["3 × 8 × 8", "3 × 16 × 16"]
    assert rows[0].target_sha256 != rows[1].target_sha256
    assert rows[0].originals_sha256
    assert rows[0].same_images(rows[1])
    (tmp_path / "bee" / "0.png").rename(tmp_path / "ant" / "4.png")
    other = Target(load(f"folder:{tmp_path}", image_size=8), "all", "photos:all")
    assert not rows[0].same_images(evaluate({}, [other], protocols=[KNN()])[0][0])


@pytest.mark.parametrize(
    ("encoders", "targets", "protocols", "sentence"),
    [
        (nn.Flatten(), [], ("knn",), "encoders must be a mapping, got a Flatten; write {"),
        ({"e": nn.Flatten()}, ["digits:meta-test"], ("knn",), "targets must be a list of Target, got a str; write"),
        ({"e": nn.Flatten()}, "digits", ("knn",), "targets must be a list of Target, got a str; write"),
        ({"e": nn.Flatten()}, None, ("knn",), "targets must be a list, got a Target; write it in brackets"),
        ({"e": nn.Flatten()}, [], "knn", "protocols must be a list, got a str; write it in brackets"),
        ({"e": nn.Flatten()}, [], KNN(), "protocols must be a list, got a KNN; write it in brackets"),
    ],
)
def test_arguments_of_other_kinds_are_told(encoders: Any, targets: Any, protocols: Any, sentence: str) -> None:
    store = ImageStore("toy", torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.arange(4) % 2)
    given = Target(store, "all", "toy:all") if targets is None else targets
    with pytest.raises(InputError, match=re.escape(sentence)):
        evaluate(encoders, given, protocols=protocols)


def test_of_one_class_the_whole_source_is_named() -> None:
    store = ImageStore(
        "toy", torch.zeros(8, 1, 4, 4, dtype=torch.uint8), torch.arange(8) % 2, splits={"one": torch.arange(0, 8, 2)}
    )
    with pytest.raises(InputError, match=r"at least two classes, such as toy:all \(with --allow-seen"):
        evaluate({"e": nn.Flatten()}, [Target(store, "one", "toy:one")], protocols=("knn",))
