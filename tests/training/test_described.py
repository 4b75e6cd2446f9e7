"""What tells two methods of one name apart: settings of learner and sampler, and nothing that a seed or training changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchopt
from torch import nn

from metatc2.augment import Views
from metatc2.calibration import TaskCalibrator
from metatc2.data import ImageStore
from metatc2.episodes import LabeledTasks, SplitBatch
from metatc2.inner import FirstOrder, InnerLoop
from metatc2.learners import MAML, TC2, SelfSupervised
from metatc2.models.heads import Classifier, Projector
from metatc2.objectives import SimCLR
from metatc2.training.described import described

IMAGES = torch.randint(0, 256, (24, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
STORE = ImageStore("toy", IMAGES, torch.arange(24) % 4)


def encoder() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8))


def maml(optimizer: Any = None, steps: int = 2, **options: Any) -> MAML:
    adjoint = options.pop("adjoint", None)
    inner = InnerLoop(optimizer or torchopt.sgd(0.1), steps, **({} if adjoint is None else {"adjoint": adjoint}))
    return MAML(Classifier(encoder(), 8, 2), inner, **options)


def ssl(temperature: float = 0.5, hidden: int = 16, **options: Any) -> SelfSupervised:
    return SelfSupervised(encoder(), SimCLR(temperature=temperature), projector=Projector(8, hidden, 4), **options)


def tc2(factors: int = 4, **options: Any) -> TC2:
    inner = InnerLoop(torchopt.sgd(1.0), 2)
    calibrator = TaskCalibrator(8, factors=factors)
    return TC2(encoder(), SimCLR(), projector=Projector(8, 16, 4), calibrator=calibrator, inner=inner, **options)


def cut(seed: int = 0, **options: Any) -> SplitBatch:
    return SplitBatch(STORE, **{"views": Views.natural(), "tasks": 2, "batch": 8, **options}, seed=seed)


OTHERS = {
    "learners": [
        *(
            maml(),
            maml(torchopt.sgd(0.2)),
            maml(torchopt.adam(0.1)),
            maml(torchopt.sgd(0.1, momentum=0.9)),
            maml(steps=3),
        ),
        *(maml(adjoint=FirstOrder()), maml(test_steps=5), maml(norm="support")),
        *(ssl(), ssl(0.1), ssl(hidden=32), ssl(standardize=True), tc2(), tc2(6), tc2(outer_on="query"), tc2(gamma=0.5)),
    ],
    "samplers": [
        *(cut(), cut(batch=12), cut(tasks=3, batch=12), cut(views=Views.glyphs()), cut(assign="cluster")),
        *(LabeledTasks(STORE, way=2, shot=1, query=1, tasks=2), LabeledTasks(STORE, way=2, shot=2, query=1, tasks=2)),
    ],
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_settings_are_other_words(kind: str) -> None:
    said = [described(each) for each in OTHERS[kind]]
    assert len(set(said)) == len(said), [text for text in said if said.count(text) > 1]


def test_what_a_seed_and_training_change_is_not_said() -> None:
    sampler = cut()
    before = described(sampler)
    for _ in range(4):  # over the end of an epoch
        sampler.sample()
    assert described(sampler) == before == described(cut(seed=3))
    learner = tc2()
    before = described(learner)
    learner(sampler.sample()).loss.backward()
    with torch.no_grad():
        for p in learner.parameters():
            p.add_(1)
    learner.end_step()
    assert described(learner.eval()) == before


def test_anything_is_described() -> None:
    class Own:
        def __init__(self) -> None:
            self.me, self.table, self.long = self, {"a": 1}, [*range(100)]

    said = described(Own())
    assert said.startswith("Own(long=(0 to 99, 100 of them), me=Own(")
    assert len(said) < 300
    assert described(iter([])) == "list_iterator"
    text = described(
        type("Wide", (), {"__init__": lambda self: self.__dict__.update({f"a{i}": "x" * 100 for i in range(50)})})()
    )
    assert 2000 < len(text) < 2100
