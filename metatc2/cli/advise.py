"""`metatc2 advise`: whether pre-training is worth it on one's own images, and which."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metatc2.cli._advise_progress import shown_progress
from metatc2.cli._args import option
from metatc2.cli._json_file import json_target, write_json
from metatc2.cli._stop_on_signal import ended_by_signal
from metatc2.io.terminal import say, show_table

METHODS = "simclr", "simclr-visreg", "barlow", "barlow-tc2-isotropy"
_METHOD = f"What to pre-train with; by default all of {', '.join(METHODS)}."


def advise(
    source: Annotated[str, tyro.conf.Positional, option("SOURCE[:SPLIT]")],
    /,
    *,
    labels_per_class: Annotated[tuple[int, ...], option("N")] = (),
    minutes: Annotated[float | None, option("MINUTES")] = None,
    steps: Annotated[int | None, option("N")] = None,
    encoder: Annotated[tuple[str, ...], option("ENCODER")] = (),
    method: Annotated[tuple[str, ...], option("NAME", help=_METHOD)] = (),
    seeds: int = 3,
    draws: int = 2,
    folder: Annotated[str | None, option("DIR")] = None,
    set: Annotated[tuple[str, ...], option("KEY=VALUE")] = (),
    download: bool = False,
    without: Annotated[tuple[str, ...], option("ENCODER")] = (),
    json: Annotated[str | None, option("FILE")] = None,
) -> None:
    """Is pre-training worth it on your images, and which? One table, one chart, and one sentence a number of labels.

    Raw pixels, a random encoder and training from scratch on the labels are compared with methods of pre-training, each with
    the same time, and with encoders that you name. Labels and seeds are the same for all; what is chosen is chosen on
    validation images and measured on test images that no training sees. Ctrl-C and SIGTERM stop it, and the same command goes
    on.

    For example:
        metatc2 advise folder:my/photos
        metatc2 advise folder:my/photos --labels-per-class 1 5 20 --minutes 30 --encoder timm:resnet18
        metatc2 advise folder:my/photos --encoder torchvision:resnet50@mine.pth
        metatc2 advise digits --minutes 5 --json advice.json

    Args:
        source: Images, such as folder:PATH with one sub-folder a class.
        labels_per_class: Labels of each class to learn from; by default 1 5 20, as far as every class has them.
        minutes: For all training together, by default 30; steps follow from how long one takes here.
        steps: Instead of minutes: steps of every training.
        encoder: Encoders to compare besides, each as for `metatc2 transfer`. Those that are new to finished advice are
            measured alone, and stand beside what is there.
        method: What to pre-train with.
        seeds: Of pre-training and draws of labels; intervals are over them.
        draws: Draws of labels to test with, for each seed and number of labels.
        folder: Where runs, table, chart and page go; by default runs/SOURCE-advice.
        set: Keys that all runs have otherwise, e.g. data.image_size=64 encoder.name=resnet18.
        download: Allow downloads of weights.
        without: Encoders of an earlier call that are left out from now on, e.g. since their files are gone.
        json: Write what was found to a file too.
    """
    target = json_target(json)

    from metatc2 import experiment
    from metatc2.experiment.run_name import folder_of_advice
    from metatc2.report.advice import advice_table, write_advice

    path = Path(folder) if folder else folder_of_advice(source)
    # The bar ends before it is said why, which would stand behind it otherwise.
    with ended_by_signal() as stop, shown_progress() as tell:
        advice = experiment.advise(
            source,
            path,
            labels_per_class=labels_per_class,
            minutes=minutes,
            steps=steps,
            encoders=encoder,
            methods=method,
            seeds=seeds,
            draws=draws,
            assignments=set,
            download=download,
            without=without,
            tell=tell,
            stop=stop,
        )
    page = write_advice(advice)
    show_table(advice_table(advice))
    say(advice.sentence, stderr=False)
    if advice.next_step:
        say(advice.next_step, stderr=False)
    if advice.pretrain:
        say(f"Pre-trained anew, on the same images: {advice.pretrain}", stderr=False)
        say(f"Its run measured on the same test images, with all labels: {advice.transfer}", stderr=False)
    say(f"Page: {page}   chart: {path / 'advice.png'}   numbers: {path / 'advice.json'}", stderr=False)
    write_json(target, advice.to_json())
