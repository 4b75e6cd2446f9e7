"""Results chosen by protocol, target and classifier."""

from __future__ import annotations

from typing import Any

import pytest

from metatc2.errors import InputError
from metatc2.transfer import Row
from metatc2.transfer.row_filter import EVERY_ROW, RowFilter


def row(protocol: str, target: str, **facts: Any) -> Row:
    return Row(
        protocol=protocol,
        source="a",
        target=target,
        split=target.rpartition(":")[2],
        mean=0.5,
        ci95=0.1,
        seed=0,
        encoder_sha256="",
        facts=facts,
    )


ROWS = [
    row("few-shot", "glyphs:greek", way=5, shot=1, head="cosine"),
    row("few-shot", "glyphs:greek", way=5, shot=5, head="ridge"),
    row("knn", "glyphs:cyrillic", head="knn", k=20),
    row("linear", "folder:my/photos:test", head="linear"),
]


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        (EVERY_ROW, [0, 1, 2, 3]),
        (RowFilter(("few-shot",)), [0, 1]),
        (RowFilter(("5-way 5-shot", "k-NN")), [1, 2]),
        (RowFilter(targets=("glyphs",)), [0, 1, 2]),
        (RowFilter(targets=("glyphs:greek", "folder:my/photos")), [0, 1, 3]),
        (RowFilter(targets=("gly",)), []),
        (RowFilter(heads=("k=20", "ridge")), [1, 2]),
        (RowFilter(("few-shot",), ("glyphs",), ("cosine",)), [0]),
        (RowFilter(("few-shot",), ("glyphs",), ("cosine",)).of_all_targets(), [0]),
    ],
)
def test_rows_are_kept_by_the_names_in_tables(chosen: RowFilter, kept: list[int]) -> None:
    assert [i for i, one in enumerate(ROWS) if chosen.keeps(one)] == kept


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (RowFilter(("few-shots",)), "compare: --protocol few-shots: no such result; did you mean 'few-shot'?"),
        (RowFilter(targets=("glyphs:latin",)), "compare: --target glyphs:latin: no such result; did you mean 'glyphs:"),
        (RowFilter(heads=("[bold]",)), r"compare: --head [bold]: no such result; known: cosine, k=20, linear, ridge"),
        (
            RowFilter(("knn",), heads=("ridge",)),
            "compare: no result is of protocol knn, head ridge; leave one of them out",
        ),
    ],
)
def test_a_choice_of_nothing_is_refused(chosen: RowFilter, said: str) -> None:
    with pytest.raises(InputError) as caught:
        chosen.require(ROWS, "compare")
    assert str(caught.value).startswith(said)


def test_what_was_not_measured_is_not_offered() -> None:
    with pytest.raises(
        InputError, match="--head cosine: no such result; nothing was measured, so run `metatc2 transfer` first"
    ):
        RowFilter(heads=("cosine",)).require([], "report")
    EVERY_ROW.require([], "report")
