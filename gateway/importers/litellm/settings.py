"""Read the settings beside `model_list`: the router's, the library's and the server's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from gateway.config.document.yaml_tree import Where
from gateway.importers.litellm.deployments import (
    ALWAYS_DROPPED,
    NO_VARIABLE_NAME,
    NOT_DROPPED,
    STREAM_TIMEOUT_NOTE,
    TIMEOUT_NOTE,
)
from gateway.importers.litellm.limits import BY_USAGE, LIMITS
from gateway.importers.litellm.order import ANY, DEFAULT_MAX_FALLBACKS, Rule
from gateway.importers.litellm.reasons import ALWAYS, BLOCKS, CACHE, LIBRARY, ROUTER, SERVER, STATE, TOP
from gateway.importers.litellm.report import Report
from gateway.importers.litellm.values import (
    duration,
    in_variable,
    is_reference,
    label,
    number,
    reference,
    shown,
    whole,
)
from gateway.policy.failures import RETRY_ON, Kind
from gateway.wire.json import Json, JsonObject

DEFAULT_RETRIES: Final = 2
"""LiteLLM's own `num_retries`."""

_EXCEPTIONS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "BadRequestError": Kind.BAD_REQUEST,
        "AuthenticationError": Kind.AUTH,
        "TimeoutError": Kind.TIMEOUT,
        "RateLimitError": Kind.RATE_LIMIT,
        "ContentPolicyViolationError": Kind.CONTENT_FILTER,
        "InternalServerError": Kind.SERVER_ERROR,
        "ServiceUnavailableError": Kind.OVERLOADED,
        "NotFoundError": Kind.NOT_FOUND,
    }
)
_MOST_FALLBACKS: Final = 200
"""Larger values of `max_fallbacks` mean this one: a chain has fewer targets."""
_NEVER: Final = 1_000_000
"""More failures than a minute can have: cooldowns cannot be switched off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """A retry policy: the number of retries and the kinds of failure."""

    count: int | None = None
    retry_on: tuple[str, ...] | None = None


@dataclass(slots=True, kw_only=True)
class Settings:
    """The settings that have a counterpart in a routes.yaml."""

    defaults: JsonObject = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    retries: int = DEFAULT_RETRIES
    group_retries: dict[str, Retries] = field(default_factory=dict)
    general: list[Rule] = field(default_factory=list)
    """`fallbacks`, and `default_fallbacks` as its last entry."""
    context_window: list[Rule] = field(default_factory=list)
    content_policy: list[Rule] = field(default_factory=list)
    max_fallbacks: int = DEFAULT_MAX_FALLBACKS
    bad_requests_fall_over: bool = True
    aliases: dict[str, tuple[str, Where]] = field(default_factory=dict)
    """`model_group_alias`: alias → (its group, place of the entry)."""
    strategy: Where | None = None
    """Place of the routing strategy, whose verdict depends on the groups."""
    strategy_name: Json = "simple-shuffle"
    """Its value."""
    enforced: frozenset[str] = frozenset({"max_parallel_requests"})
    """The keys of deployments by which LiteLLM limits calls."""
    cache: JsonObject | None = None
    """The `cache` of each alias."""
    provider_budgets: Json = None
    """The value of `provider_budget_config`."""


class SettingsReader:
    """Reads every block beside `model_list`, and reports each of its keys."""

    def __init__(
        self,
        config: JsonObject,
        report: Report,
        *,
        groups: Mapping[str, str],
        is_relayed: bool = False,
        is_translated: bool = False,
    ) -> None:
        """`groups` is `model_name` → alias of the models that are carried over.

        `is_relayed` and `is_translated` tell whether some are passed on as they come, or go through LiteLLM's library.
        """
        self._report = report
        self._groups = groups
        self._is_relayed = is_relayed
        self._is_translated = is_translated
        self._config = config
        blocks = {name: config.get(name) for name in BLOCKS}
        self._blocks: dict[str, JsonObject] = {
            name: block if isinstance(block, dict) else {} for name, block in blocks.items()
        }
        self.settings = Settings()

    def read(self) -> Settings:
        """Read all blocks."""
        for name in filter(BLOCKS.__contains__, self._config):
            value = self._config[name]
            if value is not None and not isinstance(value, dict):
                self._report.left_out((name,), "it must be a mapping of settings")
        self._top()
        self._limits()
        self._retry_policy()
        self._cooldown()
        self._fallbacks()
        self._group_aliases()
        self._dropped()
        self._switches()
        self._cache()
        for name, reasons in (("router_settings", ROUTER), ("litellm_settings", LIBRARY), ("general_settings", SERVER)):
            self._report.left_out_keys((name,), self._blocks[name], reasons.get)
        return self.settings

    def _either(self, key: str, library_key: str = "", *, unless_empty: bool = False) -> tuple[Json, Where]:
        """Return a setting of the router, else of the library, and its place; (None, ()) if neither has it.

        If both have it, the library's is reported as left out. With `unless_empty` an empty value is none.
        """
        found: tuple[Json, Where] = (None, ())
        for block, name in (("router_settings", key), ("litellm_settings", library_key or key)):
            value = self._blocks[block].get(name)
            if value is None or (unless_empty and value == []):
                continue
            if found[1]:
                self._report.left_out((block, name), f"{'.'.join(map(str, found[1]))} is the one that counts")
            else:
                found = (value, (block, name))
        return found

    def _top(self) -> None:
        for key, value in self._config.items():
            if key in TOP and value:
                self._report.left_out((key,), TOP[key])
        for name in self._blocks["environment_variables"]:
            message = "the file sets no variables; set it where `gateway serve` is started"
            self._report.left_out(("environment_variables", name), message)
        if self._config.get("include"):
            message = "other files are not read; put what they hold into this file and import it again"
            self._report.left_out(("include",), message)

    def _limits(self) -> None:
        timeout, where = self._either("timeout", "request_timeout")
        limit = self._limit(timeout, where, TIMEOUT_NOTE)
        stream, where = self._either("stream_timeout")
        note = f"{STREAM_TIMEOUT_NOTE}; `timeout` holds for a stream as a whole then"
        stream_limit = self._limit(stream, where, note)
        self.settings.defaults["timeout"] = limit or "10m"
        if limit is None:
            self.settings.comments["timeout"] = "LiteLLM waits 100 minutes where nothing is said; shorten it"
        if stream_limit is not None:
            total = self.settings.defaults["timeout"]
            self.settings.defaults["timeout"] = {"first_token": stream_limit, "idle": stream_limit, "total": total}
        value, where = self._either("num_retries")
        variable = reference(value)
        retries = self._report.retries(where, value) if where and not variable else None
        if variable:
            self._report.approximate(where, f"as retries of the same target, read from {variable}")
        elif not where:
            self.settings.comments["retries"] = "LiteLLM's own number"
        elif retries is not None:
            message = "as retries of the same target; LiteLLM's may go to another deployment of the model"
            self._report.approximate(where, message)
        self.settings.retries = DEFAULT_RETRIES if retries is None else retries
        self.settings.defaults["retries"] = f"${{{variable}:-{DEFAULT_RETRIES}}}" if variable else self.settings.retries

    def _limit(self, value: Json, where: Where, note: str) -> str | None:
        limit = self._report.duration(where, value) if where else None
        if limit is not None:
            self._report.approximate(where, note)
        return limit

    def _retry_policy(self) -> None:
        rest = self.settings.retries
        policy = self._blocks["router_settings"].get("retry_policy")
        retries = self._policy(policy, ("router_settings", "retry_policy"), rest=rest)
        if retries is not None and retries.count is not None:
            self.settings.retries = self.settings.defaults["retries"] = retries.count
            self.settings.comments.pop("retries", None)
        if retries is not None and retries.retry_on is not None:
            self.settings.defaults["retry_on"] = list(retries.retry_on)
        where: Where = ("router_settings", "model_group_retry_policy")
        policies = self._blocks["router_settings"].get("model_group_retry_policy")
        if policies is not None and not isinstance(policies, dict):
            self._report.left_out(where, "it must be a mapping of models to policies")
            return
        for group, given in (policies or {}).items():
            if group not in self._groups:
                self._report.left_out((*where, group), "there is no such model")
            elif (found := self._policy(given, (*where, group), rest=rest)) is not None:
                self.settings.group_retries[self._groups[group]] = found

    def _policy(self, policy: Json, where: Where, *, rest: int) -> Retries | None:
        """Return one policy; None if it sets nothing. `rest` is the number of retries of kinds it does not name."""
        if policy is None:
            return None
        if not isinstance(policy, dict):
            self._report.left_out(where, "a retry policy is a mapping of errors to numbers")
            return None
        counts: dict[Kind, int] = {}
        default: int | None = None
        for key, value in policy.items():
            place = (*where, key)
            kind = _EXCEPTIONS.get(key.removesuffix("Retries")) if key.endswith("Retries") else None
            if value is None:
                self._report.cover(place)
            elif (retries := self._report.retries(place, value)) is None:
                continue
            elif key == "DefaultRetries":
                default = retries
                self._report.approximate(place, "one number of retries holds for every kind of failure")
            elif kind is None:
                self._report.left_out(place, "no kind of failure corresponds to it")
            else:
                counts[kind] = retries
                listed = f"{kind} {'is' if retries else 'is not'} in retry_on"
                self._report.approximate(place, f"{listed}; one number of retries holds for every kind")
        if not counts and default is None:
            return None
        kinds = {kind for kind in Kind if counts.get(kind, 1 if kind in RETRY_ON and default != 0 else 0) > 0}
        highest = max((count for count in counts.values() if count), default=None)
        if highest is not None and default is None and RETRY_ON - counts.keys():
            default = rest
        if default:
            highest = max(default, highest or 0)
        retry_on = None if kinds == RETRY_ON else tuple(kind.value for kind in Kind if kind in kinds)
        return Retries(count=highest, retry_on=retry_on)

    def _cooldown(self) -> None:
        fails, fails_where = self._either("allowed_fails")
        pause, pause_where = self._either("cooldown_time")
        cooldown: JsonObject = {}
        if fails_where:
            allowed = whole(fails, at_most=_NEVER)
            if allowed is None:
                self._report.left_out(fails_where, in_variable(fails) or "it must be a whole number of failures")
            else:
                cooldown |= {"failures": allowed + 1, "share": 0, "within": "1m"}
                message = "LiteLLM counts by the clock's minute; here it is any minute"
                self._report.approximate(fails_where, f"one failure more opens a cooldown; {message}")
        if pause_where:
            limit = duration(pause)
            if limit is not None:
                cooldown["for"] = limit
                self._report.exact(pause_where, "as the cooldown's `for`")
            elif number(pause) == 0:
                cooldown["for"] = "1ms"
                self._report.approximate(pause_where, "the shortest cooldown there is, 1ms")
            else:
                self._report.left_out(pause_where, "it must be a number of seconds")
        where: Where = ("router_settings", "disable_cooldowns")
        disabled = self._blocks["router_settings"].get("disable_cooldowns")
        if disabled is True:
            cooldown = {"failures": _NEVER, "within": "1m"}
            self._report.approximate(
                where, f"cooldowns cannot be switched off; they need {_NEVER} failures in a minute"
            )
        elif disabled is False:
            self._report.exact(where, ALWAYS)
        if cooldown:
            self.settings.defaults["cooldown"] = cooldown

    def _fallbacks(self) -> None:
        self.settings.general = self._rules("fallbacks")
        self.settings.context_window = self._rules("context_window_fallbacks")
        self.settings.content_policy = self._rules("content_policy_fallbacks")
        value, where = self._either("default_fallbacks", unless_empty=True)
        names = [value] if isinstance(value, str) else value
        if where and isinstance(names, list):
            targets = self._targets(names, where)
            self.settings.general.append(Rule(group=ANY, targets=targets, where=where))
        elif where:
            self._report.left_out(where, "it must be a list of models' names")
        value, where = self._either("max_fallbacks")
        most = whole(value, at_most=_MOST_FALLBACKS)
        if most is not None:
            self.settings.max_fallbacks = most
            self._report.exact(where, "the chains go on as far as LiteLLM does with it")
        elif where:
            self._report.left_out(where, in_variable(value) or "it must be a whole number of fallbacks")
        where = ("router_settings", "fallback_on_unsupported_params")
        given = self._blocks["router_settings"].get(where[1])
        if isinstance(given, bool):
            self.settings.bad_requests_fall_over = given
            self._report.exact(where, f"bad_request is {'' if given else 'not '}in fallback_on")

    def _rules(self, key: str) -> list[Rule]:
        """Return the rules of a setting such as `[{group: [fallback, …]}, …]`."""
        value, where = self._either(key, unless_empty=True)
        rules: list[Rule] = []
        entries = [value] if isinstance(value, dict) else value
        if not isinstance(entries, list):
            if where:
                self._report.left_out(where, "it must be a list such as [{model: [fallback]}]")
            return rules
        for index, entry in enumerate(entries):
            place = where if isinstance(value, dict) else (*where, index)
            if isinstance(entry, dict):
                rules += self._entry(entry, place, many=isinstance(value, dict))
            elif isinstance(entry, str):
                message = "LiteLLM does not start with it; an entry for every model is {'*': [fallback]}"
                self._report.left_out(place, message)
            else:
                self._report.left_out(place, "an entry is a mapping such as {model: [fallback]}")
        return rules

    def _entry(self, entry: JsonObject, place: Where, *, many: bool) -> list[Rule]:
        rules: list[Rule] = []
        for position, (group, targets) in enumerate(entry.items()):
            inside = (*place, group)
            if position and not many:
                self._report.left_out(inside, "LiteLLM reads the first key of an entry only; write an entry of its own")
                continue
            rules.append(Rule(group=group, targets=self._targets(targets, inside), where=inside))
        return rules

    def _targets(self, given: Json, where: Where) -> tuple[str, ...]:
        """Return the models of one entry."""
        names: list[str] = []
        for index, target in enumerate(given if isinstance(given, list) else [given]):
            at = (*where, index) if isinstance(given, list) else where
            name = label(target.get("model") if isinstance(target, dict) else target)
            if name is None or is_reference(name):
                message = "a fallback is a model's name" if name is None else NO_VARIABLE_NAME
                self._report.left_out(at, message)
                continue
            names.append(name)
            if isinstance(target, dict) and len(target) > 1:
                self._report.approximate(at, "the model alone; a fallback does not change the request otherwise")
            else:
                self._report.cover(at)
        return tuple(names)

    def _group_aliases(self) -> None:
        value, where = self._either("model_group_alias")
        if where and not isinstance(value, dict):
            self._report.left_out(where, "it must be a mapping of aliases to models")
            return
        for name, given in (value or {}).items():
            place = (*where, name)
            group = label(given.get("model") if isinstance(given, dict) else given)
            if group is None or is_reference(group):
                self._report.left_out(place, "it names no model" if group is None else NO_VARIABLE_NAME)
                continue
            self.settings.aliases[name] = (group, place)
            if isinstance(given, dict) and given.get("hidden"):
                self._report.approximate((*place, "hidden"), "every alias is listed in /v1/models")
            if isinstance(given, dict):
                self._report.cover((*place, "model"))

    def _dropped(self) -> None:
        """Report `drop_params`, which holds for what LiteLLM's library translates and not for what is relayed."""
        for block in ("litellm_settings", "router_settings"):
            value = self._blocks[block].get("drop_params")
            if value is None:
                continue
            if value is True and not self._is_relayed:
                self._report.exact((block, "drop_params"), ALWAYS)
            elif value is False and not self._is_translated:
                self._report.exact((block, "drop_params"), "requests are passed on as they come")
            else:
                note = ALWAYS_DROPPED if value is not True else f"not where OpenAI's wire is spoken: {NOT_DROPPED}"
                self._report.approximate((block, "drop_params"), note)

    def _checks(self, checks: Json, where: Where) -> None:
        """Report `optional_pre_call_checks`."""
        for index, check in enumerate(checks if isinstance(checks, list) else []):
            if check == _ENFORCE:
                self.settings.enforced = frozenset(LIMITS)
                self._report.approximate((*where, index), "the deployments' limits are those of their providers")
            else:
                self._report.left_out((*where, index), "nothing else is checked before a call")
        if checks is not None and not isinstance(checks, list):
            self._report.left_out(where, "it must be a list of checks")

    def _cache(self) -> None:
        """Report `cache` and `cache_params`, and carry them over if they say for how long."""
        library, at = self._blocks["litellm_settings"], ("litellm_settings", "cache")
        given, params = library.get("cache"), library.get("cache_params")
        params_at: Where = ("litellm_settings", "cache_params")
        if given is None or given is False:
            if given is False:
                self._report.exact(at, "answers are kept only where an alias says so")
            if params is not None:
                self._report.left_out(params_at, "`cache` is not on")
            return
        params = params if isinstance(params, dict) else {}
        kind = str(params.get("type", "local"))
        keys = ("default_in_memory_ttl", "ttl") if kind == "local" else ("default_in_redis_ttl", "ttl")
        key = next((key for key in keys if params.get(key) is not None), None)
        ttl = duration(params[key]) if key is not None else None
        why = None if ttl is not None else _NO_TTL
        if params.get("mode") == "default_off":
            why = "there only requests that ask for it are kept; here an alias keeps all or none"
        elif "semantic" in kind:
            why = "there similar questions get one answer; here only equal requests do"
        if why is not None:
            self._report.left_out(at, why)
            if "cache_params" in library:
                self._report.left_out(params_at, why)
            return
        self.settings.cache = {"ttl": ttl, "scope": "shared"}
        message = "as `cache` of each alias, shared by all clients; LiteLLM keeps apart by the parameters it knows only"
        self._report.approximate(at, message)
        for name, value in params.items():
            place = (*params_at, name)
            if name == key:
                self._report.exact(place, "as the `ttl`")
            elif name == "type":
                verdict = self._report.exact if kind == "local" else self._report.approximate
                verdict(place, "answers are kept in memory" + ("" if kind == "local" else f"; {STATE}"))
            elif value is None:
                self._report.cover(place)
            elif (name, value) == ("mode", "default_on"):
                self._report.exact(place, ALWAYS)
            else:
                self._report.left_out(place, CACHE.get(name, "a cache has a ttl here, and a scope"))

    def _switches(self) -> None:
        """Report settings that always hold here, or that have no effect of their own."""
        router = self._blocks["router_settings"]
        if router.get("routing_strategy") is not None:
            self.settings.strategy = ("router_settings", "routing_strategy")
            self.settings.strategy_name = router["routing_strategy"]
        if isinstance(self.settings.strategy_name, str) and self.settings.strategy_name in BY_USAGE:
            self.settings.enforced |= {"rpm", "tpm"}
        self.settings.provider_budgets = router.get("provider_budget_config")
        self._checks(router.get("optional_pre_call_checks"), ("router_settings", "optional_pre_call_checks"))
        if router.get("enable_pre_call_checks") is not None:
            where: Where = ("router_settings", "enable_pre_call_checks")
            if router["enable_pre_call_checks"] is True:
                message = "the upstream says that a prompt is too long (context_window), and the next target is asked"
                self._report.approximate(where, message)
            else:
                self._report.exact(where, ALWAYS)
        for key, wanted, note in (
            ("json_logs", True, "logs are always JSON"),
            ("turn_off_message_logging", True, "prompts and answers are never logged"),
            ("telemetry", False, "nothing is ever reported to anyone"),
        ):
            for block in ("litellm_settings", "router_settings"):
                value = self._blocks[block].get(key)
                if value is wanted:
                    self._report.exact((block, key), ALWAYS)
                elif value is not None:
                    self._report.approximate((block, key), note)
        if self._blocks["general_settings"].get("master_key") is not None:
            message = (
                "clients' keys do not stand in the file: write a line `NAME KEY` for each client into a file and start "
                "`gateway serve --client-keys-file FILE`"
            )
            self._report.left_out(("general_settings", "master_key"), message)


_ENFORCE: Final = "enforce_model_rate_limits"
_NO_TTL: Final = "it says no `ttl`; write `cache: 10m` on the aliases whose answers may be kept"


def credentials(config: JsonObject, report: Report) -> dict[str, JsonObject]:
    """Return the values of `credential_list` by name."""
    found: dict[str, JsonObject] = {}
    given = config.get("credential_list")
    if given is not None and not isinstance(given, list):
        report.left_out(("credential_list",), "it must be a list of credentials")
    for index, entry in enumerate(given if isinstance(given, list) else ()):
        where: Where = ("credential_list", index)
        name = entry.get("credential_name") if isinstance(entry, dict) else None
        values = entry.get("credential_values") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(values, dict):
            report.left_out(where, "a credential has a credential_name and credential_values")
            continue
        found[name] = values
        report.cover(where)
        report.exact(where, f"the deployments that name {shown(name)} have its values")
    return found
