"""A run folder: the names of its files, whose it is at the moment, and what may be done with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from metatc2.errors import InputError
from metatc2.io.files import (
    check_no_link,
    check_writable,
    is_leftover,
    make_folder,
    reading,
    remove_leftovers,
    write_atomically,
    writing,
)
from metatc2.io.folder_lock import FolderLock
from metatc2.io.run_files import (
    CALIBRATOR,
    CHECKPOINT,
    CONFIG,
    DEMO,
    ENCODER,
    FAILURE,
    FEATURES,
    HEADS,
    LEARNER,
    LOCK,
    LOGS,
    METRICS,
    MONITOR,
    OF_A_RUN,
    ORIGIN,
    RESULTS_LOCK,
    START,
    TRAINED,
)
from metatc2.io.suggest import command
from metatc2.ops.ranks import is_first
from metatc2.training.checkpoint import latest_checkpoint, step_of

# What a run may have left behind before its config.toml, which comes first.
_OF_NO_ACCOUNT = frozenset({LOCK, RESULTS_LOCK, DEMO})

#: What to do where a run cannot be written.
FOLDER_OF_RUN = "name a folder of yours with --run"


class State(Enum):
    """What a folder is. `RunFolder.state` tells; every message about a folder follows from it."""

    NEW = "nothing there"
    FOREIGN = "files that are not of a run"
    TRAINER = "written by Trainer: records or checkpoints and no config.toml"
    BEGUN = "a run that was cut before its first checkpoint"
    CUT = "a run that was cut after a checkpoint"
    FINISHED = "a run with its encoder"
    RUNNING = "another process works in it"


class RunFolder:
    """The folder of a run.

    Args:
        path: need not be there.

    >>> RunFolder(Path("no such folder")).state
    <State.NEW: 'nothing there'>
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FolderLock(path / LOCK)
        self._depth = 0

    @property
    def led(self) -> bool:
        """Whether another process, which may hold the lock, leads those that train together; this one then writes nothing."""
        return not is_first()

    @property
    def config(self) -> Path:
        """What the run is trained with."""
        return self.path / CONFIG

    @property
    def origin(self) -> Path:
        """Where the run was started, if its data have a relative path."""
        return self.path / ORIGIN

    @property
    def start(self) -> Path:
        """What weights the run started from, if it did not start untrained."""
        return self.path / START

    @property
    def metrics(self) -> Path:
        """Records of training."""
        return self.path / METRICS

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / CHECKPOINT

    @property
    def failure(self) -> Path:
        """Folder of the last step that was not finite, to be made again."""
        return self.path / FAILURE

    @property
    def encoder(self) -> Path:
        """The trained encoder; it is written last."""
        return self.path / ENCODER

    @property
    def calibrator(self) -> Path:
        """Of TC² where it works on the encoder's output; with weights of each task's own, all that adapts them."""
        return self.path / CALIBRATOR

    @property
    def learner(self) -> Path:
        """The whole learner, of those on labeled tasks."""
        return self.path / LEARNER

    @property
    def logs(self) -> Path:
        """Folder of what loggers write."""
        return self.path / LOGS

    @property
    def heads(self) -> Path:
        """What a self-supervised learner trained beside the encoder; runs of earlier versions have none."""
        return self.path / HEADS

    @property
    def monitor(self) -> Path:
        """Measurements of the encoder during training, where they were asked for."""
        return self.path / MONITOR

    @property
    def latest(self) -> Path | None:
        """The newest checkpoint."""
        return latest_checkpoint(self.checkpoints)

    @property
    def state(self) -> State:
        """What the folder is now."""
        if os.path.exists(self.path) and not self.path.is_dir():
            raise InputError(f"{self.path} is a file and no run folder; name a folder")
        with reading(self.path):
            names = {entry.name for entry in self.path.iterdir()} if os.path.exists(self.path) else set()
        if not self.led and self._lock.holder() is not None:
            return State.RUNNING
        if CONFIG in names:
            if ENCODER in names:
                return State.FINISHED
            return State.BEGUN if self.latest is None else State.CUT
        names = {name for name in names if name not in _OF_NO_ACCOUNT and not is_leftover(Path(name))}
        if not names:
            return State.NEW
        return State.TRAINER if names & {METRICS, CHECKPOINT} and names.isdisjoint(TRAINED) else State.FOREIGN

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Keep every other process out for the time of the block, and remove what dead ones left half-written.

        The folder is made if need be. Blocks may be nested.

        Raises:
            InputError: if another process works in the folder, it cannot be written, or what a run writes to is a link.
        """
        if self.led:
            yield
            return
        if self._depth == 0:
            with writing(self.path):
                make_folder(self.path)
                holder = self._lock.take()
            if holder is not None:
                raise InputError(self._busy(holder))
            try:
                for name in (METRICS, MONITOR, CHECKPOINT, FAILURE, FEATURES, LOGS):
                    check_no_link(self.path / name, "a run")
            except InputError:
                self._lock.give_back()
                raise
            for folder in (self.path, self.checkpoints, self.failure, self.path / FEATURES):
                remove_leftovers(folder)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._lock.give_back()

    def require_run(self) -> None:
        """Refuse a folder without a configuration.

        Raises:
            InputError: if the folder is not that of a run.
        """
        if not os.path.exists(self.config):
            raise InputError(self._no_run())

    def require_startable(self, differences: Callable[[Path], Sequence[str]]) -> None:
        """Refuse a folder in which a run must not begin. Leaves no trace.

        Args:
            differences: from the configuration of a run that was begun to what differs from the one that is to begin, a
                sentence each; empty where it is the same run.

        Raises:
            InputError: unless nothing is there, or a run of the same configuration that has no checkpoint.
        """
        state, other = self.state, "or name another folder with --run"
        if state is State.RUNNING:
            raise InputError(self._busy(self._lock.holder() or "another process"))
        if state is State.FOREIGN:
            raise InputError(f"{self.path} exists already and holds files that are not of a run; move them, {other}")
        if state is State.TRAINER:
            raise InputError(f"{self.path} exists already and was written by Trainer; move it, {other}")
        if state is State.CUT:
            raise InputError(
                f"{self.path} exists already; continue it with `{command('pretrain', '--resume', self.path)}`, {other}"
            )
        if state is State.FINISHED:
            raise InputError(
                f"{self.path} exists already and is finished; `{command('transfer', self.path)}` measures it, "
                f"`{command('pretrain', '--resume', self.path, '--steps', 'N')}` trains it longer, {other}"
            )
        if state is State.BEGUN and (differ := differences(self.config)):
            raise InputError(
                f"{self.path} exists already, begun with another configuration ({'; '.join(differ)}) "
                f"and without a checkpoint; start that one again with `{command('pretrain', '--resume', self.path)}`, "
                f"delete the folder, {other}"
            )
        check_writable(self.path, FOLDER_OF_RUN)

    def require_resumable(self) -> State:
        """Whether the run was begun, cut, or is finished.

        Raises:
            InputError: if another process works in the folder, or it is not that of a run.
        """
        state = self.state
        if state is State.RUNNING:
            raise InputError(self._busy(self._lock.holder() or "another process"))
        if state in (State.NEW, State.FOREIGN, State.TRAINER):
            raise InputError(self._no_run())
        return state

    def require_finished(self) -> None:
        """Refuse a folder without a trained encoder.

        Raises:
            InputError: if it is not that of a run, or the run is not finished.
        """
        if (state := self.require_resumable()) is not State.FINISHED:
            step = 0 if state is State.BEGUN or self.latest is None else step_of(self.latest)
            cut = f"cut at step {step}" if step else "cut before its first checkpoint"
            raise InputError(
                f"{self.path} has no {ENCODER} ({cut}): the run is not finished; "
                f"{command('pretrain', '--resume', self.path)}"
            )

    def require_there(self) -> None:
        """Refuse to go on where the folder was taken away; asked while it is owned, before something is written into it.

        Raises:
            InputError: if it is gone.
        """
        if not self.path.is_dir():
            raise InputError(
                f"{self.path} is gone: the folder was moved or deleted while the run was writing to it; move it back and go on "
                f"with {command('pretrain', '--resume', self.path)}, or start the run again"
            )

    def require_behind(self, step: int) -> None:
        """Refuse to train from a step where another training has left a later checkpoint; for `Trainer`.

        Raises:
            InputError: if there is one.
        """
        if self.latest is not None and step_of(self.latest) > step:
            raise InputError(
                f"{self.path} holds a run at step {step_of(self.latest)}, and this trainer is at step {step}; continue it with "
                "Trainer.resume(), or name another folder with run="
            )

    @property
    def is_of_demo(self) -> bool:
        """Whether the demo made it, and may replace it."""
        return (self.path / DEMO).is_file()

    @property
    def others(self) -> list[str]:
        """Names of what lies in the folder and is not of a run."""
        names = [path.name for path in self.path.iterdir() if not is_leftover(path)] if self.path.is_dir() else []
        return sorted(name for name in names if name not in OF_A_RUN)

    def mark_as_demo(self) -> None:
        """Note that the demo makes it."""
        with writing(self.path):
            write_atomically(
                self.path / DEMO, b"metatc2 demo made this folder and replaces its run when it is called again\n"
            )

    def remove_run(self) -> None:
        """Remove the files of a run, and no others."""
        for name in (*TRAINED, METRICS, MONITOR, ORIGIN, CONFIG):
            with writing(self.path / name):
                (self.path / name).unlink(missing_ok=True)
        for name in (CHECKPOINT, FAILURE, FEATURES, LOGS):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def _busy(self, holder: str) -> str:
        return f"{self.path} is in use: {holder} trains in it; wait until it has ended, or stop it"

    def _no_run(self) -> str:
        state = self.state
        if state is State.RUNNING:
            return self._busy(self._lock.holder() or "another process")
        if state is State.NEW:
            make = command("pretrain", "TASK", "--run", self.path)
            lacks = f"has no {CONFIG}" if os.path.exists(self.path) else "does not exist"
            return f"{self.path} is not a run folder (it {lacks}); make one with: {make}"
        if state is State.TRAINER:
            latest = self.latest or self.checkpoints / "step-XXXXXXXX"
            return (
                f"{self.path} is not a run folder of metatc2 pretrain: Trainer wrote it (it has no {CONFIG}), and "
                "your own code knows its learner; continue it there with Trainer(..., run=...).resume(), or read the "
                f'weights with metatc2.training.checkpoint.load_checkpoint(Path("{latest}"))[1]["learner"]'
            )
        return (
            f"{self.path} is not a run folder (it has other files and no {CONFIG}); make one in a new folder with: "
            f"{command('pretrain', 'TASK', '--run', 'DIR')}"
        )
