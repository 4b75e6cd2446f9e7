"""``[data]``: what to learn from."""

from __future__ import annotations

from pydantic import Field

from metatc2.io.options import Options


class DataConfig(Options):
    """What to learn from."""

    section = "data"

    source: str = Field(
        "glyphs",
        description="glyphs, digits, KIND:PATH (folder, npz, hf, wds, ...), a torchvision data set or what packages offer",
    )
    split: str = Field("meta-train", description="which images of the source to learn from")
    image_size: int | None = Field(
        None, ge=8, le=4096, description="side of the square images in pixels; unset: the source's own"
    )
    channels: int | None = Field(None, ge=1, le=512, description="1 gray, 3 color, or others; unset: the source's own")
    value_range: tuple[float, float] | None = Field(
        None, description="values of black and white in images of more than 8 bits, e.g. [0, 4095]; unset: the format's"
    )
    root: str | None = Field(None, description="folder that holds downloaded data sets; unset: the user's cache")
    download: bool = Field(False, description="whether torchvision or datasets may download the data set")
    stream: bool = Field(
        False, description="whether images stay on disk or in their store and are read when an episode needs them"
    )
    workers: int = Field(0, ge=0, le=1024, description="threads that read images; 0 reads in the main one")
