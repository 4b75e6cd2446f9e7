"""Valid inputs changed at random, from fixed seeds: whatever comes of them is read, or refused in one sentence."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from metatc2.errors import InputError
from metatc2.experiment.config import Config, all_keys, override, read_config, write_config
from metatc2.io.reading import parse_json

from ..covering import some

PIECES = [
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"'",
    b"=",
    b",",
    b".",
    b"\n",
    b"\0",
    b"\x1b[31m",
    b"\xff",
    b"\xed\xa0\x80",
    b"#",
]
PIECES += [
    b"9" * 400,
    b"9" * 4400,
    b"1e999",
    b"nan",
    b"-inf",
    b"[" * 3000,
    b"\xef\xbb\xbf",
    "猫".encode(),
    b"\\u0000",
    b"-0",
]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """One to four changes: a piece put in, a stretch left out, doubled or turned, a byte changed."""
    for _ in range(rng.randint(1, 4)):
        start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        end = min(end, start + 40)
        part = content[start:end]
        new = rng.choice([rng.choice(PIECES), b"", part * 2, part[::-1], bytes([rng.randrange(256)])])
        content = content[:start] + new + content[end:]
    return content


def one_sentence(error: InputError) -> None:
    assert "\n" not in str(error).strip()
    assert len(str(error)) < 1000  # with the keys of a section; the command line cuts at 420


@pytest.mark.parametrize("seed", range(4))
def test_configurations(seed: int, tmp_path: Path) -> None:
    rng, file = random.Random(seed), tmp_path / "c.toml"
    write_config(override(Config(), ["encoder.width=32", "views.crop_ratio=[0.5, 2]", "trainer.threads=2"]), file)
    valid, read = file.read_bytes(), 0
    for _ in range(40):
        file.write_bytes(mutated(valid, rng))
        try:
            config = read_config(file)
        except InputError as error:
            one_sentence(error)
            continue
        read += 1
        write_config(config, file)  # what is read can be written, and says the same
        assert read_config(file) == config
    assert read < 40


@pytest.mark.parametrize("seed", some(range(4), (0, 1)))
def test_assignments(seed: int) -> None:
    rng, keys = random.Random(seed), [key for known in all_keys().values() for key in known]
    for _ in range(100):
        key = rng.choice(keys)
        text = f"{key.name}={json.dumps(key.default)}".encode()
        try:
            override(Config(), [mutated(text, rng).decode(errors="surrogateescape")])
        except InputError as error:
            one_sentence(error)


@pytest.mark.parametrize("seed", range(4))
def test_json(seed: int) -> None:
    rng = random.Random(seed)
    valid = json.dumps({"model_type": "metatc2", "config": {"a": [1, 2.5, None, True]}, "name": "é"}).encode()
    for _ in range(100):
        try:
            parse_json(mutated(valid, rng), "x.json")
        except InputError as error:
            one_sentence(error)
