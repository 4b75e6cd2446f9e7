"""Several processes share the images and the episodes of a transfer, and have the rows of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from metatc2.data import ImageStore
from metatc2.learners import ProtoNet
from metatc2.ops.ranks import ALONE, Ranks
from metatc2.transfer import FewShot, Row, Target, evaluate

from ..ranks import together

SHOWN: list[int] = []


class Counted(nn.Module):
    """An encoder that counts the images that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(64, 5)

    def forward(self, images: Tensor) -> Tensor:
        SHOWN.append(len(images))
        return self.map(images.flatten(1))


def measured(ranks: Ranks = ALONE, cache: Path | None = None) -> tuple[list[Row], dict[str, Tensor], int]:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 9
    images = (torch.randint(0, 128, (90, 1, 8, 8), generator=g) + labels[:, None, None, None] * 10).byte()
    target = Target(ImageStore("toy", images, labels), "all", "toy")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, learner = Counted(), ProtoNet(nn.Sequential(nn.Flatten(), nn.Linear(64, 4))).eval()
    SHOWN.clear()
    few_shot = FewShot(ways=(3,), shots=(1,), query=4, episodes=21, heads=("cosine", "ridge"))
    rows, accuracies = evaluate(
        {"encoder": encoder},
        [target],
        protocols=[few_shot, "knn"],
        learners={"adapted": learner},
        ranks=ranks,
        cache=cache,
    )
    return rows, accuracies, sum(SHOWN)


def on_a_rank(rank: int, folder: Path) -> tuple[list[Row], dict[str, Tensor], int]:
    return measured(Ranks(rank, 2), folder / str(rank))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[Row], dict[str, Tensor], int]]:
    folder = tmp_path_factory.mktemp("features")
    made = together(2, on_a_rank, folder)
    assert [len(list((folder / str(rank)).glob("*.safetensors"))) for rank in range(2)] == [1, 0], (
        "the first keeps them"
    )
    return made


def test_rows_are_those_of_one_process(answers: list[tuple[list[Row], dict[str, Tensor], int]]) -> None:
    rows, accuracies, _ = measured()
    assert {row.head for row in rows} >= {"cosine", "ridge", "adapted"}
    for own, of_episodes, _ in answers:
        assert [row.key for row in own] == [row.key for row in rows]
        for key, values in accuracies.items():
            assert torch.equal(of_episodes[key], values), key


def test_each_process_has_its_share_of_the_images(answers: list[tuple[list[Row], dict[str, Tensor], int]]) -> None:
    whole = measured()[2]
    assert whole >= 90
    assert sum(shown for _, _, shown in answers) == whole
    assert all(shown < 0.6 * whole for _, _, shown in answers)
