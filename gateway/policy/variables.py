"""How a variable is written in the config file: `${NAME}` or `${NAME:-default}`, the default without a variable."""

from __future__ import annotations

import re
from typing import Final

NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
DEFAULT: Final = r"(?:[^}$]|\$(?!\{))*"
VARIABLE: Final = re.compile(rf"\$\{{({NAME})(?::-({DEFAULT}))?\}}")
"""Its groups are the name and the default, None where there is none."""
ONLY_VARIABLES: Final = re.compile(rf"(?:\$\{{{NAME}(?::-)?\}})+")
"""Variables without a default of their own text."""


def is_made_of_variables(text: str) -> bool:
    """Say whether nothing but `${NAME}` stands in a text, so that showing it gives nothing away."""
    return ONLY_VARIABLES.fullmatch(text) is not None
