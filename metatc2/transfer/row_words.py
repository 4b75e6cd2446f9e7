"""What a row of results is called in a table, and what must be said of it below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metatc2.data.seen import UNKNOWN_SOURCE
from metatc2.models.stages import OUTPUT
from metatc2.transfer.compare import Difference
from metatc2.transfer.evaluate import RANDOM_ENCODER, RAW_PIXELS
from metatc2.transfer.row import Row
from metatc2.transfer.sampling import fewer_queries


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


def remarks(rows: Sequence[Row], *, selection: bool = True) -> list[str]:
    """Sentences on what differs from what was asked for, each once, with the rows that it is about.

    Args:
        rows: of any protocols.
        selection: whether to say on what hyper-parameters were chosen.

    >>> about = {"protocol": "few-shot", "source": "a", "target": "b:all", "split": "all", "encoder_sha256": ""}
    >>> fewer = {"way": 5, "query": 7, "query_asked": 15}
    >>> note = fewer_queries(7, 15)
    >>> few = [Row(**about, mean=0.5, ci95=0.1, seed=0, note=note, facts={**fewer, "shot": shot}) for shot in (1, 5)]
    >>> remarks(few)
    ['Fewer queries a class than 15, since the smallest class has no more: 7 (b:all 1-shot, b:all 5-shot).']
    """
    notes: dict[str, list[str]] = {}
    queries: dict[int, dict[int, list[str]]] = {}
    for row in rows:
        where = f"{row.target} {row.shot}-shot" if row.shot else row.target
        fewer = _fewer_queries(row)
        for sentence in sentences_of(row if selection else replace(row, facts={**row.facts, "selection": None})):
            if sentence == fewer:
                _once(queries.setdefault(row.value("query_asked"), {}).setdefault(row.query or 0, []), where)
            else:
                _once(notes.setdefault(sentence, []), where)
    said = [f"{', '.join(where)}: {sentence}." for sentence, where in notes.items()]
    for asked, by_query in queries.items():
        each = ", ".join(f"{query} ({', '.join(where)})" for query, where in sorted(by_query.items()))
        said.append(f"Fewer queries a class than {asked}, since the smallest class has no more: {each}.")
    return said


def pair_remarks(differences: Sequence[Difference]) -> list[str]:
    """Sentences on what was and was not compared, each once: images at two sizes, seeds that one side has alone."""
    said = []
    for d in differences:
        if d.image_shapes is not None:
            said.append(f"{d.a} got images of {d.image_shapes[0]}, {d.b} the same images at {d.image_shapes[1]}.")
        for own, other, alone in ((d.a, d.b, d.seeds_alone[0]), (d.b, d.a, d.seeds_alone[1])):
            if alone:
                seeds = f"Seed{'s' * (len(alone) > 1)} {', '.join(map(str, alone))}"
                said.append(f"{seeds} of {own} {'are' if len(alone) > 1 else 'is'} left out: {other} has no such run.")
    return list(dict.fromkeys(said))


def sentences_of(row: Row) -> list[str]:
    """What must be said of one row."""
    sentences = row.note.split("; ") if row.note else []
    selection = row.value("selection")
    sentences += [f"hyper-parameters chosen by {selection}"] if selection else []
    if row.source == UNKNOWN_SOURCE and row.features not in (RANDOM_ENCODER, RAW_PIXELS):
        sentences.append("the classes that the encoder was trained on are not known")
    return sentences + ["some of its classes were among the pre-training images"] * row.classes_seen


def _fewer_queries(row: Row) -> str:
    asked, given = row.value("query_asked"), row.query
    return fewer_queries(given, asked) if type(asked) is int and given is not None else ""


def _once(places: list[str], where: str) -> None:
    if where not in places:
        places.append(where)
