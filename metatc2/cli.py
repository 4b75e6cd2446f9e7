"""The command line: every sub-command of `metatc2`, thin over the modules that do the work."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from metatc2.config.schema import Protocol
from metatc2.errors import InputError

Calibration = Literal["none", "standardise", "tasks", "tc2"]
Adjoint = Literal["unroll", "recompute", "truncated", "first-order", "implicit", "evolution"]

app = tyro.extras.SubcommandApp()


@app.command
def tasks() -> None:
    """List the task files that ship with the library, one line each.

    For example:
        metatc2 tasks
    """
    from metatc2.config import list_tasks

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, description in list_tasks():
        table.add_row(f"[bold]{name}[/]", description)
    Console().print(table)


@app.command
def learners() -> None:
    """List the learners that `pretrain --learner` knows, one line each with their source.

    For example:
        metatc2 learners
    """
    from metatc2.learners import LEARNERS

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("[bold]ssl[/]", "a self-supervised objective, calibrated or not (the default)", "see --objective")
    for name, entry in LEARNERS.items():
        table.add_row(f"[bold]{name}[/]", entry.summary, entry.source)
    Console().print(table)


@app.command
def pretrain(
    task: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")] = None,
    /,
    *,
    objective: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    calibration: Calibration | None = None,
    learner: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    adjoint: Adjoint | None = None,
    steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    seed: Annotated[int | None, tyro.conf.arg(metavar="S")] = None,
    run: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None,
    encoder: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")] = (),
    resume: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None,
) -> None:
    """Pre-train an encoder on a task and write it to a run folder.

    For example:
        metatc2 pretrain glyphs --objective simclr --calibration tc2 --steps 300 --run runs/tc2
        metatc2 pretrain glyphs --learner maml --adjoint recompute --set learner.inner_steps=5
        metatc2 pretrain folder:photos --encoder resnet18 --set episode.batch=128 trainer.lr=0.001
        metatc2 pretrain --resume runs/tc2

    Args:
        task: A shipped task (see `metatc2 tasks`), the path of a task file, folder:PATH or npz:PATH.
        objective: simclr, moco, byol, simsiam, barlow or vicreg; by default simclr.
        calibration: none (plain objective), standardise and tasks (controls), or tc2, the default. The control of equal
            compute is none with more --steps. Learners on labelled tasks take tc2 or none, their default.
        learner: ssl, the default, or a learner on labelled tasks (see `metatc2 learners`).
        adjoint: How the inner loop is differentiated; by default the learner's choice.
        steps: Training steps; by default the task's.
        seed: Seed of everything random; by default 0.
        run: Folder to write to; by default runs/TASK-OBJECTIVE-CALIBRATION-sSEED.
        encoder: conv4, resnet18, resnet34, resnet50 or timm:NAME; by default the task's.
        set: Keys of the task file to change, e.g. episode.tasks=8 calibration.inner_steps=1.
        resume: Continue this run from its last checkpoint; no other option is taken then.
    """
    from metatc2 import runs
    from metatc2.config import override, read_task

    console = Console(stderr=True)
    if resume is not None:
        others = (task, objective, calibration, learner, adjoint, steps, seed, run, encoder, *set)
        if any(value is not None for value in others):
            raise InputError(
                "pretrain: give TASK and its options or --resume DIR, not both; a run is resumed with its own config.toml"
            )
        done = runs.resume(Path(resume), show=True)
    else:
        if task is None:
            raise InputError("pretrain: no TASK; `metatc2 tasks` lists them, e.g. `metatc2 pretrain glyphs`")
        named = [f"learner.name={learner}"] if learner is not None else []
        labelled = override(override(read_task(task), set), named, where="command line").learner.name != "ssl"
        given = {
            "objective.name": objective,
            "calibration.name": calibration,
            "learner.name": learner,
            "learner.adjoint" if labelled else "calibration.adjoint": adjoint,
            "trainer.steps": steps,
            "trainer.seed": seed,
            "encoder.name": encoder,
        }
        assignments = [f"{key}={value}" for key, value in given.items() if value is not None]
        default = f"calibration.name={'none' if labelled else 'tc2'}"
        config = override(override(read_task(task), [default, *set]), assignments, where="command line")
        path = Path(run) if run else runs.default_folder(task, config)
        done = runs.pretrain(config, path, show=True)
    console.print(f"[bold]{done.path}[/] holds the encoder; next: metatc2 transfer {done.path}", highlight=False)


@app.command
def transfer(
    encoder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENCODER")],
    /,
    *,
    to: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOURCE[:SPLIT]")] = (),
    protocol: tuple[Protocol, ...] = (),
    way: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N")] = (),
    shot: Annotated[tuple[int, ...], tyro.conf.arg(metavar="K")] = (),
    query: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    episodes: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    head: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = (),
    layer: str = "output",
    allow_seen: bool = False,
    config: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None,
    image_size: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None,
    root: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None,
    download: bool = False,
    stream: bool = False,
    workers: int = 0,
    out: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None,
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")] = (),
    json: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Measure how well a frozen encoder transfers, beside a random encoder and raw pixels.

    A learner on labelled tasks is measured too as it is meant to be used: adapted to each few-shot episode.
    Rows are added to transfer.json in the run folder (or --out); a row measured again in the same way is replaced.

    For example:
        metatc2 transfer runs/tc2
        metatc2 transfer runs/tc2 --to glyphs:greek digits --way 5 --shot 1 5 --episodes 2000
        metatc2 transfer runs/tc2 --protocol knn linear retrieval --json result.json
        metatc2 transfer timm:resnet18 --to folder:photos --out runs/resnet18 --layer body.layer3
        metatc2 transfer weights.safetensors --config encoder.toml --to digits --out runs/mine

    Args:
        encoder: Run folder, folder of `metatc2 export`, hub:OWNER/NAME, FILE.safetensors, torchvision:MODEL or timm:MODEL
            (with :random at the end: untrained).
        to: Targets; by default those of the run's task.
        protocol: Which protocols; by default those of the run's task, else few-shot.
        way: Classes an episode; one row each.
        shot: Labelled images a class; one row each.
        query: Test images a class.
        episodes: Episodes a row.
        head: Few-shot classifiers: cosine, euclidean, logistic, ridge; transductive: bd-cspn, soft-k-means.
        layer: Stage of the encoder whose features are judged, e.g. blocks.2; by default its output.
        allow_seen: Allow targets with classes of the pre-training images; every row then says so.
        config: Configuration of FILE.safetensors; by default the config.toml beside it.
        image_size: Of the images that torchvision's and timm's models get; by default that of their training.
        root: Where data sets lie; by default as in the run.
        download: Allow downloads of data sets and weights.
        stream: Read image files from disk as they are needed, for targets larger than memory.
        workers: Threads that read them.
        out: Folder of the results; by default the run folder.
        set: Keys of [transfer] to change, e.g. transfer.fractions=0.1
        json: Write the rows of this call to a file too.
    """
    from metatc2 import transfer_command
    from metatc2.report import transfer_table, wide_console

    changes: dict[str, Any] = {
        "targets": to,
        "protocols": protocol,
        "way": way,
        "shot": shot,
        "query": query,
        "episodes": episodes,
        "heads": head,
        "allow_seen": allow_seen or None,
    }
    rows = transfer_command.run(
        encoder,
        {key: value for key, value in changes.items() if value not in ((), None)},
        assignments=set,
        layer=layer,
        config=config,
        image_size=image_size,
        root=root,
        download=download,
        stream=stream,
        workers=workers,
        out=out,
    )
    wide_console().print(transfer_table(rows))
    _write_json(json, [asdict(row) for row in rows])


@app.command
def compare(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR_A DIR_B")],
    /,
    *,
    features: str = "encoder",
    json: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Paired differences of the first run against each other run, target by target.

    Runs that differ in nothing but their seed are taken together: differences are then paired by seed and the interval is
    over seeds. With one seed the interval is over episodes and says nothing about other seeds.

    For example:
        metatc2 compare runs/tc2-s0 runs/tc2-s1 runs/tc2-s2 runs/plain-s0 runs/plain-s1 runs/plain-s2

    Args:
        runs: Run folders with a transfer.json (see `metatc2 transfer`), the method in question first.
        features: What to compare: encoder, calibrated, or adapted (learners on labelled tasks, adapted to each episode).
        json: Write the differences to a file too.
    """
    from metatc2 import runs as library
    from metatc2.report import comparison_table, wide_console

    found = library.compare([Path(run) for run in runs], features=features)
    wide_console().print(comparison_table(found))
    _write_json(json, [difference.to_json() for difference in found])


@app.command
def matrix(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR...")],
    /,
    *,
    features: str = "encoder",
) -> None:
    """The transfer matrix: every source on every target, with the rows "random encoder" and "raw pixels".

    For example:
        metatc2 transfer runs/latin --to glyphs:greek digits:all
        metatc2 transfer runs/digits --to glyphs:greek digits:meta-test
        metatc2 matrix runs/latin runs/digits

    Args:
        runs: Run folders with a transfer.json; those that differ in their seed alone are one source.
        features: Which rows: encoder, calibrated or adapted.
    """
    from metatc2 import runs as library
    from metatc2.report import matrix_tables, wide_console

    wide_console().print(matrix_tables(library.matrices([Path(run) for run in runs], features=features)))


@app.command
def estimate(
    encoders: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ENCODER...")],
    /,
    *,
    to: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SOURCE[:SPLIT]")] = (),
    allow_seen: bool = False,
    json: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Estimate transfer without training (LogME, H-score), and say how well it ranks encoders that were measured.

    For example:
        metatc2 estimate runs/tc2 runs/plain timm:resnet18:random --to glyphs:greek

    Args:
        encoders: As for `metatc2 transfer`.
        to: Targets; by default those of the first run's task.
        allow_seen: Allow targets with classes of the pre-training images.
        json: Write the estimates to a file too.
    """
    from metatc2 import estimate_command
    from metatc2.report import estimate_table, wide_console

    found, correlations = estimate_command.run(encoders, to, allow_seen=allow_seen)
    wide_console().print(estimate_table(found, correlations))
    _write_json(json, [e.to_json() for e in found])


@app.command
def diagnose(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    /,
    *,
    on: Annotated[str | None, tyro.conf.arg(metavar="SOURCE[:SPLIT]")] = None,
    against: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ENCODER")] = (),
    episodes: int = 2,
    resplits: int = 39,
    max_images: int = 4096,
    seed: int = 0,
    json: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None,
) -> None:
    """Diagnose a run: spectra, alignment, uniformity, collapse, CKA, use of the factors, task conflict against its null.

    Writes DIR/diagnose.json, which `metatc2 report` draws.

    For example:
        metatc2 diagnose runs/tc2
        metatc2 diagnose runs/tc2 --on glyphs:greek --against runs/plain runs/tc2@blocks.2

    Args:
        run: Run folder.
        on: Whose images are looked at; by default those the run was trained on.
        against: Further encoders whose features are compared with this one's (CKA); ENCODER@LAYER for an inner stage.
        episodes: Episodes that task conflict is measured on.
        resplits: Random re-splits of each episode for the noise null; at least 39, for a 95 % interval.
        max_images: Images looked at, at most.
        seed: Of all draws.
        json: Write the result to a further file.
    """
    from metatc2 import diagnose_command
    from metatc2.report.diagnosis_table import diagnosis_table

    found = diagnose_command.run(
        Path(run), on=on, against=against, episodes=episodes, resplits=resplits, max_images=max_images, seed=seed
    )
    Console().print(diagnosis_table(found))
    _write_json(json, found.to_dict())


@app.command
def report(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR...")],
    /,
    *,
    out: Annotated[str, tyro.conf.arg(metavar="FILE.html")] = "report.html",
    assets: bool = False,
) -> None:
    """Write one self-contained page about runs: settings, curves, transfer, comparison, conflict, embeddings, failures.

    For example:
        metatc2 report runs/tc2-s0 runs/tc2-s1 runs/plain-s0 runs/plain-s1 --out report.html --assets

    Args:
        runs: Run folders; those that differ in their seed alone are one method.
        out: The page.
        assets: Write every figure as PNG and CSV beside it too.
    """
    from metatc2.report.html import write_report

    written = write_report([Path(run) for run in runs], Path(out), assets=assets)
    Console(stderr=True, soft_wrap=True).print(f"[bold]{written}[/]: open it in a browser", highlight=False)


@app.command
def export(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")],
    /,
) -> None:
    """Write a run's encoder as a folder for the Hugging Face Hub: config.json, model.safetensors, model card.

    For example:
        metatc2 export runs/tc2 my-encoder
        hf upload OWNER/NAME my-encoder

    Args:
        run: Run folder.
        folder: New folder.
    """
    from metatc2.interop.hub import save_pretrained

    save_pretrained(run, folder)
    Console(stderr=True).print(
        f"[bold]{folder}[/]: metatc2 transfer {folder} --to SOURCE --out DIR judges it", highlight=False
    )


@app.command
def demo(*, folder: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/demo", seeds: int = 3) -> None:
    """Pre-train on Latin letters with and without calibration, transfer to four scripts never seen, and draw it.

    SimCLR and Barlow Twins, each plain, with standardised features (the control) and with TC². Takes a few minutes on two
    CPU cores.

    For example:
        metatc2 demo

    Args:
        folder: Where runs, table and picture go.
        seeds: Seeds of every method; intervals are over them.
    """
    from metatc2.demo import run_demo

    run_demo(Path(folder), seeds=seeds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exit status: 0 done, 1 the run diverged, 2 bad input, 130 interrupted."""
    console = Console(stderr=True, soft_wrap=True)
    warnings.showwarning = _show_warning
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every precision
    try:
        app.cli(
            args=merge_repeated(sys.argv[1:] if arguments is None else arguments),
            prog="metatc2",
            description="Self-supervised pre-training as meta-learning: task conflict calibration, transfer, comparison.",
        )
    except InputError as error:
        console.print(f"metatc2: error: {error}", markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print(
            "metatc2: interrupted; metatc2 pretrain --resume DIR goes on from the run's last checkpoint, where one was written "
            "(every trainer.checkpoint_every steps)",
            markup=False,
        )
        sys.exit(130)
    except Exception as error:
        if type(error).__name__ != "TrainingDiverged":
            raise
        console.print(f"metatc2: stopped: {error}", markup=False, highlight=False)
        sys.exit(1)


def merge_repeated(arguments: Sequence[str]) -> list[str]:
    """``--set a=1 --set b=2`` means ``--set a=1 b=2``; likewise for ``--to``, ``--shot``, ``--protocol``, ``--head``.

    >>> merge_repeated(["pretrain", "glyphs", "--set", "a=1", "--steps", "3", "--set", "b=2"])
    ['pretrain', 'glyphs', '--steps', '3', '--set', 'a=1', 'b=2']
    """
    lists: dict[str, list[str]] = {}
    rest: list[str] = []
    into = rest
    for argument in arguments:
        if argument in ("--set", "--to", "--way", "--shot", "--protocol", "--head", "--against"):
            into = lists.setdefault(argument, [])
            continue
        if argument.startswith("--"):
            into = rest
        into.append(argument)
    return rest + [word for name, values in lists.items() for word in (name, *values)]


def _write_json(path: str | None, rows: list[dict[str, Any]] | dict[str, Any]) -> None:
    if path is None:
        return
    from metatc2.checkpoint import write_atomically

    try:
        write_atomically(Path(path), (json.dumps(rows, indent=1) + "\n").encode())
    except OSError as error:
        raise InputError(
            f"--json {path}: cannot be written ({error.strerror}); name a file in a folder of yours"
        ) from error


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
    # One line a person can use; a warning's source line says nothing to someone at a terminal.
    Console(stderr=True, soft_wrap=True).print(f"metatc2: warning: {message}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
