"""Completion scripts for shells: written out in full, so that no Python starts when Tab is pressed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Completions:
    """What may follow ``metatc2 COMMAND``.

    Args:
        options: of the command, e.g. ``--steps``.
        values: names that an option takes; of other options, and of those that take anything, there is none.
        words: names that may stand as the command's own argument.
    """

    options: Sequence[str]
    values: Mapping[str, Sequence[str]]
    words: Sequence[str] = ()


def bash(commands: Mapping[str, Completions]) -> str:
    """A script that bash sources."""
    cases = "\n".join(f"      '{key}') words={_listed(names)}; files= ;;" for key, names in _values(commands))
    own = "\n".join(f"      {name}) words={_listed([*c.words, *c.options])} ;;" for name, c in commands.items())
    return f"""\
# Completion of metatc2 for bash, made by `metatc2 completion bash`.
_metatc2() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} before= words= files=yes i
  COMPREPLY=()
  for (( i = COMP_CWORD - 1; i > 1; i-- )); do  # an option may take several values
    [[ ${{COMP_WORDS[i]}} == --* ]] && before=${{COMP_WORDS[i]}} && break
  done
  if (( COMP_CWORD == 1 )); then
    words={_listed([*commands, "--help", "--version"])}; files=
  elif [[ $current == -* || -z $before ]]; then
    case $command in
{own}
    esac
  else
    case "$command $before" in
{cases}
    esac
  fi
  COMPREPLY=( $(compgen -W "$words" -- "$current") )
  [[ $files && $current != -* ]] && {{ compopt -o filenames 2> /dev/null; COMPREPLY+=( $(compgen -f -- "$current") ); }}
  return 0
}}
complete -F _metatc2 metatc2
"""


def zsh(commands: Mapping[str, Completions]) -> str:
    """A script that zsh finds on its ``fpath``, or sources."""
    cases = "\n".join(f"      '{key}') compadd -- {' '.join(names)}; return ;;" for key, names in _values(commands))
    own = "\n".join(f"      {name}) compadd -- {' '.join([*c.words, *c.options])} ;;" for name, c in commands.items())
    return f"""\
#compdef metatc2
# Completion of metatc2 for zsh, made by `metatc2 completion zsh`.
_metatc2() {{
  local before= i
  if (( CURRENT == 2 )); then
    compadd -- {" ".join([*commands, "--help", "--version"])}
    return
  fi
  for (( i = CURRENT - 1; i > 2; i-- )); do  # an option may take several values
    [[ $words[i] == --* ]] && before=$words[i] && break
  done
  if [[ $words[CURRENT] == -* || -z $before ]]; then
    case $words[2] in
{own}
    esac
  else
    case "$words[2] $before" in
{cases}
    esac
  fi
  [[ $words[CURRENT] == -* ]] || _files
}}
if [[ $funcstack[1] == _metatc2 ]]; then _metatc2 "$@"; else compdef _metatc2 metatc2; fi
"""


def tcsh(commands: Mapping[str, Completions]) -> str:
    """A line that tcsh sources; it knows options and their values without the command they belong to."""
    options = dict.fromkeys(option for c in commands.values() for option in c.options)
    names: dict[str, dict[str, None]] = {}
    for c in commands.values():
        for option, values in c.values.items():
            names.setdefault(option, {}).update(dict.fromkeys(values))
    rules = [f"'p/1/({' '.join(commands)})/'", f"'c/--/({' '.join(option[2:] for option in options)})/'"]
    rules += [f"'n/{option}/({' '.join(values)})/'" for option, values in names.items()]
    rules += [f"'n/{name}/({' '.join(c.words)})/'" for name, c in commands.items() if c.words]
    return "\n".join(
        [
            "# Completion of metatc2 for tcsh, made by `metatc2 completion tcsh`.",
            f"complete metatc2 {' '.join(rules)}",
            "",
        ]
    )


#: By name of the shell.
SCRIPTS: Mapping[str, Callable[[Mapping[str, Completions]], str]] = {"bash": bash, "zsh": zsh, "tcsh": tcsh}


def _listed(words: Sequence[str]) -> str:
    return f"'{' '.join(words)}'"


def _values(commands: Mapping[str, Completions]) -> list[tuple[str, Sequence[str]]]:
    """``COMMAND --option`` and the names that it takes."""
    return [(f"{name} {option}", names) for name, c in commands.items() for option, names in c.values.items()]
