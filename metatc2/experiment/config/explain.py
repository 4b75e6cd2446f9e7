"""A resolved configuration as TOML, with where each value came from and what it means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import tomli_w

from metatc2.experiment.config.config import Config
from metatc2.experiment.config.identity import flatten
from metatc2.experiment.config.keys import Key, acts, all_keys
from metatc2.experiment.config.layers import giver
from metatc2.experiment.config.sections import split_key
from metatc2.io.plain_text import brief

HEAD = """\
# Every value that acts, with where it came from. Without the names of a method ([objective], [condition], [calibration],
# [regularizer] and [learner] name) it is a task file.
"""


def explained(config: Config) -> str:
    """Every key that acts as TOML, in its section, with a comment: the origin of its value, and its line of documentation.

    Keys that are unset stand in comments, since TOML has no word for them.

    >>> from metatc2.experiment.config import override
    >>> lines = explained(override(Config(), ["episode.tasks=2"])).splitlines()
    >>> next(line for line in lines if line.startswith("tasks = "))
    'tasks = 2  # --set: tasks that a batch is cut into'
    >>> next(line for line in lines if line.startswith("# width"))
    "# width  # unset: channels of the first stage; unset: the encoder's own"
    """
    values, keys, lines = flatten(config), all_keys(), [HEAD]
    if config.description:
        lines.append(f"{_line('description', config.description)}  # {_origin(config, 'description')}")
    for section in config.sections:
        acting = list(_acting(config, section, keys))
        lines += ["", f"[{_header(section)}]"] if acting else []
        for key in acting:
            name = key.name.removeprefix(f"{section}.")
            if key.name not in values:
                lines.append(f"# {name}  # unset: {key.doc}")
                continue
            # What is chosen by a name and has options of its own is a table.
            written = f"{name}.name" if any(other.startswith(f"{key.name}.") for other in values) else name
            lines.append(f"{_line(written, values[key.name])}  # {_origin(config, key.name)}: {key.doc}")
    return "\n".join(lines) + "\n"


def _acting(config: Config, section: str, keys: Mapping[str, Sequence[Key]]) -> Iterator[Key]:
    """The keys of the member that acts, each once."""
    kind, values = type(config.sections[section]), flatten(config)
    for name, known in keys.items():
        head, field, part = split_key(name)
        if head == section and (name in values or (field in kind.model_fields and not part)):
            now = {tag: config.value(tag) for key in known for tag in key.when}
            yield next(key for key in known if acts(key, now))


def _header(section: str) -> str:
    """A section's name as TOML: what is no bare key there is quoted."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else _toml(part) for part in section.split("."))


def _line(name: str, value: object) -> str:
    if isinstance(value, tuple):
        return f"{name} = [{', '.join(map(_toml, value))}]"
    return f"{name} = {_toml(value)}"


def _toml(value: object) -> str:
    return tomli_w.dumps({"value": value}).partition(" = ")[2].strip()


def _origin(config: Config, key: str) -> str:
    if not any(key in layer.values for layer in config.layers):
        return "default"
    where = giver(config.layers, key).where
    return brief(Path(where).name if where.endswith(".toml") else where or "given")
