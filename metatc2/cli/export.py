"""`metatc2 export`: a run's encoder as a folder for the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.io.suggest import SOURCE, command
from metatc2.io.terminal import bold, say


def export(
    run: Annotated[str, tyro.conf.Positional, option("DIR")],
    folder: Annotated[str, tyro.conf.Positional, option("FOLDER")],
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
    from metatc2.experiment.hub import save_pretrained

    save_pretrained(run, folder)
    say(bold(folder), f": {command('transfer', Path(folder), '--to', SOURCE, '--out', 'DIR')} measures it")
