"""The situations of `robustness.py`, in the order of its table."""

from situations import copies, gradients, install, leaks, memory, modules, state
from situations.situation import Situation, outcome

SITUATIONS: tuple[Situation, ...] = (
    *state.SITUATIONS,
    *gradients.SITUATIONS,
    *modules.SITUATIONS,
    *copies.SITUATIONS,
    *leaks.SITUATIONS,
    *memory.SITUATIONS,
    *install.SITUATIONS,
)

__all__ = ["SITUATIONS", "Situation", "outcome"]
