"""Writes the tables of `configuration.md` from the models of the configuration.

python docs/keys.py            # a test compares the page with what this writes
"""

from __future__ import annotations

from pathlib import Path

from metatc2.experiment.config import Config, Key, all_keys
from metatc2.experiment.config.choices import LABELED, LEARNER, SSL
from metatc2.experiment.config.sections import CHOICES, PROTOCOL_NAMES, split_key
from metatc2.io.options import show

PAGE = Path(__file__).resolve().parent / "configuration.md"
BEGIN, END = "<!-- keys -->", "<!-- end -->"


def tables() -> str:
    """A table a section: every key with its default, what it accepts, its meaning and where it acts."""
    lines: list[str] = []
    every = all_keys()
    for section in CHOICES:
        rows = [row for name, keys in every.items() if split_key(name)[0] == section for row in _rows(name, keys)]
        if rows:  # a protocol may have no options
            lines += [f"### [{section}]", "", "| key | default | accepts | meaning | where |", "|---|---|---|---|---|"]
            lines += [*rows, ""]
    return "\n".join(lines)


def _rows(name: str, keys: tuple[Key, ...]) -> list[str]:
    if name in keys[0].when:  # the key that chooses
        words = list(dict.fromkeys(show(key.when[name]) for key in keys))
        usual = Config().value(name)
        return [
            _row(name, f"`{words[0] if usual is None else show(usual)}`", f"one of {', '.join(words)}", keys[0].doc, [])
        ]
    alike: dict[tuple[str, str, str], list[str]] = {}
    for key in keys:
        default = "*unset*" if key.default is None else f"`{show(key.default)}`"
        alike.setdefault((default, key.expected, key.doc), []).append(_where(key))
    return [_row(name, *facts, where) for facts, where in alike.items()]


def _row(name: str, default: str, accepts: str, doc: str, where: list[str]) -> str:
    cells = (f"`{name}`", default, accepts, doc, "; ".join(dict.fromkeys(filter(None, where))))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _where(key: Key) -> str:
    """The values that its member has, without those that go without saying."""
    section = split_key(key.name)[0]
    obvious = {LEARNER: SSL, PROTOCOL_NAMES: section.partition(".")[2]}
    told = [value for tag, value in key.when.items() if tag != key.name and obvious.get(tag) != value]
    told = ["labeled tasks" if value == LABELED else value for value in told]
    return ", ".join(told) if section != "head" else ""


def main() -> None:
    """Put the tables into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
