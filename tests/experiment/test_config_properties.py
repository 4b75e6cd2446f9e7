"""Properties that hold for every key of every member, checked on values drawn from its type and range."""

from __future__ import annotations

import functools
import json
import random
import string
import types
from collections.abc import Callable, Iterable
from functools import cache
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
from metatc2.experiment.config.choices import LABELED
from metatc2.experiment.config.layers import tree_of
from metatc2.experiment.config.sections import CHOICES, split_key
from metatc2.inner.adjoints.registry import AdjointOptions
from metatc2.io.options import Bounds, Names
from metatc2.io.options.words import is_optional

FREE = {f"trainer.{name}" for name in ("checkpoint_every", "log_every", "accelerator", "devices", "nodes", "threads")}
FREE |= {"trainer.loggers"}
FREE |= {"data.root", "data.download", "data.stream", "data.workers", "umm.start"}
# A monitor that ends no training.
FREE |= {f"monitor.{name}" for name in ("every", "images", "split", "eps2", "neighbors", "measures", "source")}
TEXT = string.ascii_letters + string.digits + " /:\\\"'#=[]{},.\täα²\x7f"


def tagged(key: Key) -> bool:
    """Whether the key is the tag of its member: it has one value there."""
    return get_origin(key.hint) is Literal and len(get_args(key.hint)) == 1


KNOWN = all_keys()
ALL = [key for keys in KNOWN.values() for key in keys]
TAGS = [key for key in ALL if tagged(key)]
# Of keys that many members have alike, one member each.
KEYS = list({(key.name, str(key.hint), str(key.default)): key for key in ALL if not tagged(key)}.values())


def about(key: Key) -> str:
    return " ".join([key.name, *key.when.values()])


def of_each(keys: Iterable[Key]) -> Callable[[Callable[[Key, Path], None]], Callable[[str, Path], None]]:
    """A check of a key as a test of each section: hundreds of tests of a few milliseconds take as long again to report."""
    sections: dict[str, list[Key]] = {}
    for key in keys:
        sections.setdefault(split_key(key.name)[0], []).append(key)

    def decorate(check: Callable[[Key, Path], None]) -> Callable[[str, Path], None]:
        @pytest.mark.parametrize("section", sections)
        def test(section: str, tmp_path: Path) -> None:
            for key in sections[section]:
                try:
                    check(key, tmp_path)
                except BaseException as error:
                    error.add_note(f"of the key {about(key)}")
                    raise

        return test

    return decorate


def acting(key: Key) -> Config:
    """A configuration in which the key acts."""
    return chosen(*(f"{tag}={'protonet' if value == LABELED else value}" for tag, value in key.when.items()))


@cache
def chosen(*assignments: str) -> Config:
    return override(Config(), assignments)


def toml(value: Any) -> str:
    """JSON of numbers, booleans, plain text and lists is also TOML."""
    return json.dumps(value)


def number(bounds: Bounds, rng: random.Random, kind: type) -> Any:
    """A number inside a range, its closed ends included."""
    b = bounds
    low = b.at_least if b.at_least is not None else b.above if b.above is not None else -1e6
    high = b.at_most if b.at_most is not None else b.below if b.below is not None else low + 10.0 ** rng.randint(0, 6)
    if kind is int:
        return rng.randint(int(low), int(min(high, 2**62)))
    ends = [float(end) for end in (b.at_least, b.at_most) if end is not None]
    inside = low + (high - low) * rng.uniform(0.01, 0.99)
    return rng.choice([*ends, inside])


def draw(hint: Any, rng: random.Random, bounds: Bounds = Bounds()) -> Any:  # noqa: B008
    """A valid value of a type, never None."""
    args = [arg for arg in get_args(hint) if arg not in (type(None), Ellipsis)]
    if get_origin(hint) is Annotated:
        names = next((part for part in args[1:] if isinstance(part, Names)), None)
        if names is not None:
            return rng.choice(list(names))
        own = Bounds.of(args[1:])
        return draw(args[0], rng, own if own != Bounds() else bounds)
    if get_origin(hint) is types.UnionType or is_optional(hint):
        return draw(args[0], rng, bounds)
    if get_origin(hint) is Literal:
        return rng.choice(args)
    if get_origin(hint) is tuple:
        size = rng.randint(1, 4) if Ellipsis in get_args(hint) else len(args)
        return tuple(draw(args[0], rng) for _ in range(size))
    if hint is AdjointOptions:
        return rng.choice(list(AdjointOptions.names()))
    if hint is bool:
        return rng.random() < 0.5
    if hint is str:
        return "".join(rng.choices(TEXT, k=rng.randint(1, 12)))
    return number(bounds, rng, hint)


def together(key: Key, value: Any) -> dict[str, Any]:
    """The key, and what keeps its batch divisible."""
    changed = {key.name: value}
    if key.name == "episode.tasks" and isinstance(value, int):
        changed["episode.batch"] = 2 * value
    if key.name == "episode.batch":
        changed["episode.tasks"] = 1
    return changed


def laid(key: Key, value: Any) -> Config:
    """A configuration in which the key acts, with its value changed."""
    return merge(acting(key), tree_of(together(key, value)), "test")


def get(config: Config, key: Key) -> Any:
    return flatten(config).get(key.name)


def an_override_survives(key: Key, tmp_path: Path, draws: int = 1) -> None:
    rng = random.Random(key.name)
    for _ in range(draws):
        value = draw(key.hint, rng)
        config = override(acting(key), [f"{name}={toml(given)}" for name, given in together(key, value).items()])
        assert get(config, key) == value
        assert type(get(config, key)) is type(value)
        write_config(config, tmp_path / "config.toml")
        again = read_config(tmp_path / "config.toml")
        assert again == config
        assert flatten(again) == flatten(config)


test_any_override_of_a_valid_key_survives_writing_and_reading = of_each(KEYS)(an_override_survives)
test_further_overrides_survive_too = pytest.mark.slow(of_each(KEYS)(functools.partial(an_override_survives, draws=3)))


def legal(values: dict[str, Any]) -> Config:
    """A configuration of these values without those that the acting member of a section takes otherwise."""
    while (refused := refusal(lambda: merge(Config(), tree_of(values), "test"))) is not None:
        del values[next(name for name in values if f" {name} " in refused)]
    return merge(Config(), tree_of(values), "test")


def refusal(work: Callable[[], object]) -> str | None:
    try:
        work()
    except InputError as error:
        return str(error)
    return None


def test_random_configurations_survive_writing_and_reading(tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(30):
        values: dict[str, Any] = {"description": "".join(rng.choices(TEXT, k=20))}
        for key in rng.sample(TAGS, 4):
            values[key.name] = key.default
        for key in rng.sample(KEYS, rng.randint(1, 60)):
            values[key.name] = draw(key.hint, rng)
        values["episode.tasks"] = tasks = rng.randint(1, 50)
        values["episode.batch"] = tasks * rng.randint(2, 50)
        config = legal(values)
        write_config(config, tmp_path / "config.toml")
        again = read_config(tmp_path / "config.toml")
        assert again == config
        assert flatten(again) == flatten(config)
        assert fingerprint(again) == fingerprint(config)


@of_each(KEYS)
def test_a_value_of_another_type_is_refused_by_name(key: Key, tmp_path: Path) -> None:
    candidates: list[Any] = [True, 7, 0.37, "no such word", ["x"], {"x": "y"}]
    accepted = {bool: [True], int: [7], float: [7, 0.37], str: ["no such word"]}
    hint = key.hint
    while get_origin(hint) in (Annotated, types.UnionType) or is_optional(hint):
        if get_origin(hint) is Annotated and any(isinstance(part, Names) for part in get_args(hint)[1:]):
            break
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
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


def ranges(key: Key) -> tuple[Bounds, Any]:
    """The range of the numbers of a key, and of what shape they are."""
    hint = key.hint
    bounds = key.bounds
    while get_origin(hint) in (Annotated, types.UnionType, tuple):
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
        bounds = bounds if str(bounds) else Bounds.of(getattr(hint, "__metadata__", ()))
    return bounds, hint


@of_each(key for key in KEYS if str(ranges(key)[0]))
def test_ends_of_every_range(key: Key, tmp_path: Path) -> None:
    whole = "whole" in key.expected
    step = 1 if whole else 1e-9
    kind = int if whole else float
    pair = "list of 2" in key.expected

    def at(value: float) -> Any:
        number = kind(value)
        return [number, number] if pair else [number] if "list" in key.expected else number

    bounds, _ = ranges(key)
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


@of_each(KEYS)
def test_fingerprint_differences_and_method_key_agree_on_what_matters(key: Key, tmp_path: Path) -> None:
    rng = random.Random(key.name)
    base = acting(key) if not key.name.startswith("episode.") else override(acting(key), many_tasks(key))
    value = next(v for v in iter(lambda: draw(key.hint, rng), object()) if v != get(base, key))
    changed = laid(key, value)
    matters = key.name not in FREE and not key.name.startswith("transfer.")
    found = differences(base, changed)
    assert (fingerprint(base) != fingerprint(changed)) is matters
    assert bool(found) is matters
    assert (method_key(base) != method_key(changed)) is (matters and key.name != "trainer.seed")
    if matters:
        assert any(sentence.startswith(key.name) for sentence in found)


def many_tasks(key: Key) -> list[str]:
    return ["episode.tasks=1"] if key.when.get("learner.name") == "ssl" else []


def test_a_default_that_moves_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fingerprint holds what acts, given or not: a run of the old default is another one."""
    config = override(Config(), ["calibration.name=tc2"])
    given = override(config, ["calibration.gamma=1.0", "objective.temperature=0.5", "views.flip=0.0"])
    assert fingerprint(given) == fingerprint(config)
    assert config == given
    moved = override(config, ["calibration.gamma=0.5"])
    assert "calibration.gamma: 1.0 in the checkpoint, 0.5 now" in differences(config, moved)


def a_slip_is_understood(key: Key, tmp_path: Path) -> None:
    name, (section, field, part) = key.name, split_key(key.name)
    if part:
        return
    swapped = section[:1] + section[2] + section[1] + section[3:]
    slips = [f"{swapped}.{field}"]
    if len(field) > 5:  # one of three, as the key's letters say
        ways = [f"{section}.{field[:-1]}", f"{section}.{field}s", f"{section}.{field[:2]}{field[3:]}"]
        slips.append(ways[sum(map(ord, name)) % 3])
    for slip in slips:
        if slip in KNOWN:
            continue
        with pytest.raises(InputError) as error:
            override(Config(), [f"{slip}=1"])
        assert f"unknown key {slip!r}; did you mean {name!r}?" in str(error.value)


test_a_slip_of_the_pen_is_understood = of_each(ALL[::3])(a_slip_is_understood)
test_every_slip_of_the_pen_is_understood = pytest.mark.slow(of_each(ALL)(a_slip_is_understood))


def test_every_key_documents_itself() -> None:
    empty = {f"transfer.{name}" for name in ("clips", "corruption", "leave-one-domain-out", "linear", "linear-sgd")}
    assert {split_key(key.name)[0] for key in KEYS} == set(CHOICES) - empty
    for key in ALL:
        assert 5 < len(key.doc) < 120, (
            f"{key.name}: its line under Args: {key.doc!r} must say what it is, in at most 119 signs"
        )
        assert "\n" not in key.doc
        # TOML has no null: an unset key is left out, which reads back equal only if unset is the default.
        assert is_optional(key.hint) is (key.default is None), key.name
