"""The state of all in one JSON object: what runs, targets, aliases, limits, reloads. Points in time are absolute.

So nothing in it changes by being asked for, and its ETag is made of what can change it: the table, the files, requests
that began or ended, rests, and the slot of ten seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from hashlib import blake2b
from typing import Final

from gateway.config.reload_report import ReloadReport
from gateway.engine.health import Busy, Health
from gateway.engine.limits.providers import ProviderLimits
from gateway.policy.problem import number_of
from gateway.policy.table import Route, RoutingTable
from gateway.policy.target import Target
from gateway.reports.problems import PLAIN, problem_lines
from gateway.server.history import MAX_PROBLEMS
from gateway.server.jobs import CountedReloader
from gateway.server.live.counts import SLOT_S, AliasCounts, Failure, TargetCounts
from gateway.server.live.fills import as_json as fill_as_json
from gateway.server.live.outlook import outlook
from gateway.server.live.part import Part
from gateway.server.live.view import View
from gateway.telemetry.logs import timestamp
from gateway.wire.json import Json, JsonObject
from gateway.words import count

MAX_ROWS: Final = 500
"""Targets, and aliases, that are told; the rest is counted. The targets are the worst ones."""
MAX_USERS: Final = 20
"""Aliases that are named as users of one target."""
_AT_ONCE: Final = 25
"""Rows in one turn of the event loop: at most a few milliseconds."""

_WORST: Final = {"cooldown": 0, "probing": 1, "no_key": 2, "ok": 3}


async def config_state(reloads: CountedReloader) -> JsonObject:
    """Return what runs, whether the files on disk are the same, and the last reload."""
    on_disk = await asyncio.to_thread(reloads.disk)
    files: list[Json] = [asdict(file) for file in await asyncio.to_thread(reloads.files)]
    table, last, kept_at = reloads.current, reloads.last, reloads.kept_at
    return {
        "generation": table.generation,
        "digest": table.digest,
        "source": table.source,
        "loaded_at": timestamp(table.loaded_at),
        "in_sync": reloads.in_sync(on_disk),
        "last_good_of": None if kept_at is None else timestamp(kept_at),
        "files": files,
        "disk": {"digest": on_disk, "in_sync": on_disk == table.digest},
        "last_reload": {
            "ok": last.ok,
            "at": timestamp(last.at),
            "digest": last.digest,
            "problems": [problem.as_json() for problem in last.problems],
        },
    }


def aliases_of(table: RoutingTable) -> dict[tuple[str, str, str], list[str]]:
    """Return target identity → the aliases whose chains contain it, in file order."""
    aliases: dict[tuple[str, str, str], list[str]] = {}
    for route in _routes(table):
        for identity in dict.fromkeys(step.target.identity for step in route.steps):
            aliases.setdefault(identity, []).append(route.alias)
    return aliases


class State:
    """Makes the state of one gateway, once for each ETag. For the event loop only."""

    def __init__(
        self,
        *,
        reloads: CountedReloader,
        health: Health,
        view: View,
        limits: ProviderLimits | None = None,
    ) -> None:
        self._limits = limits
        self._reloads = reloads
        self._health = health
        self._view = view
        self._made: tuple[str, JsonObject] = ("", {})
        self._making = asyncio.Lock()

    async def tag(self) -> str:
        """Return the state's weak ETag (RFC 9110, 8.8.1)."""
        reloads = self._reloads
        version = (
            await self._view.version(),
            await asyncio.to_thread(reloads.disk),
            reloads.current.generation,
            reloads.last.at,
            reloads.last.digest,
            time.time() // SLOT_S,
        )
        return f'W/"{blake2b(repr(version).encode(), digest_size=8).hexdigest()}"'

    async def make(self, tag: str) -> JsonObject:
        """Return the state. It is made once for a `tag`, however many ask."""
        async with self._making:
            if self._made[0] != tag:
                self._made = (tag, await self._make())
            return self._made[1]

    async def _make(self) -> JsonObject:
        reloads, whole = self._reloads, await self._view.whole()
        part, waiting_for = whole.part, whole.part.waiting_for
        config = await config_state(reloads)
        table, last = reloads.current, reloads.last
        state = "draining" if part.is_draining else "loading" if waiting_for or not table.generation else "ready"
        targets = await self._targets(table, part)
        aliases = await self._aliases(table, part)
        number, now = len(table.routes) + len(table.wildcards), time.time()
        return {
            "process": whole.process,
            "workers": whole.workers,
            "started_at": timestamp(whole.started_at),
            "counted_since": timestamp(part.counted_since),
            "last_request": whole.last,
            "state": state,
            "waiting_for": list(waiting_for),
            "in_flight": part.in_flight,
            "config": {**config, "aliases": number, "refused": None if last.ok else refusal(last)},
            "targets": targets[:MAX_ROWS],
            "targets_not_listed": max(0, len(targets) - MAX_ROWS),
            "aliases": aliases,
            "aliases_not_listed": number - len(aliases),
            "limits": [fill_as_json(one, now=now) for one in part.fills.rows],
            "limits_not_listed": part.fills.number - len(part.fills.rows),
            "cache": part.kept._asdict(),
            "redis": None if part.redis is None else part.redis._asdict(),
            "reloads": reloads.history.as_json(),
        }

    async def _targets(self, table: RoutingTable, part: Part) -> list[JsonObject]:
        """Return the targets, worst first."""
        now, now_s = time.time(), asyncio.get_running_loop().time()
        users = aliases_of(table)
        rows: list[JsonObject] = []
        for number, target in enumerate(table.targets):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            snapshot = self._health.snapshot(target, now_s)
            left_s = snapshot["cooldown_ends_in_s"]
            used_by = users.get(target.identity, [])
            key_missing = target.endpoint.key_required and _has_no_key(target)
            row: JsonObject = {
                "target": target.name,
                "state": "no_key" if key_missing and left_s is None else snapshot["state"],
                "rest_ends_at": timestamp(now + left_s) if left_s else None,
                "in_flight": _calls_of(target, part.busy),
                "last_minute": _minute(part.minute.get(target.label)),
                "last_failure": _failure(part.failures.get(target.label)),
                "aliases": used_by[:MAX_USERS],
                "aliases_not_listed": max(0, len(used_by) - MAX_USERS),
                "adapter": target.endpoint.adapter,
                "base_url": target.endpoint.shown_url,
            }
            if target.by_key:
                row["keys"] = [self._key(one, target, now, now_s) for one in target.by_key]
            rows.append(row)
        rows.sort(key=_badness)
        return rows

    def _key(self, one: Target, whole: Target, now: float, now_s: float) -> JsonObject:
        snapshot = self._health.snapshot(one, now_s, of=whole)
        left_s = snapshot["cooldown_ends_in_s"]
        ends_at = timestamp(now + left_s) if left_s else None
        return {"key": one.endpoint.api_key.short, "state": snapshot["state"], "rest_ends_at": ends_at}

    async def _aliases(self, table: RoutingTable, part: Part) -> list[JsonObject]:
        rows: list[JsonObject] = []
        for number, route in enumerate(_routes(table)):
            if number == MAX_ROWS:
                break
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            of_alias = part.quarter.get(route.alias) or AliasCounts()
            rows.append(
                {
                    "alias": route.alias,
                    "description": route.description,
                    **outlook(route, self._health, self._limits, now_s=asyncio.get_running_loop().time()),
                    "last_quarter": {"requests": of_alias.requests, "fell_over": of_alias.fell},
                    **({} if route.cache is None else {"cache": _cache(of_alias)}),
                }
            )
        return rows


def refusal(last: ReloadReport) -> JsonObject:
    """Return the text that `gateway validate` prints of a refused edit; of very many problems the first."""
    problems = last.problems[:MAX_PROBLEMS]
    more = number_of(last.problems, "error") - number_of(problems, "error")
    lines = [*problem_lines(problems, PLAIN), *([f"and {count(more, 'more problem')}"] if more > 0 else [])]
    return {"at": timestamp(last.at), "text": "\n".join(lines)}


def _routes(table: RoutingTable) -> Iterator[Route]:
    yield from table.routes.values()
    yield from table.wildcards.values()


def _has_no_key(target: Target) -> bool:
    keys: Sequence[Target] = target.by_key or (target,)
    return all(one.endpoint.api_key.read() is None for one in keys)


def _calls_of(target: Target, busy: Busy) -> int:
    _, base_url, source = target.identity
    return busy.get((target.label, base_url, source), 0)


def _minute(counts: TargetCounts | None) -> JsonObject:
    counts = counts or TargetCounts()
    share = None if not counts.calls else round(1 - counts.failed / counts.calls, 4)
    times = {"p50": counts.percentile_ms(0.5), "p95": counts.percentile_ms(0.95)}
    return {"calls": counts.calls, "failed": counts.failed, "success_share": share, "first_content_ms": times}


def _cache(counts: AliasCounts) -> JsonObject:
    share = counts.hit_share
    return {
        "hits": counts.hits,
        "misses": counts.misses,
        "bypassed": counts.bypassed,
        "hit_share": None if share is None else round(share, 4),
    }


def _failure(failure: Failure | None) -> JsonObject | None:
    return None if failure is None else {"kind": failure.kind, "status": failure.status, "at": timestamp(failure.at)}


def _badness(row: JsonObject) -> tuple[int, float, bool, int, str]:
    minute = row["last_minute"]
    share = 1.0 if minute["success_share"] is None else minute["success_share"]
    return _WORST[row["state"]], share, row["last_failure"] is None, -minute["calls"], row["target"]
