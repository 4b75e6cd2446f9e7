"""A section of the configuration: a frozen dataclass whose values are checked and made canonical when it is made."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, get_type_hints

from metatc2.experiment.config.values import Bounds, Names, convert, describe
from metatc2.io.registries import ADJOINTS, INNER_OPTIMIZERS

LARGEST = 1e36  # of a number that is a factor: float32 ends at 3e38, and Adam takes ten times its rate at first
WIDEST = 2**15  # of a layer: one layer between two such widths takes 4 GiB

AdjointName = Annotated[str, Names(ADJOINTS)]
InnerOptimizerName = Annotated[str, Names(INNER_OPTIMIZERS)]


@dataclass(frozen=True)
class Section:
    """A TOML section; its values are checked and made canonical whenever one is constructed."""

    def __post_init__(self) -> None:
        for key in section_keys(type(self)):
            value = convert(getattr(self, key.field), key.hint, key.bounds, key.name)
            object.__setattr__(self, key.field, value)


@dataclass(frozen=True)
class Key:
    """One key of the configuration: its dotted name, its type and range, its default and its documentation."""

    name: str
    field: str
    hint: Any
    bounds: Bounds
    default: Any
    doc: str

    @property
    def expected(self) -> str:
        """What the key accepts, in words."""
        return describe(self.hint, self.bounds)


def section_keys(section: type[Section]) -> tuple[Key, ...]:
    """The keys of one section, in order.

    >>> from metatc2.experiment.config.schema import EncoderConfig
    >>> [key.name for key in section_keys(EncoderConfig)]
    ['encoder.name', 'encoder.width', 'encoder.one_a_kind']
    """
    hints = get_type_hints(section, include_extras=True)
    prefix = section.__name__.removesuffix("Config").lower()
    keys = []
    for f in fields(section):
        default = f.default if f.default_factory is MISSING else f.default_factory()
        keys.append(Key(f"{prefix}.{f.name}", f.name, hints[f.name], f.metadata["bounds"], default, f.metadata["doc"]))
    return tuple(keys)
