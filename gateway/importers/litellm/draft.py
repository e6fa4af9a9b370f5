"""The new routes.yaml before it is text: upstreams, steps and aliases, and how they are named and written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.config.compiler.known_providers import KINDS, WELL_KNOWN
from gateway.config.document.yaml_tree import Where
from gateway.wire.json import EMPTY, Json, JsonObject

_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9._]+")
_LONGEST_NAME: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One entry of `providers`, shared by the deployments that differ in none of these fields."""

    kind: str
    entry: Mapping[str, Json]
    """The entry of the file, without its `kind`."""
    hint: str = ""
    """A word for its name, which differs from others of its kind."""
    secret: str = field(default="", repr=False)
    """The key that the config holds in plain text: another key is another upstream."""

    @property
    def identity(self) -> str:
        """Text that is equal for equal upstreams."""
        return json.dumps([self.kind, self.entry, self.secret], sort_keys=True, default=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One deployment as a step of a chain."""

    upstream: str
    """The identity of its Upstream."""
    model: str
    """The model's name, `$` not yet doubled."""
    where: Where
    timeout: str | None = None
    stream_timeout: str | None = None
    retries: int | None = None
    retry_on: tuple[str, ...] | None = None
    fallback_on: tuple[str, ...] | None = None
    params: Mapping[str, Json] = field(default_factory=lambda: EMPTY)

    def filled(self, matched: str) -> str:
        """Return the model with its star replaced by the text that a wildcard matched."""
        return self.model.replace("*", matched)


@dataclass(frozen=True, slots=True)
class Reference:
    """A step that goes on with another alias' chain."""

    alias: str


@dataclass(slots=True, kw_only=True)
class Alias:
    """One alias: its chain, description and comments."""

    chain: list[Step | Reference]
    description: str | None = None
    comments: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Draft:
    """A whole file in the making."""

    upstreams: dict[str, Upstream] = field(default_factory=dict)
    """By identity, in the order of their first use."""
    defaults: JsonObject = field(default_factory=dict)
    default_comments: dict[str, str] = field(default_factory=dict)
    """Comments by key of `defaults`."""
    aliases: dict[str, Alias] = field(default_factory=dict)
    variables: dict[str, int] = field(default_factory=dict)
    """Variables that replace plain-text secrets, each with the line of the secret."""
    addresses: dict[str, int] = field(default_factory=dict)
    """Variables that hold addresses, each with the line of its first use."""


def is_bare(upstream: Upstream) -> bool:
    """Tell whether a provider needs no entry at all."""
    return not upstream.entry


def name_upstreams(upstreams: Mapping[str, Upstream], used: Iterable[str]) -> dict[str, str]:
    """Return a readable name for each upstream in use, by identity.

    A well-known name goes to the upstream that differs least from the well-known provider.
    """
    wanted = [identity for identity in dict.fromkeys(used) if identity in upstreams]
    names: dict[str, str] = {}
    taken: set[str] = set()
    ordered = sorted(wanted, key=lambda identity: _distance(upstreams[identity]))
    for identity in ordered:
        upstream = upstreams[identity]
        alone = sum(upstreams[other].kind == upstream.kind for other in wanted) == 1
        names[identity] = _free_name(upstream, taken, alone=alone)
        taken.add(names[identity])
    return {identity: names[identity] for identity in wanted}


def _distance(upstream: Upstream) -> int:
    return 0 if is_bare(upstream) else 2 if "base_url" in upstream.entry else 1


def _free_name(upstream: Upstream, taken: set[str], *, alone: bool) -> str:
    known = WELL_KNOWN.get(upstream.kind)
    has_home = known is not None and known.base_url is not None
    hint = _NOT_IN_A_NAME.sub("-", upstream.hint.lower()).strip("-._")[:_LONGEST_NAME]
    hint = hint.removeprefix(f"{upstream.kind}-")
    plain = [upstream.kind] if "base_url" not in upstream.entry or (alone and not has_home) else []
    plain = [] if upstream.kind == "mock" else plain
    stem = f"{upstream.kind}-{hint}" if hint and hint != upstream.kind else f"{upstream.kind}-2"
    for name in [*plain, stem]:
        if name not in taken and (name == upstream.kind or name not in KINDS):
            return name
    stem = stem.removesuffix("-2")
    return next(name for number in range(2, len(taken) + 3) if (name := f"{stem}-{number}") not in taken)


def provider_entry(name: str, upstream: Upstream) -> JsonObject:
    """Return an entry of `providers` as the file has it."""
    if name == upstream.kind:
        return dict(upstream.entry)
    entry: JsonObject = {"kind": upstream.kind, **upstream.entry}
    if not {"api_key", "base_url", "script"} & entry.keys() and (variable := _vendors_variable(upstream.kind)):
        # Only an entry of the vendor's own name looks for the vendor's key by itself.
        entry["api_key"] = f"${{{variable}}}"
    if upstream.kind == "openai" and "base_url" not in entry:
        # `kind: openai` is any server of that wire, so an entry of another name says which.
        entry["base_url"] = WELL_KNOWN["openai"].base_url
    return entry


def _vendors_variable(kind: str) -> str:
    known = WELL_KNOWN.get(kind)
    if known is None:
        return re.sub(r"[^A-Z0-9]+", "_", f"{kind}_API_KEY".upper())
    return known.key_variables[0] if known.key_variables and known.key_required else ""


def alias_value(alias: Alias, names: Mapping[str, str]) -> Json:
    """Return an alias as the file has it, in its shortest form.

    A field that is equal in all steps with a target moves to the alias; `{alias: …}` steps keep their own.
    """
    steps = [step for step in alias.chain if isinstance(step, Step)]
    shared: JsonObject = {}
    if len(steps) > 1 or any(step.timeout and step.stream_timeout for step in steps):
        shared = _shared(steps)
    chain = [
        {"alias": dollars(step.alias)} if isinstance(step, Reference) else _step(step, names, shared)
        for step in alias.chain
    ]
    head = {} if alias.description is None else {"description": dollars(alias.description)}
    if head or shared:
        return {**head, "chain": chain, **shared}
    return chain[0] if len(chain) == 1 and isinstance(chain[0], str) else chain


def keeps_stream_open(steps: Sequence[Step]) -> bool:
    """Tell whether a chain's limits for plain answers and for streams can be written without a total for streams."""
    both = any(step.timeout and step.stream_timeout for step in steps)
    return not both or len({step.timeout for step in steps}) == 1


def _shared(steps: Sequence[Step]) -> JsonObject:
    shared: JsonObject = {}
    first = steps[0]
    same = {
        key
        for key in ("timeout", "stream_timeout", "retries", "retry_on", "fallback_on", "params")
        if all(getattr(step, key) == getattr(first, key) for step in steps)
    }
    if "timeout" in same and first.timeout:
        shared["timeout"] = first.timeout
    for key in ("retries", "retry_on", "fallback_on"):
        value = getattr(first, key)
        if key in same and value is not None and len(steps) > 1:
            shared[key] = list(value) if isinstance(value, tuple) else value
    if "params" in same and first.params and len(steps) > 1:
        shared["params"] = dict(first.params)
    return shared


def _step(step: Step, names: Mapping[str, str], shared: Mapping[str, Json]) -> Json:
    target = dollars(f"{names[step.upstream]}/{step.model}")
    entry: JsonObject = {"target": target}
    if step.stream_timeout:
        entry["timeout"] = {"first_token": step.stream_timeout, "idle": step.stream_timeout}
        if step.timeout and "timeout" not in shared:
            entry["timeout"]["total"] = step.timeout
    elif step.timeout and "timeout" not in shared:
        entry["timeout"] = step.timeout
    for key in ("retries", "retry_on", "fallback_on"):
        value = getattr(step, key)
        if value is not None and key not in shared:
            entry[key] = list(value) if isinstance(value, tuple) else value
    if step.params and "params" not in shared:
        entry["params"] = dict(step.params)
    return entry if len(entry) > 1 else target


def dollars(value: Json) -> Json:
    """Return a value with every dollar doubled, so that nothing in it is taken for a variable."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [dollars(item) for item in value]
    if isinstance(value, dict):
        return {key: dollars(item) for key, item in value.items()}
    return value
