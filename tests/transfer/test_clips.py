"""Clips: what is read from a folder, and nearest neighbors over temporal means against scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from metatc2.data.sources.clips import Clips, load_clips, sample_uniformly
from metatc2.data.sources.folder import UnreadableImages
from metatc2.data.store import ImageStore
from metatc2.errors import InputError
from metatc2.transfer import NearestClip, Target, evaluate
from metatc2.transfer.protocols.clips import clip_features, nearest_clip


def write(folder: Path, values: list[int], *, size: tuple[int, int] = (10, 8)) -> None:
    folder.mkdir(parents=True)
    for i, value in enumerate(values):
        Image.new("L", size, value).save(folder / f"frame{i}.png")


def test_frames_are_evenly_spaced() -> None:
    assert sample_uniformly(8, 8) == list(range(8))
    assert sample_uniformly(100, 1) == [50]
    for count in range(4, 60):
        found = sample_uniformly(count, 4)
        # The middle of each of four equal stretches, to less than a frame.
        assert np.abs(np.array(found) + 0.5 - (np.arange(4) + 0.5) * count / 4).max() <= 0.5
        assert sorted(set(found)) == found


def test_reads_classes_clips_and_frames_in_order(tmp_path: Path) -> None:
    write(tmp_path / "wave" / "b", list(range(12)))  # frame10 comes after frame2
    write(tmp_path / "wave" / "a", [200])
    write(tmp_path / "nod" / "c", [90, 100], size=(8, 12))
    (tmp_path / "nod" / "notes.txt").write_text("not a clip")
    (tmp_path / "wave" / "b" / "index.csv").write_text("not a frame")
    (tmp_path / ".hidden").mkdir()
    clips = load_clips(tmp_path, 8, frames=3)
    assert clips.class_names == ("nod", "wave")
    assert clips.clip_names == ("nod/c", "wave/a", "wave/b")
    assert clips.labels.tolist() == [0, 1, 1]
    assert clips.clip.tolist() == [0, 0, 1, 2, 2, 2]
    assert clips.frames.shape == (6, 1, 8, 8)
    assert clips.frames.flatten(1).double().mean(1).tolist() == [90, 100, 200, 2, 6, 10]
    assert clips.splits == {}
    assert clips.notes == {"frames_asked": 3, "unreadable": 0, "clips_left_out": 0}
    assert len(clips) == 3


def test_splits_by_folder(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("train", "b"), ("Test", "c"), ("val", "d")):
        for kind in ("nod", "wave"):
            write(tmp_path / split / kind / name, [3])
    clips = load_clips(tmp_path)
    names = {split: [clips.clip_names[i] for i in rows] for split, rows in clips.splits.items()}
    assert names == {
        "train": ["train/nod/a", "train/nod/b", "train/wave/a", "train/wave/b"],
        "test": ["Test/nod/c", "Test/wave/c"],
        "val": ["val/nod/d", "val/wave/d"],
    }
    assert clips.class_names == ("nod", "wave")


def test_classes_may_be_called_train_and_test(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a", [1])
    write(tmp_path / "test" / "b", [2])
    clips = load_clips(tmp_path)
    assert clips.class_names == ("test", "train")
    assert clips.splits == {}


def test_damaged_frames_are_named_and_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x", [5, 6])
    write(tmp_path / "b" / "y", [7])
    write(tmp_path / "b" / "z", [8])
    (tmp_path / "a" / "x" / "frame1.png").write_bytes(b"no picture")
    (tmp_path / "b" / "z" / "frame0.png").write_bytes(b"no picture")
    with pytest.warns(UnreadableImages, match="2 frames cannot be read"):
        clips = load_clips(tmp_path, 8)
    assert clips.clip_names == ("a/x", "b/y")
    assert clips.frames[:, 0, 0, 0].tolist() == [5, 7]
    assert clips.notes == {"frames_asked": 8, "unreadable": 2, "clips_left_out": 1}


def test_color_and_gray_are_joined(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x", [5])
    (tmp_path / "b" / "y").mkdir(parents=True)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "b" / "y" / "0.png")
    assert load_clips(tmp_path, 8).frames[:, :, 0, 0].tolist() == [[5, 5, 5], [1, 2, 3]]


def toy(splits: dict[str, Tensor] | None = None) -> tuple[Clips, Tensor]:
    """24 clips of 1 to 5 frames in three classes, and features of their frames."""
    g = torch.Generator().manual_seed(0)
    lengths = torch.arange(24) % 5 + 1
    clip = torch.arange(24).repeat_interleave(lengths)
    labels = torch.arange(24) % 3
    frames = torch.zeros(len(clip), 1, 4, 4, dtype=torch.uint8)
    features = torch.randn(3, 6, generator=g)[labels[clip]] + 2 * torch.randn(len(clip), 6, generator=g)
    names = tuple(str(i) for i in range(24))
    return Clips("toy", frames, clip, labels, ("a", "b", "c"), names, splits or {}), features


def means(clips: Clips, features: Tensor) -> Tensor:
    return torch.stack([features[clips.clip == i].mean(0) for i in range(len(clips))])


def test_temporal_mean() -> None:
    clips, features = toy()
    assert torch.allclose(clip_features(features, clips.clip), means(clips, features), atol=1e-6)
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(1))
    assert torch.allclose(clip_features(features[order], clips.clip[order]), means(clips, features), atol=1e-6)


def test_leave_one_out_equals_scikit_learn() -> None:
    clips, features = toy()
    oracle = KNeighborsClassifier(n_neighbors=1, metric="cosine", algorithm="brute")
    expected = cross_val_predict(oracle, means(clips, features).numpy(), clips.labels.numpy(), cv=LeaveOneOut())
    found = nearest_clip(features, clips.clip, clips.labels, clips.splits)
    assert torch.equal(clips.labels[found.nearest], torch.from_numpy(expected))
    assert torch.equal(found.correct, torch.from_numpy(expected == clips.labels.numpy()).double())
    assert (found.how, found.excluded, found.queries.tolist()) == ("leave one clip out", 0, list(range(24)))
    assert len(found.correct.unique()) == 2  # some right, some wrong
    assert bool((found.nearest != found.queries).all())


def test_train_answers_test() -> None:
    splits = {"train": torch.arange(0, 24, 2), "test": torch.arange(1, 12, 2), "val": torch.arange(13, 24, 2)}
    clips, features = toy(splits)
    x, y = means(clips, features).numpy(), clips.labels.numpy()
    oracle = KNeighborsClassifier(n_neighbors=1, metric="cosine", algorithm="brute").fit(x[::2], y[::2])
    found = nearest_clip(features, clips.clip, clips.labels, clips.splits)
    assert torch.equal(clips.labels[found.nearest], torch.from_numpy(oracle.predict(x[1:12:2])))
    assert (found.how, found.queries.tolist()) == ("train", list(range(1, 12, 2)))


def test_a_clip_that_is_alone_in_its_class_is_not_asked_but_answers() -> None:
    frames = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    clips = Clips("toy", frames, torch.arange(3), torch.tensor([0, 0, 1]), ("a", "b"), ("x", "y", "z"))
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
    found = nearest_clip(features, clips.clip, clips.labels, clips.splits)
    assert (found.queries.tolist(), found.excluded) == ([0, 1], 1)
    assert found.nearest.tolist() == [2, 2]
    assert found.accuracy == 0


def test_a_clip_does_not_answer_itself_even_where_all_others_point_away() -> None:
    frames = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    clips = Clips("toy", frames, torch.arange(3), torch.tensor([0, 0, 0]), ("a", "b"), ("x", "y", "z"))
    angle = torch.tensor([0.0, 2.0, 4.1])
    found = nearest_clip(torch.stack([angle.cos(), angle.sin()], 1), clips.clip, clips.labels)
    assert found.nearest.tolist() == [1, 0, 1]


def test_frames_reach_the_encoder_as_they_are() -> None:
    clips, features = toy()
    frames = torch.randint(0, 256, clips.frames.shape, generator=torch.Generator().manual_seed(2)).byte()
    store = ImageStore(
        "clips:toy",
        frames,
        clips.labels[clips.clip],
        domains=clips.clip,
        class_names=clips.class_names,
        domain_names=clips.clip_names,
    )
    seen = []

    def encoder(images: Tensor) -> Tensor:
        seen.append(images)
        return features

    rows, values = evaluate({"encoder": encoder}, [Target(store, "all", "clips:toy:all")], protocols=[NearestClip()])
    assert torch.equal(seen[0], frames)
    expected = nearest_clip(features, clips.clip, clips.labels).correct
    assert torch.equal(values[rows[0].key], expected)


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_clips(tmp_path / "none")
    write(tmp_path / "a" / "x", [1])
    with pytest.raises(InputError, match="clips of one class, 'a'"):
        load_clips(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        load_clips(tmp_path / "a" / "x" / "frame0.png")
    with pytest.raises(InputError, match="no clip with a frame"):
        load_clips(tmp_path / "a")
    with pytest.raises(InputError, match="frames must be at least 1"):
        load_clips(tmp_path, frames=0)
    clips, features = toy()
    with pytest.raises(InputError, match=r"\(F,\) of frames \(F, D\)"):
        nearest_clip(features[1:], clips.clip, clips.labels)
    with pytest.raises(InputError, match="labels"):
        nearest_clip(features, clips.clip, clips.labels[1:])
    with pytest.raises(InputError, match="NaN"):
        nearest_clip(features * torch.nan, clips.clip, clips.labels)
    with pytest.raises(InputError, match="clip 1 has no frame"):
        clip_features(torch.ones(2, 3), torch.tensor([0, 2]))
    with pytest.raises(InputError, match=r"\(F, D\)"):
        clip_features(torch.ones(2, 3), torch.tensor([0]))
    with pytest.raises(InputError, match="alone: no class has two clips"):
        nearest_clip(torch.ones(2, 3), torch.arange(2), torch.arange(2), source="alone")
