"""How a failure is told by a message alone, and how a message that only repeats a client's words is told apart.

Upstreams repeat parts of a request when they refuse it: "'API key not valid' is not one of ['auto']". If such a message
blamed the account or the model, any client could rest a target for everybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.policy.failures.kinds import Kind
from gateway.wire.json import Json

MAX_CHARS: Final = 2000
"""Characters of a message that are searched."""
MAX_BLAME_CHARS: Final = 1000
"""A longer message blames neither the account nor the model: vendors' own such messages have up to about 400."""

_BOUNDED: Final = r"(?:\b|(?!\w))"
_SAID_OF_A_VALUE: Final = re.compile(
    # A closing quote or bracket.
    r"\A[\"'`’”»)\]}>]"
    # The phrase as a subject: "X is not …", "X: is not …", "X does not …".
    r"|\A\s{0,3}[:,;=-]{0,3}\s{0,3}(?:(?:is|are|was|were|does|do|did|has|should|must)(?:n[’']t)?|cannot|not|got)\b"
    # What validators say of a value, wherever it stands.
    r"|\bnot (?:one of|in|match|permitted|allowed|a member)\b|\bnot an? (?:valid|allowed|known|supported) (?!model)"
    r"|\b(?:must|should|has to) (?:match\b|be (?:one|an?|either|in|of|equal|less|greater|at (?:least|most)|between"
    r"|string|object|['\"`\[(]))"
    r"|\bone of:?\s{0,3}[\[('\"`]|\b(?:un)?expected\b|\bdo(?:es)?n[’']t match\b|\bunrecognized\b"
    r"|\b(?:invalid|unknown|unsupported|bad|illegal) (?:value|role|type|format|option|choice|enum|field|param|property"
    r"|argument)"
    r"|\b(?:allowed|permitted|valid|accepted|supported|possible) (?:values|roles|types|formats|options|choices)\b"
    r"|\btype=|\binput_value\b|\btoo (?:long|short)\b|\bmax_?length\b",
    re.IGNORECASE,
)
"""What follows a phrase in a message that repeats it as a value of the request."""

_PARAMETER_CODE: Final = re.compile(
    r"(?:invalid|unknown|unsupported|missing|duplicate)(?:_required)?_(?:param|value|type|field|argument|property|input"
    r"|json|enum|function|image|tool|message|role|schema)\w{0,40}|\w{1,40}_(?:above|below)_(?:max|min)_\w{1,40}"
    r"|(?:extra_forbidden|literal_error|missing|string_type|value_error)\w{0,40}"
)
"""OpenAI's, vLLM's and pydantic's codes for a fault of one parameter."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """How a failure is told by a message alone."""

    kind: Kind
    patterns: tuple[re.Pattern[str], ...]
    blames: bool
    """Whether it blames the account or the model, which rests a target. Then it begins the message."""

    def tells(self, message: str) -> bool:
        """Tell whether a message says this of itself, not of a value that it repeats."""
        if not self.blames:
            return any(pattern.search(message, 0, MAX_CHARS) for pattern in self.patterns)
        if len(message) > MAX_BLAME_CHARS:
            return False
        found = (pattern.match(message) for pattern in self.patterns)
        return any(one is not None and _SAID_OF_A_VALUE.search(message[one.end() :]) is None for one in found)


def anywhere(kind: Kind, *patterns: str) -> Phrase:
    """Return a phrase that may stand anywhere in a message."""
    return Phrase(kind, tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns), blames=False)


def at_the_start(kind: Kind, *patterns: str) -> Phrase:
    """Return a phrase that must begin the message, without a quote before it, and end at the end of a word."""
    whole = (rf"\A\s{{0,3}}(?:{pattern}){_BOUNDED}" for pattern in patterns)
    return Phrase(kind, tuple(re.compile(pattern, re.IGNORECASE) for pattern in whole), blames=True)


def is_parameter_fault(error: Mapping[str, Json]) -> bool:
    """Tell whether an error object names a parameter of the request, other than the model, as what is wrong."""
    param, code = error.get("param"), error.get("code")
    if isinstance(param, str) and param and param.lower() not in {"model", "none", "null"}:
        return True
    return isinstance(code, str) and _PARAMETER_CODE.fullmatch(code.lower()) is not None
