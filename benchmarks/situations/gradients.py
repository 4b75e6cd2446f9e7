"""Situations in which a meta-gradient is easily missing, wrong or NaN; each is compared with central differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from libraries import Library, Recipe, gradient_of
from libraries.plain import differences, first_order_gradient
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from metatc2.inner import Recompute
from situations import networks
from situations.situation import Failed, Situation, Way, tasks

TOLERANCE = 1e-6  # of the largest entry; central differences with a step of 1e-5 in float64 leave about 1e-9
SEED = 7
STEPS = 3


def held_against_differences(make: Callable[[], nn.Module], *shape: int) -> Callable[[Library, Recipe], str]:
    """The meta-gradient of a network is that of central differences, and parameters keep their values.

    Args:
        make: the network.
        shape: of one input.
    """

    def check(library: Library, recipe: Recipe) -> str:
        net, data = make(), tasks(*shape)
        reference = differences(make(), recipe, data, seed=SEED)
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        torch.manual_seed(SEED)
        library.meta_gradient(net, recipe, data)
        if not all(torch.equal(p, before[name]) for name, p in net.named_parameters()):
            raise Failed("the parameters of the meta-model changed")
        return agree(gradient_of(net), reference, "central differences")

    return check


def agree(result: dict[str, Tensor], reference: dict[str, Tensor], what: str) -> str:
    """Say how far two gradients are apart.

    Raises:
        Failed: if one is missing, not finite or further away than `TOLERANCE`.
    """
    missing = [name for name in reference if name not in result]
    if missing:
        raise Failed(f"no meta-gradient for {len(missing)} of {len(reference)} parameters ({missing[0]})")
    if extra := [name for name in result if name not in reference]:
        raise Failed(f"a meta-gradient for {extra[0]}, which is frozen")
    if not all(bool(g.isfinite().all()) for g in result.values()):
        raise Failed("the meta-gradient is NaN or infinite")
    largest = max(float(g.abs().max()) for g in reference.values())
    away = max(float((result[name] - g).abs().max()) for name, g in reference.items()) / largest
    if not away <= TOLERANCE:
        raise Failed(f"the meta-gradient is wrong: {away:.0e} from {what}, relative to its largest entry")
    return f"{away:.0e} from {what}"


def dead_relu(library: Library, recipe: Recipe) -> str:
    """With float64 as torch's default, so that the row is about the zero gradient and not about the row after it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return held_against_differences(networks.dead, 5)(library, recipe)
    finally:
        torch.set_default_dtype(before)


def dropout(library: Library, recipe: Recipe) -> str:
    """From the same random state every library draws the masks of plain training, where it replays steps too."""
    check = held_against_differences(networks.dropped, 5)
    detail = check(library, recipe)
    if library.package == "metatc2":
        detail += f"; with Recompute: {check(library, dataclasses.replace(recipe, options={'adjoint': Recompute()}))}"
    return detail


def first_order(library: Library, recipe: Recipe) -> str:
    """The switch gives the gradient of the query loss at the adapted parameters."""
    net, data = networks.mlp(), tasks(5)
    library.meta_gradient(net, recipe, data)
    return agree(gradient_of(net), first_order_gradient(networks.mlp(), recipe, data), "the analytic gradient")


MATH = Way("torch's math kernel chosen around it by the caller", caller=lambda: sdpa_kernel(SDPBackend.MATH))

SITUATIONS = (
    Situation(
        "frozen parameter",
        Recipe(STEPS, 0.3),
        held_against_differences(networks.frozen, 5),
        {"learn2learn": [Way("allow_nograd=True", {"options": {"allow_nograd": True}})]},
    ),
    Situation(
        "dead ReLU under Adam",
        Recipe(STEPS, 0.05, "adam"),
        dead_relu,
        {"torchopt": [Way("eps_root=1e-8", {"eps_root": 1e-8})]},
    ),
    Situation("Adam in float64", Recipe(STEPS, 0.05, "adam"), held_against_differences(networks.mlp, 5)),
    Situation(
        "attention",
        Recipe(STEPS, 0.3),
        held_against_differences(lambda: networks.seeded(networks.Attention), 4, 6),
        {name: [MATH] for name in ("learn2learn", "torchopt", "higher")},
    ),
    Situation(
        "LSTM",
        Recipe(STEPS, 0.3),
        held_against_differences(lambda: networks.seeded(networks.Recurrent), 4, 6),
    ),
    Situation("dropout", Recipe(STEPS, 0.3), dropout),
    Situation(
        "first-order switch",
        Recipe(STEPS, 0.3, first_order=True),
        first_order,
        {
            "higher": [
                Way(
                    "a grad_callback that detaches",
                    {"options": {"grad_callback": lambda gradients: [g.detach() for g in gradients]}},
                )
            ]
        },
    ),
)
