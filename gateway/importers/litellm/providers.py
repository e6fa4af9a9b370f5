"""Find a deployment's provider and build its entry of `providers`: address, key, headers, parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import count
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from gateway.config.compiler.known_hosts import INSTEAD, NO_ADDRESS
from gateway.config.compiler.known_providers import KINDS, WELL_KNOWN, find
from gateway.config.compiler.providers import CONNECTION_PARAMS, bad_address, bad_header, check_params
from gateway.config.document.yaml_tree import Where
from gateway.config.model_data import read_entries
from gateway.importers.litellm.draft import Upstream, dollars
from gateway.importers.litellm.report import Report
from gateway.importers.litellm.values import expandable, is_reference, reference
from gateway.policy.secrets import is_secret_name
from gateway.wire.json import Json, JsonObject

_VENDORS: Final = (
    (re.compile(r"gpt-|chatgpt-|o[1-9](-|$)|text-embedding-|ft:gpt-|omni-|davinci|babbage"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
)
"""(pattern, provider) for model names without a provider that LiteLLM's data does not have."""

_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|\$\{\w+(?::-)?\}")
_UNPRICED: Final = CONNECTION_PARAMS - {"input_cost_per_token", "output_cost_per_token", "organization"}
_AZURE_SIGN_IN: Final = frozenset(
    {"azure_ad_token", "azure_password", "azure_scope", "azure_username", "client_id", "client_secret", "tenant_id"}
)
"""Settings with which LiteLLM asks Microsoft Entra for a token, which no relay does."""
_ADDRESS_VARIABLES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "hosted_vllm": ("HOSTED_VLLM_API_BASE", "http://127.0.0.1:8000/v1"),
        "vllm": ("VLLM_API_BASE", "http://127.0.0.1:8000/v1"),
    }
)
"""Kind → (variable with its address, the address without it), as in LiteLLM."""

_NOT_IN_A_VARIABLE: Final = re.compile(r"[^A-Z0-9]+")
_WORD: Final = re.compile(r"[a-z0-9]+")
_DULL_WORDS: Final = frozenset({"api", "key", "base", "url", "www", "com", "token", "endpoint", "http", "https"})

PROVIDER_KEYS: Final = _UNPRICED | {
    "api_base", "api_key", "base_url", "cooldown_time", "default_headers", "extra_headers", "headers", "organization",
}  # fmt: skip
"""Keys of `litellm_params` that this module reads."""


def split_model(text: str, custom: Json) -> tuple[str, str] | str:
    """Return (provider's kind, model), or the reason why they are unknown."""
    first, slash, rest = text.partition("/")
    if isinstance(custom, str) and custom:
        if custom not in KINDS:
            return f"{custom!r} is no provider that LiteLLM knows"
        return custom, (rest if slash and first == custom and rest else text)
    if slash and first in KINDS and first != "mock":
        # LiteLLM knows most of that vendor's models by another of its names.
        return (INSTEAD.get(first, first), rest) if rest else "the model's name is missing after the provider"
    if text == "*":
        return (
            "the provider is in what the client asks for; write a wildcard for each provider, such as "
            '`"openai/*": "openai/*"`'
        )
    vendor = vendor_of(text)
    if vendor is None:
        return "its provider cannot be told from its name; write it before the model, as in `openai/gpt-4o`"
    return vendor, text


def vendor_of(model: str) -> str | None:
    """Return the provider's kind of a model that LiteLLM knows without one in its name; None for any other."""
    known = (read_entries() or {}).get(model)
    named = known.get("litellm_provider") if isinstance(known, dict) else None
    if isinstance(named, str):
        for kind in ("vertex_ai", "bedrock", "fireworks_ai"):
            if named.startswith(kind):
                return kind
        if named in KINDS:
            return named
    return next((vendor for pattern, vendor in _VENDORS if pattern.match(model)), None)


def vendor_by_key(params: JsonObject) -> str | None:
    """Return whose variable has a deployment's key, where that is all it says of its connection.

    `openai` without a key, as any well-known provider does then; None if the connection has settings of its own.
    """
    given = {key for key in PROVIDER_KEYS if params.get(key) not in (None, "")}
    if not given:
        return "openai"
    variable = reference(params.get("api_key"))
    owners = (known.name for known in WELL_KNOWN.values() if variable in known.key_variables)
    return next(owners, None) if given == {"api_key"} else None


class Secrets:
    """The variables that replace plain-text secrets of the config."""

    def __init__(self, used: Iterable[str]) -> None:
        """`used` has the variables that the config reads; no new one gets such a name."""
        self._used = set(used)
        self._names: dict[str, str] = {}
        self.lines: dict[str, int] = {}
        """Variable → line of the secret."""
        self.addresses: dict[str, int] = {}
        """Variable that holds an address → line of its first use."""

    def variable(self, secret: str, stem: str, line: int) -> str:
        """Return the variable for a secret, always the same one; its name begins with `stem`."""
        if secret not in self._names:
            stem = _NOT_IN_A_VARIABLE.sub("_", stem.upper()).strip("_")
            stem = stem if not stem[:1].isdigit() else f"KEY_{stem}"
            names = (stem if number == 1 else f"{stem}_{number}" for number in count(1))
            name = next(name for name in names if name not in self._used)
            self._used.add(name)
            self._names[secret] = name
            self.lines[name] = line
        return self._names[secret]

    def hide(self, value: Json, stem: str, line: int, *, key: str = "") -> Json:
        """Return a value with a variable in place of each text under a secret's key."""
        if isinstance(value, dict):
            return {name: self.hide(item, stem, line, key=name) for name, item in value.items()}
        if isinstance(value, list):
            return [self.hide(item, stem, line, key=key) for item in value]
        if not isinstance(value, str) or not value or value.startswith("${") or not is_secret_name(key):
            return value
        return f"${{{self.variable(value, f'{stem}_{key}', line)}:-}}"


class Connection:
    """Reads the settings of one deployment's connection."""

    def __init__(
        self, kind: str, params: JsonObject, where: Where, report: Report, secrets: Secrets, *, translated: bool = False
    ) -> None:
        """`where` is the place of `litellm_params`; `translated` leaves an OpenAI-wire server to LiteLLM's library."""
        self._kind = kind
        self._signs_in = kind == "azure" and any(params.get(name) for name in _AZURE_SIGN_IN)
        self._for_responses = translated
        self._translated = translated or self._signs_in
        self._params = params
        self._where = where
        self._report = report
        self._secrets = secrets
        self._known = find(kind)
        self.entry: JsonObject = {}
        self.step_params: JsonObject = {}
        self.exact: list[str] = []
        """Keys that are carried over exactly."""
        self.secret = ""
        """The plain-text key of the config."""
        self._hints: list[str] = []

    def read(self) -> Upstream | str:
        """Return the provider's entry, or the reason why there is none."""
        if self.speaks_openai and self._translated:
            self.entry["adapter"] = "litellm"
            self._hints += ["responses"] * self._for_responses
        fault = self._address()
        if fault is not None:
            return fault
        self._key()
        self._headers()
        self._settings()
        self._cooldown()
        hint = next(filter(None, self._hints), "")
        return Upstream(kind=self._kind, entry=self.entry, hint=hint, secret=self.secret)

    @property
    def speaks_openai(self) -> bool:
        """Whether the provider has OpenAI's wire."""
        return self._known is not None and self._known.wire == "openai"

    @property
    def is_relayed(self) -> bool:
        """Whether its requests are passed on as they come."""
        return self.speaks_openai and not self._translated

    def _address(self) -> str | None:
        key = "api_base" if self._params.get("api_base") is not None else "base_url"
        value = self._params.get(key)
        if value is None or value == "":
            if self._kind in _ADDRESS_VARIABLES:
                variable, default = _ADDRESS_VARIABLES[self._kind]
                self.entry["base_url"] = f"${{{variable}:-{default}}}"
                message = f"{self._kind} is a server of your own, at {default} unless {variable} says otherwise"
                self._report.approximate((*self._where, "model"), message)
            if self._kind not in NO_ADDRESS:
                return None
            value, key = f"os.environ/{self._kind.upper()}_API_BASE", "model"
        where = (*self._where, key)
        if name := reference(value):
            host = name.lower().replace("_", "-")
            self.entry["base_url"] = f"${{{name}:-https://{host}.invalid}}"
            self._secrets.addresses.setdefault(name, self._report.line(where))
            self._hints.append(_hint_of_variable(name, self._kind))
            message = f"{name} is read from the environment; without it the address is one that leads nowhere"
            self._report.approximate(where, message)
            return None
        if not isinstance(value, str) or is_reference(value):
            return f"its {key} is no address"
        address = value.strip()
        notes = []
        parts = _split(address)
        if parts is not None and (parts.query or parts.fragment):
            address = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
            notes.append("an address has no query here")
        address = address.rstrip("/")
        for tail in ("/chat/completions", "/embeddings", "/responses"):
            if self.speaks_openai and address.endswith(tail):
                address = address.removesuffix(tail)
                notes.append(f"`{tail}` is added by the gateway")
        if self._known is not None and (fault := bad_address(address, self._known)) is not None:
            return f"its {key} cannot be used: {fault}"
        self.entry["base_url"] = dollars(address)
        parts = _split(address)
        self._hints.append(_hint_of_host(parts.hostname or "", parts.port) if parts is not None else "")
        if notes:
            self._report.approximate(where, "; ".join(notes))
        else:
            self.exact.append(key)
        return None

    def _key(self) -> None:
        value = self._params.get("api_key")
        where = (*self._where, "api_key")
        variables = self._known.key_variables if self._known is not None else ()
        if value is None or value == "":
            if "base_url" in self.entry and variables and self._known is not None and self._known.key_required:
                message = f"{variables[0]} is not sent to an address of the file's own; name it in api_key if it should"
                self._report.approximate((*self._where, "api_base"), message)
            return
        if name := reference(value):
            self.exact.append("api_key")
            if (name,) != variables or "base_url" in self.entry:
                self.entry["api_key"] = f"${{{name}}}"
                self._hints.append(_hint_of_variable(name, self._kind))
            return
        self.secret = str(value)
        hint = next(filter(None, self._hints), "")
        variable = self._secrets.variable(self.secret, f"{self._kind}_{hint}_KEY", self._report.line(where))
        self.entry["api_key"] = f"${{{variable}}}"
        self._report.approximate(where, f"a key that is written out is not copied; set {variable} to it")

    def _headers(self) -> None:
        headers: JsonObject = {}
        for key in ("extra_headers", "default_headers", "headers"):
            given = self._params.get(key)
            if not isinstance(given, dict):
                if given is not None:
                    self._report.left_out((*self._where, key), "headers are a mapping of names to values")
                continue
            for name, value in given.items():
                self._header(name, value, (*self._where, key, name), headers)
        organization = self._params.get("organization")
        if organization is not None and self.speaks_openai:
            self._header("openai-organization", organization, (*self._where, "organization"), headers)
        if headers:
            self.entry["headers"] = headers

    def _header(self, name: str, value: Json, where: Where, headers: JsonObject) -> None:
        lower = name.lower()
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self._report.left_out(where, "a header's value is text")
            return
        text = str(value)
        message = bad_header(lower, "" if is_reference(text) else text, has_key=True)
        if message is None and lower in {other.lower() for other in headers}:
            message = "the header is there twice"
        if message is not None:
            self._report.left_out(where, message)
        elif variable := reference(text):
            headers[name] = f"${{{variable}:-}}"
            self._report.exact(where, f"as a header of the provider, from {variable}")
        elif is_secret_name(name):
            variable = self._secrets.variable(text, f"{self._kind}_{name}", self._report.line(where))
            headers[name] = f"${{{variable}:-}}"
            message = f"what may be a secret is not copied; set {variable} to the header's value"
            self._report.approximate(where, message)
        else:
            headers[name] = dollars(text)
            self._report.exact(where, "as a header of the provider")

    def _settings(self) -> None:
        params: JsonObject = {}
        for key in sorted(_UNPRICED if self.speaks_openai else _UNPRICED | {"organization"}):
            value = self._params.get(key)
            where = (*self._where, key)
            if value is None:
                continue
            if key == "api_version" and self._kind == "azure":
                version = expandable(value)
                if not isinstance(version, str) or not _VERSION.fullmatch(version):
                    self._report.left_out(where, "an api-version is a date, or a word such as `preview`")
                    continue
                self.entry[key] = version
                self._hints.append("" if "$" in str(self.entry[key]) else str(value))
                self.exact.append(key)
                self._report.cover(where)
            elif not self.speaks_openai or self._signs_in:
                params[key] = self._secrets.hide(expandable(value), self._kind, self._report.line(where))
                self.exact.append(key)
                self._report.cover(where)
            elif key == "extra_body" and isinstance(value, dict):
                self._body(value, where)
            else:
                self._report.left_out(where, f"it means nothing to {self._kind}, which speaks OpenAI's wire")
        if params:
            self.entry["params"] = params
            for key in ("aws_region_name", "vertex_location", "vertex_project", "region_name", "api_version"):
                self._hints.append(str(params.get(key, "")) if "$" not in str(params.get(key, "$")) else "")

    def _body(self, body: JsonObject, where: Where) -> None:
        """Turn `extra_body`, which LiteLLM merges into the request, into parameters of the step."""
        for name, value in body.items():
            faults: list[str] = []

            def note(place: Where, code: str, message: str, **_: object) -> None:
                faults.append(message)  # noqa: B023  # called at once

            check_params({name: value}, where, note)
            if faults:
                self._report.left_out((*where, name), faults[0])
            else:
                self.step_params[name] = value
                self._report.exact((*where, name), "as a parameter of the step")
                self._report.cover((*where, name))

    def _cooldown(self) -> None:
        where, value = (*self._where, "cooldown_time"), self._params.get("cooldown_time")
        if value is not None and (pause := self._report.duration(where, value)) is not None:
            self.entry["cooldown"] = {"for": pause}
            self._report.exact(where, "as the provider's cooldown")


def _split(address: str) -> SplitResult | None:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _hint_of_variable(name: str, kind: str) -> str:
    dull = _DULL_WORDS.union(_WORD.findall(kind))
    return "-".join(word for word in _WORD.findall(name.lower()) if word not in dull)


def _hint_of_host(host: str, port: int | None) -> str:
    if host in ("localhost", "127.0.0.1", "::1", "0.0.0.0"):  # noqa: S104  # only compared
        return f"local-{port}" if port else "local"
    if re.fullmatch(r"[0-9.]+|[0-9a-f:]+", host):
        return host.replace(".", "-").replace(":", "-")
    labels = [label for label in host.split(".") if label not in ("api", "www")]
    return labels[0] if labels else host
