"""One fault found in a config file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gateway.wire.json import JsonObject

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault found in a config file."""

    line: int
    """From 1; 0 if the fault has no position in the file."""
    column: int
    """From 1, in characters."""
    code: str
    """Never changes once released, for instance `unknown-target`."""
    path: str
    """Path in the document, for instance `models.fast.chain[1]`."""
    message: str
    """Lower case, no full stop: what was found and what would be right. Never holds a secret."""
    severity: Severity = "error"
    source: str = "routes.yaml"
    """The file's name as it was given."""
    excerpt: str | None = None
    """The line as the file has it, secrets masked."""
    caret: int | None = None
    """The column of `column` in the masked and shortened excerpt, from 1; None if unknown."""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.source}:{self.line}:{self.column}: {self.code}: {where}{self.message}"

    def as_json(self) -> JsonObject:
        """Return the form for `validate --format json` and the server's admin paths."""
        return {
            "line": self.line,
            "column": self.column,
            "code": self.code,
            "severity": self.severity,
            "path": self.path,
            "message": self.message,
            "source": self.source,
            "excerpt": self.excerpt,
            "text": str(self),
        }


Problems: TypeAlias = Sequence[Problem]
