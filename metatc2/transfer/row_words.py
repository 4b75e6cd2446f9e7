"""What a row of results is called in a table, and what must be said of it below."""

from __future__ import annotations

from collections.abc import Sequence

from metatc2.models.stages import OUTPUT
from metatc2.transfer.compare import Difference
from metatc2.transfer.row import Row


def protocol_name(row: Row | Difference) -> str:
    """As it stands in tables: way and shot of episodes, what else tells the row apart, and a metric that is not accuracy."""
    name = {"few-shot": f"{row.way}-way {row.shot}-shot", "knn": "k-NN"}.get(row.protocol, row.protocol)
    details = [row.setting] * bool(row.setting) + [row.metric] * (row.metric != "accuracy")
    details += [f"layer {row.layer}"] * (row.layer != OUTPUT)
    return ", ".join([name, *details])


def head_name(row: Row) -> str:
    """The classifier; k of k-NN; and whether it saw the queries together."""
    name = f"k={row.k}" if row.k else row.head
    return name if row.inductive or row.head == "adapted" else f"{name} (transductive)"


def remarks(rows: Sequence[Row]) -> list[str]:
    """Sentences on what differs from what was asked for, each once, with the rows that it is about."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        sentences = [row.note] if row.note else []
        selection = row.value("selection")
        sentences += [f"hyper-parameters chosen by {selection}"] if selection else []
        sentences += ["some of its classes were among the pre-training images"] if row.classes_seen else []
        for sentence in sentences:
            known = notes.setdefault(sentence, [])
            where = f"{row.target} {row.shot}-shot" if row.shot else row.target
            known += [where] if where not in known else []
    return [f"{', '.join(where)}: {sentence}." for sentence, where in notes.items()]
