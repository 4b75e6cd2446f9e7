"""Numbers as people give them: any integer or real type works, and what is no such number is refused in one sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metatc2.data.store import ImageStore
from metatc2.errors import InputError
from metatc2.ops.numbers import real, reals, whole, wholes
from metatc2.transfer import (
    KNN,
    FewShot,
    FineTune,
    Protocol,
    Retrieval,
    SemiSupervised,
    SemiSupervisedFineTune,
    Target,
    evaluate,
    extract,
    few_shot,
    knn,
    mean_interval,
    paired_difference,
    sample_episodes,
)
from metatc2.transfer.domain_episodes import leave_one_domain_out_few_shot
from metatc2.transfer.protocols.corruption import corruption_robustness
from metatc2.transfer.protocols.fine_tune import fine_tune
from metatc2.transfer.protocols.linear import linear
from metatc2.transfer.protocols.linear_sgd import linear_sgd
from metatc2.transfer.protocols.retrieval import retrieval
from metatc2.transfer.protocols.semi_supervised import label_fraction, semi_supervised_linear

pytestmark = pytest.mark.usefixtures("small_grids")

Y = torch.arange(24) % 2
X = torch.randn(24, 3, generator=torch.Generator().manual_seed(0)) + 3 * Y[:, None]
IMAGES = (X[:, :1, None, None] * 20 + 60).clamp(0, 255).byte().expand(24, 1, 4, 4)
SIDES = (X, Y, X, Y, X, Y)
FRAMES = (IMAGES, Y, IMAGES, Y, IMAGES, Y)


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def tuned(**given: Any) -> Tensor:
    options = {"steps": 2, "batch": 4, "rates": (0.01,), "weight_decays": (0.0,), **given}
    return fine_tune(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), *FRAMES, generator=chance(), **options).correct


def drawn(**given: Any) -> Tensor:
    options = {"way": 2, "shot": 2, "query": 3, "episodes": 4, **given}
    return few_shot(X, sample_episodes(Y, generator=chance(), **options))


def in_domains(**given: Any) -> Tensor:
    options = {"way": 2, "shot": 2, "query": 3, "episodes": 4, "seed": 0, **given}
    return leave_one_domain_out_few_shot(X, Y, torch.arange(24) // 12, **options).correct[0]


def corrupted(**given: Any) -> Tensor:
    pixels, options = IMAGES.repeat(1, 1, 2, 2), {"severities": (1,), "corruptions": ["contrast"], **given}
    return corruption_robustness(
        lambda x: x.float().flatten(1), lambda f: (f.mean(1) > 90).long(), pixels, Y, **options
    ).clean


def measured(**given: Any) -> Tensor:
    target = Target(ImageStore("toy", IMAGES, Y), "all", "toy")
    rows, _ = evaluate({"encoder": nn.Flatten()}, [target], protocols=[few()], **given)
    assert type(rows[0].seed) is int
    return torch.tensor([row.mean for row in rows])


def few(**given: Any) -> FewShot:
    return FewShot(**{"ways": (2,), "shots": (1,), "episodes": 3, **given})


def probed(**given: Any) -> Tensor:
    return linear_sgd(*SIDES, generator=chance(), **{"epochs": 2, "batch": 8, "rates": (0.1,), **given}).correct


def options_of(make: Callable[..., Protocol]) -> Callable[..., Tensor]:
    """All options of a protocol in one tensor."""

    def values(**given: Any) -> Tensor:
        found = [v for v in dataclasses.asdict(make(**given)).values() if not isinstance(v, bool)]  # type: ignore[call-overload]
        flat = [each for v in found for each in (v if isinstance(v, tuple) else (v,))]
        assert all(type(each) in (int, float, str) for each in flat)
        return torch.tensor([each for each in flat if not isinstance(each, str)])

    return values


CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = {
    "knn": (lambda **g: knn(X, Y, X, Y, **g), {"k": 5}, {"temperature": 0.5}),
    "retrieval": (lambda **g: retrieval(X, Y, **g).average_precision, {"ks": (1, 2)}, {}),
    "linear": (lambda **g: linear(*SIDES, **g).correct, {"steps": 50}, {"grid": (1.0, 0.5), "tolerance": 0.125}),
    "linear-SGD": (probed, {"epochs": 2, "batch": 8}, {"rates": (0.5,), "weight_decay": 0.5}),
    "fine-tune": (tuned, {"steps": 2, "batch": 4}, {"rates": (0.5,), "weight_decays": (0.5,)}),
    "semi-supervised": (
        lambda **g: semi_supervised_linear(*SIDES, **{"l2": (1.0,), "fraction": 0.5, **g}).correct,
        {"seed": 3},
        {"l2": (1.0,), "fraction": 0.5},
    ),
    "label fraction": (lambda **g: label_fraction(Y, **{"fraction": 0.5, **g}), {"seed": 3}, {"fraction": 0.5}),
    "few-shot": (drawn, {"way": 2, "shot": 1, "query": 2, "episodes": 3}, {}),
    "domains": (in_domains, {"way": 2, "shot": 1, "query": 2, "episodes": 3, "seed": 1}, {}),
    "corruption": (corrupted, {"seed": 1, "batch": 5, "severities": (1,)}, {}),
    "extract": (lambda **g: extract(nn.Flatten(), IMAGES, **g), {"batch": 5}, {}),
    "evaluate": (
        measured,
        {
            "batch": 5,
            "seed": 1,
        },
        {},
    ),
    "FewShot": (options_of(few), {"ways": (2,), "shots": (1,), "query": 2, "episodes": 3}, {}),
    "KNN": (options_of(KNN), {"ks": (2,)}, {"temperature": 0.5}),
    "Retrieval": (options_of(Retrieval), {"ks": (2,)}, {}),
    "FineTune": (options_of(FineTune), {"steps": 2}, {}),
    "SemiSupervised": (options_of(SemiSupervised), {}, {"fractions": (0.5,)}),
    "SemiSupervisedFineTune": (options_of(SemiSupervisedFineTune), {"steps": 2}, {"fractions": (0.5,)}),
    "interval": (lambda **g: torch.tensor(mean_interval([0.0, 1.0, 3.0], **g)), {}, {"confidence": 0.5}),
    "difference": (lambda **g: torch.tensor(paired_difference([0.0, 1.0], [3.0, 1.0], **g)), {}, {"confidence": 0.5}),
}
WHOLE = [(name, key, value) for name, (_, wholes_, _) in CALLS.items() for key, value in wholes_.items()]
REAL = [(name, key, value) for name, (_, _, reals_) in CALLS.items() for key, value in reals_.items()]


def like(value: Any, make: Callable[[Any], Any]) -> Any:
    return tuple(make(each) for each in value) if isinstance(value, tuple) else make(value)


@pytest.mark.parametrize(("call", "name", "value"), WHOLE)
def test_whole_numbers(call: str, name: str, value: Any) -> None:
    run = CALLS[call][0]
    expected = run(**{name: value})
    for make in (np.int64, np.uint8, torch.tensor):
        assert torch.equal(run(**{name: like(value, make)}), expected)
    for bad in (5.5, 5.0, True, np.bool_(True), np.float64(2), float("nan"), "5", None, -1):
        if name == "seed" and bad == -1 and call == "evaluate":
            continue  # any whole number is recorded
        with pytest.raises(InputError, match=rf"{name}.* must be (a whole number|at least \d).*, got"):
            run(**{name: like(value, lambda _, bad=bad: bad)})


@pytest.mark.parametrize(("call", "name", "value"), REAL)
def test_real_numbers(call: str, name: str, value: Any) -> None:
    run = CALLS[call][0]
    expected = run(**{name: value})
    for make in (np.float32, np.float64, torch.tensor):
        assert torch.equal(run(**{name: like(value, make)}), expected)
    for bad in (float("nan"), float("inf"), -1.0, True, "1", None, 1j):
        with pytest.raises(InputError, match=rf"{name}.* must be a finite number"):
            run(**{name: like(value, lambda _, bad=bad: bad)})


def test_lists_of_numbers() -> None:
    assert wholes(np.arange(1, 3), "ways", 1) == (1, 2)
    assert reals(torch.tensor([0.5, 1.0]), "rates", above=0) == (0.5, 1.0)
    for bad in (5, "12", np.array(3), torch.tensor(3), None):
        with pytest.raises(InputError, match="ways must be a list of numbers"):
            wholes(bad, "ways", 1)
    with pytest.raises(InputError, match="rates must be at least one number"):
        reals((), "rates")
    assert type(whole(np.int32(3), "k")) is int
    assert type(real(np.float32(3), "t")) is float
    with pytest.raises(InputError, match="t must be a finite number"):
        real(10**400, "t")
