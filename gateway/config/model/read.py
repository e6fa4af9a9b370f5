"""A document to its config: judged by the JSON schema, variables expanded, then frozen specs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from gateway.concurrency.pacing import paced
from gateway.config.document.document import Document, in_file_order, mask_values
from gateway.config.document.yaml_tree import Node, Where
from gateway.config.model.schema_check import Fits, fitting
from gateway.config.model.schema_faults import SHAPE_CODES, Misfit, inline, misfits, misnamed
from gateway.config.model.specs import (
    NO_HOOKS,
    AliasSpec,
    Config,
    CooldownSpec,
    DefaultsSpec,
    HookSpec,
    HooksSpec,
    LimitsSpec,
    ProviderSpec,
    StepSpec,
    StreamSpec,
    TimeoutSpec,
)
from gateway.config.model.variables import Expander
from gateway.policy.failures import Kind
from gateway.policy.keys import Secret
from gateway.policy.params import NO_PARAMS, Params
from gateway.policy.problem import Problem
from gateway.policy.secrets import shown
from gateway.policy.target import ScriptedOutcome
from gateway.policy.variables import is_made_of_variables
from gateway.wire.json import EMPTY, Json, JsonObject
from gateway.words import seconds

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

__all__ = ["SHAPE_CODES", "Dump", "Judge", "schema"]


def schema(name: str = "routes") -> JsonObject:
    """Return a JSON schema, `routes` or `routes.test`: package data in a wheel, `schemas/` in a checkout."""
    package, file = files("gateway"), f"{name}.schema.json"
    inside = package / "schemas" / file
    found = inside if inside.is_file() else package / ".." / "schemas" / file
    loaded: JsonObject = json.loads(found.read_text(encoding="utf-8"))
    return loaded


class Dump(Mapping[str, Json]):
    """The file's values as written, variables unexpanded and secrets masked. `x-` keys are left out.

    Made when first looked at: of a large file it takes a while, and few ever ask.
    """

    def __init__(self, document: Document) -> None:
        self._document = document

    @cached_property
    def _values(self) -> JsonObject:
        return mask_values(self._document)

    def __getitem__(self, key: str) -> Json:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """The schema, made ready. References are filled in: following them takes jsonschema most of its time."""

    file: JsonObject
    alias: JsonObject
    alias_name: re.Pattern[str]
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
        alias_name=re.compile(models["propertyNames"]["pattern"]),
        file_fits=fitting(file),
        alias_fits=fitting(models["additionalProperties"]),
    )


@cache
def _validators() -> tuple[Draft202012Validator, Draft202012Validator]:
    """Return jsonschema's validators of a file and of an alias."""
    # Importing jsonschema takes longer than reading most files, and it is only asked what is wrong with a bad one.
    from jsonschema import Draft202012Validator

    rules = _rules()
    return Draft202012Validator(rules.file), Draft202012Validator(rules.alias)


@dataclass(slots=True)
class _Judged:
    """One entry of `models`, expanded."""

    node: Node
    value: Json
    seen: str
    """What tells two values apart, variables and what they expand to included."""
    faults: tuple[Misfit, ...]
    spec: AliasSpec | None
    """Made once it is asked for."""


class Judge:
    """Judges documents. An alias that is as it was in the last good one is not judged again."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Misfit, ...]] = {}
        self._judged: Mapping[str, _Judged] = {}

    def read(
        self, document: Document, *, environ: Mapping[str, str], strict_env: bool
    ) -> tuple[Config | None, list[Problem]]:
        """Return what the file says and all its problems, the document's own included, in file order.

        There is no config when any problem is an error. With `strict_env` an unset variable in an `api_key` is one.
        """
        if document.root is None:
            return None, in_file_order(list(document.problems))
        expander = Expander(document, environ, strict_env=strict_env)
        values, aliases, found = self._judge_file(document, expander)
        problems = [*document.problems, *expander.problems]
        # What could not be read as it stands has its problem already.
        unread = {(problem.line, problem.column) for problem in document.problems}
        problems += [
            document.problem(misfit.code, misfit.where, misfit.message, key=misfit.at_key)
            for misfit in found
            if misfit.at_key or document.position(misfit.where) not in unread
        ]
        problems = in_file_order(problems)
        if any(problem.severity == "error" for problem in problems):
            return None, problems
        self._judged = aliases
        return _config(values, _models(aliases), document.value or {}, expander.unset_keys), problems

    def _judge_file(
        self, document: Document, expander: Expander
    ) -> tuple[JsonObject, dict[str, _Judged], list[Misfit]]:
        """Return the expanded values, without and with `models`, and what the schema refuses in them."""
        rules = _rules()
        known = rules.file["properties"]
        values: JsonObject = {}
        aliases: dict[str, _Judged] = {}
        found: list[Misfit] = []
        nodes = document.root.children if document.root is not None else None
        for key, node in nodes.items() if isinstance(nodes, dict) else ():
            if key.startswith("x-"):
                continue
            if key == "models" and isinstance(node.children, dict):
                values[key] = {}
                aliases = self._judge_aliases(node.children, expander, found)
            else:
                values[key] = expander.value(node, (key,), known.get(key))
        if not rules.file_fits(values):
            found += misfits(_validators()[0], values, document.value)
        return values, aliases, found

    def _judge_aliases(self, nodes: Mapping[str, Node], expander: Expander, found: list[Misfit]) -> dict[str, _Judged]:
        known: dict[str, tuple[Misfit, ...]] = {}
        judged: dict[str, _Judged] = {}
        for name, node in paced(nodes.items()):
            before = self._judged.get(name)
            if before is None or before.node is not node or node.variables:
                before = self._judge_alias(name, node, expander, known)
                found += before.faults
            judged[name] = before
        self._known = known
        return judged

    def _judge_alias(self, name: str, node: Node, expander: Expander, known: dict[str, tuple[Misfit, ...]]) -> _Judged:
        rules = _rules()
        value = node.value
        # As text: it is as long as it needs to be, where orjson's bytes keep a kilobyte.
        seen = orjson.dumps(value).decode()
        if node.variables:
            value = expander.value(node, ("models", name), rules.alias)
            seen += orjson.dumps(value).decode()
        faults = known.get(seen)
        if faults is None:
            faults = self._known.get(seen)
        if faults is None:
            fits = rules.alias_fits(value)
            faults = () if fits else misfits(_validators()[1], value, node.value, at=("models",))
        known[seen] = faults
        placed = [replace(fault, where=("models", name, *fault.where)) for fault in faults]
        if not rules.alias_name.search(name):
            placed.append(misnamed(("models", name), "aliasName"))
        before = self._judged.get(name)
        spec = before.spec if before is not None and before.seen == seen else None
        return _Judged(node, value, seen, tuple(placed), spec)


def _models(aliases: Mapping[str, _Judged]) -> Mapping[str, AliasSpec]:
    """Return the aliases' specs; the very same objects for those that did not change."""
    specs: dict[str, AliasSpec] = {}
    for name, judged in paced(aliases.items()):
        spec = judged.spec
        if spec is None:
            spec = judged.spec = _alias(name, judged.value, judged.node.value)
        specs[name] = spec
    return MappingProxyType(specs)


def _config(values: JsonObject, models: Mapping[str, AliasSpec], written: JsonObject, unset: set[Where]) -> Config:
    providers = {
        name: _provider(name, entry, written["providers"][name], unset=("providers", name, "api_key") in unset)
        for name, entry in values.get("providers", {}).items()
    }
    return Config(
        defaults=_defaults(values.get("defaults", {}), written.get("defaults", {})),
        providers=MappingProxyType(providers),
        models=models,
        hooks=_hooks(values.get("hooks")),
        capabilities=_frozen(values.get("capabilities")),
    )


def _defaults(block: JsonObject, written: JsonObject) -> DefaultsSpec:
    return DefaultsSpec(
        limits=_limits(block, written),
        deadline_s=_seconds(block.get("deadline")),
        max_attempts=_whole(block.get("max_attempts")),
        cooldown=_cooldown(block.get("cooldown")),
        stream=_stream(block.get("stream")),
    )


def _provider(name: str, entry: JsonObject, written: JsonObject, *, unset: bool) -> ProviderSpec:
    key, text = entry.get("api_key"), written.get("api_key")
    return ProviderSpec(
        name=name,
        kind=entry.get("kind"),
        base_url=entry.get("base_url"),
        api_key=None if key is None or unset else Secret(key),
        api_key_written=text if isinstance(text, str) and is_made_of_variables(text) else None,
        api_key_unset=unset,
        api_key_file=entry.get("api_key_file"),
        adapter=entry.get("adapter"),
        headers=_frozen(entry.get("headers")),
        params=_params(entry, written),
        cooldown=_cooldown(entry.get("cooldown")),
        script=tuple(_outcome(outcome) for outcome in entry.get("script", ())),
        written=EMPTY if entry is written else _frozen(shown(written)),
    )


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
    """Return the spec of an alias, its value with variables expanded and as written."""
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
    )


def _chain(steps: list[Json], written: list[Json]) -> tuple[StepSpec, ...]:
    return tuple(
        StepSpec(target=step)
        if isinstance(step, str)
        else StepSpec(target=step.get("target"), alias=step.get("alias"), limits=_limits(step, text))
        for step, text in zip(steps, written, strict=True)
    )


def _limits(block: JsonObject, written: JsonObject) -> LimitsSpec:
    timeout = block.get("timeout")
    return LimitsSpec(
        timeout=None if timeout is None else _timeout(timeout),
        retries=_whole(block.get("retries")),
        params=_params(block, written),
        retry_on=_kinds(block.get("retry_on")),
        fallback_on=_kinds(block.get("fallback_on")),
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
    return TimeoutSpec(
        connect_s=_seconds(value.get("connect")),
        first_token_s=_seconds(value.get("first_token")),
        idle_s=_seconds(value.get("idle")),
        total_s=_seconds(value.get("total")),
    )


def _cooldown(block: JsonObject | None) -> CooldownSpec | None:
    if block is None:
        return None
    return CooldownSpec(
        failures=_whole(block.get("failures")), within_s=_seconds(block.get("within")), for_s=_seconds(block.get("for"))
    )


def _stream(block: JsonObject | None) -> StreamSpec | None:
    return None if block is None else StreamSpec(hold=block.get("hold"), max_bytes=_whole(block.get("max_bytes")))


def _hooks(block: JsonObject | None) -> HooksSpec:
    if not block:
        return NO_HOOKS
    pre, post = (tuple(_hook(entry) for entry in block.get(when, ())) for when in ("pre", "post"))
    return HooksSpec(pre=pre, post=post)


def _hook(entry: Json) -> HookSpec:
    if isinstance(entry, str):
        return HookSpec(path=entry)
    return HookSpec(
        path=entry["path"], timeout_s=_seconds(entry.get("timeout")), on_error=entry.get("on_error", "fail")
    )


def _kinds(names: list[str] | None) -> frozenset[Kind] | None:
    return None if names is None else frozenset(map(Kind, names))


def _seconds(duration: str | float | None) -> float | None:
    return None if duration is None else seconds(duration)


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _frozen(mapping: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping)) if mapping else EMPTY
