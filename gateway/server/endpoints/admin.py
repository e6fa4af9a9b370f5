"""The operators' endpoints under `/-/`: config, targets and their reset, explain, reload."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from gateway.adapters.mock import MockAdapter
from gateway.engine.health import Health
from gateway.engine.limits.admission import Limits, has_group
from gateway.engine.limits.outlook import Outlook, outlook
from gateway.engine.pipeline import unknown_model
from gateway.errors import BadRequest, UsageError
from gateway.operations import CHAT, OPERATIONS
from gateway.policy.problem import number_of
from gateway.policy.table import Route, RoutingTable
from gateway.server.exchange import Exchange
from gateway.server.jobs import CountedReloader
from gateway.server.live.state import aliases_of, config_state
from gateway.server.paths import PathHandlers
from gateway.server.request import Request
from gateway.server.workers.member import Member
from gateway.server.workers.sums import joined_targets
from gateway.simulation.circumstances import Circumstances, read_circumstances
from gateway.simulation.explain import as_json, explain, look_up
from gateway.simulation.upstreams import read_failure
from gateway.wire.json import JsonObject
from gateway.words import did_you_mean

_FLAGS: Final[Mapping[str, bool]] = {"0": False, "false": False, "1": True, "true": True}

_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")


class Admin:
    """Answers requests under `/-/`. `Guards` has admitted who asks."""

    def __init__(
        self,
        *,
        reloads: CountedReloader,
        health: Health,
        mock: MockAdapter,
        limits: Limits,
        group_of: Callable[[str], str | None] | None = None,
        keeps_answers: bool = True,
        member: Member | None = None,
    ) -> None:
        """`member`: this process is one of several; what it tells of targets is for all.

        `group_of` returns the group of a client's name; None if there are no client keys. `keeps_answers`: there is
        room for answers of aliases with a cache.
        """
        self._reloads = reloads
        self._health = health
        self._mock = mock
        self._limits = limits
        self._group_of = group_of
        self._keeps_answers = keeps_answers
        self._member = member
        if member is not None:
            member.answers("targets", self._told)
            member.hears("reset", lambda fields: health.reset(fields["name"]))

    def paths(self) -> dict[str, PathHandlers]:
        """Return the endpoints by path."""
        return {
            "/-/config": PathHandlers("admin", {"GET": self.config}),
            "/-/targets": PathHandlers("admin", {"GET": self.targets}),
            "/-/targets/reset": PathHandlers("admin", {"POST": self.reset}),
            "/-/explain": PathHandlers("admin", {"GET": self.explain}),
            "/-/reload": PathHandlers("admin", {"POST": self.reload}),
        }

    async def config(self, exchange: Exchange) -> None:
        """`GET /-/config`: the live config, whether the file on disk is the same, and the last reloads.

        With `?config=0` the config itself is left out.
        """
        with_config = _flag(exchange.request, "config", default=True)
        state = await config_state(self._reloads)
        config = self._reloads.current.config
        state["history"] = self._reloads.history.as_json()
        if with_config:
            state["config"] = await asyncio.to_thread(dict, config)
        exchange.send_json(state)

    async def targets(self, exchange: Exchange) -> None:
        """`GET /-/targets`: every target with its health and counters; one with several keys comes once for each."""
        parts = [] if self._member is None else await self._member.targets()
        rows = joined_targets(parts) if parts else self.targets_here()
        exchange.send_json({"generation": self._reloads.current.generation, "targets": rows})

    async def _told(self, _: JsonObject) -> JsonObject:
        return {"targets": self.targets_here()}

    def targets_here(self) -> list[JsonObject]:
        """Return the rows of this process."""
        table = self._reloads.current
        now_s = asyncio.get_running_loop().time()
        aliases = aliases_of(table)
        return [
            {
                "target": target.name,
                **({"key": one.endpoint.api_key.short} if target.by_key else {}),
                "adapter": target.endpoint.adapter,
                "base_url": target.endpoint.shown_url,
                "aliases": aliases.get(target.identity, []),
                **self._health.snapshot(one, now_s, of=target if target.by_key else None),
            }
            for target in table.targets
            for one in target.by_key or (target,)
        ]

    async def reset(self, exchange: Exchange) -> None:
        """`POST /-/targets/reset?target=…`: end the cooldown of a target as `/-/targets` names it, or of one model."""
        name = exchange.request.first("target")
        if not name:
            raise BadRequest("say whose cooldown to end: /-/targets/reset?target=PROVIDER/MODEL", param="target")
        ended = self._health.reset(name)
        if self._member is not None:
            self._member.channel.tell("reset", name=name)
        known = [target.label for target in self._reloads.current.targets]
        if ended is None and name not in known:
            hint = did_you_mean(name, known) or "; /-/targets lists them"
            raise BadRequest(f"no target is named {name[:256]!r}{hint}", param="target")
        exchange.send_json({"target": name, "cooldowns_ended": ended or 0})

    async def explain(self, exchange: Exchange) -> None:
        """`GET /-/explain?model=…`: what a request for this name would do now, given the failures in `fail`."""
        query = exchange.request.query
        name = exchange.request.first("model")
        if not name:
            raise BadRequest("say what to explain: /-/explain?model=ALIAS", param="model")
        table = self._reloads.current
        route = look_up(table, name)
        if route is None:
            raise unknown_model(name, table)
        stream = _flag(exchange.request, "stream")
        asked = exchange.request.first("operation")
        if asked and asked not in OPERATIONS:
            hint = did_you_mean(asked, OPERATIONS) or f"; there are {', '.join(OPERATIONS)}"
            raise BadRequest(f"there is no operation {asked[:64]!r}{hint}", param="operation")
        try:
            fails = dict(read_failure(text, route, option="fail") for text in query.get("fail", ()))
        except UsageError as exc:
            raise BadRequest(str(exc), param="fail") from None
        circumstances = _circumstances(exchange.request)
        limits = await self._outlook(table, route, circumstances, asked, stream=stream)
        if limits is not None and limits.route is not None:
            route = limits.route
        now_s = asyncio.get_running_loop().time()
        health = self._health.copied([step.target for step in route.steps], now_s=now_s, alias=route.alias)
        calls_left = health.minutes.of(route.alias).left(now_s=0.0)
        cooldowns = [
            {"step": step + 1, "target": route.steps[step].target.name, "ends_in_s": round(rest.until_s, 3)}
            for step, rest in health.resting(route.steps, now_s=0.0).items()
        ]
        explanation = await asyncio.to_thread(
            explain,
            name,
            route,
            fails,
            operation=asked or None,
            request={"stream": stream},
            mock=self._mock,
            health=health,
            circumstances=circumstances,
            limits=limits,
            fills=list(self._limits.store.look()) if route.is_limited else (),
            keeps_answers=self._keeps_answers,
            price_of=table.price_of,
        )
        told = as_json(explanation)
        if told["hedge"] is not None:
            told["hedge"]["calls_left"] = calls_left
        exchange.send_json({"generation": table.generation, **told, "cooldowns": cooldowns})

    async def _outlook(
        self, table: RoutingTable, route: Route, supposed: Circumstances, operation: str | None, *, stream: bool
    ) -> Outlook | None:
        """Return what the limits of a client mean for a request now; None if no client is named."""
        client = supposed.caller
        if client is None:
            return None
        if client.group is None and self._group_of is not None:
            client = replace(client, group=self._group_of(client.name))
        if not has_group(table, client):
            return None
        asked = OPERATIONS[operation] if operation else CHAT
        return await outlook(self._limits, table, route, client, asked, {"stream": stream})

    async def reload(self, exchange: Exchange) -> None:
        """`POST /-/reload`: compile and swap now, with `?dry_run=1` only compile; 422 when the file is bad.

        With `If-Match: DIGEST`, 412 when another text runs than that of the digest.
        """
        dry_run = _flag(exchange.request, "dry_run")
        only_over = _digests(exchange.request.headers.get("if-match"))
        report = await asyncio.to_thread(self._reloads.reload, force=True, dry_run=dry_run, only_over=only_over)
        answer: JsonObject = {
            "ok": report.ok,
            "changed": report.changed,
            "dry_run": dry_run,
            "generation": report.generation,
            "digest": report.digest,
            "changes": list(report.changes),
            "problems": [problem.as_json() for problem in report.problems],
        }
        if report.ok:
            exchange.send_json(answer)
            return
        exchange.error = "config_error"
        count = number_of(report.problems, "error")
        message = f"the config file has {count} problem{'' if count == 1 else 's'}; the live table stays"
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": "config_error"}
        exchange.send_json({"error": error, **answer}, status=422)


def _flag(request: Request, name: str, *, default: bool = False) -> bool:
    value = request.first(name).lower()
    if not value:
        return default
    if value not in _FLAGS:
        raise BadRequest(f"{name} must be 1 or 0", param=name)
    return _FLAGS[value]


def _digests(field: str | None) -> frozenset[str] | None:
    """Return the digests that an If-Match field lists, in quotes or without; None where any text will do."""
    if field is None or field.strip() == "*":
        return None
    digests = [part.strip() for part in field.split(",")]
    digests = [part[1:-1] if len(part) > 1 and part[0] == part[-1] == '"' else part for part in digests]
    if not all(map(_DIGEST.fullmatch, digests)):
        raise BadRequest(
            "if-match takes the digest of the text that has to run, as /-/config gives it", param="if-match"
        )
    return frozenset(digest.lower() for digest in digests)


def _circumstances(request: Request) -> Circumstances:
    try:
        client, group, at, seed = (request.query.get(name, (None,))[0] for name in ("client", "group", "at", "seed"))
        return read_circumstances(request.query.get("header", ()), client, at, seed, group=group)
    except UsageError as exc:
        raise BadRequest(str(exc), param=str(exc).partition(" ")[0]) from None
