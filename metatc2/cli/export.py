"""`metatc2 export`: an encoder as a folder for the Hugging Face Hub, and in forms that others load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from metatc2.cli._args import option
from metatc2.io.suggest import SOURCE, command
from metatc2.io.terminal import bold, say


def export(
    encoder: Annotated[str, tyro.conf.Positional, option("ENCODER")],
    folder: Annotated[str, tyro.conf.Positional, option("FOLDER")],
    /,
    *,
    format: Annotated[tuple[str, ...], option("NAME")] = (),
    results: Annotated[str | None, option("DIR")] = None,
    license: Annotated[str | None, option("NAME")] = None,
    image_size: Annotated[int | None, option("PIXELS")] = None,
    channels: Annotated[int | None, option("N")] = None,
) -> None:
    """Write an encoder as a folder for the Hugging Face Hub: config.json, model.safetensors, model card.

    For example:
        metatc2 export runs/tc2 my-encoder --license mit
        metatc2 export runs/tc2 my-encoder --format torch-export onnx
        metatc2 export torchvision:resnet50@mine.pth my-encoder --format torchvision timm --results runs/mine
        hf upload OWNER/NAME my-encoder

    Args:
        encoder: Run folder, or any encoder as for `metatc2 transfer`.
        folder: New folder.
        format: Further files: torch-export (encoder.pt2, which torch alone loads), onnx, and state dicts with the names of
            torchvision or timm. Each is loaded again and compared with the encoder first. The first two take images of the
            one size, that of training, in any number; for a network by name --image-size sets another.
        results: Folder of results for the model card; by default the run folder.
        license: Of the weights, by its name on the Hub, e.g. mit.
        image_size: Of the images that a network by name gets; by default that of its training.
        channels: Of those images; by default 3, or those of the first convolution of a network of yours.
    """
    from metatc2.experiment.export import CONFIG, NETWORK, check_new
    from metatc2.experiment.hub import save_pretrained
    from metatc2.experiment.load import load_pretrained
    from metatc2.experiment.seed_folders import require_one
    from metatc2.experiment.zoo import code_of
    from metatc2.io.reading import read_json
    from metatc2.models.python import TRUST

    check_new(Path(folder))
    require_one(encoder, ["export"], [folder])
    named = encoder if image_size is None and channels is None else None
    made = named or load_pretrained(encoder, image_size=image_size, channels=channels)
    save_pretrained(made, folder, formats=format, results=results, license=license)
    files = ", ".join(sorted(path.name for path in Path(folder).iterdir()))
    measures = command("transfer", Path(folder), "--to", SOURCE, "--out", "DIR")
    # Weights whose network has no name are loaded by those who have its code.
    named_there = read_json(Path(folder) / CONFIG).get(NETWORK) != ""
    if module := code_of(str(read_json(Path(folder) / CONFIG).get(NETWORK, ""))):
        measures = f"{TRUST}={module} {measures}"
    say(bold(folder), f" ({files})", f": {measures} measures it" if named_there else "")
