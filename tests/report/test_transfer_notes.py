"""What differs from what was asked for is said once above the table, whatever the number of rows that it is about."""

from __future__ import annotations

from pathlib import Path

from metatc2.experiment.config import Config
from metatc2.report.html.sections.transfer import transfer_results
from metatc2.report.methods import Folder, Method
from metatc2.transfer.sampling import fewer_queries

from ..result_rows import row_of


def test_fewer_queries_are_one_sentence() -> None:
    about = {"protocol": "few-shot", "source": "a", "target": "b:all", "split": "all", "encoder_sha256": "", "seed": 0}
    rows = [
        row_of(**about, mean=0.5, ci95=0.1, way=5, shot=shot, query=query, query_asked=15, episodes=9, head="cosine",
               selection="validation images", inductive=shot < 3, note=fewer_queries(query, 15))
        for shot, query in ((1, 8), (2, 7), (5, 4))
    ]  # fmt: skip
    section = transfer_results([Method("a", [Folder(Path("a"), Config(), [], rows, None)])])
    assert section.paragraphs == [
        "Fewer queries a class than 15, since the smallest class has no more: 4 (b:all 5-shot), 7 (b:all 2-shot), 8 "
        "(b:all 1-shot).",
        "b:all 5-way 5-shot: transductive: queries see each other.",
    ]
