"""Pre-training: `metatc2 pretrain`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from metatc2.cli import _flags, _slurm
from metatc2.cli._args import option
from metatc2.cli._many_processes import parting
from metatc2.cli._stop_on_signal import ENDED_OR_PREEMPTED, ended_by_signal
from metatc2.errors import InputError
from metatc2.experiment.seed_folders import seed_folder
from metatc2.experiment.threads import check_threads
from metatc2.io.terminal import bold, note, say

if TYPE_CHECKING:
    from metatc2.data import ImageStore
    from metatc2.experiment import run as runs
    from metatc2.experiment.config import Config


def pretrain(
    task: Annotated[str | None, tyro.conf.Positional, option("TASK")] = None,
    /,
    *,
    objective: _flags.Objective = None,
    calibration: _flags.Calibration = None,
    regularize: _flags.Regularize = None,
    condition: _flags.Condition = None,
    learner: _flags.Learner = None,
    adjoint: _flags.Adjoint = None,
    steps: _flags.Steps = None,
    seed: _flags.Seed = None,
    seeds: Annotated[tuple[int, ...], option("S")] = (),
    run: Annotated[str | None, option("DIR", default="runs/TASK-OBJECTIVE-CALIBRATION[-REGULARIZER]-sSEED")] = None,
    encoder: _flags.Encoder = None,
    weights: _flags.Weights = None,
    monitor: _flags.Monitor = None,
    devices: Annotated[
        int | None, option("N", default="1, or as many as torchrun, accelerate launch or srun have started")
    ] = None,
    nodes: Annotated[int | None, option("N", default="1, or as many as a launcher has started")] = None,
    precision: Annotated[str | None, option("NAME", default="32-true")] = None,
    accumulate: Annotated[int | None, option("N", default="1")] = None,
    set: Annotated[tuple[str, ...], option("KEY=VALUE")] = (),
    resume: Annotated[str | None, option("DIR")] = None,
    auto_resume: bool = False,
) -> None:
    """Pre-train an encoder on a task and write it to a run folder.

    For example:
        metatc2 pretrain glyphs --objective simclr --calibration tc2 --steps 300 --run runs/tc2
        metatc2 pretrain glyphs --learner maml --adjoint recompute --set learner.inner_steps=5
        metatc2 pretrain folder:photos --encoder resnet18 --set episode.batch=128 trainer.lr=0.001
        metatc2 pretrain --resume runs/tc2
        metatc2 pretrain --resume runs/tc2 --steps 600
        metatc2 pretrain folder:photos --encoder resnet50 --devices 8 --precision bf16-mixed --accumulate 4
        metatc2 pretrain glyphs --run runs/tc2 --auto-resume
        metatc2 pretrain glyphs --calibration tc2 --seeds 0 1 2 --run runs/tc2

    Ctrl-C, SIGTERM and SIGUSR1 finish the step, write a checkpoint and end (exit status 130, 143 and 0); a second Ctrl-C ends
    at once. A job of SLURM that gets SIGUSR1 is queued again, and goes on by itself when it runs.

    Args:
        task: A shipped task (see `metatc2 tasks`), the path of a task file, or images by KIND:PATH, with KIND {path kinds}.
        objective: {objectives}.
        calibration: none (plain objective), standardize and tasks (controls), or tc2: weights that each task adapts, or with
            --set calibration.adapt=shared one calibrator for all tasks. The control of equal compute is none with more
            --steps. Where neither this nor --regularize is given, the objective is trained with the regularizer isotropy.
            Learners on labeled tasks take tc2 or none.
        regularize: What is asked of the representation beside the objective, whatever calibrates it: none, {regularizers}.
        condition: Whether the heads are told how each view was made, and how: none, {conditions}.
        learner: ssl, or a learner on labeled tasks (see `metatc2 learners`).
        adjoint: How the inner loop is differentiated: {adjoints}.
        steps: Training steps. With --resume, the new length of the run: steps below the old length stay
            those of the old length, later ones follow the learning rates of a run of the new length.
        seed: Seed of everything random.
        seeds: Pre-train once with each of these seeds, into DIR-s0, DIR-s1 and so on, where --run names DIR; other commands
            take DIR for all of them. Given again, the command goes on where it was stopped.
        run: Folder to write to.
        encoder: {encoders}.
        weights: What training starts from: a finished run, an exported folder, or a file of weights (.safetensors, .pth) that
            fits the encoder. With --seeds, a run's name without its seed stands for that of the same seed.
        monitor: coding-rate writes ΔR of every stage of the encoder, beside a k-NN probe, to DIR/monitor.jsonl each epoch.
            --set monitor.stop_after=K ends training after K measurements without a rise of the last stage. Or
            numbers of the encoder in every epoch's record: online, or some of {measures}, joined by "+".
        devices: Devices on each node; a process each, which share the tasks of every episode.
        nodes: Machines that train together; the command is started on each.
        precision: Number format of the forward pass: 32-true or bf16-mixed.
        accumulate: Cut a batch into so many parts, one at a time with its activations in memory; the encoder then runs twice.
        set: Keys of the task file to change, e.g. episode.tasks=8 calibration.inner_steps=1.
        resume: Continue this run from its last checkpoint; of the other options --steps, --devices and --nodes alone are taken
            then.
        auto_resume: Start the run, or continue it where its folder holds one of the same settings: one command for jobs that
            are run again. A job that SLURM runs again does so without being told.
    """
    from metatc2.experiment.command_config import MethodFlags, configured
    from metatc2.ops.ranks import is_first

    flags = MethodFlags(
        objective,
        calibration,
        regularize,
        condition,
        learner,
        adjoint,
        steps,
        seed,
        encoder,
        weights,
        monitor,
        devices,
        nodes,
        precision,
        accumulate,
    )
    begin: Callable[[Callable[[], bool]], runs.Run]
    if resume is not None:
        others = replace(flags, steps=None, devices=None, nodes=None)
        if auto_resume or task is not None or run is not None or seeds or set or others != MethodFlags():
            raise InputError(
                "pretrain: give TASK and its options or --resume DIR, not both; a run is resumed with its own config.toml, and "
                "--steps, to make it longer, --devices and --nodes alone may be given"
            )
        begin = partial(_resume, Path(resume), steps, devices, nodes)
    else:
        if task is None:
            raise InputError("pretrain: no TASK; `metatc2 tasks` lists them, e.g. `metatc2 pretrain glyphs`")
        _check_seeds(seed, seeds)
        begin = _fresh(task, configured(task, flags, set), run, seeds, auto_resume)
    with parting(), ended_by_signal(ENDED_OR_PREEMPTED) as stop:
        done = begin(stop)
    if not is_first():
        return
    if seeds:
        base = _without_seed(done.path, seeds[-1])
        several = f" and {len(seeds) - 1} more" if len(seeds) > 1 else ""
        say(bold(str(seed_folder(base, seeds[0]))), f"{several} hold the encoders; {done.offer.next_step(base)}")
        return
    say(bold(str(done.path)), f" holds the encoder; {done.offer.next_step(done.path)}")


def _fresh(
    task: str, config: Config, run: str | None, seeds: Sequence[int], auto_resume: bool
) -> Callable[[Callable[[], bool]], runs.Run]:
    """What trains a task, after all that can be refused before it."""
    from metatc2.experiment import run as runs
    from metatc2.experiment.config import override
    from metatc2.experiment.fitted_way import fit_way
    from metatc2.io.files import check_writable
    from metatc2.ops.ranks import is_first
    from metatc2.training.run_folder import FOLDER_OF_RUN

    check_threads(config.trainer.threads)
    if is_first():
        check_writable(Path(run) if run else runs.default_folder(task, config), FOLDER_OF_RUN)
    # Before it is asked what is in the folder: that is compared with what will be trained.
    fitted = fit_way(config)
    config = fitted.config
    if fitted.note and is_first():
        note(fitted.note)
    if not seeds:
        path = Path(run) if run else runs.default_folder(task, config)
        either = _resume_or_pretrain if auto_resume or _slurm.runs_again() else _pretrain
        return partial(either, config, path, store=fitted.store)
    by_seed = [override(config, [f"trainer.seed={one}"], "--seeds") for one in seeds]
    base = Path(run) if run else _without_seed(runs.default_folder(task, by_seed[0]), seeds[0])
    if base.exists():
        raise InputError(
            f"pretrain: {base} is there already, so its name cannot stand for {seed_folder(base, seeds[0])} and the "
            "others; name another with --run"
        )
    return partial(_every_seed, by_seed, base, store=fitted.store)


def _check_seeds(seed: int | None, seeds: Sequence[int]) -> None:
    if seeds and seed is not None:
        raise InputError("pretrain: give --seed S or --seeds S S S, not both; --seeds trains a run for each")
    if twice := [one for one in seeds if seeds.count(one) > 1]:
        raise InputError(f"pretrain: --seeds names the seed {twice[0]} twice; name each once")


def _without_seed(folder: Path, seed: int) -> Path:
    return folder.with_name(folder.name.removesuffix(f"-s{seed}"))


def _every_seed(
    by_seed: Sequence[Config], base: Path, stop: Callable[[], bool], store: ImageStore | None = None
) -> runs.Run:
    """A run for each seed, one after the other; those that are finished are left as they are."""
    from metatc2.experiment.auto_resume import is_resumable
    from metatc2.experiment.run import TrainingStopped

    folders = [seed_folder(base, config.trainer.seed) for config in by_seed]
    for config, path in zip(by_seed, folders, strict=True):
        is_resumable(
            path, config
        )  # what is there may be of other settings: said before the first run, not before the last
    for config, path in zip(by_seed, folders, strict=True):
        try:
            done = _resume_or_pretrain(config, path, stop, store)
        except TrainingStopped as stopped:
            again = "the same command goes on there, and with the seeds that are left"
            raise TrainingStopped(f"{stopped}; {again}") from stopped
    return done


def _pretrain(config: Config, path: Path, stop: Callable[[], bool], store: ImageStore | None = None) -> runs.Run:
    from metatc2.experiment import run as runs

    return _told_of_end(runs.pretrain(config, path, store=store, show=True, stop=stop))


def _resume_or_pretrain(
    config: Config, path: Path, stop: Callable[[], bool], store: ImageStore | None = None
) -> runs.Run:
    from metatc2.experiment.auto_resume import is_resumable

    if not is_resumable(path, config):
        return _pretrain(config, path, stop, store)
    return _resume(path, None, config.trainer.devices, config.trainer.nodes, stop)


def _told_of_end(done: runs.Run) -> runs.Run:
    """Say it, where the monitor ended a run before its last step."""
    if done.steps < done.config.trainer.steps:
        say(f"the monitor ended the run at step {done.steps} of {done.config.trainer.steps} (monitor.stop_after)")
    return done


def _resume(
    path: Path, steps: int | None, devices: int | None, nodes: int | None, stop: Callable[[], bool]
) -> runs.Run:
    from metatc2.experiment import run as runs
    from metatc2.experiment.run_config import read_run_config
    from metatc2.ops.ranks import is_first
    from metatc2.training.run_folder import RunFolder, State

    folder = RunFolder(path)
    length = read_run_config(folder.path).trainer.steps if folder.state is State.FINISHED else None
    done = runs.resume(path, steps=steps, devices=devices, nodes=nodes, show=True, stop=stop)
    if not is_first():
        return done
    if length == done.config.trainer.steps:
        many = (
            f"had all its {length} steps" if length == done.steps else f"was ended by its monitor at step {done.steps}"
        )
        say(f"{path} {many} already; --steps N trains it longer")
        return done
    if length is not None:
        say(f"the encoder of {length} steps, and what was measured with it, is in {path / f'at-{length}'}")
    return _told_of_end(done)
