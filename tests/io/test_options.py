"""Options as strict models: what is wrong is one sentence with the key, and a class's constructor says what it takes."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Gt
from pydantic import Field

from metatc2.errors import InputError
from metatc2.io.options import NO_OPTION, Count, Factor, Names, Options, options_like
from metatc2.io.registries import OBJECTIVES
from metatc2.objectives import objective_options
from metatc2.ops.numbers import Fraction, PositiveCount


class Cut(Options):
    """Some of everything."""

    section = "cut"

    tasks: Count = Field(4, ge=1, description="tasks")
    share: float | None = Field(None, gt=0, lt=1, description="share")
    rate: Factor = Field(1.0, ge=0, description="rate")
    form: Literal["add", "gate"] = Field("add", description="form")
    sizes: tuple[Annotated[Count, Field(ge=2)], ...] = Field((2,), description="sizes")
    range: tuple[float, float] = Field((0.0, 1.0), description="range")
    name: Annotated[str, Names(OBJECTIVES)] = Field("simclr", description="name")
    flag: bool = Field(False, description="flag")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"tasks": 0}, "cut.tasks must be a whole number ≥ 1, found 0"),
        ({"tasks": True}, "cut.tasks must be a whole number ≥ 1, found true"),
        ({"tasks": 2.0}, "cut.tasks must be a whole number ≥ 1, found 2.0"),
        ({"tasks": 10**10}, "cut.tasks can be at most 1000000000, found 10000000000"),
        ({"tasks": 10**5000}, "cut.tasks can be at most 1000000000, found a number of over 4300 digits"),
        ({"share": 1}, "cut.share must be a number > 0 and < 1, found 1"),
        ({"rate": float("nan")}, "cut.rate must be a number ≥ 0, found NaN"),
        ({"rate": 10**400}, "cut.rate must be a number ≥ 0, found 1"),
        ({"form": "gat"}, "cut.form cannot be \"gat\"; did you mean 'gate'?"),
        ({"form": 3}, 'cut.form must be one of "add", "gate", found 3'),
        ({"sizes": [2, 1]}, "each item of cut.sizes must be a whole number ≥ 2, found 1"),
        ({"sizes": 2}, "cut.sizes must be a list, each item a whole number ≥ 2, found 2"),
        ({"range": [1.0]}, "cut.range must be a list of 2, each item a number, found [1.0]"),
        ({"range": [1.0, 2.0, 3.0]}, "cut.range must be a list of 2, each item a number, found [1.0, 2.0, 3.0]"),
        ({"name": "simclrs"}, "cut.name cannot be \"simclrs\"; did you mean 'simclr'?"),
        ({"name": ""}, 'cut.name must be text, found ""'),
        ({"name": "a\0"}, "cut.name must be text, found"),
        ({"name": "\udcff"}, "cut.name must be text, found"),
        ({"flag": 1}, "cut.flag must be true or false, found 1"),
        ({"task": 3}, "unknown key 'cut.task'; did you mean 'tasks'?"),
    ],
)
def test_what_is_wrong_is_a_sentence_with_the_key(values: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as error:
        Cut(**values)
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)
    str(error.value).encode()
    again = pickle.loads(pickle.dumps(error.value))
    assert (str(again), again.key) == (str(error.value), error.value.key)  # type: ignore[attr-defined]


def test_lists_become_tuples_and_what_was_not_chosen_stays_so() -> None:
    cut = Cut(sizes=[2, 3])  # type: ignore[arg-type]
    assert cut.sizes == (2, 3)
    assert cut.replace(tasks=2).model_fields_set == {"sizes", "tasks"}
    with pytest.raises(InputError, match=r"cut\.tasks"):
        cut.replace(tasks=0)


class Pull:
    """A pull.

    Args:
        strength: how strong it is, > 0.
        kind: of the pull; see
            there.
        hook: called.
    """

    def __init__(
        self,
        strength: float = 2.0,
        kind: Literal["l1", "l2"] = "l2",
        steps: int | None = None,
        hook: object = None,
        **more: int,
    ) -> None:
        self.given = (strength, kind, steps, hook, more)


def test_a_constructor_says_what_it_takes() -> None:
    options = options_like(Pull, Options, name="pull", usual={"strength": 3.0})
    assert list(options.model_fields) == ["name", "strength", "kind", "steps"]
    assert options().beyond(Options) == {"name": "pull", "strength": 3.0, "kind": "l2", "steps": None}
    assert options.model_fields["kind"].description == "of the pull; see there"
    assert options.model_fields["steps"].description == "steps of Pull"
    with pytest.raises(InputError, match='must be one of "pull"|cannot be'):
        options(name="push")
    assert options_like(Pull, Options, name="pull", usual={"strength": 3.0}) is options


class Ranged:
    """Of a range."""

    def __init__(
        self, share: Fraction = 0.5, often: PositiveCount = 3, kept: Annotated[float, Gt(0)] | None = None
    ) -> None: ...


def test_ranges_of_a_constructor_are_those_of_its_options() -> None:
    options = options_like(Ranged, Options, name="ranged")
    assert options().share == 0.5
    for key, value, said in (
        ("share", 1.5, "a number ≥ 0 and ≤ 1"),
        ("often", 0, "a whole number ≥ 1"),
        ("kept", 0, "a number > 0"),
    ):
        with pytest.raises(InputError, match=re.escape(said)):
            options(**{key: value})


@pytest.mark.parametrize("name", OBJECTIVES)
def test_options_of_every_objective_build_it_and_are_copied(name: str) -> None:
    options = objective_options(name)()
    assert options.build(dim=8).name == name
    assert pickle.loads(pickle.dumps(options)) == copy.deepcopy(options) == options
    assert hash(options) == hash(objective_options(name)())


@dataclass(frozen=True)
class Measure:
    """A measure.

    Args:
        sizes: how many are taken. At least one.
        words: which.
    """

    sizes: Sequence[Annotated[int, Field(ge=1)]] = (5,)
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    words: list[str] = field(default_factory=lambda: ["a"])
    more: Sequence[str] = field(default_factory=lambda: ("b",))
    handed: bool = field(default=False, metadata=NO_OPTION)
    needed: int = field(kw_only=True)


def test_fields_of_a_dataclass_are_options_with_their_ranges() -> None:
    made = options_like(Measure, Options, section="a.measure")
    assert list(made.model_fields) == ["sizes", "share", "more"]  # no list that can be changed, nothing that is needed
    assert made() == made(sizes=[5], share=None, more=("b",))
    assert made.model_fields["sizes"].description == "how many are taken"
    assert pickle.loads(pickle.dumps(made(share=0.5))) == made(share=0.5)
    for values, told in (
        ({"sizes": (0,)}, "each item of a.measure.sizes must be a whole number ≥ 1, found 0"),
        ({"sizes": (10**10,)}, "each item of a.measure.sizes can be at most 1000000000, found 10000000000"),
        ({"share": 0.0}, "a.measure.share must be a number > 0 and ≤ 1, found 0.0"),
        ({"handed": True}, "unknown key 'a.measure.handed'"),
    ):
        with pytest.raises(InputError, match=re.escape(told)):
            made(**values)
