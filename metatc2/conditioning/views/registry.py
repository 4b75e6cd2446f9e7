"""Ways to be told how a view was made, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import Field

from metatc2.augment.descriptor import DESCRIPTOR
from metatc2.io import registries
from metatc2.io.options import Count, Names, Options, options_like
from metatc2.io.registry import Registry

if TYPE_CHECKING:
    from metatc2.conditioning.views.base import ConditionedHead

CONDITIONS: Registry[type[ConditionedHead]] = registries.CONDITIONS
Kind = TypeVar("Kind", bound="type[ConditionedHead]")


#: All that was drawn. What the jitter took from the channel means is measured on the image: together with the means of the view
#: it tells those of the image before the jitter, by which a head recognizes it without the encoder.
TOLD_PARTS = tuple(name for name in DESCRIPTOR if name != "color_diff")


@dataclass(frozen=True, kw_only=True)
class HeadSizes:
    """What a `ConditionedHead` is built from; each takes what it needs.

    Args:
        dim, hidden, out, layers, norm_out: of the `Projector`.
        code_hidden, code_depth: width and number of layers of γ.
        standardize: whether columns of the descriptors are standardized first.
        shuffle: whether every view has the descriptor of a view of another image, the control.
        parts: of the descriptor that are told, of `metatc2.augment.descriptor.DESCRIPTOR`.
    """

    dim: int
    hidden: int
    out: int
    layers: int = 2
    norm_out: bool = False
    code_hidden: int = 64
    code_depth: int = 6
    standardize: bool = True
    shuffle: bool = False
    parts: Sequence[str] = TOLD_PARTS


def register_condition(name: str) -> Callable[[Kind], Kind]:
    """Decorator of a `ConditionedHead` class that can then be chosen by its name, also from the command line.

    Arguments of the class beside `HeadSizes` that are numbers, words of a choice or switches become its options.

    Args:
        name: see `Registry.register`; becomes the class's `name`.

    Raises:
        InputError: if the name is taken.
    """
    return CONDITIONS.register_class(name)


class ConditionOptions(Options):
    """How heads are told how views were made, by a way that is chosen by its name.

    >>> condition_options("hypernetwork")(rank=4).build(HeadSizes(dim=32, hidden=64, out=16)).name
    'hypernetwork'
    """

    section = "condition"

    name: Annotated[str, Names(CONDITIONS)] = Field(
        description="how the heads are told how each view was made (CASSLE), or none"
    )
    where: Literal["projector", "predictor", "both"] = Field("projector", description="the heads that are told")
    descriptors: Literal["own", "random"] = Field(
        "own", description="of the view itself, or of another image: the control"
    )
    parts: tuple[Annotated[str, Names(DESCRIPTOR)], ...] = Field(
        TOLD_PARTS, min_length=1, description="parts of the descriptor that are told; CASSLE tells color_diff too"
    )
    standardize: bool = Field(True, description="whether columns of the descriptors are standardized first")
    hidden: Count = Field(64, ge=1, description="width of the layers of the network from descriptor to code")
    depth: Count = Field(6, ge=1, le=64, description="number of its linear layers")

    def build(self, sizes: HeadSizes) -> ConditionedHead:
        """A head.

        Args:
            sizes: its own; what is said of the code in `self` takes the place of what is said there.
        """
        told = replace(
            sizes,
            code_hidden=self.hidden,
            code_depth=self.depth,
            standardize=self.standardize,
            shuffle=self.descriptors == "random",
            parts=self.parts,
        )
        return CONDITIONS[self.name](told, **self.beyond(ConditionOptions))


def condition_options(name: str) -> type[ConditionOptions]:
    """The options of the way of a name.

    Raises:
        InputError: if the name is unknown.

    >>> condition_options("film")().depth
    6
    """
    return options_like(CONDITIONS[name], ConditionOptions, name=name)
