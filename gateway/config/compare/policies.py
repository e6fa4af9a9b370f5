"""What differs in behaviour between two routing tables, and for which aliases."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from gateway.config.compare import lists
from gateway.config.compare.lists import EditKind
from gateway.policy.failures import names_of
from gateway.policy.keys import KeySource
from gateway.policy.params import Params
from gateway.policy.secrets import STARS
from gateway.policy.table import Route, RoutingTable, Step
from gateway.policy.target import Cooldown, Endpoint, Limits
from gateway.policy.variables import VARIABLE
from gateway.wire.json import Json, JsonObject
from gateway.words import seconds

ChangeKind: TypeAlias = EditKind | Literal["changed"]


@dataclass(frozen=True, slots=True)
class Reach:
    """One alias that a change reaches."""

    alias: str
    targets: tuple[str, ...] = ()
    """The steps concerned, where it is not all that the two chains have in common."""
    place: int | None = None
    """For a change of an ordered list: where in it, from 1."""
    steps: int = 0
    """How many targets the alias has now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that is different now, and the aliases whose clients may notice. Holds no secrets."""

    field: str
    """In the words of the config file: `chain`, `retries`, `params.temperature`, `hooks.pre`, `providers.base_url`."""
    kind: ChangeKind
    old: Json
    """Durations are in seconds. Null for what was added."""
    new: Json
    """Null for what was removed."""
    providers: tuple[str, ...] = ()
    """The entries of `providers` concerned; empty where it is all of them, or none in particular."""
    reach: tuple[Reach, ...] = ()
    """In file order. Empty for capabilities, which no alias has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """An alias that only one of the tables has."""

    alias: str
    chain: tuple[str, ...]
    wildcard: str | None = None
    """The wildcard that took the name before, or takes it now; None: asking for it is a 404."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A provider that only one of the tables calls."""

    provider: str
    kind: str
    adapter: str
    base_url: str | None
    api_key: str
    headers: tuple[str, ...]
    """Their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Everything that differs between two tables."""

    added: tuple[Presence, ...]
    removed: tuple[Presence, ...]
    changes: tuple[Change, ...]
    providers_added: tuple[Service, ...]
    providers_removed: tuple[Service, ...]
    chains: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    """Old and new targets of each alias whose chain is another now."""
    common: tuple[str, ...]
    """The aliases that both tables have."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changes or self.providers_added or self.providers_removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One difference at one alias."""

    field: str
    kind: ChangeKind
    old: Json
    new: Json
    provider: str | None = None
    place: int | None = None

    @property
    def key(self) -> str:
        """What is the same for every alias that the difference is told of at once."""
        return json.dumps([self.field, self.kind, self.old, self.new], sort_keys=True, default=repr)


def compare(old: RoutingTable, new: RoutingTable) -> Changes:
    """Return what changes for clients when `old` makes way for `new`. Hooks and capabilities are compared by path."""
    before, after = _routes(old), _routes(new)
    added = [_presence(route, old) for name, route in after.items() if name not in before]
    removed = [_presence(route, new) for name, route in before.items() if name not in after]
    pairs = {name: (before[name], route) for name, route in after.items() if name in before}
    everyone = dict(pairs)
    everyone |= {one.alias: (route, after[one.alias]) for one in added if (route := _taken(old, one.alias))}
    everyone |= {one.alias: (before[one.alias], route) for one in removed if (route := _taken(new, one.alias))}
    groups: dict[str, _Group] = {}
    for name, (one, other) in everyone.items():
        for found, targets in _differences(one, other, _hooks(old, one.alias), _hooks(new, other.alias)):
            group = groups.setdefault(found.key, _Group(found))
            group.add(found, Reach(name, targets, found.place, len(other.steps)))
    services, others = _endpoints(old), _endpoints(new)
    shared = services.keys() & others.keys()
    changes = [group.change(shared) for group in groups.values()]
    changes += _capabilities(old.config.get("capabilities") or {}, new.config.get("capabilities") or {})
    return Changes(
        added=tuple(added),
        removed=tuple(removed),
        changes=tuple(sorted(changes, key=lambda change: _rank(change.field))),
        providers_added=tuple(_service(one) for name, one in others.items() if name not in services),
        providers_removed=tuple(_service(one) for name, one in services.items() if name not in others),
        chains={
            name: (_labels(one), _labels(other))
            for name, (one, other) in everyone.items()
            if _labels(one) != _labels(other)
        },
        common=tuple(pairs),
    )


class _Group:
    """The same difference at several aliases, or of several providers."""

    def __init__(self, found: _Found) -> None:
        self._found = found
        self._providers: dict[str, None] = {}
        self._reach: dict[str, Reach] = {}

    def add(self, found: _Found, reach: Reach) -> None:
        if found.provider is not None:
            self._providers[found.provider] = None
        self._reach.setdefault(reach.alias, reach)

    def change(self, shared: set[str]) -> Change:
        """`shared` are the providers that both tables call."""
        found = self._found
        everywhere = len(shared) > 1 and self._providers.keys() >= shared
        return Change(
            field=found.field,
            kind=found.kind,
            old=found.old,
            new=found.new,
            providers=() if everywhere else tuple(self._providers),
            reach=tuple(self._reach.values()),
        )


_ORDER: Final = (
    "chain", "timeout", "retries", "deadline", "max_attempts", "cooldown", "retry_on", "fallback_on", "params",
    "stream", "hooks", "providers", "capabilities",
)  # fmt: skip


def _rank(field: str) -> int:
    return _ORDER.index(field.partition(".")[0])


def _routes(table: RoutingTable) -> dict[str, Route]:
    return {route.alias: route for route in (*table.routes.values(), *table.wildcards.values())}


def _presence(route: Route, other: RoutingTable) -> Presence:
    taken = _taken(other, route.alias)
    return Presence(alias=route.alias, chain=_labels(route), wildcard=taken.alias if taken else None)


def _taken(table: RoutingTable, alias: str) -> Route | None:
    """Return what a table makes of an alias that it does not have: the route of a wildcard, filled in."""
    if not alias.endswith("*"):
        return table.find(alias)
    for length in table.wildcard_lengths:
        wildcard = table.wildcards.get(alias[:length]) if len(alias) > length else None
        if wildcard is not None:
            return wildcard.fill(alias[length:])
    return None


def _labels(route: Route) -> tuple[str, ...]:
    return tuple(step.target.name for step in route.steps)


def _differences(
    old: Route, new: Route, old_hooks: _HookLists, new_hooks: _HookLists
) -> Iterator[tuple[_Found, tuple[str, ...]]]:
    """Yield what differs for the clients of one alias, each with the targets that it concerns, none meaning all."""
    chain = lists.compare(_labels(old), _labels(new))
    for found in _listed("chain", chain.edits):
        yield found, ()
    steps: dict[str, tuple[_Found, list[str]]] = {}
    for before, after in chain.pairs:
        for found in _step(old.steps[before], new.steps[after]):
            key = f"{found.key} {found.provider}"
            steps.setdefault(key, (found, []))[1].append(new.steps[after].target.name)
    for found, targets in steps.values():
        everywhere = found.provider is not None or len(targets) == len(chain.pairs)
        yield found, () if everywhere else tuple(dict.fromkeys(targets))
    for field, one, other in (
        ("deadline", old.deadline_s, new.deadline_s),
        ("max_attempts", old.max_attempts, new.max_attempts),
        ("stream.hold", old.stream.hold, new.stream.hold),
        ("stream.max_bytes", old.stream.max_bytes, new.stream.max_bytes),
    ):
        if one != other:
            yield _Found(field=field, kind="changed", old=one, new=other), ()
    for name in ("pre", "post"):
        for found in _hook_changes(f"hooks.{name}", old_hooks[name], new_hooks[name]):
            yield found, ()


def _listed(field: str, changes: Sequence[lists.Edit]) -> Iterator[_Found]:
    for edit in changes:
        yield _Found(
            field=field, kind=edit.kind, old=list(edit.old) or None, new=list(edit.new) or None, place=edit.place
        )


def _step(old: Step, new: Step) -> Iterator[_Found]:
    """Yield what differs between two steps; their endpoints are compared only where they are the same provider's."""
    yield from _parts("timeout", _limits(old.limits), _limits(new.limits))
    if old.retries != new.retries:
        yield _Found(field="retries", kind="changed", old=old.retries, new=new.retries)
    for field, one, other in (
        ("retry_on", old.retry_on, new.retry_on),
        ("fallback_on", old.fallback_on, new.fallback_on),
    ):
        if one != other:
            yield _Found(field=field, kind="changed", old=names_of(one), new=names_of(other))
    yield from _params(old.params, new.params)
    if old.target.endpoint.provider == new.target.endpoint.provider:
        yield from _endpoint(old.target.endpoint, new.target.endpoint)


def _parts(field: str, old: JsonObject, new: JsonObject, provider: str | None = None) -> Iterator[_Found]:
    """Yield the keys of two mappings whose values differ, as one difference."""
    differing = [name for name in old if old[name] != new[name]]
    if differing:
        yield _Found(
            field=field,
            kind="changed",
            old={name: old[name] for name in differing},
            new={name: new[name] for name in differing},
            provider=provider,
        )


def _limits(limits: Limits) -> JsonObject:
    return {
        "connect": limits.connect_s,
        "first_token": limits.first_token_s,
        "idle": limits.idle_s,
        "total": limits.total_s,
        "stream_total": limits.stream_total_s,
    }


def _cooldown(cooldown: Cooldown) -> JsonObject:
    return {"failures": cooldown.failures, "within": cooldown.within_s, "for": cooldown.for_s}


def _params(before: Params, after: Params) -> Iterator[_Found]:
    old, new = before.sent, after.sent
    for name in dict.fromkeys((*old, *new)):
        kind: ChangeKind = "added" if name not in old else "removed" if name not in new else "changed"
        if kind != "changed" or not _same(old[name], new[name]):
            one, other = before.shown.get(name), after.shown.get(name)
            yield _Found(field=f"params.{name}", kind=kind, old=one, new=other)


def _same(old: Json, new: Json) -> bool:
    """Tell whether two values are the same in JSON: 1 and 1.0 are, 1 and true are not."""
    return json.dumps(_plain(old), sort_keys=True) == json.dumps(_plain(new), sort_keys=True)


def _plain(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _endpoint(old: Endpoint, new: Endpoint) -> Iterator[_Found]:
    provider = old.provider
    yield from _parts("cooldown", _cooldown(old.cooldown), _cooldown(new.cooldown), provider)
    for field, one, other, before, after in (
        ("kind", old.kind, new.kind, old.kind, new.kind),
        ("adapter", old.adapter, new.adapter, old.adapter, new.adapter),
        ("base_url", old.base_url, new.base_url, old.shown_url, new.shown_url),
        ("script", old.script, new.script, _script(old), _script(new)),
    ):
        if one != other:
            yield _Found(field=f"providers.{field}", kind="changed", old=before, new=after, provider=provider)
    if _key(old.api_key) != _key(new.api_key) or (_is_literal(old.api_key) and old.api_key.name != new.api_key.name):
        keys = _key(old.api_key), _key(new.api_key)
        yield _Found(field="providers.api_key", kind="changed", old=keys[0], new=keys[1], provider=provider)
    for name in dict.fromkeys((*old.headers, *new.headers)):
        had, has = old.headers.get(name), new.headers.get(name)
        if had != has:
            kind: ChangeKind = "added" if had is None else "removed" if has is None else "changed"
            one, other = _header(old, name), _header(new, name)
            yield _Found(field=f"providers.headers.{name}", kind=kind, old=one, new=other, provider=provider)


def _header(endpoint: Endpoint, name: str) -> str | None:
    """Return a header's value as written, all but its variables hidden; None when there is none."""
    written: Mapping[str, str] = endpoint.written.get("headers", {})
    found = {header.lower(): text for header, text in written.items()}
    return found.get(name, STARS) if name in endpoint.headers else None


_SCRIPT_KEYS: Final = ("text", "status", "retry_after_s", "delay_s", "cut", "stall")
"""What a file's script can say of an outcome."""


def _script(endpoint: Endpoint) -> list[JsonObject]:
    outcomes: list[JsonObject] = [{key: getattr(outcome, key) for key in _SCRIPT_KEYS} for outcome in endpoint.script]
    for outcome, written in zip(outcomes, endpoint.written.get("script", ()), strict=False):
        outcome["text"] = written.get("text", outcome["text"])
    return [{name: value for name, value in outcome.items() if value is not None} for outcome in outcomes]


def _is_literal(source: KeySource) -> bool:
    return source.name.startswith("sha256:")


def _key(source: KeySource) -> str:
    """Return where a key comes from: `$NAME`, `$NAME or none`, `file PATH`, `none`, or the file itself."""
    name = source.name
    if _is_literal(source):
        return "written in the config file"
    if name.startswith("file:"):
        return f"file {name.removeprefix('file:')}"
    if name.startswith("env:"):
        # What `${NAME:-}` in the vendor's own entry comes to.
        return f"${name.removeprefix('env:')} or none"
    return VARIABLE.sub(lambda match: f"${match[1]}" + ("" if match[2] is None else " or none"), name)


_HookLists: TypeAlias = Mapping[str, Sequence[JsonObject]]


def _hooks(table: RoutingTable, alias: str) -> _HookLists:
    """Return the hooks of an alias as the file names them, so that they need not be imported to be compared."""
    entry = (table.config.get("models") or {}).get(alias)
    own = entry.get("hooks") if isinstance(entry, dict) else None
    blocks = [block for block in (table.config.get("hooks"), own) if isinstance(block, dict)]
    return {name: [_hook(hook) for block in blocks for hook in block.get(name) or ()] for name in ("pre", "post")}


def _hook(written: Json) -> JsonObject:
    entry = written if isinstance(written, dict) else {"path": written}
    timeout = entry.get("timeout")
    is_variable = isinstance(timeout, str) and "$" in timeout
    return {
        "path": entry["path"],
        "timeout": timeout if timeout is None or is_variable else seconds(timeout),
        "on_error": entry.get("on_error", "fail"),
    }


def _hook_changes(field: str, old: Sequence[JsonObject], new: Sequence[JsonObject]) -> Iterator[_Found]:
    listed = lists.compare([hook["path"] for hook in old], [hook["path"] for hook in new])
    yield from _listed(field, listed.edits)
    for before, after in listed.pairs:
        path = new[after]["path"]
        if old[before]["path"] == path:
            yield from _parts(f"{field}.{path}", old[before], new[after])


def _capabilities(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    changes = []
    for name in dict.fromkeys((*old, *new)):
        had, has = old.get(name), new.get(name)
        if had != has:
            kind: ChangeKind = "added" if had is None else "removed" if has is None else "changed"
            changes.append(Change(field=f"capabilities.{name}", kind=kind, old=had, new=has))
    return changes


def _endpoints(table: RoutingTable) -> dict[str, Endpoint]:
    return {target.endpoint.provider: target.endpoint for target in table.targets}


def _service(endpoint: Endpoint) -> Service:
    return Service(
        provider=endpoint.provider,
        kind=endpoint.kind,
        adapter=endpoint.adapter,
        base_url=endpoint.shown_url,
        api_key=_key(endpoint.api_key),
        headers=tuple(endpoint.headers),
    )
