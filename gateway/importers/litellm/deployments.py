"""Read `model_list`: turn each deployment into a step, group the steps by name, and report every key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from gateway.config.compiler.known_hosts import INSTEAD
from gateway.config.compiler.known_providers import KINDS, WELL_KNOWN
from gateway.config.compiler.targets import target_fault
from gateway.config.document.yaml_tree import Where
from gateway.importers.litellm.draft import Step, Upstream
from gateway.importers.litellm.modes import PREFIX, RESPONSES, mode_of, not_served
from gateway.importers.litellm.providers import PROVIDER_KEYS, Connection, Secrets, split_model, vendor_by_key
from gateway.importers.litellm.reasons import NO_ROUTER, deployment_reason, model_info_reason
from gateway.importers.litellm.report import Report
from gateway.importers.litellm.spending import Budget, budget_of, is_cost, price_of
from gateway.importers.litellm.values import expandable, is_reference, label, number, reference, shown
from gateway.policy.params import FORBIDDEN_PARAMS, OWN_FIELDS
from gateway.wire.json import EMPTY, Json, JsonObject

_UNFIT: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_LONGEST_NAME: Final = 300

REQUEST_PARAMS: Final = frozenset(
    {
        "audio", "dimensions", "encoding_format", "frequency_penalty", "function_call", "functions", "logit_bias",
        "logprobs", "max_completion_tokens", "max_tokens", "min_p", "modalities", "n", "num_ctx",
        "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key", "reasoning_effort",
        "repetition_penalty", "response_format", "safety_identifier", "safety_settings", "seed", "service_tier",
        "stop", "store", "stream_options", "temperature", "thinking", "tool_choice", "tools", "top_k",
        "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
    }
)  # fmt: skip
"""Keys of `litellm_params` that are parameters of the request."""

_ERRORS: Final[Mapping[str, JsonObject]] = MappingProxyType(
    {
        "litellm.RateLimitError": {"status": 429},
        "litellm.InternalServerError": {"status": 500},
        "litellm.ContextWindowExceededError": {"status": 400},
    }
)
"""Text of `mock_response` → outcome of a mock, for texts that stand for an error."""


_OTHER_LIMITS: Final = ("rpd", "tpd", "max_parallel_requests")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One entry of `model_list` that is carried over."""

    where: Where
    step: Step
    shown: str
    """`provider/model` in LiteLLM's words, for messages."""
    keys: tuple[str, ...] = ()
    """Keys that are carried over exactly."""
    order: float | None = None
    weight: float | None = None
    rpm: float | None = None
    tpm: float | None = None
    others: Mapping[str, float] = field(default_factory=lambda: EMPTY)
    """`rpd`, `tpd` and `max_parallel_requests`, as far as they are numbers."""
    has_reset: bool = False
    """Its day does not begin at midnight in UTC."""
    budget: Budget | None = None
    id: str | None = None
    """`model_info.id`: LiteLLM counts deployments of one id and one model together."""
    description: str | None = None
    by_key: tuple[Deployment, ...] = ()
    """The deployments for which this one stands, if it has their keys as a list."""

    @property
    def parts(self) -> tuple[Deployment, ...]:
        """The entries of `model_list` that this one is."""
        return self.by_key or (self,)

    def limit(self, key: str) -> float | None:
        """Return the number of a key that LiteLLM may limit calls by."""
        return {"rpm": self.rpm, "tpm": self.tpm}.get(key, self.others.get(key))

    def same_as(self, other: Deployment) -> bool:
        """Tell whether two deployments make the same step with the same `order`."""
        return replace(self.step, where=()) == replace(other.step, where=()) and self.order == other.order


class Deployments:
    """Reads `model_list` into groups of deployments."""

    def __init__(self, report: Report, secrets: Secrets, credentials: Mapping[str, JsonObject]) -> None:
        """`credentials` has the values of `credential_list` by name."""
        self._report = report
        self._secrets = secrets
        self._credentials = credentials
        self.upstreams: dict[str, Upstream] = {}
        self.groups: dict[str, list[Deployment]] = {}
        """Deployments by alias, in the order of the chain."""
        self.names: dict[str, str] = {}
        """`model_name` → alias: the same name, or a similar one that is valid in the file."""
        self.relayed: list[Where] = []
        """Deployments whose requests are passed on as they come."""
        self.translated: list[Where] = []
        """Deployments that LiteLLM's library calls."""
        self._model_names: set[str] = set()
        self._any_model: Where | None = None
        """Place of the deployment that serves any name, `*`, by the model of that name."""

    def read(self, model_list: Json) -> None:
        """Read the whole list."""
        where: Where = ("model_list",)
        if not isinstance(model_list, list):
            if model_list is not None:
                self._report.left_out(where, "it must be a list of deployments")
            return
        named = (entry.get("model_name") for entry in model_list if isinstance(entry, dict))
        self._model_names = {name for each in named if (name := label(each)) is not None}
        for index, entry in enumerate(model_list):
            if (message := self._read_entry(entry, (*where, index))) is not None:
                self._report.left_out((*where, index), message)
        if self._any_model is not None:
            self._serve_any_model(self._any_model)
        for group in self.groups.values():
            group.sort(key=_rank)

    def alias_name(self, name: str) -> str | None:
        """Return the alias for a `model_name`; None when no valid alias resembles it."""
        if name not in self.names:
            fit = "".join(char if char.isprintable() else "-" for char in _UNFIT.sub("-", name.strip()))
            if "*" in fit[:-1] or "${" in fit or not fit.strip("-") or len(fit) > _LONGEST_NAME:
                return None
            if fit != name and (fit in self._model_names or fit in self.names.values()):
                return None
            self.names[name] = fit
        return self.names[name]

    def _read_entry(self, entry: Json, where: Where) -> str | None:
        """Read one deployment. Return the reason if it is left out."""
        if not isinstance(entry, dict):
            return "a deployment is a mapping with model_name and litellm_params"
        name = label(entry.get("model_name"))
        if name is None:
            return "it has no model_name"
        if is_reference(name):
            return f"its model_name is in the variable {reference(name)}; {NO_VARIABLE_NAME}"
        alias = self.alias_name(name)
        if alias is None:
            return f"{shown(name)!r} cannot be an alias: one word, and one `*` at its end at most"
        params = entry.get("litellm_params")
        if not isinstance(params, dict):
            return f"{shown(name)}: it has no litellm_params"
        params = self._with_credentials(params, where)
        if alias == "*" and {key: value for key, value in params.items() if value is not None} == {"model": "*"}:
            self._any_model = where
            return None
        deployment = self._deployment(alias, entry, params, where)
        if isinstance(deployment, str):
            return f"{shown(name)}: {deployment}"
        group = self.groups.setdefault(alias, [])
        same = next((other for other in group if other.same_as(deployment)), None)
        if same is not None:
            message = f"the same deployment as in line {self._report.line(same.where)}; a chain has it once"
            if any(same.limit(key) != deployment.limit(key) for key in ("rpm", "tpm", *_OTHER_LIMITS)):
                message += ", with that one's limits; LiteLLM counts each with its own"
            self._report.approximate(where, message)
            return None
        group.append(deployment)
        self._report.cover((*where, "model_name"))
        with_keys = f", with {', '.join(deployment.keys)}" if deployment.keys else ""
        message = f"{shown(name)} is {deployment.shown}{with_keys}"
        if deployment.step.variable:
            self._report.approximate(where, message, below=False)
        else:
            self._report.exact(where, message)
        if alias != name:
            self._report.approximate((*where, "model_name"), f"clients must ask for {alias}: a name is one word here")
        if alias.endswith("/*") and alias[:-2] in KINDS:
            message = f"{alias[:-1]} begins the name; LiteLLM also takes names of {alias[:-2]}'s models without it"
            self._report.approximate((*where, "model_name"), message)
        return None

    def _serve_any_model(self, where: Where) -> None:
        """Add a wildcard for each provider that needs a key, unless the config has that wildcard."""
        wildcards = {
            f"{known.name}/*": INSTEAD.get(known.name, known.name)
            for known in WELL_KNOWN.values()
            if known.key_required
        }
        wildcards |= {"gpt-*": "openai", "claude-*": "anthropic"}
        for name, kind in wildcards.items():
            if name in self.groups:
                continue
            upstream = Upstream(kind=kind, entry={})
            self.upstreams.setdefault(upstream.identity, upstream)
            model = "*" if name.endswith("/*") else name
            step = Step(upstream=upstream.identity, model=model, where=where)
            self.names[name] = name
            self.groups[name] = [Deployment(where=where, step=step, shown=f"{kind}/{model}")]
        message = "a wildcard for each provider that has its key in the environment, and for gpt-* and claude-*"
        self._report.approximate(where, message)

    def _with_credentials(self, params: JsonObject, where: Where) -> JsonObject:
        place = (*where, "litellm_params", "litellm_credential_name")
        name = params.get("litellm_credential_name")
        if name is None:
            return params
        values = self._credentials.get(name) if isinstance(name, str) else None
        if values is None:
            self._report.left_out(place, "credential_list has no credential of this name")
            return params
        self._report.exact(place, "its values are the deployment's own")
        return {**values, **params}

    def _deployment(self, alias: str, entry: JsonObject, params: JsonObject, where: Where) -> Deployment | str:
        place = (*where, "litellm_params")
        text = params.get("model")
        if not isinstance(text, str) or not text.strip():
            return "it names no model"
        variable = reference(text) or ""
        names_provider = bool(variable) and not params.get("custom_llm_provider")
        if names_provider:
            vendor = vendor_by_key(params)
            if vendor is None:
                message = "say which one in custom_llm_provider, or write the model"
                return f"its provider is in the variable {variable}, and its connection needs one; {message}"
            found: tuple[str, str] | str = (vendor, "unset")
        else:
            found = split_model("unset" if variable else text.strip(), params.get("custom_llm_provider"))
        if isinstance(found, str):
            return found
        kind, model = found
        if kind == "auto_router":
            return NO_ROUTER
        if "${" in model:
            return "a model's name cannot hold `${`, which begins a variable here"
        info = entry["model_info"] if isinstance(entry.get("model_info"), dict) else {}
        mode = mode_of(kind, model, info)
        if (reason := not_served(mode, info, kind)) is not None:
            return reason
        if fault := target_fault(f"{kind}/{model}"):
            return fault.message
        if "*" in model and not alias.endswith("*"):
            return f"its model has a `*`, but {alias!r} has none to carry over"
        keys: list[str] = []
        step_params: JsonObject = {}
        upstream = self._mock(alias, params, place)
        is_relayed = False
        if upstream is None:
            connection = Connection(kind, params, place, self._report, self._secrets, translated=mode == RESPONSES)
            result = connection.read()
            if isinstance(result, str):
                return result
            upstream, keys, step_params = result, connection.exact, connection.step_params
            if mode == RESPONSES and (connection.speaks_openai or info.get("mode") == RESPONSES):
                model = PREFIX + model.removeprefix(PREFIX)
                keys.append("the Responses API through LiteLLM's library")
            is_relayed = connection.is_relayed
            (self.relayed if is_relayed else self.translated).append(where)
        self.upstreams.setdefault(upstream.identity, upstream)
        keys += self._request_params(params, place, step_params, is_relayed=is_relayed)
        removed = params.get("additional_drop_params")
        if isinstance(removed, list) and all(isinstance(name, str) and _may_be_removed(name) for name in removed):
            step_params |= dict.fromkeys(removed)
            keys.append("additional_drop_params")
        if variable:
            how = "as `provider/model`" if names_provider else "without its provider"
            message = f"{variable} is read from the environment: the model {how}"
            self._report.approximate((*place, "model"), message)
        price = price_of({"litellm_params": params, "model_info": info}, where, self._report)
        step = Step(
            price=price,
            upstream=upstream.identity,
            model=model,
            variable=variable,
            names_provider=names_provider,
            where=where,
            timeout=self._timeout(params, "timeout", place, TIMEOUT_NOTE),
            stream_timeout=self._timeout(params, "stream_timeout", place, STREAM_TIMEOUT_NOTE),
            retries=self._retries(params, place),
            params=MappingProxyType(self._secrets.hide(expandable(step_params), kind, self._report.line(place))),
        )
        # Keys that sort a group, or share its load, are reported with the group.
        rest = {key: value for key, value in params.items() if price is None or not is_cost(key)}
        self._report.left_out_keys(place, rest, deployment_reason)
        description = self._model_info(entry, where, is_priced=price is not None)
        for key in ("model", "custom_llm_provider", *keys):
            self._report.cover((*place, key))
        return Deployment(
            where=where,
            step=step,
            shown=shown(f"{kind}/{model}") if not variable else f"{kind}'s model in {variable}",
            keys=tuple(keys),
            order=number(params.get("order")),
            weight=number(params.get("weight")),
            rpm=number(params.get("rpm", entry.get("rpm"))),
            tpm=number(params.get("tpm", entry.get("tpm"))),
            others=MappingProxyType(
                {key: most for key in _OTHER_LIMITS if (most := number(params.get(key))) is not None}
            ),
            has_reset=params.get("daily_reset_time") is not None,
            budget=budget_of(params, place, self._report),
            id=label(info.get("id")),
            description=description,
        )

    def _mock(self, alias: str, params: JsonObject, place: Where) -> Upstream | None:
        answer = params.get("mock_response")
        if answer is None:
            return None
        where = (*place, "mock_response")
        if name := reference(answer):
            self._report.approximate(where, f"a mock provider whose answer is read from {name}")
            return Upstream(kind="mock", entry={"script": [{"text": f"${{{name}:-}}"}]}, hint=alias.rstrip("*"))
        outcome: JsonObject = {"text": str(answer)}
        if isinstance(answer, dict | list):
            outcome = {}
            self._report.approximate(where, "a mock provider that gives a plain answer; its text is not carried over")
        elif outcome["text"] in _ERRORS or outcome["text"].startswith("Exception:"):
            outcome = _ERRORS.get(outcome["text"], {"status": 400 if "content_filter" in outcome["text"] else 500})
            self._report.approximate(where, f"a mock provider that answers status {outcome['status']}")
        else:
            outcome = {"text": outcome["text"].replace("$", "$$")}
            self._report.exact(where, "a mock provider that gives this answer")
        for key in filter(PROVIDER_KEYS.__contains__, params):
            self._report.left_out((*place, key), "a mock calls nobody")
        return Upstream(kind="mock", entry={"script": [outcome]}, hint=alias.rstrip("*"))

    def _request_params(
        self, params: JsonObject, place: Where, step_params: JsonObject, *, is_relayed: bool
    ) -> list[str]:
        for key in filter(REQUEST_PARAMS.__contains__, params):
            if params[key] is None:
                self._report.cover((*place, key))
                continue
            step_params[key] = params[key]
            self._report.approximate((*place, key), "as a parameter of the step; here it wins over the request's own")
        dropped = params.get("drop_params")
        if dropped is None:
            return []
        if isinstance(dropped, bool) and dropped is not is_relayed:
            return ["drop_params"]
        self._report.approximate((*place, "drop_params"), NOT_DROPPED if is_relayed else ALWAYS_DROPPED)
        return []

    def _timeout(self, params: JsonObject, key: str, place: Where, note: str) -> str | None:
        value = params.get(key)
        limit = None if value is None else self._report.duration((*place, key), value)
        if limit is not None:
            self._report.approximate((*place, key), note)
        return limit

    def _retries(self, params: JsonObject, place: Where) -> int | str | None:
        chosen: int | str | None = None
        for key in ("num_retries", "max_retries"):
            where, value = (*place, key), params.get(key)
            retries: int | str | None = None
            if name := reference(value):
                retries = f"${{{name}:-2}}"
            elif value is not None:
                retries = self._report.retries(where, value)
            if retries is None:
                continue
            if chosen is not None:
                self._report.left_out(where, "num_retries stands beside it and is the one that counts")
            elif key == "num_retries":
                self._report.exact(where, "as the step's retries")
            else:
                self._report.approximate(where, "as the step's retries; LiteLLM's router adds its own to them")
            chosen = retries if chosen is None else chosen
        return chosen

    def _model_info(self, entry: JsonObject, where: Where, *, is_priced: bool) -> str | None:
        """Report `model_info`, and return its description."""
        place = (*where, "model_info")
        info = entry.get("model_info")
        if not isinstance(info, dict):
            return None
        is_asked = "the Responses API is asked, through LiteLLM's library"
        exact = {
            "mode": is_asked if info.get("mode") == RESPONSES else "every operation is served by every alias",
            "description": "as the alias' description",
        }
        texts = {key: value for key, value in info.items() if key in exact and isinstance(value, str)}
        for key in texts:
            self._report.exact((*place, key), exact[key])
        rest = {key: value for key, value in info.items() if key not in texts and not (is_priced and is_cost(key))}
        self._report.left_out_keys(place, rest, model_info_reason)
        return texts.get("description")


def _may_be_removed(name: str) -> bool:
    return name.isidentifier() and name not in OWN_FIELDS and name not in FORBIDDEN_PARAMS


NO_VARIABLE_NAME: Final = "a name cannot come from a variable here"
ALWAYS_DROPPED: Final = "what a model does not take is always dropped"
NOT_DROPPED: Final = (
    "its requests are passed on as they come; what the model does not take is removed with `params: {name: null}`"
)
TIMEOUT_NOTE: Final = (
    "as the limit of one attempt: 5s to connect, then this until a stream's first content, between two events, and for "
    "a whole plain answer"
)
STREAM_TIMEOUT_NOTE: Final = "as the limit until a stream's first content and between two events"


def _rank(deployment: Deployment) -> tuple[float, float, float, float]:
    order = float("inf") if deployment.order is None else deployment.order
    return order, -(deployment.weight or 0), -(deployment.rpm or 0), -(deployment.tpm or 0)


def references(value: Json) -> Iterable[str]:
    """Yield every variable that a config reads, at any depth."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif name := reference(item):
            yield name
