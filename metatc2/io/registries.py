"""Every registry, where names can be listed without importing what they name; typed where each kind is defined."""

from __future__ import annotations

from typing import Any

from metatc2.io.registry import Registry

OBJECTIVES: Registry[Any] = Registry("objective", "metatc2.objectives", "register_objective")
REGULARIZERS: Registry[Any] = Registry("regularizer", "metatc2.objectives.regularizers", "register_regularizer")
PROTOCOLS: Registry[Any] = Registry("protocol", "metatc2.transfer.protocols", "register_protocol")
