"""Whose a run folder is, what it is, and that what is said about it agrees."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from metatc2.cli._demo_runs import run_demo
from metatc2.data import load
from metatc2.errors import InputError
from metatc2.experiment import run as runs
from metatc2.experiment.compare import compare
from metatc2.experiment.config import Config, override, read_config, write_config
from metatc2.experiment.diagnose import run as diagnose
from metatc2.experiment.transfer import transfer
from metatc2.io.files import check_writable, remove_leftovers, write_atomically
from metatc2.io.folder_lock import FolderLock, Unlocked
from metatc2.training import Trainer, TrainerOptions
from metatc2.training.checkpoint import load_checkpoint, save_checkpoint
from metatc2.training.metrics_file import OddRecords
from metatc2.training.run_folder import RunFolder, State
from metatc2.transfer import FeaturesNotKept

from ..command_line import call
from .test_cut_at_any_write import Numbers, Walk

pytestmark = pytest.mark.filterwarnings("ignore::metatc2.training.HealthWarning")


def refused(act: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        act(*arguments, **options)
    said = str(caught.value)
    assert "\n" not in said
    return said


def own(path: Path) -> None:
    Trainer(Walk(), Numbers(), TrainerOptions(steps=2, checkpoint_every=1), run=path).fit()


def test_states_follow_from_what_lies_there(run: Path, tmp_path: Path) -> None:
    folder = RunFolder(run)
    assert folder.state is State.FINISHED
    folder.encoder.unlink()
    assert folder.state is State.CUT
    shutil.move(folder.checkpoints / "step-00000003", folder.checkpoints / "step-backup")
    assert folder.state is State.BEGUN
    shutil.move(folder.checkpoints / "step-backup", folder.checkpoints / "step-00000003")
    folder.config.unlink()
    assert folder.state is State.FOREIGN  # results and weights without a configuration
    own(tmp_path / "own")
    assert RunFolder(tmp_path / "own").state is State.TRAINER
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert RunFolder(tmp_path / "mine").state is State.FOREIGN
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".config.toml.1.tmp").write_text("")
    assert RunFolder(tmp_path / "empty").state is State.NEW


def test_no_run_is_begun_over_files_of_another_kind(run: Path, config: Config, tmp_path: Path) -> None:
    own(tmp_path / "own")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("words")
    (tmp_path / "file").write_text("words")
    before = sorted(tmp_path.rglob("*"))
    assert "files that are not of a run" in refused(runs.pretrain, config, tmp_path / "mine")
    assert "written by Trainer" in refused(runs.pretrain, config, tmp_path / "own")
    assert "file is not a folder" in refused(runs.pretrain, config, tmp_path / "file")
    assert "not a folder" in refused(runs.pretrain, config, tmp_path / "file" / "below")
    assert "shorter name" in refused(runs.pretrain, config, tmp_path / ("long" * 100))
    assert "is finished" in refused(runs.pretrain, config, run)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_said_of_a_trainers_folder_can_be_followed(tmp_path: Path, config: Config) -> None:
    path = tmp_path / "own"
    own(path)
    for act in (runs.load_run, runs.resume, diagnose, lambda p: compare([p, p])):
        said = refused(act, path)
        assert "Trainer wrote it" in said
        assert f"metatc2 pretrain TASK --run {path}" not in said
    # As it says: resume it in one's own code, and read the weights.
    again = Trainer(Walk(), Numbers(), TrainerOptions(steps=2), run=path)
    assert again.resume() == 2
    scope: dict[str, Any] = {}
    exec(f"from pathlib import Path; import metatc2.training.checkpoint; w = {said.rpartition('with ')[2]}", scope)
    assert torch.equal(scope["w"]["w"], again.learner.w)


def test_a_run_without_a_checkpoint_starts_anew_with_the_same_configuration_only(
    run: Path, finished: Path, config: Config
) -> None:
    for name in ("encoder.safetensors", "calibrator.safetensors"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoint")
    other = dataclasses.replace(config, trainer=config.trainer.replace(lr=0.5))
    assert "trainer.lr: " in refused(runs.pretrain, other, run)
    assert "cut before its first checkpoint" in refused(runs.load_run, run)
    again = runs.pretrain(config, run)
    assert again.encoder_sha256 == runs.load_run(finished).encoder_sha256
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_second_process_is_kept_out_and_told_of_the_first(run: Path, config: Config, tmp_path: Path) -> None:
    (run / "encoder.safetensors").unlink()
    before = sorted(run.rglob("*"))
    with RunFolder(run).owned():
        for act in (lambda: runs.resume(run), lambda: runs.pretrain(config, run), lambda: runs.load_run(run)):
            assert f"in use: process {os.getpid()} trains in it" in refused(act)
        # The library too, which has no configuration.
        assert "in use" in refused(Trainer(Walk(), Numbers(), TrainerOptions(steps=9), run=run).fit)
    assert sorted(run.rglob("*")) == before  # the lock is away again


def test_the_lock_of_a_dead_process_is_none(tmp_path: Path) -> None:
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; "
        "from metatc2.io.folder_lock import FolderLock;"
        "lock = FolderLock(Path(sys.argv[1])); assert lock.take() is None; print('held', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", script, str(tmp_path / ".lock"), str(Path(runs.__file__).parents[1])]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        lock = FolderLock(tmp_path / ".lock")
        assert lock.take() == lock.holder() == f"process {other.pid}"
        other.kill()
        other.wait()
        assert lock.holder() is None
        assert lock.take() is None
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()
        lock.give_back()


def test_a_file_system_without_locks_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*words: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    lock = FolderLock(tmp_path / ".lock")
    with pytest.warns(Unlocked, match="has no locks"):
        assert lock.take() is None
    assert FolderLock(tmp_path / ".lock").take() == f"process {os.getpid()}"
    lock.give_back()
    (tmp_path / ".lock").write_text(json.dumps({"process": 2**22 + 1, "machine": os.uname().nodename}))
    with pytest.warns(Unlocked):
        assert lock.take() is None  # left by a process that is no more
    lock.give_back()


def test_half_written_files_of_dead_processes_alone_are_removed(tmp_path: Path) -> None:
    dead = 2**22 + 1  # above any process number of Linux
    for name in (f".a.json.{dead}.tmp", f".a.json.{os.getpid()}.tmp", ".mine.tmp", f"a.{dead}.tmp", ".b.1.tmp"):
        (tmp_path / name).write_text("half")
    (tmp_path / f".step-00000002.{dead}.tmp").mkdir()
    os.utime(tmp_path / ".b.1.tmp", (1, 1))  # older than process 1: of an earlier process of this number
    removed = {path.name for path in remove_leftovers(tmp_path)}
    assert removed == {f".a.json.{dead}.tmp", f".step-00000002.{dead}.tmp", ".b.1.tmp"}
    assert {path.name for path in tmp_path.iterdir()} == {f".a.json.{os.getpid()}.tmp", ".mine.tmp", f"a.{dead}.tmp"}


@pytest.mark.parametrize("time", [1, 4_102_444_800])
def test_a_clock_that_was_set_changes_nothing(time: int, run: Path, finished: Path) -> None:
    """Files of 1970 and of 2100; a half-written one of a dead process goes whatever its time."""
    (run / "encoder.safetensors").unlink()
    (run / "checkpoint" / f".step-00000004.{2**22 + 1}.tmp").mkdir()
    for path in (run, *run.rglob("*")):
        os.utime(path, (time, time))
    assert runs.resume(run).encoder_sha256 == runs.load_run(finished).encoder_sha256
    assert runs.load_run(run).seconds >= 0
    assert [path.name for path in (run / "checkpoint").iterdir()] == ["step-00000003"]


def test_files_named_like_checkpoints_are_none_and_stay(run: Path, finished: Path) -> None:
    (run / "encoder.safetensors").unlink()
    shutil.copytree(run / "checkpoint" / "step-00000003", run / "checkpoint" / "step-backup")
    (run / "checkpoint" / f".step-00000001.{2**22 + 1}.tmp").mkdir()
    assert runs.resume(run).encoder_sha256 == runs.load_run(finished).encoder_sha256
    assert sorted(p.name for p in (run / "checkpoint").iterdir()) == ["step-00000003", "step-backup"]


def test_odd_lines_of_the_log_forbid_nothing(run: Path) -> None:
    (run / "encoder.safetensors").unlink()
    log = run / "metrics.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    odd = [b"[1, 2]\n", b"\xff\xfe\n", b'{"step": 2}\n', b'{"step": NaN, "loss": 1}\n', b"[" * 9999 + b"\n"]
    log.write_bytes(b"".join([*odd, *lines]) + b'{"step": 4, "lo')
    with pytest.warns(OddRecords):
        runs.resume(run)
    assert log.read_bytes() == b"".join(lines)


def full(*words: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(
    config: Config, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("metatc2.training.records.append_metrics", lambda file, record: write_atomically(file, b""))
        patch.setattr(os, "replace", full)
        said = refused(runs.pretrain, config, path)
    assert "config.toml cannot be written (No space left on device); free some space" in said
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        assert "step-00000001 cannot be written (No space left" in refused(runs.pretrain, config, path)
    assert runs.resume(path).encoder_sha256 == runs.load_run(finished).encoder_sha256
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        (path / "encoder.safetensors").unlink()
        said = refused(runs.resume, path)
        assert "cannot be written (No space left" in said
    assert RunFolder(path).state is State.CUT


def test_what_cannot_be_written_is_known_before_the_work(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = runs.load_run(run)

    def read_only(*words: Any, **options: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    monkeypatch.setattr("metatc2.experiment.transfer.evaluate", lambda *words, **options: pytest.fail("measured"))
    assert "another folder with --out DIR" in refused(transfer, loaded)
    monkeypatch.setattr("metatc2.experiment.diagnose.diagnose", lambda *words, **options: pytest.fail("measured"))
    assert "cannot be written" in refused(diagnose, run)
    assert "cannot be written" in refused(check_writable, run)


def test_features_that_cannot_be_kept_are_a_warning(run: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(run / "features")
    (run / "features").write_text("in the way")
    rows = (finished / "transfer.json").read_bytes()
    with pytest.warns(FeaturesNotKept, match="computed and not kept"):
        transfer(runs.load_run(run))
    assert (run / "transfer.json").read_bytes() == rows
    (run / "features").unlink()
    monkeypatch.setattr("metatc2.transfer.feature_table.write_atomically", full)
    with pytest.warns(FeaturesNotKept, match="No space left"):
        transfer(runs.load_run(run))
    assert (run / "transfer.json").read_bytes() == rows


def test_rows_of_two_processes_are_both_kept(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one writes while this one measures."""
    from metatc2.experiment import transfer as module
    from metatc2.transfer import evaluate

    loaded, met = runs.load_run(run), []

    def slow(*words: Any, **options: Any) -> Any:
        found = evaluate(*words, **options)
        if not met:
            met.append(1)
            transfer(loaded, ways=(3,))
        return found

    monkeypatch.setattr(module, "evaluate", slow)
    transfer(loaded, ways=(4,))
    assert {row["facts"]["way"] for row in json.loads((run / "transfer.json").read_text())} == {2, 3, 4}


def test_changed_data_are_called_changed_data(run: Path, noise: Path, tmp_path: Path) -> None:
    import numpy as np

    (run / "encoder.safetensors").unlink()
    with np.load(noise) as content:
        images, labels = content["images"], content["labels"]
    np.savez(tmp_path / "more.npz", images=np.concatenate([images, images[:1]]), labels=np.append(labels, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "build_data", lambda config: load(f"npz:{tmp_path / 'more.npz'}", image_size=16))
        said = refused(runs.resume, run)
    assert f"the data of npz:{noise} changed since" in said
    assert "there were 24 images, and there are 25" in said
    assert "configuration" not in said
    images[0, 0, 0] ^= 1
    np.savez(tmp_path / "other.npz", images=images, labels=labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "build_data", lambda config: load(f"npz:{tmp_path / 'other.npz'}", image_size=16))
        assert "there are 24 images as there were, but images, labels or splits are not those" in refused(
            runs.resume, run
        )


def test_a_checkpoint_that_says_less_of_its_data_is_resumed(run: Path) -> None:
    """As earlier versions wrote them."""
    (run / "encoder.safetensors").unlink()
    step, state, about = load_checkpoint(run / "checkpoint" / "step-00000003")
    shutil.rmtree(run / "checkpoint")
    save_checkpoint(run / "checkpoint", step, state, {key: about[key] for key in ("fingerprint", "data")})
    assert runs.resume(run).steps == 3


@pytest.mark.slow
def test_a_run_is_resumed_from_another_working_directory(
    config: Config, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there" / "work").mkdir(parents=True)
    shutil.copy(noise, tmp_path / "there" / "x.npz")
    monkeypatch.chdir(tmp_path / "there" / "work")
    relative = override(config, ["data.source=npz:../x.npz"])
    whole = runs.pretrain(relative, Path("whole"))
    with pytest.raises(runs.TrainingStopped):
        runs.pretrain(relative, Path("run"), stop=lambda: True)
    # The tree is moved, and the command runs elsewhere.
    (tmp_path / "there").rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = runs.resume(Path("../moved/work/run"))
    assert done.encoder_sha256 == whole.encoder_sha256
    assert done.config.data.source == "npz:../x.npz"
    # Its classes are those of the file where it lies, so that they are known again.
    assert done.pretrained.seen is not None
    assert done.pretrained.seen.same_source(load(f"npz:{tmp_path / 'moved' / 'x.npz'}"))
    (tmp_path / "moved" / "work" / "run" / "encoder.safetensors").unlink()
    (tmp_path / "moved" / "work" / "run" / "origin.json").write_text("[]")
    assert "origin.json does not say where the run was started" in refused(runs.resume, Path("../moved/work/run"))


def test_a_relative_source_says_where_it_is_looked_for(
    config: Config, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    shutil.copy(noise, tmp_path / "there" / "x.npz")
    monkeypatch.chdir(tmp_path / "there")
    relative = override(config, ["data.source=npz:x.npz", "transfer.targets=['npz:x.npz:all']"])
    runs.pretrain(relative, Path("run"))
    monkeypatch.chdir(tmp_path)
    loaded = runs.load_run(Path("there/run"))
    for act in (lambda: transfer(loaded), lambda: diagnose(Path("there/run"))):
        assert f"relative to the folder where the run was started, and this command runs in {tmp_path}" in refused(act)
    assert call("transfer", "there/run") == 2
    Path("there/run/encoder.safetensors").unlink()
    Path("there/x.npz").unlink()
    assert "run it where x.npz lies" in refused(runs.resume, Path("there/run"))


def test_the_demo_removes_nothing_but_its_own(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(run, folder / "plain-s0")
    before = sorted(folder.rglob("*"))
    assert "was not made by this demo" in refused(run_demo, folder, seeds=1)
    assert sorted(folder.rglob("*")) == before
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "demo.png").write_bytes(b"holiday")
    assert "demo.png was not made by this demo" in refused(run_demo, folder, seeds=1)
    # Its own, and a note in it.
    from metatc2.cli import _demo_runs as demo

    (folder / "demo.png").unlink()
    own = RunFolder(folder / "plain-s0")
    demo._remove_earlier_runs(folder, [own])
    assert own.is_of_demo
    assert own.state is State.NEW
    write_config(read_config(run / "config.toml"), own.config)
    (own.path / "note.txt").write_text("mine")
    assert "note.txt was not made" in refused(demo._remove_earlier_runs, folder, [own])
    (own.path / "note.txt").unlink()
    demo._remove_earlier_runs(folder, [own])
    assert own.state is State.NEW


class Tied(nn.Module):
    """Two layers share one tensor, and a buffer is a view of it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU())
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)
        self.b.weight = self.a.weight
        self.register_buffer("view", self.a.weight.detach()[:4])

    def forward(self, x: Any) -> Any:
        return self.b(self.a(self.body(x)))


def test_encoders_whose_tensors_share_memory_are_saved(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metatc2.experiment.build.build_encoder", lambda *words, **options: Tied())
    done = runs.pretrain(config, tmp_path / "run")
    assert torch.equal(done.encoder.a.weight, done.encoder.b.weight)
    assert done.encoder.a.weight is done.encoder.b.weight
    (tmp_path / "run" / "encoder.safetensors").unlink()
    assert runs.resume(tmp_path / "run").encoder_sha256 == done.encoder_sha256


def test_names_that_are_no_text_are_saved_and_read(config: Config, noise: Path, tmp_path: Path) -> None:
    from metatc2.data import load

    store = load(f"npz:{noise}", image_size=16)
    odd = dataclasses.replace(store, class_names=("\udcff", "é", "c", "d"))
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run\xff"))
    done = runs.pretrain(config, path, store=odd)
    assert done.pretrained.seen is not None
    assert done.pretrained.seen.names == {"\udcff", "é", "c", "d"}
    transfer(done)
    assert runs.resume(path).encoder_sha256 == done.encoder_sha256
