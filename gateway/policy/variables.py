"""The syntax of variables in the config file: `${NAME}` or `${NAME:-default}`; a default contains no variable."""

from __future__ import annotations

import re
from typing import Final

NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
DEFAULT: Final = r"(?:[^}$]|\$(?!\{))*"
VARIABLE: Final = re.compile(rf"\$\{{({NAME})(?::-({DEFAULT}))?\}}")
"""Groups: the name, and the default or None."""
ONLY_VARIABLES: Final = re.compile(rf"(?:\$\{{{NAME}(?::-)?\}})+")
"""Only variables, without a default or with an empty one."""


def is_made_of_variables(text: str) -> bool:
    """Tell whether a text consists of `${NAME}` only, so that it may be shown."""
    return ONLY_VARIABLES.fullmatch(text) is not None
