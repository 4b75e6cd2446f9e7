"""Run folders: pre-train into one, resume one, and all that is done with runs by the names of this module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from metatc2.data import ImageStore
from metatc2.data.crops import crops_of
from metatc2.errors import InputError
from metatc2.experiment.build import (
    build_data,
    build_fresh_encoder,
    build_learner,
    build_sampler,
    build_trainer_options,
    check_domains,
)
from metatc2.experiment.compare import compare, matrices
from metatc2.experiment.config import (
    Config,
    LabeledEpisode,
    PythonConfig,
    fingerprint,
    override,
    write_config,
)
from metatc2.experiment.finished_run import Run, load_run
from metatc2.experiment.fitted_way import fit_way
from metatc2.experiment.monitored import callbacks, fit
from metatc2.experiment.other_runs import require_begun_by_pretrain, require_continued_by_pretrain
from metatc2.experiment.run_config import located, note_origin, read_run_config, require_startable, sources_from
from metatc2.experiment.run_lengths import archive, at_every_length, lengthened
from metatc2.experiment.run_name import default_folder
from metatc2.experiment.starting_weights import Start, read_start, seen_before
from metatc2.experiment.threads import check_threads
from metatc2.experiment.trained_files import trained_files
from metatc2.experiment.transfer_offer import offer_transfer
from metatc2.io.files import check_writable, printable, write_atomically, writing
from metatc2.io.suggest import command
from metatc2.io.terminal import note
from metatc2.ops.random_state import seeded
from metatc2.ops.ranks import Ranks, is_first, others_alive, split_ranks
from metatc2.ops.threads import torch_threads
from metatc2.training import Trainer
from metatc2.training.about import IMAGES, SOURCE
from metatc2.training.checkpoint import step_of
from metatc2.training.devices import process_count
from metatc2.training.run_folder import FOLDER_OF_RUN, RunFolder, State

__all__ = [
    "Run",
    "TrainingStopped",
    "compare",
    "default_folder",
    "load_run",
    "matrices",
    "pretrain",
    "resume",
]


class TrainingStopped(Exception):
    """Training was asked to stop before its end. The message says how it goes on."""


def pretrain(
    config: Config,
    path: Path,
    *,
    store: ImageStore | None = None,
    show: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Run:
    """Pre-train as configured and write the run folder. Nothing is written before every part could be built.

    Args:
        config: see `Config`. An ``episode.way`` that was not given is fitted to the images, see `fit_way`, and recorded.
        path: run folder; must be new or empty, or hold a run of the same configuration that was cut before its first
            checkpoint, which is started again.
        store: the data, where the caller has loaded it already.
        show: show live progress.
        stop: asked before every step, see `Trainer.fit`.

    Raises:
        InputError: if the folder is in use or cannot be written, or the configuration cannot work.
        TrainingDiverged: if the loss is no longer finite.
        TrainingStopped: if `stop` said so.

    >>> import tempfile
    >>> from metatc2.experiment.config import read_task
    >>> config = override(read_task("digits"), ["trainer.steps=1", "episode.batch=32", "encoder.width=4"])
    >>> run = pretrain(config, Path(tempfile.mkdtemp()) / "run")
    >>> run.steps, run.encoder(torch.zeros(2, run.channels, run.image_size, run.image_size)).shape
    (1, torch.Size([2, 4]))
    """
    require_begun_by_pretrain(config)
    folder = RunFolder(path)
    if is_first():
        check_writable(path, FOLDER_OF_RUN)
    fitted = fit_way(config, store)
    config, store = fitted.config, fitted.store
    if is_first():
        require_startable(folder, config)
        if show and fitted.note:
            note(fitted.note)
    with process_state(config):
        start = read_start(config, folder)
        trainer, store = _trainer(config, folder, store, show, start)
        _encoded(trainer, config, store, folder, start)  # what cannot be written should not take a training to find out
        offer = offer_transfer(config, store, start.seen if start else None)
        for sentence in (_learned_from(config, store), *crops_of([store])) if trainer.show else ():
            note(sentence)
        if trainer.show and offer.problem:
            note(f"{offer.problem}; after training, {offer.next_step(path)}")
        with others_alive(trainer.ranks):
            with folder.owned():
                trainer.ranks.first_does(partial(_begin, folder, config, start))
                _finish(trainer, config, folder, store, stop)
            trainer.ranks.wait()  # for the lock to be given back
    return replace(load_run(path), offer=offer)


def resume(
    path: Path,
    *,
    steps: int | None = None,
    devices: int | None = None,
    nodes: int | None = None,
    show: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Run:
    """Continue a run from its last checkpoint, or from its first step where it was cut before there was one.

    A finished run is left as it is, unless it is made longer: the steps up to its old length are those of the old length, and
    the steps from there on are made as in a run of `steps` steps, so the learning rate rises to where that run's would be.
    It does not matter where the run was cut, or how often: the same bits come out. The encoder of the old length and what was
    measured with it go to ``DIR/at-STEPS``, a run folder like any other.

    Args:
        path: run folder.
        steps: new length of the run; by default the one it has.
        devices: on each node; by default as many as it was begun with.
        nodes: likewise.
        show: show live progress.
        stop: asked before every step, see `Trainer.fit`.

    Raises:
        InputError: if this is no run folder, the checkpoint is damaged or of another configuration, the data have changed,
            or the run is that long already.
        TrainingDiverged: if the loss is no longer finite.
        TrainingStopped: if `stop` said so.
    """
    folder = RunFolder(path)
    state = folder.require_resumable()
    config = _placed(read_run_config(path), devices, nodes)
    further = state is not State.FINISHED or steps not in (None, config.trainer.steps)
    require_continued_by_pretrain(config, path, further=further)
    if isinstance(config.learner, PythonConfig):
        return load_run(path)
    longer = lengthened(config, steps, folder)
    if state is State.FINISHED and longer == config:
        return load_run(path)
    if state is State.FINISHED and folder.latest is None:
        raise InputError(f"{path} has no checkpoint left to go on from; pre-train anew with more --steps")
    with folder.owned(), process_state(config):
        folder.require_resumable()
        with sources_from(folder, config):
            # What was trained already is in the checkpoint.
            start = read_start(config, folder) if folder.latest is None else None
            trainer, store = _trainer(longer, folder, build_data(located(folder, config)), show, start)
        _encoded(trainer, longer, store, folder)
        if folder.latest is not None:
            trainer.resume(accept=[_about(shorter, store) for shorter in at_every_length(longer)])
        with others_alive(trainer.ranks):
            if longer != config:
                trainer.ranks.first_does(partial(archive, folder, config, longer))
            _finish(trainer, longer, folder, store, stop)
    with others_alive(trainer.ranks):
        trainer.ranks.wait()
    return replace(load_run(path), offer=offer_transfer(longer, store, seen_before(folder)))


def _placed(config: Config, devices: int | None, nodes: int | None) -> Config:
    asked = {"devices": devices, "nodes": nodes}
    return override(config, [f"trainer.{key}={value}" for key, value in asked.items() if value is not None])


@contextmanager
def process_state(config: Config) -> Iterator[None]:
    """Threads and random numbers of the process are the run's within the block, and the caller's again after it.

    Dropout and the like draw from torch's own generator; it is saved in checkpoints.
    """
    check_threads(config.trainer.threads)
    with torch_threads(config.trainer.threads), seeded(config.trainer.seed):
        yield


def _trainer(
    config: Config, folder: RunFolder, store: ImageStore | None, show: bool, start: Start | None = None
) -> tuple[Trainer, ImageStore]:
    options = build_trainer_options(config)
    # Before any further process is started.
    split_ranks(_tasks(config), Ranks(0, process_count(options.placement)), command("pretrain"))
    store = store or build_data(config)
    check_domains(config, store)
    encoder = build_fresh_encoder(config, store.channels, store.image_size)
    if start is not None:
        start.load_into(encoder, config.encoder.name)
    learner = build_learner(config, store.channels, store.image_size, encoder, class_of=store.labels)
    sampler = build_sampler(config, store)
    loggers = config.trainer.loggers or ()
    trainer = Trainer(
        learner,
        sampler,
        options,
        run=folder,
        about=_about(config, store),
        show=show,
        loggers=loggers,
        callbacks=callbacks(config, store),
    )
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)  # Lightning divides the processors where it starts processes
    return trainer, store


def _learned_from(config: Config, store: ImageStore) -> str:
    """How many images, and classes where there are several."""
    split = config.data.split
    rows = store.rows(split)
    classes = len(store.labels[rows].unique())
    return f"learns from {len(rows)} images{f' of {classes} classes' if classes > 1 else ''}, {store.name}:{split}"


def _tasks(config: Config) -> int:
    """Tasks of an episode."""
    episode = config.episode
    return episode.meta_batch if isinstance(episode, LabeledEpisode) else episode.tasks


def _about(config: Config, store: ImageStore) -> dict[str, str]:
    """What a checkpoint must agree with, and of the data what is said of them if it does not."""
    source, images = printable(config.data.source), str(len(store.images))
    return {"fingerprint": fingerprint(config), "data": store.checksum(), SOURCE: source, IMAGES: images}


def _finish(
    trainer: Trainer, config: Config, folder: RunFolder, store: ImageStore, stop: Callable[[], bool] | None
) -> None:
    ended = fit(trainer, config, folder, store, stop)
    if trainer.step < config.trainer.steps and not ended:
        assert folder.latest is not None  # fit has written one
        raise TrainingStopped(
            f"step {step_of(folder.latest)} of {config.trainer.steps} is saved; go on with: "
            f"{command('pretrain', '--resume', folder.path)}"
        )
    content_of = _encoded(trainer, config, store, folder)
    trainer.ranks.first_does(partial(_write, folder, content_of))


def _begin(folder: RunFolder, config: Config, start: Start | None) -> None:
    require_startable(folder, config)  # no other process was faster
    with writing(folder.config):
        write_config(config, folder.config)
    note_origin(folder, config)
    if start is not None:
        start.note(folder)


def _write(folder: RunFolder, content_of: Mapping[str, bytes]) -> None:
    folder.require_there()
    for name, content in content_of.items():
        with writing(folder.path / name, f"make room, then: {command('pretrain', '--resume', folder.path)}"):
            write_atomically(folder.path / name, content)


def _encoded(
    trainer: Trainer, config: Config, store: ImageStore, folder: RunFolder, start: Start | None = None
) -> dict[str, bytes]:
    return trained_files(
        trainer.learner,
        config,
        store,
        encoder=trainer.encoder,
        steps=trainer.step,
        seconds=trainer.seconds,
        earlier=seen_before(folder) if start is None else start.seen,
    )
