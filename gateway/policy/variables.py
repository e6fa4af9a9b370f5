"""Variables in the config file, `${NAME}` or `${NAME:-default}`: their syntax, and what a text expands to.

A default contains no variable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
DEFAULT: Final = r"(?:[^}$]|\$(?!\{))*"
VARIABLE: Final = re.compile(rf"\$\{{({NAME})(?::-({DEFAULT}))?\}}")
"""Groups: the name, and the default or None."""
ONLY_VARIABLES: Final = re.compile(rf"(?:\$\{{{NAME}(?::-)?\}})+")
"""Only variables, without a default or with an empty one."""
PART: Final = re.compile(rf"\$(?:(\$)|\{{(?:({NAME})(?::-({DEFAULT}))?\}})?)")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NO_VARIABLE: Final = (
    "'${' begins no variable; write ${NAME}, ${NAME:-default} (no variable in the default), or $$ for a dollar"
)


def is_made_of_variables(text: str) -> bool:
    """Tell whether a text consists of `${NAME}` only, so that it may be shown."""
    return ONLY_VARIABLES.fullmatch(text) is not None


def names_in(text: str) -> tuple[str, ...]:
    """Return the names of the variables in a text, in its order."""
    return tuple([match[2] for match in PART.finditer(text) if match[2] is not None])


class BadVariable(Exception):
    """The text has a malformed `${`, or the variable's value is not UTF-8. `str(exc)` is the problem's message."""


class UnsetVariable(Exception):
    """The text names a variable that is not set and has no default. `str(exc)` is the problem's message."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return the text with each variable replaced; values are not expanded again. Raises BadVariable or UnsetVariable.

    As in a shell, the default after `:-` also replaces an empty value. Without a default an empty value stays empty.
    """

    def replaced(match: re.Match[str]) -> str:
        dollar, name, default = match.groups()
        if dollar is not None:
            return "$"
        if name is None:
            raise BadVariable(_NO_VARIABLE)
        value = environ.get(name)
        if default is not None:
            value = value or default.replace("$$", "$")
        if value is None:
            raise UnsetVariable(name)
        if _SURROGATE.search(value):
            raise BadVariable(f"the value of the environment variable {name} is not UTF-8")
        return value

    return PART.sub(replaced, text)
