"""Registries: names without imports, packages' own, installed ones, and sentences for what is wrong."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from metatc2.errors import InputError
from metatc2.io import registries
from metatc2.io.registry import Registry, _offered

from ..command_line import PATIENCE

PLANT = """
from plants.lists import PLANTS

@PLANTS.register("oak")
class Oak: ...


def register_plant(name):
    return PLANTS.register(name)


@register_plant("elm")
class Elm: ...
"""


@pytest.fixture
def plants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[type]:
    """A package whose file registers `elm` by the decorator."""
    package = tmp_path / "plants"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "lists.py").write_text(
        'from metatc2.io.registry import Registry\nPLANTS = Registry("plant", "plants", "register_plant")\n'
    )
    (package / "trees.py").write_text(PLANT)
    (package / "broken.py").write_text('@register_plant("yew")\nclass Yew: ...\n')
    about = tmp_path / "garden-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: garden\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[plants]\nfern = collections:OrderedDict\nmoss = nowhere.at_all:Moss\nherb:SORT = nowhere:X\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "plants"]:
        monkeypatch.delitem(sys.modules, name)
    from plants.lists import PLANTS  # type: ignore[import-not-found]

    found: Registry[type] = PLANTS
    return found


def test_names_are_known_before_anything_is_imported(plants: Registry[type]) -> None:
    assert list(plants) == ["elm", "yew", "fern", "moss", "herb:SORT"]
    assert "plants.trees" not in sys.modules
    assert plants["elm"].__name__ == "Elm"
    assert "plants.trees" in sys.modules


def test_installed_packages_add_theirs(plants: Registry[type]) -> None:
    assert plants["fern"].__name__ == "OrderedDict"


def test_a_package_that_is_broken_is_named(plants: Registry[type]) -> None:
    with pytest.raises(InputError, match=r"plant 'moss' is offered by the package garden .* nowhere\.at_all:Moss"):
        plants["moss"]


def offer(tmp_path: Path, package: str, lines: str) -> None:
    about = tmp_path / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(lines)
    _offered.cache_clear()


@pytest.mark.parametrize(
    ("at_import", "said"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise ValueError('a\\x1b[31m\\nb')", r"ValueError: a\\x1b\[31m\\nb"),
        ("def f(:", "SyntaxError"),
        ("", "AttributeError"),
    ],
)
def test_a_package_that_does_something_else_when_it_is_imported(
    at_import: str, said: str, plants: Registry[type], tmp_path: Path
) -> None:
    (tmp_path / "weeds.py").write_text(at_import)
    sys.modules.pop("weeds", None)
    (tmp_path / "plants" / "broken.py").unlink()  # ours, whose faults are no package's
    offer(tmp_path, "weed", "[plants]\ndock = weeds:Dock\n")
    with pytest.raises(InputError, match=f"plant 'dock' is offered by the package weed and cannot be loaded .*{said}"):
        plants["dock"]
    assert list(plants.loadable()) == ["elm", "fern"]


def test_a_name_that_two_packages_offer(plants: Registry[type], tmp_path: Path) -> None:
    offer(tmp_path, "weed", "[plants]\nfern = collections:Counter\nivy = collections:Counter\n")
    with pytest.raises(InputError, match="plant 'fern' is offered by the packages garden and weed; remove one"):
        plants["fern"]
    assert plants["ivy"].__name__ == "Counter"


def test_something_of_another_kind(plants: Registry[type], tmp_path: Path) -> None:
    offer(
        tmp_path, "weed", "[plants]\nnettle = sys:maxsize\nivy = collections:Counter\nrose = collections:OrderedDict\n"
    )
    with pytest.raises(InputError, match=r"the package weed and is an int \(sys:maxsize\), not a function or class"):
        plants["nettle"]
    (tmp_path / "plants" / "base.py").write_text("from collections import OrderedDict\n")
    of_base: Registry[type] = Registry("plant", "plants", "register_plant", base="OrderedDict")
    assert of_base["rose"].__name__ == "OrderedDict"
    with pytest.raises(InputError, match=r"is a type \(collections:Counter\), not a subclass of OrderedDict"):
        of_base["ivy"]


def test_names_that_none_can_have_are_passed_over(plants: Registry[type], tmp_path: Path) -> None:
    offer(
        tmp_path,
        "weed",
        "[plants]\n\x1b[31mred = sys:exit\nTALL = sys:exit\na b = sys:exit\n",
    )
    assert list(plants) == ["elm", "yew", "fern", "moss", "herb:SORT"]


def test_a_list_of_entry_points_that_cannot_be_read(plants: Registry[type], tmp_path: Path) -> None:
    offer(tmp_path, "weed", "[plants]\nno equals sign\n")
    with pytest.warns(UserWarning, match="the package weed has a list of entry points that cannot be read"):
        assert plants["fern"].__name__ == "OrderedDict"
    _offered.cache_clear()


@pytest.mark.parametrize(
    "registry", [v for v in vars(registries).values() if isinstance(v, Registry) and v._base], ids=repr
)
def test_what_packages_must_offer_is_what_we_do(registry: Registry[type]) -> None:
    base = getattr(importlib.import_module(f"{registry._package}.base"), registry._base)
    assert issubclass(registry[next(iter(registry))], base)


def test_a_running_program_adds_its_own_and_takes_no_name_twice(plants: Registry[type]) -> None:
    @plants.register("cactus")
    class Cactus: ...

    assert plants["cactus"] is Cactus
    with pytest.raises(InputError, match=r"plant 'cactus' is registered already, by .*Cactus; choose another name"):
        plants.register("cactus")(int)
    for name, owner in (("elm", "plants.trees"), ("fern", "collections")):  # neither has been loaded
        with pytest.raises(InputError, match=f"plant {name!r} is registered already, by {owner}"):
            plants.register(name)(Cactus)
    with pytest.raises(InputError, match="plant 'Big Oak' cannot be a name"):
        plants.register("Big Oak")


def test_unknown_names_say_what_is_near(plants: Registry[type]) -> None:
    with pytest.raises(
        InputError, match=r"unknown plant 'elms'; did you mean 'elm'\? Known: elm, fern, herb:SORT, moss, yew"
    ):
        plants["elms"]
    assert "elms" not in plants


def test_a_name_may_end_in_a_place_for_a_word(plants: Registry[type]) -> None:
    assert plants.resolve("elm") == ("elm", "")
    assert plants.resolve("herb:mint:green") == ("herb:SORT", "mint:green")
    with pytest.raises(InputError, match=r"plant 'herb:' lacks its sort; write herb:SORT"):
        plants.resolve("herb:")
    for text in ("herb", "elm:mint", "elms", "", ":"):
        with pytest.raises(InputError, match=f"unknown plant '{text}'"):
            plants.resolve(text)


@pytest.mark.parametrize("registry", [v for v in vars(registries).values() if isinstance(v, Registry)], ids=repr)
def test_every_name_of_ours_leads_to_something(registry: Registry[object]) -> None:
    assert len(registry) > 1
    for name in registry:
        assert registry[name] is not None


def test_listing_names_imports_no_torch() -> None:
    code = (
        "import sys; from metatc2.io import registries; from metatc2.io.registry import Registry; "
        "found = [list(v) for v in vars(registries).values() if isinstance(v, Registry)]; "
        "assert len(found) > 8 and all(found) and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)
