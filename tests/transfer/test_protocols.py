"""Every protocol end to end: rows that say what was done, values that the library functions give, nothing leaked."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor, nn

from metatc2.data import load
from metatc2.data.store import ImageStore
from metatc2.errors import InputError
from metatc2.metrics.intervals import stratified_half_width
from metatc2.transfer import PROTOCOLS, FineTune, Row, Target, evaluate, expand_targets, read_results, write_results
from metatc2.transfer.protocols._classifier import per_class_values, target_splits
from metatc2.transfer.protocols.linear import linear
from metatc2.transfer.protocols.options import protocol_options
from metatc2.transfer.protocols.retrieval import retrieval

from ..covering import some

#: Small ones, of every protocol that has them.
OPTIONS: dict[str, Any] = {"probe": "ridge", "episodes": 10, "shots": (1,), "fractions": (0.2,), "steps": 3}


pytestmark = pytest.mark.usefixtures("small_grids")


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """On separable classes each of the weakest values of the grid goes on to the last round, however few they are."""
    monkeypatch.setattr("metatc2.transfer.protocols.semi_supervised._ROUNDS", 10)


class Tiny(nn.Module):
    """A small encoder with a fixed start."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layer = nn.Linear(64, 6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x.flatten(1)))


def store(per_class: int = 20, classes: int = 5, **changes: Any) -> ImageStore:
    g = torch.Generator().manual_seed(0)
    means = 60 + 120 * torch.rand(classes, 1, 8, 8, generator=g)
    labels = torch.arange(classes).repeat_interleave(per_class)
    images = (means[labels] + 60 * torch.randn(len(labels), 1, 8, 8, generator=g)).clamp(0, 255).byte()
    domains = torch.arange(len(labels)) % 3
    return ImageStore("toy", images, labels, domains=domains, domain_names=("a", "b", "c"), **changes)


def run(protocol: str, target: Target | None = None, **changes: Any) -> tuple[list[Row], dict[str, Tensor]]:
    target = target or Target(store(), "all", "toy:all")
    encoders = {"encoder": Tiny(), "random encoder": Tiny(1)}
    known = protocol_options(protocol).model_fields
    chosen = PROTOCOLS[protocol](
        **{option: value for option, value in {**OPTIONS, **changes}.items() if option in known}
    )
    return evaluate(encoders, [target], protocols=[chosen], source="s", encoder_sha256="cafe")


@cache
def first(protocol: str) -> tuple[list[Row], dict[str, Tensor]]:
    """`run`, once for the tests that compare others with it."""
    return run(protocol)


WITHOUT_CLIPS = [name for name in PROTOCOLS if name != "clips"]


@pytest.mark.parametrize(
    "protocol", some(WITHOUT_CLIPS, [name for name in WITHOUT_CLIPS if name not in ("corruption", "linear-sgd")])
)
def test_rows_are_whole_and_the_same_again(protocol: str, tmp_path: Path) -> None:
    rows, values = first(protocol)
    assert {row.protocol for row in rows} == {protocol}
    judged = {"encoder", "random encoder"} | (set() if "fine-tune" in protocol else {"raw pixels"})
    assert {row.features for row in rows} == judged
    for row in rows:
        assert row.mean == pytest.approx(float(values[row.key].mean()))
        assert row.encoder_sha256 == ("cafe" if row.features == "encoder" else "")
        assert row.target_sha256
    write_results(tmp_path / "transfer.json", rows, values)
    assert read_results(tmp_path / "transfer.json")[0] == rows
    again, same = run(protocol)
    assert again == rows
    assert all(torch.equal(values[key], same[key]) for key in values)


@pytest.mark.parametrize(
    "protocol", ["linear", "linear-sgd", "semi-supervised", "fine-tune", "semi-supervised-fine-tune"]
)
def test_what_is_chosen_does_not_depend_on_the_test_images(protocol: str) -> None:
    whole = store()
    test = target_splits(Target(whole, "all", "toy:all")).test
    images = whole.images.clone()
    images[test] = 255 - images[test]
    changed = dataclasses.replace(whole, images=images)
    before, after = first(protocol)[0], run(protocol, Target(changed, "all", "toy:all"))[0]
    assert [row.value("chosen") for row in before] == [row.value("chosen") for row in after]
    assert all(row.value("chosen") and "validation" in row.value("selection") for row in before)
    assert [row.mean for row in before] != [row.mean for row in after]


def test_linear_is_the_library_function_on_the_convention_s_parts() -> None:
    target = Target(store(), "all", "toy:all")
    rows, values = run("linear", target)
    (row,) = [r for r in rows if r.features == "encoder"]
    splits, encoder = target_splits(target), Tiny()
    with torch.no_grad():
        x = [encoder(target.store.images[part].float() / 255) for part in splits[:3]]
    y = [target.store.labels[part] for part in splits[:3]]
    found = linear(x[0], y[0], x[1], y[1], x[2], y[2])
    assert torch.equal(values[row.key], found.correct)
    assert row.value("chosen") == {"l2": found.l2}
    assert (row.query, row.way) == (len(splits.test), 5)


def test_a_part_of_a_source_is_cut_by_itself() -> None:
    whole = store(splits={"mine": torch.arange(20, 80)})
    splits = target_splits(Target(whole, "mine", "toy:mine"))
    assert torch.equal(torch.cat(splits[:3]).sort().values, torch.arange(20, 80))
    assert [len(part) for part in splits[:3]] == [36, 12, 12]


def test_the_metric_of_the_data_set_is_reported() -> None:
    labels = torch.cat([torch.zeros(60), torch.ones(10)]).long()
    images = torch.randint(0, 256, (70, 1, 8, 8), generator=torch.Generator().manual_seed(3)).byte()
    rare = ImageStore("toy", images, labels, metric="mean per class")
    target = Target(rare, "all", "toy:all")
    rows, values = run("linear", target)
    plain = run("linear", Target(dataclasses.replace(rare, metric="accuracy"), "all", "toy:all"))
    assert {row.metric for row in rows} == {"mean per class"}
    assert {row.metric for row in plain[0]} == {"accuracy"}
    right = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    of = torch.tensor([0, 0, 0, 1])
    assert float(per_class_values(right, of).mean()) == pytest.approx((2 / 3 + 1) / 2)
    for row in rows:
        assert row.mean == pytest.approx(float(values[row.key].mean()))


def test_retrieval_reports_what_the_function_gives() -> None:
    rows, _ = run("retrieval")
    whole = store()
    with torch.no_grad():
        features = Tiny()(whole.images.float() / 255)
    found = retrieval(features, whole.labels, ks=(1, 5, 10))
    means = {row.metric: row.mean for row in rows if row.features == "encoder"}
    assert means["mean average precision"] == pytest.approx(found.mean_average_precision, abs=1e-6)
    assert means["recall@5"] == pytest.approx(float(found.recall[5].mean()))


def test_corruption_starts_from_the_clean_accuracy() -> None:
    rows, _ = run("corruption")
    own = {row.setting: row.mean for row in rows if row.features == "encoder"}
    assert "clean" in own
    (over,) = [setting for setting in own if setting.startswith("mean over")]
    each = [mean for setting, mean in own.items() if setting not in ("clean", over)]
    assert len(each) >= 10
    assert own[over] == pytest.approx(sum(each) / len(each))
    assert own[over] < own["clean"]


def test_domains_are_left_out_one_by_one() -> None:
    rows, _ = run("leave-one-domain-out")
    own = {row.setting: row.mean for row in rows if row.features == "raw pixels"}
    assert own.keys() == {"mean over 3 domains", "a", "b", "c"}
    assert own["mean over 3 domains"] == pytest.approx((own["a"] + own["b"] + own["c"]) / 3)


def test_transductive_heads_are_marked() -> None:
    rows, _ = run("few-shot", heads=("cosine", "bd-cspn", "soft-k-means", "logistic", "ridge"))
    assert {row.head: row.inductive for row in rows} == {
        **{"cosine": True, "logistic": True, "ridge": True, "bd-cspn": False, "soft-k-means": False}
    }


def test_clips(tmp_path: Path) -> None:
    for kind, shade in (("dark", 20), ("light", 200)):
        for clip in range(3):
            folder = tmp_path / kind / f"clip{clip}"
            folder.mkdir(parents=True)
            for frame in range(4):
                pixels = torch.full((8, 8), shade + 5 * clip + frame, dtype=torch.uint8)
                pixels[frame] = 255 - shade
                Image.fromarray(pixels.numpy()).save(folder / f"{frame}.png")
    clips = load(f"clips:{tmp_path}", image_size=8, channels=1)
    assert (len(clips), len(clips.domain_names)) == (24, 6)
    rows, _ = run("clips", Target(clips, "all", "clips"))
    (raw,) = [row for row in rows if row.features == "raw pixels"]
    assert (raw.mean, raw.query, raw.value("bank")) == (1.0, 6, "leave one clip out")
    with pytest.raises(InputError, match="toy holds images; name a folder of frame folders"):
        run("clips")


@pytest.mark.parametrize("protocol", ["knn", "linear", "retrieval", "semi-supervised", "leave-one-domain-out"])
def test_one_class_is_refused(protocol: str) -> None:
    with pytest.raises(InputError, match="of one class, '0', so there is nothing"):
        run(protocol, Target(store(classes=1), "all", "toy:all"))


def test_clips_are_not_cut_by_frame() -> None:
    clips = dataclasses.replace(store(), name="clips:somewhere")
    for protocol in ("knn", "linear", "few-shot"):
        with pytest.raises(InputError, match=r"frames would stand on both sides of .*use --protocol clips"):
            run(protocol, Target(clips, "all", "clips"))


def test_the_interval_of_a_mean_over_classes() -> None:
    right = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    of = [right[labels == c] for c in (0, 1)]
    expected = stats.t.ppf(0.975, 6) * (sum(float(x.var()) / len(x) for x in of)) ** 0.5 / 2
    assert stratified_half_width(per_class_values(right, labels), labels) == pytest.approx(expected)
    assert stratified_half_width(per_class_values(torch.ones(8).double(), labels), labels) == 0.0


def test_neighbors_of_parts_without_common_classes() -> None:
    whole = store(splits={"train": torch.arange(60), "test": torch.arange(60, 100)})
    rows, _ = run("knn", Target(whole, "all", "toy:all"))
    assert all(row.value("bank") == "half of each class of all" and row.mean > 0.2 for row in rows)


def test_images_without_label_are_no_class() -> None:
    whole = store(splits={"unlabeled": torch.arange(80, 100)})
    (target,) = expand_targets(whole)
    assert target.name == "toy:labeled"
    assert torch.equal(target.store.rows(target.split), torch.arange(80))
    assert torch.equal(torch.cat(target_splits(target)[:3]).sort().values, torch.arange(80))


def test_domains_from_folders_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METATC2_CACHE", str(tmp_path / "cache"))
    top = tmp_path / "pacs"
    for domain, lift in (("photo", 0), ("sketch", 40)):
        for kind, shade in (("cat", 20), ("dog", 180)):
            (top / domain / kind).mkdir(parents=True)
            for i in range(4):
                pixels = torch.full((8, 8), shade + lift + i, dtype=torch.uint8)
                pixels[i] = 90
                Image.fromarray(pixels.numpy()).save(top / domain / kind / f"{i}.png")
    for stream in (False, True):
        found = load(f"domains:{top}", image_size=8, channels=1, stream=stream)
        assert (found.class_names, found.domain_names) == (("cat", "dog"), ("photo", "sketch"))
        assert len(found.rows("sketch")) == 8
        rows, _ = run("leave-one-domain-out", Target(found, "all", "d"))
        assert {row.setting for row in rows} == {"mean over 2 domains", "photo", "sketch"}
    with pytest.raises(InputError, match=r"found 2 domains and 0 classes|found 0 domains"):
        load(f"domains:{top / 'photo'}")


@pytest.mark.parametrize(("in_train_mode", "said"), [(False, "1 of 1 BatchNorm layers in eval mode"), (True, "")])
def test_fine_tuning_says_which_normalizations_kept_their_statistics(in_train_mode: bool, said: str) -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 4)).eval()
    targets = [Target(store(), "all", "toy:all")]
    rows, _ = evaluate({"encoder": net}, targets, protocols=[FineTune(steps=2, train_mode=in_train_mode)])
    (row,) = rows
    assert row.note.startswith(said)
    assert bool(row.note) == bool(said)
    assert "ties by cross-entropy, then the middle of the grid" in row.value("selection")
    assert not any(part.training for part in net.modules())
