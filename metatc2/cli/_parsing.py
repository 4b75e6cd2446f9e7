"""Words of the command line to a command that is ready to run; what is wrong with them as one sentence."""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import io
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tyro

from metatc2.cli._args import merge_repeated
from metatc2.cli._completion_scripts import SCRIPTS, Completions
from metatc2.errors import InputError, nearest
from metatc2.experiment.config.former import former_value
from metatc2.experiment.config.task_files import task_folder
from metatc2.io.plain_text import brief
from metatc2.io.registries import (
    ADJOINTS,
    ATTENTIONS,
    CONDITIONS,
    ENCODERS,
    FUSION_BASELINES,
    LEARNERS,
    MEASURES,
    OBJECTIVES,
    PROTOCOLS,
    REGULARIZERS,
)
from metatc2.io.source_names import path_kinds
from metatc2.io.suggest import command as suggested

_DESCRIPTION = (
    "Self-supervised pre-training as meta-learning: task conflict calibration, transfer, comparison. "
    "`metatc2 COMMAND --help` says what a command takes, with examples; "
    "`metatc2 --version` which version this is."
)
# Lines and corners of the boxes that tyro puts around what it says: drawn ones, and those for a terminal in ASCII.
_BOX = re.compile(r"[\u2500-\u257f]+|^\s*[+|]|[+|]\s*$|(?<![^\s+|])-{3,}(?![^\s+|])")
_ENDS = (
    "For full helptext",
    "Argument helptext",
    "Got errors",
    "Similar arguments",
    "Perhaps you meant",
    "Similar options",
)


class Parser:
    """The sub-commands together.

    Args:
        commands: functions whose signature and docstring say what they take, in the order of ``--help``.
    """

    def __init__(self, commands: Sequence[Callable[..., None]]) -> None:
        self.names = [command.__name__ for command in commands]
        self.options = {command.__name__: _options(command) for command in commands}
        self._commands = {command.__name__: command for command in commands}

    def parse(self, words: Sequence[str]) -> Callable[[], None]:
        """The command with its arguments, to be called.

        Raises:
            InputError: if the words do not make a command.
            SystemExit: after the help has been printed, which no word at all asks for as well.
        """
        words = words or ["--help"]
        _check(words)
        asked = self._commands.get(words[0])
        if asked is None and not words[0].startswith("-"):
            raise InputError(
                f"unknown command {brief(words[0])}; {nearest(words[0], self.names)}; see {suggested('--help')}"
            )
        if asked is not None:
            # Not before: looking for what installed packages offer takes time, which the help of all commands need not.
            asked.__doc__ = filled(asked.__doc__ or "")
        said = io.StringIO()
        try:
            # Only what is wrong is said there; help goes to standard output.
            with contextlib.redirect_stderr(said):
                command: Callable[[], None] = (
                    self._all().cli(args=words, prog="metatc2", description=_DESCRIPTION)
                    if asked is None
                    # A parser of this command alone takes half the time of one that could tell all of them apart.
                    else tyro.cli(_deferred(asked), args=merge_repeated(words)[1:], prog=f"metatc2 {words[0]}")
                )
        except SystemExit as stop:
            if not stop.code:
                raise
            raise InputError(self._sentence(said.getvalue(), words)) from None
        return command

    def _all(self) -> tyro.extras.SubcommandApp:
        app = tyro.extras.SubcommandApp()
        for command in self._commands.values():
            ready = _deferred(command)
            ready.__doc__ = inspect.cleandoc(command.__doc__ or "").partition("\n\n")[0]  # its own help says the rest
            app.command(ready)
        return app

    def completions(self) -> dict[str, Completions]:
        """What may follow each command, for the scripts of shells."""
        return {
            name: Completions(
                [*options, "--help"],
                {option: [*names()] for option in options if (names := _TAKES.get(option)) is not None},
                [*_ARGUMENTS[name]()] if name in _ARGUMENTS else (),
            )
            for name, options in self.options.items()
        }

    def _sentence(self, box: str, words: Sequence[str]) -> str:
        if missing := _missing(box):
            return f"{words[0]}: no {' and no '.join(missing)}; see {suggested(words[0], '--help')}"
        lines = [_BOX.sub(" ", line).strip() for line in box.splitlines()]
        # The first line is the title of the box, and says less than what follows.
        told = " ".join(line for line in lines[1:] if line)
        for end in _ENDS:
            told = told.partition(end)[0]
        told = _as_typed(re.sub(r"\s+", " ", told).strip(), words)
        told = told.replace(" Available subcommands:", "; there are")
        told = re.sub(r"no type matching \{None\} ?\| ?(\w+) could be instantiated from", r"expected \1, found", told)
        told = re.sub(r"Could not find valid parse for arguments: (\[.*?\])", r"expected numbers, found \1", told)
        command = next((word for word in words[:1] if word in self.names), None)
        if command is not None and (unknown := self._unknown(command, words[1:])):
            # Said first: tyro may complain of a missing word instead, which an option took for its value.
            own = self.options[command]
            close = difflib.get_close_matches(unknown[2:], [option[2:] for option in own], n=1)
            there = f"did you mean --{close[0]}?" if close else f"{command} has {', '.join(own) or 'none'}"
            told = f"unknown option {brief(unknown)}; {there}"
        help_of = suggested(command, "--help") if command else suggested("--help")
        return f"{brief(told, 300) or 'the words of the command line cannot be read'}; see {help_of}"

    def _unknown(self, command: str, words: Sequence[str]) -> str:
        """The first option that the command does not have."""
        known = {*self.options[command], "--help"}
        named = [word.partition("=")[0] for word in words if word.startswith("--")]
        plain = (name.replace("_", "-").replace("--no-", "--", 1) for name in named)
        return next((name for name, option in zip(named, plain, strict=True) if not {name, option} & known), "")


def _missing(box: str) -> list[str]:
    """The arguments that a command cannot do without: in tyro's box they stand further left than what explains them.

    >>> _missing("| Missing from metatc2 umm: |\\n|     DIR        |\\n|         A run. |\\n|     --split AT |")
    ['DIR', '--split AT']
    """
    _, title, below = box.partition("Missing from")
    lines = [line for line in (_BOX.sub(" ", line) for line in below.splitlines()[1:]) if line.strip()] if title else []
    lines = [*itertools.takewhile(lambda line: "For full helptext" not in line, lines)]
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return [line.strip() for line in lines if not line[indent].isspace()]


def _as_typed(told: str, words: Sequence[str]) -> str:
    """What was read out of a box, without the mark at its end, and with the user's own words as they were typed.

    >>> _as_typed("Unrecognized options: :smile: a b.", [":smile:", "a  b"])
    'Unrecognized options: :smile: a  b'
    >>> _as_typed("Unrecognized options: :smile:", [":smile:"])
    'Unrecognized options: :smile:'
    """
    if not told.endswith(tuple(word for word in words if word)):
        told = told.rstrip(" .:")
    for word in words:
        boxed = re.sub(r"\s+", " ", _BOX.sub(" ", word)).strip()
        if boxed != word and boxed:
            told = told.replace(boxed, word)
    return told


def _options(command: Callable[..., None]) -> list[str]:
    parameters = inspect.signature(command).parameters.values()
    return [f"--{p.name.replace('_', '-')}" for p in parameters if p.kind is p.KEYWORD_ONLY]


def _check(words: Sequence[str]) -> None:
    for before, word in zip(("metatc2", *words), words, strict=False):
        if not word:
            raise InputError(
                f"the word after {brief(before)} is empty (a variable of the shell that is not set?); give it a value or "
                "leave both out"
            )
        if "\0" in word:
            raise InputError(f"the word {brief(word)} holds a NUL character, which no name can; leave it out")
    for flag, word in itertools.pairwise(words):
        # tyro takes it for Python's None, that is for the default: of --calibration that would be TC² in place of none.
        if flag.startswith("--") and "=" not in flag and word == "None":
            raise InputError(f"{flag} None: no such value; leave {flag} out for its default, or see `metatc2 --help`")
    for word, following in itertools.pairwise((*words, "")):
        flag, equals, value = word.partition("=")
        if flag == "--calibration" and (now := former_value("calibration.name", value if equals else following)):
            raise InputError(f"{flag} {value if equals else following}: no such value any more; {now}")
    for word in words:
        if word.startswith("--") and word.endswith("=None"):
            raise InputError(f"{word}: no such value; leave it out for its default, or see `metatc2 --help`")


def _deferred(command: Callable[..., None]) -> Callable[..., Any]:
    """The same to tyro, which calls it: what it returns is called when parsing is over."""

    @functools.wraps(command)
    def ready(*given: Any, **named: Any) -> Callable[[], None]:
        return functools.partial(command, *given, **named)

    return ready


_NAMED: dict[str, Callable[[], Iterable[str]]] = {
    "objectives": lambda: OBJECTIVES,
    "regularizers": lambda: REGULARIZERS,
    "conditions": lambda: CONDITIONS,
    "adjoints": lambda: ADJOINTS,
    "encoders": lambda: ENCODERS,
    "measures": lambda: MEASURES,
    "path kinds": path_kinds,
}

# Names that an option takes, whichever command has it.
_TAKES: dict[str, Callable[[], Iterable[str]]] = {
    "--objective": lambda: OBJECTIVES,
    "--calibration": lambda: ("none", "standardize", "tasks", "tc2"),
    "--regularize": lambda: ("none", *REGULARIZERS),
    "--condition": lambda: ("none", *CONDITIONS),
    "--learner": lambda: ("ssl", *LEARNERS),
    "--adjoint": lambda: ADJOINTS,
    "--encoder": lambda: [name for name in ENCODERS if ":" not in name],
    "--precision": lambda: ("32-true", "bf16-mixed"),
    "--protocol": lambda: PROTOCOLS,
    "--features": lambda: ("encoder", "calibrated", "adapted"),
    "--attention": lambda: ATTENTIONS,
    "--baseline": lambda: FUSION_BASELINES,
}


def _tasks() -> list[str]:
    return [path.stem for path in sorted(task_folder().glob("*.toml"))]


# Names that stand as a command's own argument.
_ARGUMENTS: dict[str, Callable[[], Iterable[str]]] = {
    "pretrain": _tasks,
    "config": _tasks,
    "tasks": _tasks,
    "completion": lambda: SCRIPTS,
}


def filled(text: str) -> str:
    """A docstring with the names that are registered now, those of installed packages included, where it asks for them.

    Lines of one argument are joined, since a terminal breaks them elsewhere.

    >>> print(filled("Train.\\n\\n    Args:\\n        regularizer: one of\\n            {regularizers}."))
    Train.
    <BLANKLINE>
    Args:
        regularizer: one of isotropy, sigreg or visreg.
    """
    text = re.sub(r"\n {8}(?! )", " ", inspect.cleandoc(text))

    def names(place: re.Match[str]) -> str:
        *others, last = _NAMED[place[1]]()
        return f"{', '.join(others)} or {last}" if others else last

    return re.sub(rf"\{{({'|'.join(_NAMED)})\}}", names, text)
