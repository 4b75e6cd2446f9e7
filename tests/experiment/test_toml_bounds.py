"""TOML that takes the parser too long is refused before it is parsed."""

from __future__ import annotations

from pathlib import Path

import pytest

from metatc2.errors import InputError
from metatc2.io.reading import MOST_TOML, parse_toml, read_toml

MANY = ".".join("a" * 20_000)


@pytest.mark.parametrize(
    "text", [f"{MANY} = 1", f"[{MANY}]", f"x = {{{MANY} = 1}}", ".".join(['"a"'] * 20_000) + " = 1"]
)
def test_keys_of_many_parts_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "task.toml"
    file.write_text(f"\n{text}\n")
    with pytest.raises(InputError, match="task.toml: line 2: a key of more than 32 parts"):
        read_toml(file)


def test_dots_in_texts_and_numbers_are_no_keys() -> None:
    assert parse_toml(f'x = "{MANY}"') == {"x": MANY}
    assert len(parse_toml(f"x = [{', '.join(['0.5'] * 100)}]")["x"]) == 100


def test_a_file_of_settings_is_small(tmp_path: Path) -> None:
    file = tmp_path / "task.toml"
    file.write_text("#" * (MOST_TOML + 1))
    with pytest.raises(InputError, match="larger than 1 MiB, so not a file of settings"):
        read_toml(file)
