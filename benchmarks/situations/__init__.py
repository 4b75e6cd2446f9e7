"""The situations of `robustness.py`, in the order of its table."""

from situations import gradients, install, memory, state
from situations.situation import Situation, outcome

SITUATIONS: tuple[Situation, ...] = (
    *state.SITUATIONS,
    *gradients.SITUATIONS,
    *memory.SITUATIONS,
    *install.SITUATIONS,
)

__all__ = ["SITUATIONS", "Situation", "outcome"]
