"""Parsers of commands, and settings: from flags, else from environment variables, else built in."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, TypeVar

from gateway.errors import UsageError
from gateway.words import seconds

T = TypeVar("T")

DEFAULT_CONFIG: Final = Path("routes.yaml")

_SIZE: Final = re.compile(r"(\d+)\s*(?:([kmg])(i?b)?|b)?", re.IGNORECASE)
_UNITS: Final = {1000: {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}, 1024: {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}}
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""The subparsers that each command's `add` extends."""

FORMATTED: Final[Mapping[str, Any]] = MappingProxyType(
    {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
)
"""Options of every parser: help texts keep their line breaks, flags are written in full."""


def add_command(
    commands: Commands, run: Callable[[argparse.Namespace], int], name: str, text: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    """Add the command that `run` executes, and return its parser.

    `text` is its line in `gateway --help`; `description` and `epilog` are its own help.
    """
    parser = commands.add_parser(name, help=text, description=description, epilog=epilog, **FORMATTED)
    parser.set_defaults(run=run, file=None, config=None)
    return parser


def config_path(args: argparse.Namespace, environ: Mapping[str, str]) -> Path:
    """Return the config file: the argument, else `--config`, else GATEWAY_CONFIG, else ./routes.yaml."""
    given = args.file or args.config or environ.get("GATEWAY_CONFIG")
    return Path(given) if given else DEFAULT_CONFIG


def add_flag(
    parser: argparse._ActionsContainer,
    name: str,
    metavar: str,
    text: str,
    *,
    many: bool = False,
    optional: bool = False,
) -> None:
    """Add `--name` to a parser, for `Settings` to parse; its help names the environment variable.

    With `optional` the flag may have no value, which is parsed as an empty text.
    """
    text = f"{text} [{_variable(name)}]"
    if optional:
        parser.add_argument(f"--{name}", metavar=metavar, nargs="?", const="", help=text)
    else:
        parser.add_argument(f"--{name}", metavar=metavar, action="append" if many else "store", help=text)


def _variable(name: str) -> str:
    return f"GATEWAY_{name.upper().replace('-', '_')}"


class Settings:
    """Reads flags that were added with `add_flag`. Raises UsageError, naming the flag or variable at fault."""

    def __init__(self, args: argparse.Namespace, environ: Mapping[str, str]) -> None:
        self._args = vars(args)
        self._environ = environ

    def get(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """Return the parsed value of `--name`, else of its variable, else the default. An empty variable is unset.

        `parse` raises ValueError for a text that is not valid.
        """
        given = self._args.get(name.replace("-", "_"))
        if given is not None:
            return self._parse(f"--{name}", given, parse)
        variable = _variable(name)
        text = self._environ.get(variable, "").strip()
        return self._parse(variable, text, parse) if text else default

    def get_all(self, name: str) -> tuple[str, ...]:
        """Return every value of a repeatable flag; its variable separates them by blanks or commas."""
        given = self._args.get(name.replace("-", "_"))
        return tuple(self._environ.get(_variable(name), "").replace(",", " ").split() if given is None else given)

    def is_on(self, name: str) -> bool:
        """Tell whether a switch is set."""
        return bool(self._args.get(name)) or Settings(argparse.Namespace(), self._environ).get(name, boolean, False)

    @staticmethod
    def _parse(source: str, text: str, parse: Callable[[str], T]) -> T:
        try:
            return parse(text)
        except ValueError as exc:
            raise UsageError(f"{source} is {text!r}; it must be {exc}") from None


def port(text: str) -> int:
    """Read a TCP port; 0 lets the system choose."""
    digits = text.lstrip("0") or "0"
    if not (text and digits.isascii() and digits.isdigit() and int(digits[:6]) < 65536):
        raise ValueError("a port number from 0 to 65535")
    return int(digits)


def number(text: str) -> int | None:
    """Read a limit of a number of things."""
    if not (text.isascii() and text.isdigit() and int(text[:10]) > 0 and len(text) <= 9):
        raise ValueError("a whole number above zero")
    return int(text)


def is_kubernetes(name: str, environ: Mapping[str, str]) -> bool:
    """Tell whether a variable of a port is Kubernetes' own, which it sets beside a Service of that name: `tcp://…`."""
    return environ.get(name, "").strip().startswith("tcp://")


def size(text: str) -> int:
    """Read a number of bytes, such as `1048576`, `512k`, `32MiB` (1024 each) or `10MB` (1000 each)."""
    match = _SIZE.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError("a size above zero, such as 32MiB")
    base = 1000 if (match[3] or "").lower() == "b" else 1024
    return int(match[1]) * _UNITS[base][(match[2] or "").lower()]


def size_or_none(text: str) -> int:
    """Read a number of bytes as `size` does, or 0."""
    if text == "0":
        return 0
    try:
        return size(text)
    except ValueError:
        raise ValueError("a size, such as 64MiB, or 0") from None


def duration_s(text: str) -> float:
    """Read a duration in seconds, written as in the config file: `250ms`, `10s`, `2m`, `1h` or a number of seconds."""
    try:
        return seconds(text)
    except ValueError:
        raise ValueError("a duration, such as 30s") from None


def boolean(text: str) -> bool:
    """Read a switch of the environment."""
    word = text.lower()
    if word not in _YES | _NO:
        raise ValueError("1 or 0")
    return word in _YES


def log_format(text: str) -> Literal["json", "text"]:
    """Read how log lines look."""
    match text.lower():
        case "json" | "text" as found:
            return found
    raise ValueError("json or text")


def log_level(text: str) -> str:
    """Read a log level."""
    level = text.lower()
    if level not in {"debug", "info", "warning", "error"}:
        raise ValueError("debug, info, warning or error")
    return level
