"""Changes of a policy as data for programs."""

from __future__ import annotations

from dataclasses import asdict

from gateway.config.compare.changes import Change
from gateway.reports.diff_text import Difference
from gateway.reports.diff_words import change_text
from gateway.simulation.cases.compare import CaseChange, CaseChanges, Outcome
from gateway.wire.json import JsonObject


def as_json(difference: Difference) -> JsonObject:
    """Return the object that `diff --format json` prints; `gateway diff --help` describes it."""
    changes = difference.changes
    return {
        "ok": True,
        "changed": bool(difference),
        "old": difference.old,
        "new": difference.new,
        "added": list(map(asdict, changes.added)),
        "removed": list(map(asdict, changes.removed)),
        "changes": list(map(_change, changes.changes)),
        "chains": {alias: {"old": list(old), "new": list(new)} for alias, (old, new) in changes.chains.items()},
        "providers": {
            "added": list(map(asdict, changes.providers_added)),
            "removed": list(map(asdict, changes.providers_removed)),
        },
        "cases": None if difference.cases is None else _cases(difference.cases),
        "notes": list(difference.notes),
        "problems": [],
    }


def _change(change: Change) -> JsonObject:
    aliases = [{"alias": it.alias, "targets": list(it.targets) or None, "place": it.place} for it in change.reach]
    fields = {name: getattr(change, name) for name in ("field", "kind", "old", "new", "providers", "group")}
    return fields | {"text": change_text(change, None, str), "aliases": aliases}


def _cases(cases: CaseChanges) -> JsonObject:
    return {"file": cases.file, "played": cases.played, "changed": list(map(_case, cases.changed))}


def _case(case: CaseChange) -> JsonObject:
    head = {"name": case.name, "line": case.position[0], "verdict": case.verdict, "request": case.request}
    return head | {"old": _outcome(case.old), "new": _outcome(case.new)}


def _outcome(outcome: Outcome | None) -> JsonObject | None:
    if outcome is None:
        return None
    return asdict(outcome) | {"attempts": [{"target": target, "kind": kind} for target, kind in outcome.attempts]}
