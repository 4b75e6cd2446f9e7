"""Options of a protocol as the section of a configuration that they are."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from pydantic import model_validator

from metatc2.errors import InputError
from metatc2.io.options import Options, options_like
from metatc2.transfer.protocols.base import Protocol
from metatc2.transfer.protocols.registry import PROTOCOLS


class ProtocolOptions(Options):
    """The section ``[transfer.NAME]``: the options of the protocol of that name.

    >>> protocol_options("knn")(ks=(5,)).build()
    KNN(ks=(5,), temperature=0.1)
    """

    section = "transfer"

    def build(self, **handed: Any) -> Protocol:
        """The protocol with these options.

        Args:
            handed: values of fields that are no options, for protocols that have such a field.

        Raises:
            InputError: if its class refuses a value.
        """
        kind: Any = PROTOCOLS[self.section.partition(".")[2]]
        own = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
        options = {name: getattr(self, name) for name in type(self).model_fields}
        made: Protocol = kind(**options, **{name: value for name, value in handed.items() if name in own})
        return made

    @model_validator(mode="after")
    def _possible(self) -> Self:
        try:
            self.build()
        except InputError as error:
            raise ValueError(f"[{self.section}] {str(error).removeprefix('transfer: ')}") from None
        return self


def protocol_options(name: str) -> type[ProtocolOptions]:
    """The options of the protocol of a name: the fields of its class, see `Protocol`.

    Raises:
        InputError: if the name is unknown.

    >>> protocol_options("few-shot")(shots=(1,))
    FewShotOptions(ways=(5,), shots=(1,), query=15, episodes=600, heads=('cosine', 'euclidean'))
    >>> protocol_options("few-shot")(shots=(0,))
    Traceback (most recent call last):
    metatc2.io.options.base.WrongOption: each item of transfer.few-shot.shots must be a whole number ≥ 1, found 0
    """
    return options_like(PROTOCOLS[name], ProtocolOptions, section=f"transfer.{name}")
