"""Torch's own random numbers in a checkpoint: those of one process, or of each of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from metatc2.ops.random_state import own_random_numbers
from metatc2.ops.ranks import Ranks

_OF_RANKS = "random_of_ranks"


def random_states(ranks: Ranks, device: torch.device) -> dict[str, Any]:
    """As they are now, to be kept in a checkpoint; every rank calls it and gets the same.

    Args:
        ranks: that train together.
        device: of this one.
    """
    states: dict[str, Any] = {"random": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random_cuda"] = torch.cuda.get_rng_state_all()
    if not ranks.alone:
        own = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            own["cuda"] = torch.cuda.get_rng_state(device)
        states[_OF_RANKS] = ranks.all(own)
    return states


def set_random_states(states: Mapping[str, Any], ranks: Ranks, device: torch.device) -> None:
    """Continue where they were taken; on another number of processes none repeats what another one draws.

    Args:
        states: of `random_states`, and whatever else a checkpoint holds.
        ranks, device: as there.
    """
    of_ranks = states.get(_OF_RANKS, [])
    if len(of_ranks) == ranks.size:
        own = of_ranks[ranks.rank]
        torch.set_rng_state(own["cpu"])
        if "cuda" in own and device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"], device)
        return
    torch.set_rng_state(states["random"])
    if not ranks.alone:
        own_random_numbers(ranks)
    elif torch.cuda.is_available() and len(states.get("random_cuda", [])) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["random_cuda"])
