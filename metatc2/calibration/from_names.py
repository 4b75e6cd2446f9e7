"""A calibrator from the names of its parts, as configurations have them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from metatc2.calibration.calibrator import Calibrator
from metatc2.calibration.compose import Compose, Shuffled, add, gate, project
from metatc2.calibration.criterion import MetaCRLLoss, TC2Loss
from metatc2.calibration.factor_network import BasisFactors, Factors, FixedFactors, PooledFactors
from metatc2.calibration.weight_network import LinearWeights, MeanWeights, SampleWeights
from metatc2.errors import InputError, nearest

FORMS: Mapping[str, Compose] = {"blend": project, "gate": gate, "add": add}
FACTORS: Mapping[str, type[BasisFactors] | type[FixedFactors] | type[PooledFactors]] = {
    "pooled": PooledFactors,
    "parameter": BasisFactors,
    "fixed": FixedFactors,
}
WEIGHTS: Mapping[str, type[SampleWeights]] = {"sample": SampleWeights, "task": MeanWeights}
VARIANTS: Mapping[str, type[TC2Loss] | type[MetaCRLLoss]] = {"tc2": TC2Loss, "metacrl": MetaCRLLoss}
CONTROLS = ("none", "shuffle", "random-projection")


def named_calibrator(
    dim: int,
    factors: int,
    *,
    form: str = "add",
    factor_network: str = "pooled",
    weights: str = "sample",
    hidden: int | None = None,
    control: str = "none",
    variant: str = "tc2",
    orthogonality: float = 1.0,
    sparsity: float = 0.05,
    ema: float = 0.99,
    generator: torch.Generator | None = None,
) -> Calibrator:
    """A `Calibrator` of parts by name.

    Args:
        dim: width d of the representation.
        factors: number of factors K < d.
        form: of `FORMS`: ``"blend"`` has W V in place of z, ``"gate"`` ``z ⊙ 2σ(W V)``, ``"add"`` ``z + W V``.
        factor_network: of `FACTORS`.
        weights: of `WEIGHTS`.
        hidden: see `SampleWeights`.
        control: ``"shuffle"`` gives every sample the weights of its neighbor in the batch; ``"random-projection"`` projects on
            K fixed random directions and learns nothing.
        variant: of `VARIANTS`: whose loss.
        orthogonality, sparsity: see `TC2Loss`.
        ema: see `Calibrator`.
        generator: all parameters are drawn from it.

    Raises:
        InputError: if K ≥ d or a name is unknown.

    >>> type(named_calibrator(8, 3, control="random-projection").weight_network).__name__
    'LinearWeights'
    """
    for what, name, known in (
        ("form", form, FORMS),
        ("factor network", factor_network, FACTORS),
        ("weights", weights, WEIGHTS),
        ("control", control, CONTROLS),
        ("variant", variant, VARIANTS),
    ):
        if name not in known:
            raise InputError(f"calibrator: unknown {what} {name!r}; {nearest(name, known)}")
    made: Factors
    weighing: nn.Module
    if control == "random-projection":
        made, weighing = FixedFactors(dim, factors, generator=generator), LinearWeights()
    else:
        made = FACTORS[factor_network](dim, factors, generator=generator)
        weighing = WEIGHTS[weights](dim, hidden, generator=generator)
    compose = Shuffled(FORMS[form]) if control == "shuffle" else FORMS[form]
    return Calibrator(made, weighing, compose=compose, criterion=VARIANTS[variant](orthogonality, sparsity), ema=ema)
