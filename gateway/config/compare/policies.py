"""Compare the behaviour of two routing tables: each difference and the aliases that it affects."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeAlias

from gateway.config.compare import lists
from gateway.config.compare.changes import Change, ChangeKind, Changes, Presence, Reach, Service
from gateway.config.compare.clients import cache_of, group_changes, limit_changes, price_of
from gateway.config.compare.shapes import shape_of
from gateway.config.compare.shares import FirstChoices, moved, moved_by_key, of_keys
from gateway.policy.failures import names_of
from gateway.policy.params import MODEL_FAMILY
from gateway.policy.secrets import STARS, mask_key
from gateway.policy.table import Hedge, Route, RoutingTable, Shadow, Step
from gateway.policy.target import Cooldown, Endpoint, Limits
from gateway.policy.variables import VARIABLE
from gateway.policy.wires import HOOK_OPERATIONS, OPERATION_NAMES, operations_named
from gateway.wire.json import EMPTY, Json, JsonObject
from gateway.words import as_share, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One difference of one alias."""

    field: str
    kind: ChangeKind
    old: Json
    new: Json
    provider: str | None = None
    place: int | None = None

    @property
    def key(self) -> str:
        """Equal for differences that are reported as one Change."""
        return json.dumps([self.field, self.kind, self.old, self.new], sort_keys=True, default=repr)


def compare(
    old: RoutingTable, new: RoutingTable, first_choices: FirstChoices, *, only: Container[str] | None = None
) -> Changes:
    """Return what changes for clients when `new` replaces `old`. Hooks and capabilities are compared by path.

    With `only`, the other aliases of both tables are known to be unchanged.
    """
    before, after = (
        {route.alias: route for route in (*table.routes.values(), *table.wildcards.values())} for table in (old, new)
    )
    added = [_presence(route, old) for name, route in after.items() if name not in before]
    removed = [_presence(route, new) for name, route in before.items() if name not in after]
    common = {name: (before[name], route) for name, route in after.items() if name in before}
    pairs = dict(common)
    pairs |= {one.alias: (route, after[one.alias]) for one in added if (route := _by_wildcard(old, one.alias))}
    pairs |= {one.alias: (before[one.alias], route) for one in removed if (route := _by_wildcard(new, one.alias))}
    groups: dict[str, _Group] = {}
    for name, (one, other) in pairs.items():
        if only is not None and name not in only:
            continue
        for found, targets in (
            *_differences(one, other, partial(_hooks, old), partial(_hooks, new)),
            *_moved(one, other, first_choices),
        ):
            group = groups.setdefault(found.key, _Group(found))
            group.reach.setdefault(name, Reach(name, targets, found.place, len(other.steps)))
            if found.provider is not None:
                group.providers[found.provider] = None
    services, others = ({target.endpoint.provider: target.endpoint for target in table.targets} for table in (old, new))
    shared = services.keys() & others.keys()
    changes = [group.change(shared) for group in groups.values()]
    had, has = (table.config.get("capabilities") or {} for table in (old, new))
    changes += group_changes(old, new)
    for name, kind in _changed_keys(had, has):
        changes.append(Change(field=f"capabilities.{name}", kind=kind, old=had.get(name), new=has.get(name)))
    chains = {name: (_labels(one), _labels(other)) for name, (one, other) in pairs.items()}
    return Changes(
        added=tuple(added),
        removed=tuple(removed),
        changes=tuple(sorted(changes, key=lambda change: _ORDER.index(change.field.partition(".")[0]))),
        providers_added=tuple(_service(one) for name, one in others.items() if name not in services),
        providers_removed=tuple(_service(one) for name, one in services.items() if name not in others),
        chains={name: both for name, both in chains.items() if both[0] != both[1]},
        common=tuple(common),
    )


@dataclass(slots=True)
class _Group:
    """Equal differences of several aliases or providers."""

    found: _Found
    providers: dict[str, None] = field(default_factory=dict)
    reach: dict[str, Reach] = field(default_factory=dict)

    def change(self, shared: set[str]) -> Change:
        """Return the Change. `shared` are the providers that both tables call."""
        found = self.found
        everywhere = len(shared) > 1 and self.providers.keys() >= shared
        return Change(
            field=found.field,
            kind=found.kind,
            old=found.old,
            new=found.new,
            providers=() if everywhere else tuple(self.providers),
            reach=tuple(self.reach.values()),
        )


_ORDER: Final = (
    "chain", "pools", "shares", "moves", "timeout", "retries", "deadline", "max_attempts", "cooldown", "retry_on",
    "fallback_on", "params", "price", "stream", "hedge", "shadow", "cache", "hooks", "providers", "clients",
    "capabilities",
)  # fmt: skip


"""Order of the fields in `Changes.changes`, by their first part."""


def _presence(route: Route, other: RoutingTable) -> Presence:
    matching = _by_wildcard(other, route.alias)
    return Presence(alias=route.alias, chain=_labels(route), wildcard=matching.alias if matching else None)


def _by_wildcard(table: RoutingTable, alias: str) -> Route | None:
    """Return the filled-in route of the wildcard that matches an alias missing from the table."""
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
    old: Route, new: Route, old_hooks: _HooksOf, new_hooks: _HooksOf
) -> Iterator[tuple[_Found, tuple[str, ...]]]:
    """Yield the differences of one alias, each with the affected targets; an empty tuple stands for all."""
    chain = lists.compare(_labels(old), _labels(new))
    for found in _listed("chain", chain.edits):
        yield found, ()
    steps: dict[str, tuple[_Found, list[str]]] = {}
    for before, after in chain.pairs:
        one, other = old.steps[before], new.steps[after]
        nested = _all_hook_changes(_nested(one, old_hooks), _nested(other, new_hooks))
        for found in (*_step(one, other), *nested):
            key = f"{found.key} {found.provider}"
            steps.setdefault(key, (found, []))[1].append(new.steps[after].target.name)
    for found, targets in steps.values():
        everywhere = found.provider is not None or len(targets) == len(chain.pairs)
        yield found, () if everywhere else tuple(dict.fromkeys(targets))
    shapes = ["; ".join(shape_of(route)) or None for route in (old, new)]
    for found in (
        *_changed("pools", *shapes),
        *_changed("deadline", old.deadline_s, new.deadline_s),
        *_changed("max_attempts", old.max_attempts, new.max_attempts),
        *_changed("stream.hold", old.stream.hold, new.stream.hold),
        *_changed("stream.max_bytes", old.stream.max_bytes, new.stream.max_bytes),
        *_changed("stream.keepalive", old.stream.keepalive_s, new.stream.keepalive_s),
        *_changed("hedge", _hedge(old.hedge), _hedge(new.hedge)),
        *_shadow(old.shadow, new.shadow),
        *_changed("cache", cache_of(old.cache), cache_of(new.cache)),
        *_all_hook_changes(_with_global(old.alias, old_hooks), _with_global(new.alias, new_hooks)),
    ):
        yield found, ()


def _moved(old: Route, new: Route, first_choices: FirstChoices) -> Iterator[tuple[_Found, tuple[str, ...]]]:
    for one in moved(old, new, first_choices):
        field = f"shares.{one.condition}" if one.condition else "shares"
        yield _Found(field=field, kind="changed", old=one.old, new=one.new), ()
    for share in dict.fromkeys(moved_by_key(old, new)):
        yield _Found(field="moves", kind="changed", old=None, new=share), ()


def _listed(field: str, changes: Sequence[lists.Edit]) -> Iterator[_Found]:
    for edit in changes:
        old, new = list(edit.old) or None, list(edit.new) or None
        yield _Found(field=field, kind=edit.kind, old=old, new=new, place=edit.place)


def _changed(field: str, old: Json, new: Json) -> Iterator[_Found]:
    if old != new:
        yield _Found(field=field, kind="changed", old=old, new=new)


def _changed_keys(
    old: Mapping[str, Any], new: Mapping[str, Any], is_same: Callable[[Any, Any], bool] = operator.eq
) -> Iterator[tuple[str, ChangeKind]]:
    """Yield the keys of two mappings that only one of them has, or whose values differ."""
    for name in dict.fromkeys((*old, *new)):
        if name not in old or name not in new:
            yield name, "added" if name not in old else "removed"
        elif not is_same(old[name], new[name]):
            yield name, "changed"


def _step(old: Step, new: Step) -> Iterator[_Found]:
    """Yield the differences of two steps, and of their endpoints if both are one provider's."""
    yield from _parts("timeout", _written(old.limits), _written(new.limits))
    yield from _changed("retries", old.retries, new.retries)
    yield from _changed("retry_on", names_of(old.retry_on), names_of(new.retry_on))
    yield from _changed("fallback_on", names_of(old.fallback_on), names_of(new.fallback_on))
    yield from _changed(f"params.{MODEL_FAMILY}", old.family, new.family)
    for name, kind in _changed_keys(old.params.sent, new.params.sent, _is_same_json):
        key = mask_key(name)
        yield _Found(field=f"params.{key}", kind=kind, old=old.params.shown.get(key), new=new.params.shown.get(key))
    yield from _changed("price", price_of(old.price), price_of(new.price))
    if old.target.endpoint.provider == new.target.endpoint.provider:
        yield from _endpoint(old.target.endpoint, new.target.endpoint)


def _shadow(old: Shadow | None, new: Shadow | None) -> Iterator[_Found]:
    texts = [None if one is None else f"{as_share(one.share)} to {one.step.target.name}" for one in (old, new)]
    yield from _changed("shadow", *texts)
    if old is not None and new is not None and old.step.target.name == new.step.target.name:
        yield from _endpoint(old.step.target.endpoint, new.step.target.endpoint)


def _hedge(hedge: Hedge | None) -> Json:
    """Return the seconds of a hedge, or `p95`; None without one."""
    return None if hedge is None else hedge.after_s or "p95"


def _parts(field: str, old: JsonObject, new: JsonObject, provider: str | None = None) -> Iterator[_Found]:
    """Yield one difference with the keys whose values differ. Both mappings have the same keys."""
    differing = [name for name in old if old[name] != new[name]]
    if differing:
        before, after = ({name: values[name] for name in differing} for values in (old, new))
        yield _Found(field=field, kind="changed", old=before, new=after, provider=provider)


def _written(value: Limits | Cooldown) -> JsonObject:
    """Return the fields by their names in the file."""
    return {name.removesuffix("_s"): item for name, item in asdict(value).items()}


def _is_same_json(old: Json, new: Json) -> bool:
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
    yield from _parts("cooldown", _written(old.cooldown), _written(new.cooldown), provider)
    for name, one, other, before, after in (
        ("kind", old.kind, new.kind, old.kind, new.kind),
        ("adapter", old.adapter, new.adapter, old.adapter, new.adapter),
        ("wires", _wires(old), _wires(new), _wires(old), _wires(new)),
        ("api_version", old.api_version, new.api_version, old.api_version, new.api_version),
        ("base_url", old.base_url, new.base_url, old.shown_url, new.shown_url),
        ("script", old.script, new.script, _script(old), _script(new)),
    ):
        if one != other:
            yield _Found(field=f"providers.{name}", kind="changed", old=before, new=after, provider=provider)
    limits = limit_changes(old.limits, new.limits)
    if any(limits):
        yield _Found(field="providers.limits", kind="changed", old=limits[0], new=limits[1], provider=provider)
    keys = _keys(old), _keys(new)
    if keys[0] != keys[1] or (_has_literal(old) and _key_names(old) != _key_names(new)):
        yield _Found(field="providers.api_key", kind="changed", old=keys[0], new=keys[1], provider=provider)
        shares = [of_keys(list(map(_key, _key_names(endpoint)))) for endpoint in (old, new)]
        if len(shares[0]) > 1 or len(shares[1]) > 1:
            yield from (replace(found, provider=provider) for found in _changed("providers.shares", *shares))
    for name, kind in _changed_keys(old.headers, new.headers):
        one, other = _header(old, name), _header(new, name)
        yield _Found(field=f"providers.headers.{mask_key(name)}", kind=kind, old=one, new=other, provider=provider)


def _wires(endpoint: Endpoint) -> list[str] | None:
    """Return the wires that the file names; None if it names none."""
    return sorted(endpoint.wires or ()) if endpoint.wires_written else None


def _header(endpoint: Endpoint, name: str) -> str | None:
    """Return a header's value with variables as written and the rest hidden; None without the header."""
    written: Mapping[str, str] = endpoint.written.get("headers", {})
    found = {header.lower(): text for header, text in written.items()}
    return found.get(name, STARS) if name in endpoint.headers else None


_SCRIPT_KEYS: Final = ("text", "status", "retry_after_s", "delay_s", "cut", "stall")
"""Fields of an outcome that a file's script can set."""


def _script(endpoint: Endpoint) -> list[JsonObject]:
    outcomes: list[JsonObject] = [{key: getattr(outcome, key) for key in _SCRIPT_KEYS} for outcome in endpoint.script]
    for outcome, written in zip(outcomes, endpoint.written.get("script", ()), strict=False):
        outcome["text"] = written.get("text", outcome["text"])
    return [{name: value for name, value in outcome.items() if value is not None} for outcome in outcomes]


def _key_names(endpoint: Endpoint) -> tuple[str, ...]:
    """Return the names of the sources of an endpoint's keys, as the file names them: here none may have a key."""
    return endpoint.key_names or (endpoint.api_key.name,)


def _has_literal(endpoint: Endpoint) -> bool:
    return any(map(_is_literal, _key_names(endpoint)))


def _is_literal(name: str) -> bool:
    return name.startswith("sha256:")


def _keys(endpoint: Endpoint) -> str:
    """Return the sources of an endpoint's keys in words; of several in turn."""
    return ", ".join(map(_key, _key_names(endpoint)))


def _key(name: str) -> str:
    """Return the source of a key: `$NAME`, `$NAME or none`, `file PATH`, `none`, or `written in the config file`.

    A text of the file with variables in it, be it their default, is `$NAME with text of the config file`.
    """
    if _is_literal(name):
        _, *variables = name.split()
        names = " and ".join(f"${variable}" for variable in variables)
        return f"{names} with text of the config file" if names else "written in the config file"
    if name.startswith("file:"):
        return f"file {name.removeprefix('file:')}"
    if name.startswith("env:"):
        # `${NAME:-}` in the vendor's own entry gives the same text.
        return f"${name.removeprefix('env:')} or none"
    return VARIABLE.sub(lambda match: f"${match[1]}" + ("" if match[2] is None else " or none"), name)


_HookLists: TypeAlias = Mapping[str, Sequence[JsonObject]]
"""Pre and post hooks."""

_HooksOf: TypeAlias = Callable[[str | None], _HookLists]
"""Alias → its own hooks; None → the hooks for every request."""


def _hooks(table: RoutingTable, alias: str | None) -> _HookLists:
    """Return the own hooks of an alias as written in the file, so that comparing imports none."""
    entry = table.config if alias is None else (table.config.get("models") or {}).get(alias)
    block = entry.get("hooks") if isinstance(entry, Mapping) else None
    own = block if isinstance(block, dict) else {}
    return {name: [_hook(hook) for hook in own.get(name) or ()] for name in ("pre", "post")}


def _with_global(alias: str, hooks: _HooksOf) -> _HookLists:
    """Return the hooks of every request that asks for an alias."""
    return _joined([hooks(None), hooks(alias)])


def _nested(step: Step, hooks: _HooksOf) -> _HookLists:
    """Return the hooks of the nested aliases on the way to a step."""
    return _joined([hooks(nested.alias) for nested in step.nested]) if step.nested else EMPTY


def _joined(blocks: Sequence[_HookLists]) -> _HookLists:
    return {name: [hook for block in blocks for hook in block[name]] for name in ("pre", "post")}


def _hook(written: Json) -> JsonObject:
    entry = written if isinstance(written, dict) else {"path": written}
    timeout = entry.get("timeout")
    if timeout is not None and not (isinstance(timeout, str) and "$" in timeout):
        timeout = seconds(timeout)
    names: Collection[str] = entry.get("operations", HOOK_OPERATIONS)
    operations = operations_named(names)
    return {
        "path": entry["path"],
        "timeout": timeout,
        "on_error": entry.get("on_error", "fail"),
        "operations": sorted(operations, key=(*OPERATION_NAMES, *names).index),
        "events": entry.get("events", "all"),
    }


def _all_hook_changes(old: _HookLists, new: _HookLists) -> Iterator[_Found]:
    if old or new:
        for name in ("pre", "post"):
            yield from _hook_changes(f"hooks.{name}", old.get(name, ()), new.get(name, ()))


def _hook_changes(field: str, old: Sequence[JsonObject], new: Sequence[JsonObject]) -> Iterator[_Found]:
    listed = lists.compare([hook["path"] for hook in old], [hook["path"] for hook in new])
    yield from _listed(field, listed.edits)
    for before, after in listed.pairs:
        path = new[after]["path"]
        if old[before]["path"] == path:
            yield from _parts(f"{field}.{path}", old[before], new[after])


def _service(endpoint: Endpoint) -> Service:
    return Service(
        provider=endpoint.provider,
        kind=endpoint.kind,
        adapter=endpoint.adapter,
        base_url=endpoint.shown_url or (endpoint.relay_url if endpoint.adapter in ("anthropic", "gemini") else None),
        api_key=_keys(endpoint),
        headers=tuple(endpoint.headers),
    )
