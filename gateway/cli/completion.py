"""`gateway completion`: a script for bash, zsh or fish, generated from the command line's parsers."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from gateway.cli.files import reading
from gateway.cli.groups import add_client_keys, groups_by_client
from gateway.cli.settings import Commands, add_command, config_path
from gateway.config.document.document import parse
from gateway.config.include import from_disk
from gateway.config.model.join import Joiner
from gateway.config.problems import codes

# Why not shtab (1.13): its bash script runs `$(…)` in an offered alias, and none of its scripts follows `--config`.

_TEXT = """\
Print a script that completes commands, flags, their values, files and the names of aliases, groups and clients in a
shell.
"""

_EPILOG = """\
examples:
  bash:  gateway completion bash > ~/.local/share/bash-completion/completions/gateway
  zsh:   gateway completion zsh > ~/.zfunc/_gateway      (with `fpath+=~/.zfunc` before compinit in .zshrc)
  fish:  gateway completion fish > ~/.config/fish/completions/gateway.fish

For one session: source <(gateway completion bash)

`aliases` and `groups` print those of the config file, one per line, `clients` those of the client keys file; the
scripts call them.

exit codes:
  0  printed
  2  wrong usage, or a config file that cannot be read
"""

ALIASES: Final = "aliases"
GROUPS: Final = "groups"
CLIENTS: Final = "clients"
FILES: Final = "files"
_SOURCES: Final = {"ALIAS": ALIASES, "GROUP": GROUPS, "CLIENT": CLIENTS}
"""Metavar → what a shell asks for."""
_FILE_WORDS: Final = frozenset({"FILE", "CONFIG", "PATH", "OLD", "NEW"})
"""Metavars of values that are names of files."""


@dataclass(frozen=True, slots=True)
class Value:
    """The possible values of a flag or an argument."""

    name: str
    words: tuple[str, ...] = ()
    source: str | None = None
    """FILES, or what is printed, when the shell completes from these; None when `words` has the values."""
    many: bool = False


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag with its spellings."""

    names: tuple[str, ...]
    text: str
    value: Value | None
    many: bool


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    name: str
    text: str
    flags: tuple[Flag, ...]
    arguments: tuple[Value, ...]


def add(commands: Commands) -> None:
    """Add the command."""
    text = "print a script that completes the command line in a shell"
    parser = add_command(commands, run, "completion", text, _TEXT, _EPILOG)
    parser.add_argument("shell", choices=("bash", "zsh", "fish", *_SOURCES.values()), help="what to print")
    parser.add_argument("--config", metavar="FILE", help="the config file for `aliases` and `groups` [GATEWAY_CONFIG]")
    add_client_keys(parser)


def run(args: argparse.Namespace) -> int:
    """Print a script or names; return the exit code. Raises UsageError."""
    if args.shell in _SOURCES.values():
        if args.shell == CLIENTS:
            names = [*(groups_by_client(args, os.environ) or ())]
        else:
            names = names_under("models" if args.shell == ALIASES else "clients", config_path(args, os.environ))
        print(*names, sep="\n")
        return 0
    from gateway.cli import build_parser

    print({"bash": bash, "zsh": zsh, "fish": fish}[args.shell](describe(build_parser())))
    return 0


def names_under(block: Literal["models", "clients"], config: Path) -> list[str]:
    """Return the names under a block that a shell can complete, even from files with problems. Raises UsageError."""
    with reading(str(config)):
        data = config.read_bytes()
        data.decode()  # an error here is told, those of included files are not
    document = Joiner(os.environ).join(parse(data, name=str(config)), from_disk(str(config), data))
    found = document.node((block,))
    names = found.members if found is not None else ()
    return [name for name in names if name.isprintable() and not any(map(str.isspace, name))]


def describe(parser: argparse.ArgumentParser) -> list[Command]:
    """Return the commands of the whole command line."""
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    texts = {action.dest: action.help or "" for action in commands._choices_actions}
    return [_command(name, texts[name], parser) for name, parser in commands.choices.items()]


def _command(name: str, text: str, parser: argparse.ArgumentParser) -> Command:
    flags, arguments = [], []
    for action in parser._actions:
        if not action.option_strings:
            arguments.append(_value(action))
            continue
        # The shell shows the first clause of the help, without the variable in brackets.
        clause = (action.help or "").split(" [")[0].split(";")[0]
        many = isinstance(action, argparse._AppendAction)
        flags.append(Flag(tuple(action.option_strings), clause, None if action.nargs == 0 else _value(action), many))
    return Command(name, text, tuple(flags), tuple(arguments))


def _value(action: argparse.Action) -> Value:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest
    source = FILES if metavar in _FILE_WORDS else _SOURCES.get(metavar)
    words = codes() if metavar == "CODE" else tuple(map(str, action.choices or ()))
    return Value(metavar.lower(), words, source, action.nargs in ("*", "+"))


_BASH: Final = """\
# bash completion of gateway, for bash 3.2 and newer
_gateway_offer() {
    [[ $1 == "$cur"* ]] && COMPREPLY+=("${1#"$kept"}")
}

_gateway_words() {
    local word
    for word in "$@"; do _gateway_offer "$word"; done
}

_gateway_files() {
    # readline completes and quotes the names itself; without compopt they are given as they are.
    local name
    compopt -o default 2>/dev/null || while IFS= read -r name; do _gateway_offer "$name"; done < <(compgen -f -- "$cur")
}

_gateway_names() {
    # A name may hold what the shell would obey: it is never expanded, and quoted where it is put in.
    local name
    while IFS= read -r name; do
        [[ $name == "$cur"* ]] && COMPREPLY+=("$(printf %q "${name#"$kept"}")")
    done < <("${words[0]}" completion "$1" ${config:+--config "$config"} \\
        ${keys:+--client-keys-file "$keys"} 2>/dev/null)
}

_gateway() {
    local line=${COMP_LINE:0:COMP_POINT} words word cur kept index config='' keys='' command='' flag='' at=0
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    cur=${words[${#words[@]} - 1]}
    COMPREPLY=()
    for ((index = 1; index < ${#words[@]} - 1; index++)); do
        word=${words[index]}
        if [[ -n $flag ]]; then
            [[ $flag == --config ]] && config=$word
            [[ $flag == --client-keys-file ]] && keys=$word
            flag=''
        elif [[ $word == --config=* ]]; then
            config=${word#*=}
        elif [[ $word == --client-keys-file=* ]]; then
            keys=${word#*=}
        elif [[ $word == -?* ]]; then
            case $command:$word in
@TAKING@) flag=$word ;;
            esac
        elif [[ -z $command ]]; then
            command=$word
        else
            ((at++))
        fi
    done
    if [[ -z $flag && $cur == --*=* ]]; then
        flag=${cur%%=*} cur=${cur#*=}
    fi
    # readline puts an offer behind the last of its word breaks.
    kept=${cur%"${cur##*[:=]}"}
    if [[ -n $flag ]]; then
        case $command:$flag in
@VALUES@
        esac
    elif [[ $cur == -* ]]; then
        case $command in
@FLAGS@
        esac
    else
        case $command:$at in
@ARGUMENTS@
        esac
    fi
}

complete -F _gateway gateway"""


def bash(commands: list[Command]) -> str:
    """Return the script for bash."""
    taking: list[str] = []
    values: list[str] = []
    flags = [_case("''", "_gateway_words --help --version")]
    arguments = [_case(":*", f"_gateway_words {_words(command.name for command in commands)}")]
    for command in commands:
        name = command.name
        flags.append(_case(name, f"_gateway_words {_words(name for flag in command.flags for name in flag.names)}"))
        for flag in command.flags:
            if flag.value is not None:
                pattern = "|".join(f"{name}:{spelling}" for spelling in flag.names)
                taking.append(pattern)
                values.append(_case(pattern, _bash_value(flag.value)))
        for index, value in enumerate(command.arguments):
            arguments.append(_case(f"{name}:{'*' if value.many else index}", _bash_value(value)))
    script = _BASH.replace("@TAKING@", " " * 12 + "|".join(taking))
    for mark, cases in (("@VALUES@", values), ("@FLAGS@", flags), ("@ARGUMENTS@", arguments)):
        script = script.replace(mark, "\n".join(cases))
    return script


def _case(pattern: str, command: str) -> str:
    return f"            {pattern}) {command} ;;"


def _bash_value(value: Value) -> str:
    if value.source is not None:
        return "_gateway_files" if value.source == FILES else f"_gateway_names {value.source}"
    return f"_gateway_words {_words(value.words)}" if value.words else ":"


_ZSH: Final = """\
#compdef gateway
_gateway_names() {
    local -a config keys names
    [[ -n ${opt_args[--config]} ]] && config=(--config "${(Q)opt_args[--config]}")
    [[ -n ${opt_args[--client-keys-file]} ]] && keys=(--client-keys-file "${(Q)opt_args[--client-keys-file]}")
    names=(${(f)"$(gateway completion $1 $config $keys 2>/dev/null)"})
    compadd -a names
}
_gateway_aliases() { _gateway_names aliases; }
_gateway_groups() { _gateway_names groups; }
_gateway_clients() { _gateway_names clients; }

_gateway() {
    local curcontext=$curcontext state line
    local -A opt_args
    local -a commands
    commands=(
@COMMANDS@
    )
    _arguments -C '(- *)'{-h,--help}'[show the help]' '(- *)--version[show the version]' \\
        '1: :->command' '*:: :->rest'
    case $state in
        command) _describe command commands ;;
        rest)
            case $words[1] in
@CASES@
            esac ;;
    esac
}

if [[ $funcstack[1] == _gateway ]]; then _gateway "$@"; else compdef _gateway gateway; fi"""


def zsh(commands: list[Command]) -> str:
    """Return the script for zsh, which can be sourced or put on its `fpath`."""
    named = "\n".join(f"        {_quoted(f'{command.name}:{command.text}')}" for command in commands)
    cases = []
    for command in commands:
        specs = [_zsh_flag(flag, name) for flag in command.flags for name in flag.names]
        for index, value in enumerate(command.arguments, 1):
            place = "*" if value.many else str(index)
            specs.append(_quoted(f"{place}:{value.name}:{_zsh_value(value)}"))
        cases.append(f"                {command.name}) _arguments {' '.join(specs)} ;;")
    return _ZSH.replace("@COMMANDS@", named).replace("@CASES@", "\n".join(cases))


def _zsh_flag(flag: Flag, name: str) -> str:
    text = flag.text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    exclusive = "*" if flag.many else f"({' '.join(flag.names)})"
    joined = "=" if flag.value is not None and name.startswith("--") else ""
    value = f":{flag.value.name.replace(':', '')}:{_zsh_value(flag.value)}" if flag.value is not None else ""
    return _quoted(f"{exclusive}{name}{joined}[{text}]{value}")


def _zsh_value(value: Value) -> str:
    if value.words:
        return f"({' '.join(value.words)})"
    if value.source is None:
        return " "
    return "_files" if value.source == FILES else f"_gateway_{value.source}"


_FISH: Final = """\
# fish completion of gateway
function __gateway_command
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"
end

function __gateway_names
    set -l words (commandline -opc)
    set -l flags
    for flag in --config --client-keys-file
        if set -l at (contains -i -- $flag $words)
            set -a flags $flag $words[(math $at + 1)]
        end
    end
    $words[1] completion $argv[1] $flags 2>/dev/null
end

complete -c gateway -f
complete -c gateway -n '__gateway_command ""' -s h -l help -d 'show the help'
complete -c gateway -n '__gateway_command ""' -l version -d 'show the version'"""


def fish(commands: list[Command]) -> str:
    """Return the script for fish."""
    lines = [_FISH]
    for command in commands:
        lines.append(f"""complete -c gateway -n '__gateway_command ""' -a {command.name} -d {_fish(command.text)}""")
        where = f"complete -c gateway -n '__gateway_command {command.name}'"
        for flag in command.flags:
            spelled = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
            value = f" {_fish_value(flag.value, only='-x')}" if flag.value is not None else ""
            lines.append(f"{where} {spelled}{value} -d {_fish(flag.text)}")
        lines += [f"{where} {_fish_value(value)}" for value in command.arguments if value.source or value.words]
    return "\n".join(lines)


def _fish_value(value: Value, *, only: str = "") -> str:
    if value.source == FILES:
        return "-r -F" if only else "-F"
    if value.source is not None:
        return f"{only} -a '(__gateway_names {value.source})'".strip()
    return f"{only} -a {_fish(' '.join(value.words))}".strip() if value.words else only


def _fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _words(words: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, words))


def _quoted(text: str) -> str:
    """Quote a text for zsh, even one that needs no quotes."""
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"
