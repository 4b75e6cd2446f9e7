"""Protocols as a configuration names them: each with the options of its section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from metatc2.experiment.config import Config
from metatc2.transfer import Protocol

if TYPE_CHECKING:
    from metatc2.transfer.protocols.options import ProtocolOptions

# Options by which a protocol that fits them to a target is asked for episodes of a shape.
SHAPES = ("ways", "shots")


def protocols_of(config: Config, asked: Sequence[str | Protocol] = (), *, fit: bool | None = None) -> list[Protocol]:
    """Protocols with the options that a configuration holds.

    Args:
        config: whose ``[transfer.NAME]`` are their options.
        asked: in place of those that it names: names, or objects, which have their options already.
        fit: whether few-shot takes fewer classes and shots where a target has too few; None: where no other numbers of them
            were asked for.

    Raises:
        InputError: if a name is not among those that the configuration names.

    >>> from metatc2.experiment.config import override
    >>> config = override(Config(), ["transfer.few-shot.shots=1", "transfer.protocols=few-shot,knn"])
    >>> protocols_of(config)[0].shots, protocols_of(config)[1]
    ((1,), KNN(ks=(200, 20), temperature=0.1))
    """
    return [
        _made(config.protocols[name], fit) if isinstance(name, str) else name
        for name in asked or config.transfer.protocols
    ]


def _made(options: ProtocolOptions, fit: bool | None) -> Protocol:
    # What was loaded is in eval mode because it was loaded, not because its owner froze it.
    return options.build(fit=_has_default_shapes(options) if fit is None else fit, train_mode=True)


def _has_default_shapes(options: ProtocolOptions) -> bool:
    usual = type(options)()
    return all(getattr(options, name, None) == getattr(usual, name, None) for name in SHAPES)
