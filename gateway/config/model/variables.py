"""`${NAME}` and `${NAME:-default}` in the values of a document: found, looked up, and turned into the type wanted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from gateway.config.document.document import Document
from gateway.config.document.yaml_tree import Node, Where, resolve
from gateway.config.model.schema_faults import rules_types
from gateway.policy.problem import Problem, Severity
from gateway.policy.variables import DEFAULT, NAME, VARIABLE
from gateway.wire.json import Json, JsonObject

_PART: Final = re.compile(rf"\$(?:(\$)|\{{(?:({NAME})(?::-({DEFAULT}))?\}})?)")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


_NO_VARIABLE: Final = (
    "'${' begins no variable; write ${NAME}, ${NAME:-default} (no variable in the default), or $$ for a dollar"
)


class BadVariable(Exception):
    """The text has a `${` that begins no variable. Its message is a problem's."""


class UnsetVariable(Exception):
    """The text names a variable that is not set and has no default."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return a text with its variables replaced, once. Raises BadVariable or UnsetVariable.

    As in a shell, `:-` gives the default for an empty variable too, and an empty variable without it is empty.
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

    return _PART.sub(replaced, text)


class Expander:
    """Expands the values of one document, and notes what is wrong with their variables."""

    def __init__(self, document: Document, environ: Mapping[str, str], *, strict_env: bool) -> None:
        self.problems: list[Problem] = []
        self.unset_keys: set[Where] = set()
        """The places of `api_key` values that name a variable which is not set."""
        self._document = document
        self._environ = environ
        self._strict_env = strict_env
        self._stand_ins = 0

    def value(self, node: Node, where: Where, rule: JsonObject | None) -> Json:
        """Return a node's value with every variable expanded; the very same object where it holds none.

        `rule` is the inlined part of the schema for the node; None where anything is taken.
        """
        if not node.variables:
            return node.value
        rule = rule or {}
        if isinstance(node.children, dict):
            known = rule.get("properties", {})
            other = rule.get("additionalProperties")
            return {
                key: self.value(child, (*where, key), known.get(key, other if isinstance(other, dict) else None))
                for key, child in node.children.items()
            }
        if isinstance(node.children, list):
            items = rule.get("items")
            return [self.value(child, (*where, index), items) for index, child in enumerate(node.children)]
        return self._scalar(node, where, rule)

    def _scalar(self, node: Node, where: Where, rule: JsonObject) -> Json:
        try:
            text = expand(node.value, self._environ)
        except BadVariable as exc:
            self.problems.append(self._document.problem("bad-variable", where, str(exc)))
            return self._stand_in()
        except UnsetVariable as exc:
            self._unset(where, str(exc))
            return self._stand_in()
        value = _typed(text, node, rules_types(rule))
        if isinstance(value, float) and not math.isfinite(value):
            message = "the variable's value is a number that does not fit into 64 bits"
            self.problems.append(self._document.problem("bad-number", where, message))
            return self._stand_in()
        if isinstance(value, str) and ("pattern" in rule or "if" in rule) and VARIABLE.search(value):
            message = "the expanded text holds '${' again, and nothing is expanded twice"
            self.problems.append(self._document.problem("bad-variable", where, message))
            return self._stand_in()
        return value

    def _stand_in(self) -> str:
        """Return what the schema takes everywhere, so that one fault stays one problem. No two are the same."""
        self._stand_ins += 1
        return f"${{_{self._stand_ins}}}"

    def _unset(self, where: Where, message: str) -> None:
        is_key = len(where) == 3 and where[0] == "providers" and where[2] == "api_key"
        severity: Severity = "warning" if is_key and not self._strict_env else "error"
        if is_key:
            self.unset_keys.add(where)
        self.problems.append(self._document.problem("unset-variable", where, message, severity=severity))


def _typed(text: str, node: Node, types: frozenset[str]) -> Json:
    """Return expanded text as the type wanted there.

    Where any is taken, text without quotes is read as YAML is, and so is a single variable: between braces it needs
    quotes, so they say nothing about its type.
    """
    if types == {"string"}:
        return text
    value = resolve(text)
    if not types:
        return value if node.plain or VARIABLE.fullmatch(node.value) else text
    if isinstance(value, (int, float)) and not isinstance(value, bool) and types & {"integer", "number"}:
        return value
    return text
