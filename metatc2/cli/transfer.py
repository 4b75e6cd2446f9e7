"""`metatc2 transfer`: how well a frozen encoder does on other images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from metatc2.cli._args import option
from metatc2.cli._json_file import json_target, write_json
from metatc2.cli._many_processes import parting
from metatc2.errors import InputError
from metatc2.io.registries import PROTOCOLS
from metatc2.io.terminal import bold, note, say, show_table

if TYPE_CHECKING:
    from metatc2.transfer import Row

_PROTOCOLS = f"Which protocols. Known: {', '.join(PROTOCOLS)}."


def transfer(
    encoder: Annotated[str, tyro.conf.Positional, option("ENCODER")],
    /,
    *,
    seeds: Annotated[tuple[int, ...], option("S", default="all")] = (),
    to: Annotated[tuple[str, ...], option("SOURCE[:SPLIT]", default="those of the run's task")] = (),
    protocol: Annotated[
        tuple[str, ...], option("NAME", help=_PROTOCOLS, default="those of the run's task, else few-shot")
    ] = (),
    way: Annotated[tuple[int, ...], option("N", default="the task's, else 5")] = (),
    shot: Annotated[tuple[int, ...], option("K", default="the task's, else 1 5")] = (),
    query: Annotated[int | None, option("N", default="the task's, else 15")] = None,
    episodes: Annotated[int | None, option("N", default="the task's, else 600")] = None,
    head: Annotated[tuple[str, ...], option("NAME", default="the task's, else cosine euclidean")] = (),
    layer: str = "output",
    context: Annotated[str | None, option("PAIRS")] = None,
    allow_seen: bool = False,
    config: Annotated[str | None, option("FILE", default="the config.toml beside it")] = None,
    image_size: Annotated[int | None, option("PIXELS", default="that of the model's training")] = None,
    channels: Annotated[int | None, option("N", default="3, or those of a network of yours")] = None,
    root: Annotated[str | None, option("DIR", default="as in the run")] = None,
    download: bool = False,
    stream: bool = False,
    workers: int = 0,
    value_range: Annotated[tuple[float, float] | None, option("BLACK WHITE", default="as in the run")] = None,
    accelerator: str = "auto",
    devices: Annotated[
        int, option("N", default="1, or as many as torchrun, accelerate launch or srun have started")
    ] = 1,
    nodes: Annotated[int, option("N")] = 1,
    out: Annotated[str | None, option("DIR", default="the run folder")] = None,
    set: Annotated[tuple[str, ...], option("KEY=VALUE")] = (),
    json: Annotated[str | None, option("FILE")] = None,
) -> None:
    """Measure how well a frozen encoder transfers, beside a random encoder and raw pixels.

    Of a name that stands for runs of several seeds the mean over seeds and its interval are shown too.
    A learner on labeled tasks is measured too as it is meant to be used: adapted to each few-shot episode.
    Rows are added to transfer.json in the run folder (or --out); a row measured again in the same way is replaced.

    For example:
        metatc2 transfer runs/tc2
        metatc2 transfer runs/tc2 --seeds 0 1 2
        metatc2 transfer runs/tc2 --to glyphs:greek digits --way 5 --shot 1 5 --episodes 2000
        metatc2 transfer runs/tc2 --protocol knn linear retrieval --json result.json
        metatc2 transfer timm:resnet18 --to folder:photos --out runs/resnet18 --layer body.layer3
        metatc2 transfer features:embeddings.npz --protocol knn linear few-shot --out runs/embeddings
        metatc2 transfer runs/tc2 --context my/pairs --to folder:photos
        metatc2 transfer torchvision:resnet50@mine.pth --to folder:photos --out runs/mine
        metatc2 transfer mylab.networks:small@mine.pt --image-size 96 --to folder:photos --out runs/small

    Args:
        encoder: Run folder, folder of `metatc2 export` or another of the Hugging Face Hub's form, hub:OWNER/NAME,
            torchvision:MODEL or timm:MODEL (with :random at the end: untrained), torchhub:CLONE:ENTRY, MODULE:FACTORY (code of
            yours), any of these networks with weights of yours as NETWORK@FILE, FILE.safetensors or FILE.pth with --config, or
            features:FILE.npz, whose features and labels another program made. A name that is no folder stands for the runs of
            its seeds: runs/tc2 for runs/tc2-s0, runs/tc2-s1 and so on.
        seeds: Measure these of a name that stands for several runs.
        to: Targets.
        protocol: Which protocols.
        way: Classes an episode; one row each. This and the next four are options of every chosen protocol that has them.
        shot: Labeled images a class; one row each.
        query: Test images a class.
        episodes: Episodes a row.
        head: Few-shot classifiers: cosine, euclidean, logistic, ridge; transductive: bd-cspn, soft-k-means.
        layer: Stage of the encoder whose features are measured, e.g. blocks.2.
        context: Pairs of images that count as the same here: a folder whose sub-folders hold two images each, or a text
            file with two paths a line. Features calibrated for them are measured too (per-task TC²).
        allow_seen: Allow targets with classes of the pre-training images; every row then says so.
        config: Configuration of FILE.safetensors or FILE.pth.
        image_size: Of the images that networks by name get.
        channels: Of those images.
        root: Where data sets lie.
        download: Allow downloads of data sets and weights.
        stream: Read image files from disk as they are needed, for targets larger than memory.
        workers: Threads that read them.
        value_range: Values of black and white in image files of more than 8 bits a pixel, e.g. 0 4095.
        accelerator: Where the encoder runs: auto, cpu, gpu or any that Lightning Fabric knows.
        devices: Devices on each node; a process each, which share images and episodes.
        nodes: Machines; the command is started on each.
        out: Folder of the results.
        set: Keys of [transfer] and of a protocol's section to change, e.g. transfer.knn.ks=20,200
        json: Write the rows of this call to a file too.
    """
    target = json_target(json)

    from metatc2.experiment.compare import are_seeds_of_one_method
    from metatc2.experiment.seed_folders import named_runs
    from metatc2.experiment.targets import Sources
    from metatc2.experiment.transfer import transfer as measure
    from metatc2.ops.ranks import is_first
    from metatc2.report import seeds_table, transfer_table
    from metatc2.training.placement import Placement

    encoders = named_runs(encoder, seeds)
    if len(encoders) > 1 and out is not None:
        raise InputError(
            f"transfer: {encoder} stands for {len(encoders)} runs, and --out {out} can hold the results of one; leave --out out"
        )
    changes: dict[str, Any] = {"ways": way, "shots": shot, "query": query, "episodes": episodes, "heads": head}
    measured: list[Row] = []
    told: list[str] = []

    def tell(sentence: str) -> None:
        if sentence not in told:
            told.append(sentence)
            note(sentence)

    with parting():
        for one in encoders:
            rows = measure(
                one,
                targets=to,
                protocols=protocol,
                allow_seen=allow_seen,
                layer=layer,
                context=context,
                out=out,
                sources=Sources(root, download, stream, workers, value_range),
                config=config,
                image_size=image_size,
                channels=channels,
                assignments=set,
                placement=Placement(accelerator, devices, nodes),
                tell=tell,
                **{key: value for key, value in changes.items() if value not in ((), None)},
            )
            measured += rows
            if is_first():
                if len(encoders) > 1:
                    say(bold(one), stderr=False)
                show_table(transfer_table(rows))
    if is_first() and len(encoders) > 1:
        if are_seeds_of_one_method([Path(one) for one in encoders]):
            show_table(seeds_table(measured))
        else:
            say(f"no mean over seeds: the runs of {encoder} differ in more than their seed", stderr=False)
    if is_first():
        write_json(target, [asdict(row) for row in measured])
