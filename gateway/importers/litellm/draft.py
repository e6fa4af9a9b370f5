"""The new routes.yaml as data: upstreams, steps and aliases, their names, and their values in the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.config.compiler.known_providers import KINDS, WELL_KNOWN
from gateway.config.document.yaml_tree import Where
from gateway.config.model.read import schema
from gateway.policy.pools import Pick
from gateway.wire.json import EMPTY, Json, JsonObject

_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9._]+")
_LONGEST_NAME: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One entry of `providers`. Deployments with equal fields share it."""

    kind: str
    entry: Mapping[str, Json]
    """The entry of the file, without its `kind`."""
    hint: str = ""
    """A word for its name, to tell it from others of its kind."""
    secret: str = field(default="", repr=False)
    """The plain-text key of the config; upstreams with different keys are different."""
    owner: str = ""
    """Whose alone it is, where a deployment with limits has an upstream beside the one that others share."""

    @property
    def identity(self) -> str:
        """A text that is equal for equal upstreams."""
        return json.dumps([self.kind, self.entry, self.secret, self.owner], sort_keys=True, default=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One deployment as a step of a chain."""

    upstream: str
    """The identity of its Upstream."""
    model: str
    """The model's name, `$` not yet doubled."""
    where: Where
    variable: str = ""
    """The variable that has the model's name; `model` is then a placeholder, which is not written."""
    names_provider: bool = False
    """Whether that variable has the provider too, as in `openai/gpt-4o`."""
    timeout: str | None = None
    stream_timeout: str | None = None
    retries: int | str | None = None
    """A text names a variable."""
    retry_on: tuple[str, ...] | None = None
    fallback_on: tuple[str, ...] | None = None
    params: Mapping[str, Json] = field(default_factory=lambda: EMPTY)
    price: JsonObject | None = None

    def filled(self, matched: str) -> str:
        """Return the model with its star replaced by the text that a wildcard matched."""
        return self.model.replace("*", matched)


@dataclass(frozen=True, slots=True)
class Reference:
    """A step that continues with another alias' chain."""

    alias: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A step that shares the load between several targets."""

    members: tuple[tuple[Step, float], ...]
    """Each with its weight."""
    pick: Pick

    def without(self, upstream: str) -> Pool:
        """Return the pool without the members of an upstream."""
        return replace(self, members=tuple(member for member in self.members if member[0].upstream != upstream))


@dataclass(slots=True, kw_only=True)
class Alias:
    """One alias: its chain, description and comments."""

    chain: list[Step | Reference | Pool]
    description: str | None = None
    comments: list[str] = field(default_factory=list)

    @property
    def steps(self) -> list[Step]:
        """The steps of the chain that have a target, those in pools too."""
        found: list[Step] = []
        for item in self.chain:
            if isinstance(item, Pool):
                found += [step for step, _ in item.members]
            elif isinstance(item, Step):
                found.append(item)
        return found

    def remove(self, upstream: str) -> None:
        """Remove the steps that call an upstream."""
        kept = [item.without(upstream) if isinstance(item, Pool) else item for item in self.chain]
        self.chain = [
            item
            for item in kept
            if not (isinstance(item, Step) and item.upstream == upstream)
            and not (isinstance(item, Pool) and not item.members)
        ]


@dataclass(slots=True, kw_only=True)
class Draft:
    """A whole file before it is written."""

    upstreams: dict[str, Upstream] = field(default_factory=dict)
    """Upstreams by identity, in the order of first use."""
    defaults: JsonObject = field(default_factory=dict)
    default_comments: dict[str, str] = field(default_factory=dict)
    """Comments by key of `defaults`."""
    aliases: dict[str, Alias] = field(default_factory=dict)
    cache: JsonObject | None = None
    """The `cache` of each alias."""
    variables: dict[str, int] = field(default_factory=dict)
    """Variable that replaces a plain-text secret → line of the secret."""
    addresses: dict[str, int] = field(default_factory=dict)
    """Variable that holds an address → line of its first use."""


def name_upstreams(upstreams: Mapping[str, Upstream], used: Iterable[str]) -> dict[str, str]:
    """Return a readable name for each upstream in use, by identity.

    The upstream that differs least from a well-known provider gets that provider's name; one with an owner never does,
    so that no name changes when a deployment without limits joins or leaves.
    """
    wanted = [identity for identity in dict.fromkeys(used) if identity in upstreams]
    names: dict[str, str] = {}
    for identity in sorted(wanted, key=lambda identity: _rank(upstreams[identity])):
        upstream = upstreams[identity]
        same = [other for other in wanted if upstreams[other].kind == upstream.kind and not upstreams[other].owner]
        names[identity] = _free_name(upstream, set(names.values()), alone=same == [identity])
    return {identity: names[identity] for identity in wanted}


def _rank(upstream: Upstream) -> tuple[bool, bool, bool]:
    return bool(upstream.owner), "base_url" in upstream.entry, bool(upstream.entry)


def _free_name(upstream: Upstream, used: set[str], *, alone: bool) -> str:
    known = WELL_KNOWN.get(upstream.kind)
    has_own_address = known is not None and known.base_url is not None
    hint = _NOT_IN_A_NAME.sub("-", upstream.hint.lower()).strip("-._")[:_LONGEST_NAME]
    hint = hint.removeprefix(f"{upstream.kind}-")
    may_be_plain = "base_url" not in upstream.entry or (alone and not has_own_address)
    is_special = upstream.kind == "mock" or "adapter" in upstream.entry or bool(upstream.owner)
    plain = [upstream.kind] if may_be_plain and not is_special else []
    stem = f"{upstream.kind}-{hint}" if hint and hint != upstream.kind else f"{upstream.kind}-2"
    for name in [*plain, stem]:
        if name not in used and (name == upstream.kind or name not in KINDS):
            return name
    stem = stem.removesuffix("-2")
    return next(name for number in range(2, len(used) + 3) if (name := f"{stem}-{number}") not in used)


def key_of(upstream: Upstream) -> str:
    """Return the key of an upstream as the file writes it; empty if it has none, or LiteLLM alone knows where it is."""
    known = WELL_KNOWN.get(upstream.kind)
    if "api_key" in upstream.entry or {"base_url", "script"} & upstream.entry.keys() or known is None:
        return str(upstream.entry.get("api_key", ""))
    return f"${{{known.key_variables[0]}}}" if known.key_variables and known.key_required else ""


def provider_entry(name: str, upstream: Upstream) -> JsonObject:
    """Return an entry of `providers` as the file writes it."""
    if name == upstream.kind:
        return in_order("provider", upstream.entry)
    entry: JsonObject = {"kind": upstream.kind, **upstream.entry}
    if not {"api_key", "base_url", "script"} & entry.keys():
        variable = re.sub(r"[^A-Z0-9]+", "_", f"{upstream.kind}_API_KEY".upper())
        key = key_of(upstream) if upstream.kind in WELL_KNOWN else f"${{{variable}}}"
        if key:  # only an entry of the vendor's own name reads the vendor's key by default
            entry["api_key"] = key
    if upstream.kind == "openai" and "base_url" not in entry:
        # `kind: openai` means any server of that wire, so an entry with another name needs the address.
        entry["base_url"] = WELL_KNOWN["openai"].base_url
    return in_order("provider", entry)


def in_order(definition: str, entry: Mapping[str, Json]) -> JsonObject:
    """Return an entry with its keys in the order of the schema's definition, as `gateway fmt` puts them."""
    return {key: entry[key] for key in schema()["$defs"][definition]["properties"] if key in entry}


def alias_value(alias: Alias, names: Mapping[str, str], cache: JsonObject | None = None) -> Json:
    """Return an alias as the file writes it, in its shortest form, with this `cache`.

    A field that is equal in all steps with a target moves to the alias; `{alias: …}` steps keep their own.
    """
    steps = alias.steps
    shared: JsonObject = {}
    if len(steps) > 1 or any(step.timeout and step.stream_timeout for step in steps):
        shared = _shared(steps)
    chain = [_item(item, names, shared) for item in alias.chain]
    head = {} if alias.description is None else {"description": dollars(alias.description)}
    if cache is not None:
        shared = {**shared, "cache": cache}
    if head or shared:
        return in_order("alias", {**head, "chain": chain, **shared})
    return chain[0] if len(chain) == 1 and isinstance(chain[0], str) else chain


def _item(item: Step | Reference | Pool, names: Mapping[str, str], shared: Mapping[str, Json]) -> Json:
    if isinstance(item, Reference):
        return {"alias": dollars(item.alias)}
    return _pool(item, names, shared) if isinstance(item, Pool) else _step(item, names, shared)


def _pool(pool: Pool, names: Mapping[str, str], shared: Mapping[str, Json]) -> JsonObject:
    """Return a pool in its shortest form: a list of targets, a mapping of weights, or a list of mappings."""
    written = [
        (_step(step, names, shared), int(weight) if weight == int(weight) else weight) for step, weight in pool.members
    ]
    members: Json = [step for step, _ in written]
    if any(weight != 1 for _, weight in written):
        if all(isinstance(step, str) for step, _ in written) and not any(step.variable for step, _ in pool.members):
            members = dict(written)  # whose keys hold no variables
        else:
            members = [
                in_order("member", {**(step if isinstance(step, dict) else {"target": step}), "weight": weight})
                for step, weight in written
            ]
    return {"pool": members} | ({} if pool.pick == "weighted" else {"pick": pool.pick})


def keeps_stream_open(steps: Sequence[Step]) -> bool:
    """Tell whether the limits of a chain can be written so that streams have no `total`."""
    both = any(step.timeout and step.stream_timeout for step in steps)
    return not both or len({step.timeout for step in steps}) == 1


def _shared(steps: Sequence[Step]) -> JsonObject:
    """Return the fields that are equal in all steps; of a single step only the timeout."""
    timeout = steps[0].timeout
    shared: JsonObject = {"timeout": timeout} if timeout and {step.timeout for step in steps} == {timeout} else {}
    first, *others = map(_overrides, steps)
    same = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    return shared | (same if others else {})


def _overrides(step: Step) -> JsonObject:
    """Return a step's own retries, kinds of failure and parameters as the file writes them."""
    fields = {key: getattr(step, key) for key in ("retries", "retry_on", "fallback_on")}
    written = {key: list(it) if isinstance(it, tuple) else it for key, it in fields.items() if it is not None}
    return written | ({"params": dict(step.params)} if step.params else {})


def _step(step: Step, names: Mapping[str, str], shared: Mapping[str, Json]) -> Json:
    provider, model = names[step.upstream], dollars(step.model)
    target = f"{provider}/{model}"
    if step.variable:
        named = step.names_provider
        target = f"${{{step.variable}}}" if named else f"{provider}/${{{step.variable}}}"
    entry: JsonObject = {"target": target}
    if step.stream_timeout:
        entry["timeout"] = {"first_token": step.stream_timeout, "idle": step.stream_timeout}
        if step.timeout and "timeout" not in shared:
            entry["timeout"]["total"] = step.timeout
    elif step.timeout and "timeout" not in shared:
        entry["timeout"] = step.timeout
    entry |= {key: value for key, value in _overrides(step).items() if key not in shared}
    if step.price is not None:
        entry["price"] = step.price
    return in_order("step", entry) if len(entry) > 1 else target


def dollars(value: Json) -> Json:
    """Return a value with every dollar doubled, so that the file reads no variable in it."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [dollars(item) for item in value]
    if isinstance(value, dict):
        return {key: dollars(item) for key, item in value.items()}
    return value
