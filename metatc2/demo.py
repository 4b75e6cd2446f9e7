"""`metatc2 demo`: is calibration worth it? Pre-train on Latin, transfer to scripts never seen, compare fairly, draw it."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from metatc2 import runs
from metatc2.build import build_views
from metatc2.config import Config, override, read_task
from metatc2.data import ImageStore, load
from metatc2.errors import InputError
from metatc2.files import check_writable, write_atomically, writing
from metatc2.metrics_file import read_metrics
from metatc2.progress import jobs_bar
from metatc2.report import COLOURS, MethodCurve, comparison_table, demo_figure
from metatc2.run_folder import RESULTS, RunFolder, State
from metatc2.suggest import command
from metatc2.terminal import PlainConsole, PlainTable, wide_console
from metatc2.transfer import (
    MEAN_TARGET,
    RANDOM_ENCODER,
    RAW_PIXELS,
    Difference,
    Row,
    extract,
    mean_interval,
    read_results,
)
from metatc2.worker_pool import Stopped, run_jobs
from metatc2.writing import json_text

OBJECTIVES = {"simclr": "SimCLR", "barlow": "Barlow Twins"}
METHODS = {"none": "plain", "standardise": "standardised", "tc2": "TC²"}
SCRIPTS = ("greek", "cyrillic", "georgian", "armenian")
SHOT = 1  # of the headline and the picture
SETTINGS = (
    "encoder.width=32",
    "episode.batch=128",
    "trainer.steps=160",
    "trainer.lr=0.004",  # chosen on glyphs:meta-validation (Latin letters held out), never on the other scripts
    "trainer.precision=bf16-mixed",
    "trainer.threads=1",
    "trainer.checkpoint_every=1000",
    f"transfer.targets={[f'glyphs:{script}' for script in SCRIPTS]}",
    "transfer.way=[20]",
    "transfer.shot=[1, 5]",
    "transfer.query=5",
    "transfer.episodes=400",
    "transfer.heads=['cosine']",
)


def demo_config(objective: str, calibration: str, seed: int, changes: Sequence[str] = ()) -> Config:
    """What the demo trains: the task `glyphs`, made small enough for two CPU cores."""
    named = [f"objective.name={objective}", f"calibration.name={calibration}", f"trainer.seed={seed}"]
    return override(read_task("glyphs"), [*SETTINGS, *changes, *named], where="demo")


def run_demo(
    folder: Path, *, seeds: int = 3, changes: Sequence[str] = (), stop: Callable[[], bool] | None = None
) -> None:
    """Train, transfer, compare, draw.

    Args:
        folder: gets the runs, ``demo.json`` and ``demo.png``; an earlier demo there is replaced.
        seeds: seeds a method.
        changes: keys to set otherwise than the demo does, as with ``--set``.
        stop: asked several times a second; once it says yes, every process ends after the step it is at.

    Raises:
        InputError: if there is no seed, or something else than an earlier demo is in the folder.
        TrainingStopped: if `stop` said so.
    """
    if seeds < 1:
        raise InputError(f"demo: --seeds must be at least 1, got {seeds}; 3 are the fewest that allow a verdict")
    console = wide_console()
    started = time.perf_counter()
    store = load("glyphs", image_size=28)  # rendered and cached once, before the workers ask for it
    latin = store.rows("meta-train")
    console.print(
        f"{len(latin)} images of {len(store.labels[latin].unique())} Latin letters to learn from, without their labels.\n"
        f"{len(OBJECTIVES)} objectives × {len(METHODS)} methods × {seeds} seeds, the same batches and views for each "
        "method of a seed.",
    )
    jobs = [(o, m, s) for s in range(seeds) for o in OBJECTIVES for m in METHODS]
    paths = {job: folder / f"{job[0]}-{job[1]}-s{job[2]}" for job in jobs}
    _make_room(folder, [RunFolder(path) for path in paths.values()])
    # One thread a process: small convolutions gain more from a second process than from a second thread.
    workers = max(1, min(len(jobs), torch.get_num_threads()))
    asked = stop or (lambda: False)
    asked()  # from here on a signal is a request
    given = [(*job, paths[job], changes) for job in jobs]
    try:
        with closing(run_jobs(_job, given, workers, asked)) as notes, jobs_bar(console) as bar:
            task = bar.add_task("pre-train and transfer", total=len(jobs))
            for note in notes:
                bar.advance(task)
                if not console.is_terminal:
                    console.print(note)
    except Stopped as error:
        raise runs.TrainingStopped(
            f"the runs in {folder} are cut and the processes that trained them ended; to make them anew: "
            f"{command('demo', '--folder', folder)}"
        ) from error
    _report(folder, paths, seeds, store, console)
    console.print(f"{time.perf_counter() - started:.0f} s in all")


def _make_room(folder: Path, runs: Sequence[RunFolder]) -> None:
    """Remove the runs of an earlier demo, which are marked as its own; nothing is removed if anything was not made by it."""
    other = "move it, or name another folder with --folder"
    whole = RunFolder(folder)
    for name in ("demo.json", "demo.png"):
        if (folder / name).exists() and not whole.is_of_demo:
            raise InputError(f"{folder / name} was not made by this demo, which would replace it; {other}")
    for run in runs:
        check_writable(run.path, "name a folder of yours with --folder")
        if not run.is_of_demo and run.state is not State.NEW:
            raise InputError(f"{run.path} was not made by this demo, which would replace it; {other}")
        if run.others:
            raise InputError(f"{run.path / run.others[0]} was not made by this demo; {other}")
    for own in (whole, *runs):
        own.mark_as_demo()  # before anything is written: a demo that is cut can be made again
    for run in runs:
        with run.owned():
            run.remove_run()


def _job(
    objective: str, calibration: str, seed: int, path: Path, changes: Sequence[str], stop: Callable[[], bool]
) -> str:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # alarms are in metrics.jsonl
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    run = runs.pretrain(demo_config(objective, calibration, seed, changes), path, stop=stop)
    if stop():
        raise Stopped
    runs.transfer(run)
    return f"{OBJECTIVES[objective]}, {METHODS[calibration]}, seed {seed}: {run.seconds:.0f} s"


def _report(
    folder: Path, paths: dict[tuple[str, str, int], Path], seeds: int, store: ImageStore, console: PlainConsole
) -> None:
    found = {
        (objective, method): runs.compare(
            [paths[objective, "tc2", s] for s in range(seeds)] + [paths[objective, method, s] for s in range(seeds)]
        )
        for objective in OBJECTIVES
        for method in ("none", "standardise")
    }
    rows = {job: read_results(path / RESULTS)[0] for job, path in paths.items()}
    for shot in (1, 5):
        console.print(_summary(rows, seeds, shot))
    console.print(
        comparison_table([d for differences in found.values() for d in differences if d.target == MEAN_TARGET])
    )
    sentence = headline(found)
    console.print(sentence)
    with writing(folder, "name a folder of yours with --folder"):
        write_atomically(
            folder / "demo.json",
            json_text([d.to_json() for differences in found.values() for d in differences]).encode(),
        )
        demo_figure(
            folder / "demo.png",
            views=_views(store),
            bars=_bars(rows, seeds),
            styles=_styles(),
            curves=_curves(paths, seeds),
            usage=_usage(paths["simclr", "tc2", 0], store),
            headline=sentence,
            shot=SHOT,
        )
    console.print(f"Picture: {folder / 'demo.png'}   numbers: {folder / 'demo.json'}")


def headline(found: Mapping[tuple[str, str], Sequence[Difference]]) -> str:
    """What was measured, in one sentence an objective, whichever way it fell.

    Args:
        found: differences of TC² against each other method, by objective and method.
    """
    sentences = []
    for objective, name in OBJECTIVES.items():
        parts = []
        for method in ("none", "standardise"):
            d = next(d for d in found[objective, method] if d.target == MEAN_TARGET and d.shot == SHOT)
            words = {"better": "better than", "worse": "worse than", "not distinguishable": "not distinguishable from"}
            verdict = words.get(d.verdict, f"{d.verdict} against")
            parts.append(f"{verdict} {METHODS[method]} ({100 * d.difference:+.1f} ± {100 * d.ci95:.1f} points)")
        sentences.append(f"{name} with TC²: " + ", ".join(parts) + ".")
    return "\n".join([f"20-way {SHOT}-shot, mean over four scripts never seen:", *sentences])


def _summary(rows: dict[tuple[str, str, int], list[Row]], seeds: int, shot: int) -> PlainTable:
    """Accuracy by objective, method and target: mean over seeds with its interval."""
    title = f"20-way {shot}-shot accuracy on scripts never seen, % (mean ± 95 % interval over seeds)"
    table = PlainTable(title)
    table.add_column("", no_wrap=True)
    for script in SCRIPTS:
        table.add_column(script, justify="right", no_wrap=True)
    for label, select in _lines(rows):
        cells = [_over_seeds(select, f"glyphs:{script}", shot, seeds) for script in SCRIPTS]
        table.add_row(label, *[f"{100 * mean:.1f}±{100 * half:.1f}" for mean, half in cells])
    return table


def _lines(rows: dict[tuple[str, str, int], list[Row]]) -> list[tuple[str, dict[int, list[Row]]]]:
    """Lines of the table: a label, and by seed the rows that it takes its figures from."""

    def pick(objective: str, method: str, features: str) -> dict[int, list[Row]]:
        return {
            s: [r for r in found if r.features == features]
            for (o, m, s), found in rows.items()
            if (o, m) == (objective, method)
        }

    lines = [
        ("raw pixels", pick("simclr", "none", RAW_PIXELS)),
        ("random encoder", pick("simclr", "none", RANDOM_ENCODER)),
    ]
    for objective, name in OBJECTIVES.items():
        lines += [(f"{name}, {label}", pick(objective, method, "encoder")) for method, label in METHODS.items()]
        lines.append((f"{name}, TC² calibrated", pick(objective, "tc2", "calibrated")))
    return lines


def _over_seeds(by_seed: dict[int, list[Row]], target: str, shot: int, seeds: int) -> tuple[float, float]:
    values = [next(r.mean for r in by_seed[s] if r.target == target and r.shot == shot) for s in range(seeds)]
    return mean_interval(values) if seeds > 1 else (values[0], 0.0)


def _bars(rows: dict[tuple[str, str, int], list[Row]], seeds: int) -> dict[str, dict[str, tuple[float, float]]]:
    return {
        script: {
            label: _over_seeds(select, f"glyphs:{script}", SHOT, seeds)
            for label, select in _lines(rows)
            if "calibrated" not in label
        }
        for script in SCRIPTS
    }


def _styles() -> dict[str, dict[str, str]]:
    """One colour a method, one hatch an objective."""
    colours = dict(zip(METHODS.values(), COLOURS, strict=False))
    hatches = dict(zip(OBJECTIVES.values(), ("", "//"), strict=False))
    drawn = {"raw pixels": {"color": "#e8e8e8"}, "random encoder": {"color": "#cfcfcf"}}
    for name, hatch in hatches.items():
        for method, colour in colours.items():
            drawn[f"{name}, {method}"] = {"color": colour, "hatch": hatch, "edgecolor": "white"}
    return drawn


def _curves(paths: dict[tuple[str, str, int], Path], seeds: int) -> dict[str, list[MethodCurve]]:
    curves: dict[str, list[MethodCurve]] = {}
    for objective, name in OBJECTIVES.items():
        for method, label in METHODS.items():
            records = [read_metrics(RunFolder(paths[objective, method, s]).metrics) for s in range(seeds)]
            losses = np.array([[r["ssl"] for r in run] for run in records])
            curves.setdefault(name, []).append(MethodCurve(label, [r["step"] for r in records[0]], losses))
    return curves


def _views(store: ImageStore) -> dict[str, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    recipe = build_views(demo_config("simclr", "none", 0), store.image_size)
    found = {}
    for script in ("latin", *SCRIPTS):
        rows = store.rows(script)
        images = store.images[rows[torch.randperm(len(rows), generator=generator)[:6]]]
        found[script] = images[:, 0].float() / 255, recipe(images, generator)[0][:, :, 0]
    return found


@torch.no_grad()
def _usage(path: Path, store: ImageStore) -> Tensor:
    """Mean |weight| of each factor over the images of each script, ``(scripts, K)``."""
    run = runs.load_run(path)
    calibrator = run.calibrator
    assert calibrator is not None  # runs of TC² on the backbone save one
    usage = []
    for script in ("latin", *SCRIPTS):
        features = extract(run.encoder, store.images[store.rows(script)[:2000]])
        usage.append(calibrator.test_weights(features, standardised=True).abs().mean(0))
    return torch.stack(usage)
