"""What was run: in words, and where the methods differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metatc2.experiment.config import Config, Key, all_keys, flatten
from metatc2.io.options import show
from metatc2.report.html.page import PageSection, TextTable
from metatc2.report.methods import Method
from metatc2.report.text import in_words, listed

# Of a setting that a method does not have.
_NONE = "–"
# Differ from run to run and from machine to machine without being part of a method.
_APART = (
    "description",
    "trainer.seed",
    "trainer.log_every",
    "trainer.checkpoint_every",
    "trainer.threads",
    "data.root",
)


def configuration(methods: Sequence[Method]) -> PageSection:
    """A sentence or two a method, then the settings in which they differ."""
    paragraphs: list[str | tuple[str, str]] = []
    for method in methods:
        if method.elsewhere:
            held = listed([folder.path for folder in method.folders])
            untrained = any(row.source == "nothing" for folder in method.folders for row in folder.rows or ())
            what = "A network before any training" if untrained else "An encoder that was trained elsewhere"
            paragraphs.append((f"{method.name}.", f"{what}; its results are in {held}."))
            continue
        seeds = [folder.seed for folder in method.folders]
        sentences = " ".join(in_words(method.config, [folder.steps for folder in method.folders]))
        paragraphs.append((f"{method.name}.", f"{sentences} Seed{'s' * (len(seeds) > 1)} {listed(seeds)}."))
    trained = [method for method in methods if not method.elsewhere]
    flat = [flatten(method.config) for method in trained]
    keys = list(dict.fromkeys(key for settings in flat for key in settings if key not in _APART))
    values = {
        key: [_value(method.config, settings, key) for method, settings in zip(trained, flat, strict=True)]
        for key in keys
    }
    known = all_keys()
    docs = {key: _meaning(trained, key, known.get(key, ())) for key in keys}
    differing = [key for key in keys if len({*values[key]} - {_NONE}) > 1]
    columns = ("setting", *(method.name for method in trained), "meaning")
    tables = []
    if differing:
        tables.append(
            TextTable("Settings in which the methods differ", columns, [_line(k, values[k], docs) for k in differing])
        )
    elif len(trained) > 1:
        paragraphs.append("The methods differ in no setting of their own.")
    if trained:
        tables.append(TextTable("All settings", columns, [_line(key, values[key], docs) for key in keys], folded=True))
    folders = [(str(f.path), method.name, f.seed, len(f.metrics)) for method in methods for f in method.folders]
    tables.append(TextTable("Run folders", ("folder", "method", "seed", "steps logged"), folders, folded=True))
    return PageSection("configuration", "What was run", paragraphs, tables=tables)


def _value(config: Config, settings: Mapping[str, Any], key: str) -> str:
    if key in settings:
        return show(settings[key])
    section, _, field = key.partition(".")
    known = config.sections.get(section)
    return "unset" if known is not None and field in type(known).model_fields else _NONE


def _meaning(methods: Sequence[Method], key: str, known: Sequence[Key]) -> str:
    """What a key says, in the words of the parts that the methods have: a grid of cells is none of tiles."""
    section, _, field = key.partition(".")
    own = [
        type(part).model_fields[field].description
        for method in methods
        if (part := method.config.sections.get(section)) is not None and field in type(part).model_fields
    ]
    said = list(dict.fromkeys(text for text in own if text))
    return "; ".join(said) or (known[0].doc if known else "")


def _line(key: str, values: Sequence[str], docs: Mapping[str, str]) -> tuple[str, ...]:
    return (key, *values, docs.get(key, ""))
