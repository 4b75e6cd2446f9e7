"""A context at test time: weights adapt to pairs as to a task's support, rows say so, and what cannot work is one sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchopt
from PIL import Image
from torch import Tensor, nn

from metatc2.calibration import TaskCalibrator
from metatc2.data import ImageStore, load
from metatc2.data.pairs import MOST_PAIRS, Pairs, read_pairs
from metatc2.errors import InputError
from metatc2.experiment.context import ContextEncoder, adapt_to_pairs
from metatc2.experiment.hub import from_pretrained
from metatc2.experiment.run import load_run
from metatc2.experiment.trained_learner import trained_learner
from metatc2.experiment.transfer import transfer
from metatc2.inner import InnerLoop
from metatc2.learners import TC2
from metatc2.learners.momentum import average
from metatc2.models.heads import Predictor, Projector
from metatc2.objectives import build_objective
from metatc2.report.html.sections import transfer_results
from metatc2.report.methods import read_methods
from metatc2.transfer import (
    KNN,
    FewShot,
    FineTune,
    Linear,
    Retrieval,
    RunResults,
    Target,
    compare,
    evaluate,
    read_results,
    transfer_matrices,
)

from ..command_line import call

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")

SMALL = ["encoder.width=8", "data.image_size=16", "episode.batch=16", "episode.tasks=2"]
TO = ["--to", "digits:meta-test", "--episodes", "5", "--way", "2", "--shot", "1", "--head", "cosine"]
DIM, K = 5, 4


def pretrained(
    path: Path, *assignments: str, objective: str = "simclr", calibration: str = "tc2", steps: int = 2
) -> Path:
    words = ["--objective", objective, "--calibration", calibration, "--steps", str(steps), "--run", str(path)]
    assert call("pretrain", "digits", *words, "--set", *SMALL, *assignments) == 0
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(tmp_path_factory.mktemp("context") / "run")


def digit_pairs(seed: int = 0, count: int = 5) -> Tensor:
    images = load("digits", image_size=16).images
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[: 2 * count]
    return images[rows].unflatten(0, (count, 2))


def write_folder(root: Path, pairs: Tensor) -> Path:
    for i, (first, second) in enumerate(pairs):
        (root / f"{i:02}").mkdir(parents=True)
        for name, image in (("a", first), ("b", second)):
            Image.fromarray(image[0].numpy()).save(root / f"{i:02}" / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pairs") / "same", digit_pairs())


def learner(objective: str = "simclr", *, weights: str = "task", encoder: nn.Module | None = None) -> TC2:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = build_objective(objective)
        usual = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, DIM))
        calibrator = TaskCalibrator(DIM, K, weights=weights, rate=0.7, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():  # off the start, where everything is symmetric
            calibrator.gates += 0.3 * torch.randn(K)
            usual[1].running_mean.add_(torch.rand(6))
        return TC2(
            usual if encoder is None else encoder,
            made,
            projector=Projector(DIM, 6, 5),
            predictor=Predictor(5, 4) if made.predictor else None,
            calibrator=calibrator,
            inner=InnerLoop(torchopt.sgd(1.0), steps=3),
        )


def small_pairs(count: int = 4, size: int = 4) -> Pairs:
    images = torch.randint(0, 256, (count, 2, 1, size, size), generator=torch.Generator().manual_seed(2))
    return Pairs(images.byte(), "small")


# What is adapted, and how.


@pytest.mark.parametrize("weights", ["task", "sample"])
@pytest.mark.parametrize("objective", ["simclr", "byol", "vicreg"])
def test_pairs_are_the_support_set_of_a_task(objective: str, weights: str) -> None:
    model, pairs = learner(objective, weights=weights), small_pairs()
    made = adapt_to_pairs(model, pairs)
    images = pairs.images.float() / 255
    model.eval()
    with torch.no_grad():
        z = model.encoder(images.flatten(0, 1)).unflatten(0, (4, 2))[None]
        target = (
            model.target_encoder(images.flatten(0, 1)).unflatten(0, (4, 2))[None] if model.objective.momentum else None
        )
    expected = model.adapt(z, target)
    assert made.adapted.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(made.adapted[name], value.detach(), rtol=1e-5, atol=1e-6)
        assert (value - model.calibrator.start(1)[name]).abs().max() > 0.01

    # (c ⊙ 2σ(m)) V, from the formulas alone.
    basis = model.calibrator.basis.detach().double().numpy()
    factors = basis / np.linalg.norm(basis, axis=1, keepdims=True)
    codes = z[0, :, 0].double().numpy() @ factors.T
    logits = expected["gates"].detach().double().numpy()
    if weights == "sample":
        scaled = codes / np.sqrt((codes**2).mean(1, keepdims=True) + 1e-12)
        logits = logits + scaled @ expected["mixing"][0].detach().double().numpy()
    features = (codes * 2 / (1 + np.exp(-logits))) @ factors
    with torch.no_grad():
        np.testing.assert_allclose(made(images[:, 0]).numpy(), features, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(made(images[2:3, 0]), made(images[:, 0])[2:3])  # of its image alone


class TwoFactors(nn.Module):
    """Images of two pixels to the two numbers that they hold, and a third that is always 0."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.pad(images.flatten(1)[:, :2] - 0.5, (0, 1))


@pytest.mark.parametrize("shared", [0, 1])
def test_what_pairs_share_weighs_more_and_what_they_do_not_less(shared: int) -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(16, 2, 1, 2, 2, generator=generator)
    images.flatten(2)[:, 1, shared] = images.flatten(2)[:, 0, shared]
    calibrator = TaskCalibrator(3, 2, rate=0.5)
    with torch.no_grad():
        calibrator.basis.copy_(torch.eye(3)[:2])
    model = TC2(
        TwoFactors(),
        build_objective("simclr"),
        projector=nn.Identity(),
        calibrator=calibrator,
        inner=InnerLoop(torchopt.sgd(1.0), steps=3),
    )
    pairs = Pairs.of(images, image_size=2, channels=1)
    weights = 2 * adapt_to_pairs(model, pairs).adapted["gates"][0].sigmoid()
    assert weights[shared] > 1.2
    assert weights[1 - shared] < 0.8


def test_the_learner_is_left_as_it_was() -> None:
    model = learner("byol").train()
    model.encoder[1].eval()
    modes = [part.training for part in model.modules()]
    state = {name: (id(t), t.clone()) for name, t in model.state_dict(keep_vars=True).items()}
    adapt_to_pairs(model, small_pairs())
    assert [part.training for part in model.modules()] == modes
    for name, t in model.state_dict(keep_vars=True).items():
        assert state[name][0] == id(t)
        assert torch.equal(state[name][1], t)
    assert not model.sensitivity  # the unit of the first episode is that of training


@pytest.mark.usefixtures("small_grids")
def test_features_go_through_protocols(tmp_path: Path) -> None:
    store = ImageStore(
        "toy",
        torch.randint(0, 256, (40, 1, 4, 4), generator=torch.Generator().manual_seed(4)).byte(),
        torch.arange(40) % 2,
    )
    pairs = small_pairs()
    protocols = [
        FewShot(ways=(2,), shots=(1,), episodes=4),
        KNN(ks=(3,)),
        Linear(),
        Retrieval(),
        FineTune(steps=1, train_mode=True),
    ]
    rows, _ = evaluate(
        {"encoder": learner().encoder, "calibrated": adapt_to_pairs(learner(weights="sample"), pairs)},
        [Target(store, "all", "toy")],
        protocols=protocols,
        contexts={"calibrated": pairs},
        cache=tmp_path,
    )
    assert {row.protocol for row in rows if row.features == "calibrated"} == {protocol.name for protocol in protocols}
    assert {row.context_sha256 for row in rows if row.features == "calibrated"} == {pairs.sha256}
    assert {(row.context, row.context_pairs) for row in rows if row.features != "calibrated"} == {("", 0)}


# Saved and loaded.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "options"),
    [
        ("simclr", ["calibration.weights=sample"]),
        ("byol", []),
        pytest.param("moco", [], marks=pytest.mark.slow),  # another momentum branch
    ],
)
def test_a_loaded_run_adapts_as_the_learner_that_was_trained(
    objective: str, options: list[str], tmp_path: Path
) -> None:
    path = pretrained(tmp_path / "run", *options, objective=objective)
    assert call("export", str(path), str(tmp_path / "hub")) == 0
    found = load_run(path)
    trained = trained_learner(found)
    assert isinstance(trained, TC2)
    assert trained.sensitivity > 0
    if trained.objective.momentum:  # a file holds none: the online branch stands for it
        for target, online in (("target_encoder", "encoder"), ("target_projector", "projector")):
            average(getattr(trained, target), getattr(trained, online), 0.0)
            getattr(trained, target).load_state_dict(getattr(trained, online).state_dict())
    pairs = digit_pairs()
    expected = adapt_to_pairs(trained, Pairs(pairs, "pairs"))
    images = load("digits", image_size=16).images[:7].float() / 255
    for loaded in (found.pretrained, from_pretrained(tmp_path / "hub")):
        assert loaded.calibrated is None
        made = loaded.with_context(pairs).features("calibrated")
        with torch.no_grad():
            assert torch.equal(made(images), expected(images))
            assert not torch.allclose(made(images), loaded.encoder(images))
    assert all(p.requires_grad for p in found.encoder.parameters())


@pytest.mark.slow
def test_a_file_of_the_first_versions_still_gives_its_encoder(run: Path, folder: Path, tmp_path: Path) -> None:
    path = pretrained(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TC2, "adaptation", lambda self: self.calibrator)
        old = pretrained(tmp_path / "old")
    assert (load_run(path).encoder_sha256, load_run(path).pretrained.adapts is None) == (
        load_run(old).encoder_sha256,
        False,
    )
    assert load_run(old).pretrained.adapts is None
    assert call("transfer", str(old), *TO) == 0


@pytest.mark.slow
def test_a_run_is_diagnosed_and_reported(folder: Path, tmp_path: Path) -> None:
    path = pretrained(tmp_path / "run", "calibration.inner_steps=1")
    assert call("transfer", str(path), "--context", str(folder), *TO) == 0
    assert call("diagnose", str(path), "--max-images", "40", "--episodes", "1") == 0
    assert json.loads((path / "diagnose.json").read_text())["features"].keys() == {"encoder"}
    section = transfer_results(read_methods([path]))
    heads = section.tables[0].columns
    assert [head for head in heads if f"calibrated (5 pairs of {folder}, " in head]


# Rows.


@pytest.mark.slow
def test_rows_of_two_contexts_are_both_kept(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_folder(tmp_path / "other", digit_pairs(seed=1, count=3))
    assert call("transfer", str(run), *TO) == 0
    plain = json.loads((run / "transfer.json").read_text())
    assert {row["features"] for row in plain} == {"encoder", "random encoder", "raw pixels"}
    for context in (folder, other):
        assert call("transfer", str(run), "--context", str(context), *TO) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "calibrated (5 pairs" in told
    assert "calibrated (3 pairs" in told
    rows, accuracies = read_results(run / "transfer.json")
    assert {row.features for row in rows} == {"encoder", "calibrated", "random encoder", "raw pixels"}
    contexts = {row.context: row for row in rows if row.features == "calibrated"}
    assert [(name, contexts[name].context_pairs) for name in map(str, (folder, other))] == [
        (str(folder), 5),
        (str(other), 3),
    ]
    assert contexts[str(folder)].context_sha256 == Pairs(digit_pairs(), "").sha256
    assert len({row.key for row in rows} & accuracies.keys()) == len(rows) == len(plain) + 2

    # The same pairs by another name replace their row; so do they by the Python call.
    again = write_folder(tmp_path / "again", digit_pairs())
    assert call("transfer", str(run), "--context", str(again), *TO) == 0
    found = load_run(run)
    common = {"targets": ["digits:meta-test"], "episodes": 5, "ways": (2,), "shots": (1,), "heads": ("cosine",)}
    made = transfer(found, context=Pairs(digit_pairs(seed=1, count=3), "mine"), **common)  # type: ignore[arg-type]
    assert [row.mean for row in made if row.context] == [contexts[str(other)].mean]
    after = read_results(run / "transfer.json")[0]
    assert {row.context for row in after if row.context} == {str(again), "mine"}
    assert len(after) == len(rows)


@pytest.mark.slow
def test_contexts_are_not_mixed_in_comparisons(run: Path, folder: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", digit_pairs(seed=1))
    paths = [run, pretrained(tmp_path / "b", "encoder.width=5")]
    results = []
    for path, contexts in zip(paths, [(folder, other), (other,)], strict=True):
        for context in contexts:
            assert (
                call("transfer", str(path), "--context", str(context), *TO, "--out", str(tmp_path / f"of {path.name}"))
                == 0
            )
        results.append(
            RunResults(str(path), path.name, 0, *read_results(tmp_path / f"of {path.name}" / "transfer.json"))
        )
    (difference,) = compare(results[:1], results[1:], features="calibrated")
    assert difference.context.startswith(f"5 pairs of {other}, ")
    sheets = transfer_matrices(results, features="calibrated")
    assert [sheet.row.context for sheet in sheets] == [str(folder), str(other)]
    own = [[source for source in sheet.sources if "from" in source] for sheet in sheets]
    assert [len(sources) for sources in own] == [1, 2]
    assert all("raw pixels" in sheet.sources for sheet in sheets)

    only = [
        RunResults(r.label, r.method, r.seed, [row for row in r.rows if row.context != str(other)]) for r in results[:1]
    ]
    with pytest.raises(InputError, match=r"share no result .* and the same --context where both"):
        compare(only, results[1:], features="calibrated")


# Pairs from files.


def test_a_list_names_the_same_pairs_as_a_folder(folder: Path, tmp_path: Path) -> None:
    expected = read_pairs(folder, image_size=16, channels=1)
    assert torch.equal(expected.images, digit_pairs())
    parts = [tuple(sorted(sub.iterdir())) for sub in sorted(folder.iterdir())]
    relative = [tuple(os.path.relpath(file, tmp_path) for file in part) for part in parts]
    lines = {
        "a.csv": "\n".join(f"{a},{b}" for a, b in parts),
        "b.tsv": "\r\n".join(f"{a}\t{b}" for a, b in relative) + "\r\n\r\n",
        "c.txt": "\ufeff\n" + "\n".join(f'"{a}" , {b}' for a, b in relative),
    }
    for name, text in lines.items():
        (tmp_path / name).write_bytes(text.encode())
        found = read_pairs(tmp_path / name, image_size=16, channels=1)
        assert (found.sha256, found.name) == (expected.sha256, str(tmp_path / name))
    wide = read_pairs(folder, image_size=8, channels=3)
    assert wide.images.shape == (5, 2, 3, 8, 8)
    assert torch.equal(wide.images, Pairs.of(digit_pairs(), image_size=8, channels=3).images)
    assert torch.equal(Pairs.of(digit_pairs().double() / 255, image_size=16, channels=1).images, digit_pairs())


def test_other_files_beside_a_pair_are_no_images(folder: Path, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pairs", digit_pairs())
    (root / "00" / "notes.txt").write_text("hue")
    (root / "00" / ".hidden.png").write_text("none")
    assert read_pairs(root, image_size=16, channels=1).sha256 == read_pairs(folder, image_size=16, channels=1).sha256


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (
            torch.zeros(3, 2, 16, 16),
            r"must be a tensor \(pairs, 2, 1 or 3 channels, height, width\), got \(3, 2, 16, 16\)",
        ),
        (torch.zeros(3, 3, 1, 16, 16), "must be a tensor"),
        (torch.zeros(0, 2, 1, 16, 16), "holds no image"),
        (torch.full((3, 2, 1, 16, 16), 2.0), r"must lie in \[0, 1\], got 2 to 2"),
        (torch.full((3, 2, 1, 16, 16), torch.nan), "must lie in"),
        (torch.zeros(3, 2, 1, 16, 16, dtype=torch.int64), "uint8 or floating point"),
        (torch.zeros(3, 2, 1, 16, 16), "pair 0 is one image twice"),
        (digit_pairs(count=1), "1 pair given, and simclr needs at least 2; add more pairs"),
    ],
)
def test_tensors_that_are_no_pairs(run: Path, images: Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_run(run).pretrained.with_context(images)


# What cannot work.


def list_of(text: str | bytes) -> Callable[[Path, Path], Path]:
    def make(root: Path, folder: Path) -> Path:
        (root / "pairs.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        return root / "pairs.csv"

    return make


def emptied(root: Path, folder: Path) -> Path:
    (root / "empty").mkdir()
    return root / "empty"


def third(root: Path, folder: Path) -> Path:
    made = write_folder(root / "pairs", digit_pairs())
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(made / "03" / "c.png")
    return made


def truncated(root: Path, folder: Path) -> Path:
    made = write_folder(root / "pairs", digit_pairs())
    file = made / "02" / "b.png"
    file.write_bytes(file.read_bytes()[:60])
    (root / "pairs.csv").write_text("pairs/00/a.png,pairs/00/b.png\n\npairs/02/a.png,pairs/02/b.png\n")
    return root / "pairs.csv"


def twice(root: Path, folder: Path) -> Path:
    made = write_folder(root / "pairs", digit_pairs())
    (made / "01" / "b.png").write_bytes((made / "01" / "a.png").read_bytes())
    return made


def single(root: Path, folder: Path) -> Path:
    return write_folder(root / "pairs", digit_pairs(count=1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root, folder: root / "nowhere", "nowhere: no such file"),
        (emptied, "empty has no sub-folders; put each pair"),
        (third, "03 holds 3 images, and a pair is two"),
        (truncated, "pairs.csv, line 3: image"),
        (twice, "01: is one image twice"),
        (single, "1 pair given, and simclr needs at least 2"),
        (list_of(""), "names no pair"),
        (list_of("a.png"), "line 1: must be two paths, separated by a comma or a tab, got 'a.png'"),
        (list_of("\na.png,b.png,c.png"), "line 2: must be two paths"),
        (list_of("a.png,"), "line 1: must be two paths"),
        (list_of("a.png,b\0.png"), "line 1: must be two paths"),
        (list_of('"a.png,b.png'), "line 1: must be two paths"),
        (list_of("a.png," + "b" * 200_000), "line 1: malformed"),
        (list_of("a.png,b.png"), "a.png cannot be read (No such file or directory)"),
        (list_of("a.png,b.png\n" * (MOST_PAIRS + 1)), f"{MOST_PAIRS + 1} pairs, and at most {MOST_PAIRS}"),
        (list_of(b"\xff\xfea"), "not a text file in UTF-8"),
        (list_of(b"\x89PNG\r\n"), "not a text file in UTF-8"),
        (list_of("pipe,pipe"), "pipe is a device or pipe"),
        (lambda root, folder: root / "pipe", "pipe is a device or pipe"),
    ],
)
def test_pairs_that_cannot_be_read(
    run: Path,
    folder: Path,
    make: Callable[[Path, Path], Path],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    os.mkfifo(tmp_path / "pipe")
    pairs, out = make(tmp_path, folder), tmp_path / "out"
    assert call("transfer", str(run), "--context", str(pairs), *TO, "--out", str(out)) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.strip().splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("calibration", "options", "words", "said"),
    [
        ("none", [], [], "trained without weights of each task's own on the encoder's output, which is what pairs"),
        ("tc2", ["calibration.adapt=shared"], [], "pre-train with --calibration tc2"),
        (
            "tc2",
            ["calibration.where=projector"],
            [],
            "trained without weights of each task's own on the encoder's output",
        ),
        ("tc2", ["calibration.standardize=true"], [], "standardized over the episode (calibration.standardize)"),
        ("tc2", ["calibration.inner_steps=0"], [], "calibration.inner_steps or calibration.gamma is 0"),
        (
            "tc2",
            [],
            ["--layer", "blocks.1"],
            "pairs calibrate the encoder's output, and its stage blocks.1 was asked for",
        ),
    ],
)
def test_runs_that_take_no_context(
    folder: Path,
    calibration: str,
    options: list[str],
    words: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = pretrained(tmp_path / "run", *options, calibration=calibration, steps=1)
    before = sorted(file.name for file in path.iterdir())
    capsys.readouterr()
    assert call("transfer", str(path), "--context", str(folder), *words, *TO) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.strip().splitlines()) == 1
    assert sorted(file.name for file in path.iterdir()) == before


def test_features_without_a_context_say_what_is_missing(run: Path) -> None:
    with pytest.raises(InputError, match=r"call with_context\(pairs\) first"):
        load_run(run).pretrained.features("calibrated")


def test_a_projector_cannot_be_adapted_from_python() -> None:
    model = learner()
    model.where = "projector"
    with pytest.raises(InputError, match=r"calibration.where = 'projector'"):
        adapt_to_pairs(model, small_pairs())


def test_it_is_a_module_that_can_be_saved() -> None:
    made = adapt_to_pairs(learner(weights="sample"), small_pairs())
    assert isinstance(made, ContextEncoder)
    assert {"adapted_gates", "adapted_mixing"} <= made.state_dict().keys()
