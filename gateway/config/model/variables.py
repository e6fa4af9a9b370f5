"""Expand `${NAME}` and `${NAME:-default}` in the values of a document, into the types that the schema wants."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gateway.config.document.document import Document
from gateway.config.document.yaml_tree import Node, Where, resolve
from gateway.config.model.schema_faults import rules_types
from gateway.policy.problem import Problem, Severity
from gateway.policy.variables import VARIABLE, BadVariable, UnsetVariable, expand
from gateway.wire.json import Json, JsonObject


class Expander:
    """Expands the values of one document and collects the problems of their variables."""

    def __init__(self, document: Document, environ: Mapping[str, str], *, strict_env: bool) -> None:
        self.problems: list[Problem] = []
        self.refused: list[Where] = []
        """Places of those that are errors."""
        self.unset_keys: set[Where] = set()
        """Places of `api_key` values whose variable is not set."""
        self._document = document
        self._environ = environ
        self._strict_env = strict_env

    def value(self, node: Node, where: Where, rule: JsonObject | None) -> Json:
        """Return a node's value with every variable expanded; the same object when it has no variable.

        `rule` is the inlined part of the schema for the node; None where the schema takes any value.
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
            return self._refuse("bad-variable", where, str(exc))
        except UnsetVariable as exc:
            is_key = len(where) in (3, 4) and where[0] == "providers" and where[2] == "api_key"
            if is_key:
                self.unset_keys.add(where)
            is_warning = is_key and not self._strict_env
            return self._refuse("unset-variable", where, str(exc), severity="warning" if is_warning else "error")
        value = _typed(text, node, rules_types(rule))
        if isinstance(value, float) and not math.isfinite(value):
            return self._refuse("bad-number", where, "the variable's value is a number that does not fit into 64 bits")
        if isinstance(value, str) and ("pattern" in rule or "if" in rule) and VARIABLE.search(value):
            return self._refuse(
                "bad-variable", where, "the expanded text holds '${' again, and nothing is expanded twice"
            )
        return value

    def _refuse(self, code: str, where: Where, message: str, *, severity: Severity = "error") -> str:
        """Note a problem and return a value that the schema takes everywhere, so that one fault stays one problem.

        No two of these values are equal, because lists of unique items take no repeats.
        """
        self.problems.append(self._document.problem(code, where, message, severity=severity))
        if severity == "error":
            self.refused.append(where)
        return f"${{_{len(self.problems)}}}"


def _typed(text: str, node: Node, types: frozenset[str]) -> Json:
    """Return expanded text as one of the schema's types.

    Where the schema takes any type, an unquoted text becomes the type that YAML gives it. So does a quoted text that is
    one variable: inside braces a variable needs quotes, so they do not mean "text".
    """
    if types == {"string"}:
        return text
    value = resolve(text)
    if not types:
        return value if node.plain or VARIABLE.fullmatch(node.value) else text
    if isinstance(value, bool):
        return value if "boolean" in types else text
    return value if isinstance(value, (int, float)) and types & {"integer", "number"} else text
