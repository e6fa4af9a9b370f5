"""Turn a document into its Config: expand variables, validate against the JSON schema, build frozen specs."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.concurrency.pacing import paced
from gateway.config.document.document import Document, in_file_order, mask_values
from gateway.config.document.yaml_tree import Node, Where
from gateway.config.model.read_limits import cache_of, groups_of, limits_of, price_of
from gateway.config.model.schema_check import Fits, fitting
from gateway.config.model.schema_faults import Misfit, inline, misfits, misnamed
from gateway.config.model.specs import (
    NO_HOOKS,
    AliasSpec,
    Config,
    CooldownSpec,
    DefaultsSpec,
    HookSpec,
    HooksSpec,
    KeySpec,
    LimitsSpec,
    MemberSpec,
    PoolSpec,
    ProviderSpec,
    ShadowSpec,
    StepSpec,
    StreamSpec,
    TimeoutSpec,
    WhenSpec,
)
from gateway.config.model.variables import Expander
from gateway.policy.failures import Kind
from gateway.policy.keys import Secret
from gateway.policy.params import NO_PARAMS, Params
from gateway.policy.pools import StickyKey
from gateway.policy.problem import Problem
from gateway.policy.secrets import shown
from gateway.policy.table import Hedge
from gateway.policy.target import ScriptedOutcome
from gateway.policy.variables import is_made_of_variables, names_in
from gateway.policy.wires import operations_named
from gateway.wire.json import EMPTY, Json, JsonObject
from gateway.words import seconds, share_of

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator


def schema(name: str = "routes") -> JsonObject:
    """Return a JSON schema, `routes` or `routes.test`: package data in a wheel, `schemas/` in a checkout."""
    package, path = files("gateway"), f"schemas/{name}.schema.json"
    file = package / path if (package / path).is_file() else package / ".." / path
    loaded: JsonObject = json.loads(file.read_text(encoding="utf-8"))
    return loaded


class Dump(Mapping[str, Json]):
    """The file's values without `x-` keys: variables as written, secrets masked.

    Built at first access, because it takes a while for a large file and is rarely needed.
    """

    def __init__(self, document: Document) -> None:
        self._document = document

    @cached_property
    def _values(self) -> JsonObject:
        return mask_values(self._document)

    def of(self, names: Container[str]) -> JsonObject:
        """Return the same with these models only: that takes no time for the others."""
        return mask_values(self._document, only=names)

    def __getitem__(self, key: str) -> Json:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """The schema prepared for use, with its references resolved: following them is most of jsonschema's time."""

    file: JsonObject
    alias: JsonObject
    alias_name_fits: Fits
    file_fits: Fits
    alias_fits: Fits


@cache
def _rules() -> _Rules:
    whole = schema()
    file = inline(whole, whole)
    models = file["properties"]["models"]
    return _Rules(
        file=file,
        alias=models["additionalProperties"],
        alias_name_fits=fitting(models["propertyNames"]),
        file_fits=fitting(file),
        alias_fits=fitting(models["additionalProperties"]),
    )


def top_rules() -> Mapping[str, JsonObject]:
    """Return the inlined schema of each key of a file."""
    rules: Mapping[str, JsonObject] = _rules().file["properties"]
    return rules


@cache
def _validators() -> tuple[Draft202012Validator, Draft202012Validator]:
    """Return jsonschema's validators of a file and of an alias."""
    # Importing jsonschema takes longer than reading most files, and only invalid files need it.
    from jsonschema import Draft202012Validator

    rules = _rules()
    return Draft202012Validator(rules.file), Draft202012Validator(rules.alias)


@dataclass(slots=True)
class _Judged:
    """One validated entry of `models`."""

    node: Node
    value: Json
    """Variables expanded."""
    fingerprint: str
    """The value as JSON, before and after expansion: equal for equal entries."""
    faults: tuple[Misfit, ...]
    spec: AliasSpec | None
    """None until `_models` builds it."""


class Judge:
    """Validates the successive documents of one file. An alias unchanged since the last valid one is not validated."""

    def __init__(self) -> None:
        self._faults: dict[str, tuple[Misfit, ...]] = {}
        """Faults of the aliases in the latest document, by fingerprint."""
        self._judged: Mapping[str, _Judged] = {}
        """The aliases of the last valid document."""
        self.refused: tuple[Where, ...] = ()
        """The places of the latest document's errors, without those of its text."""

    def read(
        self, document: Document, *, environ: Mapping[str, str], strict_env: bool
    ) -> tuple[Config | None, list[Problem]]:
        """Return the config and all problems, including the document's own, in file order.

        The config is None when a problem is an error. With `strict_env` an unset variable in an `api_key` is an error.
        """
        self.refused = ()
        if document.root is None:
            return None, in_file_order(list(document.problems), document.included)
        expander = Expander(document, environ, strict_env=strict_env)
        values, aliases, found = self._judge_file(document, expander)
        problems = [*document.problems, *expander.problems]
        # A value with a fault of the text is not reported a second time.
        reported = {(problem.source, problem.line, problem.column) for problem in document.problems}
        problems += [
            document.problem(misfit.code, misfit.where, misfit.message, key=misfit.at_key)
            for misfit in found
            if misfit.at_key or (document.home(misfit.where).name, *document.position(misfit.where)) not in reported
        ]
        problems = in_file_order(problems, document.included)
        if any(problem.severity == "error" for problem in problems):
            self.refused = (*expander.refused, *(misfit.where for misfit in found))
            return None, problems
        self._judged = aliases
        return _config(values, _models(aliases), document.value or {}, expander.unset_keys), problems

    def _judge_file(
        self, document: Document, expander: Expander
    ) -> tuple[JsonObject, dict[str, _Judged], list[Misfit]]:
        """Return the expanded values with an empty `models`, the aliases, and the faults that the schema finds."""
        rules = _rules()
        values: JsonObject = {}
        aliases: dict[str, _Judged] = {}
        found: list[Misfit] = []
        for key, node in document.root.members.items() if document.root is not None else ():
            if key == "models" and isinstance(node.children, dict):
                values[key] = {}
                aliases = self._judge_aliases(node.children, expander, found)
            elif not key.startswith("x-"):
                values[key] = expander.value(node, (key,), rules.file["properties"].get(key))
        if not rules.file_fits(values):
            found += misfits(_validators()[0], values, document.value)
        return values, aliases, found

    def _judge_aliases(self, nodes: Mapping[str, Node], expander: Expander, found: list[Misfit]) -> dict[str, _Judged]:
        known: dict[str, tuple[Misfit, ...]] = {}
        judged: dict[str, _Judged] = {}
        for name, node in paced(nodes.items()):
            alias = self._judged.get(name)
            if alias is None or alias.node is not node or node.variables:
                alias = self._judge_alias(name, node, expander, known)
                found += alias.faults
            judged[name] = alias
        self._faults = known
        return judged

    def _judge_alias(self, name: str, node: Node, expander: Expander, known: dict[str, tuple[Misfit, ...]]) -> _Judged:
        rules = _rules()
        value = node.value
        # Decoded, because orjson's bytes objects occupy a kilobyte each, however short.
        fingerprint = orjson.dumps(value).decode()
        if node.variables:
            value = expander.value(node, ("models", name), rules.alias)
            fingerprint += orjson.dumps(value).decode()
        faults = known.get(fingerprint, self._faults.get(fingerprint))
        if faults is None:
            fits = rules.alias_fits(value)
            faults = () if fits else misfits(_validators()[1], value, node.value, at=("models",))
        known[fingerprint] = faults
        placed = [replace(fault, where=("models", name, *fault.where)) for fault in faults]
        if not rules.alias_name_fits(name):
            placed.append(misnamed(("models", name), "aliasName"))
        before = self._judged.get(name)
        spec = before.spec if before is not None and before.fingerprint == fingerprint else None
        return _Judged(node, value, fingerprint, tuple(placed), spec)


def _models(aliases: Mapping[str, _Judged]) -> Mapping[str, AliasSpec]:
    """Return the aliases' specs; the same objects as before for unchanged aliases."""
    specs: dict[str, AliasSpec] = {}
    for name, judged in paced(aliases.items()):
        specs[name] = judged.spec = judged.spec or _alias(name, judged.value, judged.node.value)
    return MappingProxyType(specs)


def _config(values: JsonObject, models: Mapping[str, AliasSpec], written: JsonObject, unset: set[Where]) -> Config:
    providers = {
        name: _provider(name, entry, written["providers"][name], unset)
        for name, entry in values.get("providers", {}).items()
    }
    defaults = values.get("defaults", {})
    return Config(
        defaults=DefaultsSpec(
            limits=_limits(defaults, written.get("defaults", {})),
            deadline_s=_seconds(defaults.get("deadline")),
            max_attempts=_whole(defaults.get("max_attempts")),
            cooldown=_cooldown(defaults.get("cooldown")),
            stream=_stream(defaults.get("stream")),
        ),
        providers=MappingProxyType(providers),
        models=models,
        clients=groups_of(values["clients"]) if "clients" in values else None,
        hooks=_hooks(values.get("hooks")),
        capabilities=_frozen(values.get("capabilities")),
    )


def _provider(name: str, entry: JsonObject, written: JsonObject, unset: set[Where]) -> ProviderSpec:
    return ProviderSpec(
        name=name,
        kind=entry.get("kind"),
        base_url=entry.get("base_url"),
        api_keys=tuple(_keys(entry.get("api_key"), written.get("api_key"), ("providers", name, "api_key"), unset)),
        api_key_files=tuple(_as_list(entry.get("api_key_file"))),
        adapter=entry.get("adapter"),
        wires=frozenset(entry.get("wires", ())),
        api_version=entry.get("api_version"),
        headers=_frozen(entry.get("headers")),
        params=_params(entry, written),
        cooldown=_cooldown(entry.get("cooldown")),
        limits=limits_of(entry),
        script=tuple(_outcome(outcome) for outcome in entry.get("script", ())),
        written=EMPTY if entry is written else _frozen(shown(written)),
    )


def _keys(value: Json, written: Json, place: Where, unset: set[Where]) -> Iterator[KeySpec]:
    is_list = isinstance(value, list)
    for index, (text, before) in enumerate(zip(_as_list(value), _as_list(written), strict=True)):
        is_shown = is_made_of_variables(before)
        yield KeySpec(
            value=None if ((*place, index) if is_list else place) in unset else Secret(text),
            written=before if is_shown else None,
            variables=() if is_shown else names_in(before),
        )


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _outcome(entry: JsonObject) -> ScriptedOutcome:
    plain = ScriptedOutcome()
    return ScriptedOutcome(
        text=entry.get("text", plain.text),
        status=int(entry.get("status", plain.status)),
        retry_after_s=_seconds(entry.get("retry_after")),
        delay_s=_seconds(entry.get("delay")) or 0.0,
        cut=_whole(entry.get("cut")),
        stall=_whole(entry.get("stall")),
    )


def _alias(name: str, value: Json, written: Json) -> AliasSpec:
    """Return the spec of an alias. `value` has its variables expanded, `written` has not."""
    if isinstance(value, str):
        return AliasSpec(name=name, chain=(StepSpec(target=value),))
    if not isinstance(value, dict):
        return AliasSpec(name=name, chain=_chain(value, written))
    return AliasSpec(
        name=name,
        chain=_chain(value["chain"], written["chain"]),
        description=written.get("description"),
        hooks=_hooks(value.get("hooks")),
        limits=_limits(value, written),
        deadline_s=_seconds(value.get("deadline")),
        max_attempts=_whole(value.get("max_attempts")),
        stream=_stream(value.get("stream")),
        shadow=_shadow(value.get("shadow")),
        hedge=_hedge(value.get("hedge")),
        cache=cache_of(value.get("cache")),
    )


def _shadow(block: JsonObject | None) -> ShadowSpec | None:
    return None if block is None else ShadowSpec(target=block["target"], share=share_of(block["share"]))


def _hedge(after: str | float | None) -> Hedge | None:
    return None if after is None else Hedge(None if after == "p95" else _seconds(after))


def _chain(steps: list[Json], written: list[Json]) -> tuple[StepSpec, ...]:
    return tuple([_step(step, text) for step, text in zip(steps, written, strict=True)])


def _step(step: Json, written: Json) -> StepSpec:
    """Return the spec of a chain's entry, or of a pool's, whose `weight` is left out."""
    if isinstance(step, str):
        return StepSpec(target=step)
    when, has_pool = step.get("when"), "pool" in step
    return StepSpec(
        target=step.get("target"),
        alias=step.get("alias"),
        pool=_pool(step, written) if has_pool else None,
        limits=_limits(step, written),
        when=None if when is None else _when(when),
    )


def _pool(step: JsonObject, written: JsonObject) -> PoolSpec:
    pool, texts, key = step["pool"], written["pool"], step.get("key")
    if isinstance(pool, dict):
        members = [MemberSpec(step=StepSpec(target=target), weight=float(weight)) for target, weight in pool.items()]
    else:
        members = [
            MemberSpec(
                step=_step(member, text), weight=float(member.get("weight", 1)) if isinstance(member, dict) else 1
            )
            for member, text in zip(pool, texts, strict=True)
        ]
    return PoolSpec(
        members=tuple(members),
        is_mapping=isinstance(pool, dict),
        pick=step.get("pick"),
        key=None if key is None else StickyKey(client=True) if isinstance(key, str) else StickyKey(**key),
    )


_FEATURES: Final = ("stream", "tools", "images", "audio", "files")


def _when(block: JsonObject) -> WhenSpec:
    inverse = block.get("not")
    return WhenSpec(
        features=_frozen({name: block[name] for name in _FEATURES if name in block}),
        tokens=block.get("tokens"),
        max_tokens=block.get("max_tokens"),
        operations=operations_named(block.get("operation", ())),
        headers=_values(block.get("header")),
        metadata=_values(block.get("metadata")),
        clients=frozenset(block.get("client", ())),
        params=_values(block.get("param")),
        during=block.get("during"),
        inverse=None if inverse is None else _when(inverse),
    )


def _values(block: JsonObject | None) -> Mapping[str, tuple[Any, ...]]:
    values = (block or {}).items()
    return _frozen({name: tuple(value) if isinstance(value, list) else (value,) for name, value in values})


def _limits(block: JsonObject, written: JsonObject) -> LimitsSpec:
    timeout = block.get("timeout")
    return LimitsSpec(
        timeout=None if timeout is None else _timeout(timeout),
        retries=_whole(block.get("retries")),
        params=_params(block, written),
        retry_on=_kinds(block.get("retry_on")),
        fallback_on=_kinds(block.get("fallback_on")),
        price=price_of(block.get("price")),
    )


def _params(block: JsonObject, written: JsonObject) -> Params:
    sent = block.get("params")
    if not sent:
        return NO_PARAMS
    texts = {name: text for name, text in written["params"].items() if text is not sent[name]}
    return Params(_frozen(sent), _frozen(texts))


def _timeout(value: Json) -> TimeoutSpec:
    if not isinstance(value, dict):
        return TimeoutSpec(bare_s=seconds(value))
    return TimeoutSpec(**{f"{key}_s": seconds(duration) for key, duration in value.items()})


def _cooldown(block: JsonObject | None) -> CooldownSpec | None:
    if block is None:
        return None
    share = block.get("share")
    return CooldownSpec(
        failures=_whole(block.get("failures")),
        share=None if share is None else share_of(share),
        within_s=_seconds(block.get("within")),
        for_s=_seconds(block.get("for")),
    )


def _stream(block: JsonObject | None) -> StreamSpec | None:
    if block is None:
        return None
    keepalive_s = _seconds(block.get("keepalive"))
    return StreamSpec(hold=block.get("hold"), max_bytes=_whole(block.get("max_bytes")), keepalive_s=keepalive_s)


def _hooks(block: JsonObject | None) -> HooksSpec:
    if not block:
        return NO_HOOKS
    pre, post = (tuple(_hook(entry) for entry in block.get(when, ())) for when in ("pre", "post"))
    return HooksSpec(pre=pre, post=post)


def _hook(entry: Json) -> HookSpec:
    if isinstance(entry, str):
        return HookSpec(path=entry)
    operations = entry.get("operations")
    return HookSpec(
        path=entry["path"],
        timeout_s=_seconds(entry.get("timeout")),
        on_error=entry.get("on_error", "fail"),
        operations=None if operations is None else operations_named(operations),
        events=entry.get("events"),
    )


def _kinds(names: list[str] | None) -> frozenset[Kind] | None:
    return None if names is None else frozenset(map(Kind, names))


def _seconds(duration: str | float | None) -> float | None:
    return None if duration is None else seconds(duration)


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _frozen(mapping: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping)) if mapping else EMPTY
