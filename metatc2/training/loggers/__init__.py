"""Loggers of a training by name: what its records go to besides ``metrics.jsonl``."""

from metatc2.training.loggers.registry import LOGGERS, Logger, build_loggers, register_logger

__all__ = ["LOGGERS", "Logger", "build_loggers", "register_logger"]
