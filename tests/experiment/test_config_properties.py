"""Properties that hold for every key of the schema, checked on values drawn from its type and range."""

from __future__ import annotations

import json
import random
import string
import types
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest

from metatc2.errors import InputError
from metatc2.experiment.config import (
    Config,
    Key,
    all_keys,
    differences,
    fingerprint,
    flatten,
    merge,
    method_key,
    override,
    read_config,
    write_config,
)

KEYS = list(all_keys().values())
FREE = {f"trainer.{name}" for name in ("checkpoint_every", "log_every", "accelerator", "threads")}
FREE |= {"data.root", "data.download", "data.stream", "data.workers"}
TEXT = string.ascii_letters + string.digits + " /:\\\"'#=[]{},.\täα²\x7f"


def toml(value: Any) -> str:
    """JSON of numbers, booleans, plain text and lists is also TOML; the tables here are written inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(item)}" for name, item in value.items()) + "}"
    return json.dumps(value)


def number(key: Key, rng: random.Random, kind: type) -> Any:
    """A number inside the key's range, its closed ends included."""
    b = key.bounds
    low = b.at_least if b.at_least is not None else b.above if b.above is not None else -1e6
    high = b.at_most if b.at_most is not None else b.below if b.below is not None else low + 10.0 ** rng.randint(0, 6)
    if kind is int:
        return rng.randint(int(low), int(min(high, 2**62)))
    ends = [float(end) for end in (b.at_least, b.at_most) if end is not None]
    inside = low + (high - low) * rng.uniform(0.01, 0.99)
    return rng.choice([*ends, inside])


def draw(key: Key, rng: random.Random, hint: Any = None) -> Any:
    """A valid value of the key, never None."""
    hint = hint or key.hint
    args = [arg for arg in get_args(hint) if arg not in (type(None), Ellipsis)]
    if get_origin(hint) is types.UnionType or (type(None) in get_args(hint)):
        return draw(key, rng, args[0])
    if get_origin(hint) is Literal:
        return rng.choice(args)
    if get_origin(hint) is Annotated:
        return rng.choice(list(args[1]))
    if get_origin(hint) is tuple:
        size = rng.randint(0, 4) if Ellipsis in get_args(hint) else len(args)
        return tuple(draw(key, rng, args[0]) for _ in range(size))
    if get_origin(hint) is not None:
        return {"".join(rng.sample("abcdef_", 4)): rng.uniform(-5, 5) for _ in range(rng.randint(0, 3))}
    if hint is bool:
        return rng.random() < 0.5
    if hint is str:
        return "".join(rng.choices(TEXT, k=rng.randint(1, 12)))
    return number(key, rng, hint)


def laid(key: Key, value: Any) -> Config:
    """The default configuration with one key changed, its batch kept divisible."""
    section, field = key.name.split(".")
    table = {field: value}
    if key.name == "episode.tasks" and isinstance(value, int):
        table["batch"] = 2 * value
    if key.name == "episode.batch":
        table |= {"tasks": 1}
    return merge(Config(), {section: table}, "test")


def get(config: Config, key: Key) -> Any:
    return getattr(getattr(config, key.name.split(".")[0]), key.field)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_any_override_of_a_valid_key_survives_writing_and_reading(key: Key, tmp_path: Path) -> None:
    rng = random.Random(key.name)
    for _ in range(4):
        value = draw(key, rng)
        texts = [f"{key.name}={toml(value)}"]
        if key.name == "episode.tasks":
            texts.append(f"episode.batch={2 * value}")
        if key.name == "episode.batch":
            texts.insert(0, "episode.tasks=1")
        config = override(Config(), texts)
        assert get(config, key) == value
        assert type(get(config, key)) is type(value)
        write_config(config, tmp_path / "config.toml")
        assert read_config(tmp_path / "config.toml") == config


def test_random_configurations_survive_writing_and_reading(tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(60):
        tree: dict[str, Any] = {"description": "".join(rng.choices(TEXT, k=20))}
        for key in rng.sample(KEYS, rng.randint(1, len(KEYS))):
            section, field = key.name.split(".")
            tree.setdefault(section, {})[field] = draw(key, rng)
        if "episode" in tree:
            tree["episode"]["tasks"] = tasks = rng.randint(1, 50)
            tree["episode"]["batch"] = tasks * rng.randint(2, 50)
        config = merge(Config(), tree, "test")
        write_config(config, tmp_path / "config.toml")
        again = read_config(tmp_path / "config.toml")
        assert again == config
        assert flatten(again) == flatten(config)
        assert fingerprint(again) == fingerprint(config)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_value_of_another_type_is_refused_by_name(key: Key) -> None:
    candidates: list[Any] = [True, 7, 0.37, "no such word", ["x"], {"x": "y"}]
    accepted = {
        bool: [True],
        int: [7],
        float: [7, 0.37],
        str: ["no such word"],
    }
    hint = next(arg for arg in get_args(key.hint) if arg is not type(None)) if key.default is None else key.hint
    fine = accepted.get(hint, [["x"]] if hint == tuple[str, ...] else [])
    for value in candidates:
        if any(type(value) is type(ok) for ok in fine):
            continue
        with pytest.raises(InputError) as error:
            laid(key, value)
        assert str(error.value).startswith("test: ")
        assert key.name in str(error.value)
        shown = "true" if value is True else str(7) if value == 7 else "no such word" if isinstance(value, str) else ""
        assert shown in str(error.value)


@pytest.mark.parametrize(
    "key", [key for key in KEYS if "number" in key.expected and str(key.bounds)], ids=lambda key: key.name
)
def test_ends_of_every_range(key: Key) -> None:
    whole = "whole" in key.expected
    step = 1 if whole else 1e-9
    kind = int if whole else float
    pair = "list of 2" in key.expected

    def at(value: float) -> Any:
        number = kind(value)
        return [number, number] if pair else [number] if "list" in key.expected else number

    bounds = key.bounds
    ends = ((bounds.at_least, -1, True), (bounds.at_most, 1, True), (bounds.above, -1, False), (bounds.below, 1, False))
    for end, outward, closed in ends:
        if end is None:
            continue
        if closed:
            laid(key, at(end))
        else:
            laid(key, at(end - outward * step))
            with pytest.raises(InputError, match=key.name):
                laid(key, at(end))
        with pytest.raises(InputError, match=key.name):
            laid(key, at(end + outward * step))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 10**400])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"trainer\.weight_decay must be a number ≥ 0"):
        merge(Config(), {"trainer": {"weight_decay": value}}, "test")


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_fingerprint_differences_and_method_key_agree_on_what_matters(key: Key) -> None:
    rng = random.Random(key.name)
    base = Config() if not key.name.startswith("episode.") else override(Config(), ["episode.tasks=1"])
    value = next(v for v in iter(lambda: draw(key, rng), object()) if v != get(base, key) and v not in ((), {}))
    changed = laid(key, value)
    matters = key.name not in FREE and not key.name.startswith("transfer.")
    found = differences(base, changed)
    assert (fingerprint(base) != fingerprint(changed)) is matters
    assert bool(found) is matters
    assert (method_key(base) != method_key(changed)) is (matters and key.name != "trainer.seed")
    if matters:
        assert any(sentence.startswith(key.name) for sentence in found)
    if matters and not key.name.startswith(("episode.", "objective.options")):
        assert len(found) == 1


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_slip_of_the_pen_is_understood(key: Key) -> None:
    section, field = key.name.split(".")
    swapped = section[:1] + section[2] + section[1] + section[3:]
    slips = [f"{swapped}.{field}"]
    if len(field) > 5:
        slips += [f"{section}.{field[:-1]}", f"{section}.{field}s", f"{section}.{field[:2]}{field[3:]}"]
    for slip in slips:
        with pytest.raises(InputError) as error:
            override(Config(), [f"{slip}=1"])
        assert f"unknown key {slip!r}; did you mean {key.name!r}?" in str(error.value)


def test_every_key_documents_itself() -> None:
    sections = [name for name in Config().__dataclass_fields__ if name != "description"]
    assert {key.name.split(".")[0] for key in KEYS} == set(sections)
    for key in KEYS:
        assert 5 < len(key.doc) < 100
        assert "\n" not in key.doc
        # TOML has no null: an unset key is left out, which reads back equal only if unset is the default.
        assert (type(None) in get_args(key.hint)) is (key.default is None)
        assert get(Config(), key) == key.default
