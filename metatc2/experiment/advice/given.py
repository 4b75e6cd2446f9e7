"""Further encoders that the user names, and the images as each takes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from metatc2.data import ImageStore
from metatc2.errors import InputError
from metatc2.experiment.advice.arms import Arm, Kind
from metatc2.experiment.advice.settings import Asked
from metatc2.experiment.config import Config
from metatc2.experiment.load import load_pretrained
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.targets import Sources
from metatc2.transfer import parse_target


@dataclass(frozen=True, eq=False)
class Given:
    """A further encoder.

    Args:
        arm: see `Arm`.
        pretrained: the encoder.
        store: the images, at its size.
        note: see `metatc2.experiment.advice.rule.AdviceRow`.
    """

    arm: Arm
    pretrained: Pretrained
    store: ImageStore
    note: str


def load_given(
    name: str, config: Config, asked: Asked, store: ImageStore, *, earlier: bool = False, download: bool = False
) -> Given:
    """Load one.

    Args:
        name: see `load_pretrained`.
        config: names the images.
        asked: see `Asked`.
        store: the images, as the arms that are pre-trained here take them.
        earlier: it was not named this time, but by an earlier call.
        download: allow fetching weights that are not on this machine.

    Raises:
        InputError: if there is no such encoder, or some images cannot be read at its size.
    """
    try:
        pretrained = load_pretrained(name, download=download)
    except InputError as error:
        if not earlier:
            raise
        raise InputError(f"{error}; an earlier call named it, and --without {name} leaves it out") from error
    own = Sources.of(config.data).store(parse_target(asked.source)[0], pretrained)
    if len(own) != len(store) or not bool((own.labels == store.labels).all()):
        raise InputError(f"advise: {asked.source} holds other images at the size of {name}; see which cannot be read")
    seen = pretrained.seen is not None and pretrained.seen.same_source(own)
    note = "learned from this source, so it may have seen the test images" if seen else ""
    # What is kept of an encoder is its own, whichever others stand beside it, and not that of an earlier one of its name.
    key = hashlib.sha256(f"{name}\n{pretrained.sha256}".encode()).hexdigest()[:12]
    return Given(Arm(f"given-{key}", name, Kind.GIVEN), pretrained, own, note)
