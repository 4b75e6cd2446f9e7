"""Texts: task files, assignments of ``--set``, names of sources, words of a command line."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import strategies as st

from hostile.changes import as_text, changed, values
from hostile.kind import Kind, Prepared
from metatc2.data import load
from metatc2.errors import InputError
from metatc2.experiment.config import Config, all_keys, override, read_config, write_config
from metatc2.experiment.config.task_files import task_folder
from metatc2.experiment.run_name import default_folder
from metatc2.io.reading import read_toml
from metatc2.io.registries import SOURCES
from metatc2.io.source_names import path_kinds, place, tidy
from metatc2.transfer.targets import parse_target

_KEYS = [key for section in all_keys().values() for key in section]


def _toml(folder: Path) -> Prepared:
    file = folder / "my.toml"
    write_config(override(Config(), ["encoder.width=32", "views.crop_ratio=[0.5, 2]", "trainer.threads=2"]), file)
    valid = [file.read_bytes(), *(path.read_bytes() for path in sorted(task_folder().glob("*.toml")))]

    def read(content: bytes) -> object:
        file.write_bytes(content)
        return read_toml(file)

    return changed(valid), read


def _configuration(folder: Path) -> Prepared:
    strategy, _ = _toml(folder)
    file = folder / "config.toml"

    def read(content: bytes) -> object:
        file.write_bytes(content)
        config = read_config(file)
        write_config(config, file)
        if read_config(file) != config:
            raise AssertionError("what was read is written as something else")
        return config

    return strategy, read


def _set(text: str) -> object:
    return override(Config(), [text])


def _assignment(folder: Path) -> Prepared:
    return as_text(changed([f"{key.name}={json.dumps(key.default)}".encode() for key in _KEYS])), _set


def _odd_value(folder: Path) -> Prepared:
    drawn = st.tuples(st.sampled_from(_KEYS), values(4))
    return drawn.map(lambda pair: f"{pair[0].name}={json.dumps(pair[1])}"), _set


def _source(folder: Path) -> Prepared:
    return as_text(changed([b"folder:photos:meta-test", b"npz:a/b.npz", b"shapes:hue+size:test", b"mit67:~/x"])), _open


def _odd_source(folder: Path) -> Prepared:
    kinds = st.sampled_from([*path_kinds(), "shapes", "glyphs", "digits", "cifar10"])
    odd = st.sampled_from(("~", "~no-such-user/x", "../..", "/", "C:\\a", "a" * 300, "a:test"))
    return st.tuples(kinds, st.one_of(st.text(max_size=20), odd)).map(":".join), _open


def _open(text: str) -> object:
    source, _ = parse_target(text)
    registered, _ = SOURCES.resolve(source)
    tidy(source), place(source)
    inside = default_folder(text, Config())
    if inside.parent != Path("runs") or inside.name in ("", ".", ".."):
        raise AssertionError(f"the default folder is {inside}")
    if registered.endswith(":PATH"):
        try:
            return load(source, image_size=8)
        except OSError as error:  # the boundary's own sentence
            raise InputError(str(error).splitlines()[0]) from error
    return None


KINDS = (
    Kind("TOML", "a task file, parsed", 1000, _toml),
    Kind("configuration", "a task file or config.toml, resolved, written and read again", 20, _configuration),
    Kind("assignment", "--set KEY=VALUE, of a changed text", 60, _assignment),
    Kind("assignment of odd values", "--set KEY=VALUE, of any value", 15, _odd_value),
    Kind("source", "a name of a source, opened where it is one of files", 900, _source),
    Kind("odd source", "the same, of any text", 40, _odd_source),
)
