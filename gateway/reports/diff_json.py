"""Changes of a policy as data for programs."""

from __future__ import annotations

from gateway.config.compare.policies import Change, Presence, Service
from gateway.reports.diff_text import Difference
from gateway.reports.diff_words import say
from gateway.simulation.cases.compare import CaseChange, CaseChanges, Outcome
from gateway.wire.json import JsonObject


def as_json(told: Difference) -> JsonObject:
    """Return what `diff --format json` prints; `gateway diff --help` describes it."""
    changes = told.changes
    return {
        "ok": True,
        "changed": bool(told),
        "old": told.old,
        "new": told.new,
        "added": [_presence(one) for one in changes.added],
        "removed": [_presence(one) for one in changes.removed],
        "changes": [_change(one) for one in changes.changes],
        "chains": {alias: {"old": list(old), "new": list(new)} for alias, (old, new) in changes.chains.items()},
        "providers": {
            "added": [_service(one) for one in changes.providers_added],
            "removed": [_service(one) for one in changes.providers_removed],
        },
        "cases": None if told.cases is None else _cases(told.cases),
        "notes": list(told.notes),
        "problems": [],
    }


def _presence(one: Presence) -> JsonObject:
    return {"alias": one.alias, "chain": list(one.chain), "wildcard": one.wildcard}


def _change(one: Change) -> JsonObject:
    return {
        "field": one.field,
        "kind": one.kind,
        "old": one.old,
        "new": one.new,
        "providers": list(one.providers),
        "text": say(one, None, str),
        "aliases": [
            {"alias": reach.alias, "targets": list(reach.targets) or None, "place": reach.place} for reach in one.reach
        ],
    }


def _service(one: Service) -> JsonObject:
    return {
        "provider": one.provider,
        "kind": one.kind,
        "adapter": one.adapter,
        "base_url": one.base_url,
        "api_key": one.api_key,
        "headers": list(one.headers),
    }


def _cases(cases: CaseChanges) -> JsonObject:
    return {"file": cases.file, "played": cases.played, "changed": [_case(one) for one in cases.changed]}


def _case(one: CaseChange) -> JsonObject:
    return {
        "name": one.name,
        "line": one.position[0],
        "verdict": one.verdict,
        "request": one.request,
        "old": _outcome(one.old),
        "new": _outcome(one.new),
    }


def _outcome(one: Outcome | None) -> JsonObject | None:
    if one is None:
        return None
    return {
        "target": one.target,
        "status": one.status,
        "error": one.error,
        "broken": one.broken,
        "attempts": [{"target": target, "kind": kind} for target, kind in one.attempts],
    }
