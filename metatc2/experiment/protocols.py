"""Protocols as the ``[transfer]`` of a configuration names them."""

from __future__ import annotations

from collections.abc import Sequence

from metatc2.experiment.config import TransferConfig
from metatc2.transfer import PROTOCOLS, Protocol


def has_default_shapes(settings: TransferConfig) -> bool:
    """Whether no other numbers of classes and images were asked for: then they are fitted to a target that has too few."""
    usual = TransferConfig()
    return (settings.way, settings.shot) == (usual.way, usual.shot)


def protocols_of(
    settings: TransferConfig, asked: Sequence[str | Protocol] = (), *, fit: bool = False
) -> list[Protocol]:
    """Protocols with the options that settings hold.

    Args:
        settings: each protocol takes from it the options that it has.
        asked: in place of those that `settings` name: names, or objects, which have their options already.
        fit: whether few-shot takes fewer classes and shots where a target has too few.

    Raises:
        InputError: if a name is unknown or an option out of range.

    >>> protocols_of(TransferConfig(shot=(1,), episodes=20), ["few-shot", "knn"])[0].shots
    (1,)
    """
    # What was loaded is in eval mode because it was loaded, not because its owner froze it.
    options = {name: getattr(settings, name) for name in type(settings).model_fields}
    options |= {"fit": fit, "train_mode": True}
    names = asked or settings.protocols
    return [PROTOCOLS[name].configured(options) if isinstance(name, str) else name for name in names]
