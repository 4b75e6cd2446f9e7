"""Rows of results from all that a test wants to say of them, fields and facts beside each other."""

from __future__ import annotations

import dataclasses
from typing import Any

from metatc2.transfer import Row


def row_of(**named: Any) -> Row:
    """What is no field of a row is a fact of its protocol."""
    fields = {field.name for field in dataclasses.fields(Row)}
    facts = {name: value for name, value in named.items() if name not in fields}
    return Row(**{name: value for name, value in named.items() if name in fields}, facts=facts)
