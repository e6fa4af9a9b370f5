"""Make endpoints of the `providers` block and of well-known providers: addresses, keys, headers, parameters."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from gateway.config.compiler import known_providers
from gateway.config.compiler.inherit import merge_cooldowns
from gateway.config.compiler.known_hosts import INSTEAD, hosts_of
from gateway.config.compiler.known_providers import WELL_KNOWN, WellKnown
from gateway.config.compiler.limits import provider_limits
from gateway.config.compiler.relays import azure_version, relay_faults, relays_of
from gateway.config.document.yaml_tree import Where
from gateway.config.model.partial import NOTHING, LeftOut
from gateway.config.model.specs import Config, KeySpec, ProviderSpec
from gateway.config.problems import Fault, Report
from gateway.policy.keys import MAX_KEY_FILE_BYTES, NO_KEY, KeySource, Secret, one_of
from gateway.policy.params import FORBIDDEN_PARAMS, OWN_FIELDS, Params
from gateway.policy.problem import Severity
from gateway.policy.regular_file import read_regular_file, why
from gateway.policy.target import FRAMING_HEADERS, AdapterName, Endpoint
from gateway.wire.json import EMPTY, Json
from gateway.words import did_you_mean

CONNECTION_PARAMS: Final = frozenset(
    {
        "api_type", "api_version", "aws_region_name", "client_id", "deployment_id", "extra_body", "extra_query",
        "input_cost_per_token", "organization", "output_cost_per_token", "region_name", "ssl_verify", "tenant_id",
        "vertex_location", "vertex_project",
    }
)  # fmt: skip
"""LiteLLM's connection settings: allowed only in a provider's `params`."""

_OTHER_CREDENTIALS: Final = frozenset({"sagemaker_chat", "sagemaker_nova", "vertex_ai_beta"})
"""Kinds not in WELL_KNOWN that need no key, because they have other credentials."""

OWN: Final[frozenset[AdapterName]] = frozenset({"relay", "anthropic", "gemini"})
"""Adapters that call by our own HTTP client, which LiteLLM's connection settings do not reach."""
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_A_KEY: Final = "a key is one word of visible ASCII characters"


class Upstreams:
    """The endpoints of one compile. Checks the file's entries at once, finds well-known providers on demand."""

    def __init__(
        self,
        config: Config,
        *,
        report: Report,
        environ: Mapping[str, str],
        folder: Path,
        openai_adapter: AdapterName,
        strict_env: bool,
        left_out: LeftOut = NOTHING,
        earlier: Mapping[str, Endpoint] = EMPTY,
    ) -> None:
        """`left_out` has entries of the file that already have problems.

        An endpoint that is equal to the one in `earlier` is the same object.
        """
        self._config = config
        self._earlier = earlier
        self._report = report
        self._environ = environ
        self._folder = folder
        self._openai_adapter = openai_adapter
        self._strict_env = strict_env
        self._left_out = left_out
        self._found: dict[str, Endpoint | Fault | None] = dict.fromkeys(left_out.names.get("providers", ()))
        for spec in config.providers.values():
            self._found[spec.name] = self._from_entry(spec)

    def find(self, name: str) -> Endpoint | Fault | None:
        """Return the endpoint of provider `name`; None when its entry has problems, which are already reported."""
        if name not in self._found:
            found = self._from_name(name)
            self._found[name] = None if isinstance(found, Fault) and self._left_out.has("providers", name) else found
        return self._found[name]

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """Every endpoint found so far, by its provider's name."""
        return {name: found for name, found in self._found.items() if isinstance(found, Endpoint)}

    @property
    def is_unchanged(self) -> bool:
        """Whether every endpoint of the earlier compile is the same object now."""
        return all(self.find(name) is endpoint for name, endpoint in self._earlier.items())

    def bare(self) -> Endpoint:
        """Return the endpoint of names that are passed to LiteLLM unchanged."""
        cooldown = merge_cooldowns(self._config.defaults.cooldown)
        return Endpoint(provider="", kind="", adapter="litellm", cooldown=cooldown)

    def _from_name(self, name: str) -> Endpoint | Fault:
        known = known_providers.find(name)
        if known is None:
            entries = [*self._config.providers, *self._left_out.names.get("providers", ())]
            hint = did_you_mean(name, [*entries, *WELL_KNOWN]) or did_you_mean(name, known_providers.KINDS)
            return Fault("unknown-provider", f"no provider named {name!r}{hint}")
        if known_providers.needs_base_url(known):
            message = f"{name!r} has no address of its own: say where it is with providers.{name}.base_url"
            return Fault("missing-base-url", f"{message}{_instead(known)}")
        return self._endpoint(ProviderSpec(name=name), known, headers=EMPTY)

    def _from_entry(self, spec: ProviderSpec) -> Endpoint | None:
        place = ("providers", spec.name)
        kind = spec.kind or spec.name
        known = known_providers.find(kind)
        if known is None:
            hint = did_you_mean(kind, WELL_KNOWN) or did_you_mean(kind, known_providers.KINDS)
            if spec.kind:
                self._report((*place, "kind"), "unknown-kind", f"no kind named {kind!r}{hint}")
            else:
                message = (
                    f"a kind is needed, since {kind!r} is none; write `kind: openai` for an OpenAI-wire server{hint}"
                )
                self._report(place, "unknown-kind", message, at_key=True)
            return None
        headers = self._headers(spec, known)
        faults = list(self._faults(spec, kind, known))
        for key, fault in faults:
            self._report((*place, key) if key else place, fault.code, fault.message, at_key=not key)
        self._check_params(spec, known)
        if faults or headers is None:
            return None
        return self._endpoint(spec, known, headers=headers)

    def _endpoint(self, spec: ProviderSpec, known: WellKnown, *, headers: Mapping[str, str]) -> Endpoint:
        adapter = self._adapter(spec, known)
        base_url = spec.base_url.rstrip("/") if spec.base_url else None
        relays = relays_of(spec, known, adapter, base_url)
        own_base_url = base_url is not None
        if base_url is None and known.name == "openai" and spec.name != "openai":
            # A vendor's own name with `kind: openai`: LiteLLM would take it for OpenAI and send OpenAI's key.
            base_url, own_base_url = WELL_KNOWN[spec.name].base_url, True
        authorized = "authorization" in headers
        own_entry = not own_base_url and not authorized and spec.kind in (None, spec.name)
        api_key = self._key(spec, known, use_vendors=own_entry)
        if base_url is None and adapter == "relay":
            base_url = known.base_url
        elif base_url is None and known.wire == "openai" and not known.key_required:
            # A local server: LiteLLM has no address for it and would use OpenAI's.
            base_url, own_base_url = known.base_url, True
        made = Endpoint(
            provider=spec.name,
            kind=known.kind,
            adapter=adapter,
            wires=relays.wires,
            wires_written=bool(spec.wires),
            relay_url=relays.url,
            api_version=relays.api_version,
            library_adapter="litellm" if adapter in OWN and spec.adapter is None and not spec.wires else None,
            base_url=base_url,
            own_base_url=own_base_url,
            hosts=hosts_of(known.kind, own_base_url=base_url is not None),
            api_key=api_key,
            key_names=self._key_names(spec),
            key_required=_names_key(spec)
            or (not (own_base_url or authorized) and self._needs_key(spec, known, adapter, api_key)),
            headers=headers,
            params=spec.params.without(CONNECTION_PARAMS) if adapter in OWN else _litellm_params(spec),
            script=spec.script,
            cooldown=merge_cooldowns(spec.cooldown, self._config.defaults.cooldown),
            limits=provider_limits(spec.name, spec.limits, self._report),
            written=spec.written,
        )
        before = self._earlier.get(spec.name)
        return before if before == made else made

    def _needs_key(self, spec: ProviderSpec, known: WellKnown, adapter: AdapterName, api_key: KeySource) -> bool:
        """Tell whether an entry must not be called while it has no key.

        Without a key LiteLLM would use the vendor's key from the environment, which the file did not name.
        """
        if known.name not in WELL_KNOWN:
            borrows = spec.name != known.name or bool(spec.api_keys)
            return borrows and known.name not in _OTHER_CREDENTIALS
        if not known.key_required or adapter in OWN:
            return known.key_required
        return api_key.read() is None and self._vendors_variable(known) is not None

    def _adapter(self, spec: ProviderSpec, known: WellKnown) -> AdapterName:
        if known.name == "anthropic" and self._openai_adapter == "relay":
            return spec.adapter or ("anthropic" if "messages" in (spec.wires or ("messages",)) else "litellm")
        if known.name == "gemini" and self._openai_adapter == "relay":
            # With `wires` it is spoken to at its OpenAI-compatible address.
            return spec.adapter or ("litellm" if spec.wires else "gemini")
        if known.wire != "openai":
            return known.wire
        return spec.adapter or ("relay" if spec.wires else self._openai_adapter)

    def _faults(self, spec: ProviderSpec, kind: str, known: WellKnown) -> Iterator[tuple[str, Fault]]:
        """Yield the faults of an entry, each with its key; the empty key is the entry's own."""
        if spec.adapter is not None and known.wire == "mock":
            yield "adapter", Fault("bad-adapter", "a mock has no adapter but its own; leave `adapter` out")
        elif spec.adapter == "relay" and known.wire != "openai":
            message = f"only OpenAI-wire servers can be relayed, and {kind!r} is none; leave `adapter` out"
            yield "adapter", Fault("bad-adapter", message)
        if spec.base_url is not None:
            if fault := bad_address(spec.base_url, known):
                yield "base_url", Fault("bad-base-url", fault)
        elif known_providers.needs_base_url(known) or known.name == "openai":
            named = WELL_KNOWN.get(spec.name) if kind == "openai" else known
            if named is None or named.wire != "openai" or named.base_url is None:
                message = f"an entry of kind {kind!r} needs a `base_url`: say where the server is{_instead(known)}"
                yield "", Fault("missing-base-url", message)
        if spec.api_key_files and spec.api_keys:
            yield "api_key_file", Fault("api-key-conflict", "there is an `api_key` as well; keep one of the two")
        else:
            self._check_repeats(spec)
            for number, file in enumerate(dict.fromkeys(spec.api_key_files)):
                self._check_key_file(file, _place(spec, "api_key_file", number))
        yield from relay_faults(spec, known)
        if spec.script and known.wire != "mock":
            yield "script", Fault("script-not-mock", f"only `kind: mock` plays a script, not {kind!r}")

    def _check_repeats(self, spec: ProviderSpec) -> None:
        """Report entries of a list of keys that bring no other key."""
        files = set[str]()
        for number, file in enumerate(spec.api_key_files):
            if file in files:
                message = f"the file {file!r} stands here twice; take one of the two out"
                self._report(_place(spec, "api_key_file", number), "repeated-key", message)
            files.add(file)
        found: dict[Secret, KeySpec] = {}
        for number, key in enumerate(spec.api_keys):
            value = key.value or Secret(key.written or "")
            before = found.setdefault(value, key)
            if before is key or _is_empty(key):
                continue
            is_same = before.written == key.written
            message = "the same key stands here twice; take one of the two out"
            if not is_same:
                message = f"this is the same key as {before.written or 'one before'} has here, so it is used once"
            place = _place(spec, "api_key", number)
            self._report(place, "repeated-key", message, severity="error" if is_same else "warning")

    def _check_key_file(self, name: str, place: Where) -> None:
        if self._key_source(name).read() is not None:
            return
        file = self._folder / name
        hint = " (`~` is not expanded)" if name.startswith("~") else ""
        try:
            data, _ = read_regular_file(file, limit_bytes=MAX_KEY_FILE_BYTES)
        except FileNotFoundError:
            fault = Fault("missing-key-file", f"the key file {name!r} does not exist{hint}")
        except OSError as exc:
            fault = Fault("missing-key-file", f"the key file {name!r} cannot be read: {why(exc)}{hint}")
        else:
            fault = Fault("missing-key-file", f"the key file {name!r} is empty")
            if data.strip():
                fault = Fault("bad-api-key", f"what the key file {name!r} holds is no key; {_A_KEY}")
        severity: Severity = "error" if self._strict_env else "warning"
        self._report(place, fault.code, fault.message, severity=severity)

    def _key(self, spec: ProviderSpec, known: WellKnown, *, use_vendors: bool) -> KeySource:
        """Return the entry's key source; with `use_vendors` an entry without one gets the vendor's variable."""
        if spec.api_key_files:
            return one_of([self._key_source(file) for file in dict.fromkeys(spec.api_key_files)])
        if spec.api_keys:
            keys: dict[Secret | str | None, KeySpec] = {}
            for key in spec.api_keys:
                if not _is_empty(key):
                    keys.setdefault(key.value or key.written, key)
            return one_of([_source(key) for key in keys.values() or spec.api_keys[:1]])
        if not use_vendors or not known.key_variables:
            return NO_KEY
        variable = self._vendors_variable(known) or known.key_variables[0]
        text = self._environ.get(variable, "").strip()
        return KeySource(name=f"env:{variable}", value=Secret(text) if text else None)

    def _key_names(self, spec: ProviderSpec) -> tuple[str, ...]:
        """Return the names of all sources of a list of keys, those without a key too; none where there is no list."""
        sources = [_source(key) for key in spec.api_keys] + [self._key_source(file) for file in spec.api_key_files]
        return tuple([source.name for source in sources]) if len(sources) > 1 else ()

    def _key_source(self, file: str) -> KeySource:
        source = KeySource(name=f"file:{file}", file=self._folder / file)
        source.read()  # so that it has a key to keep if the file loses it before the first call
        return source

    def _vendors_variable(self, known: WellKnown) -> str | None:
        """Return the first of the vendor's variables that is set and not empty."""
        return next((name for name in known.key_variables if self._environ.get(name, "").strip()), None)

    def _headers(self, spec: ProviderSpec, known: WellKnown) -> Mapping[str, str] | None:
        """Return the entry's headers by lower-case name; None when one has a problem."""
        headers: dict[str, str] = {}
        good = True
        has_key = bool(spec.api_keys or spec.api_key_files)
        for name, value in spec.headers.items():
            lower = name.lower()
            message = bad_header(lower, value, has_key=has_key)
            if message is None and not value.isascii() and self._adapter(spec, known) == "litellm":
                message = (
                    f"the value of {lower!r} is not ASCII, and to this provider, behind LiteLLM, nothing else goes"
                )
            if message is None and lower in headers:
                message = f"{name!r} is there twice; case does not tell headers apart"
            if message is not None:
                good = False
                self._report(("providers", spec.name, "headers", name), "bad-header", message, at_key=True)
            headers[lower] = value
        return (MappingProxyType(headers) if headers else EMPTY) if good else None

    def _check_params(self, spec: ProviderSpec, known: WellKnown) -> None:
        place = ("providers", spec.name, "params")
        check_params(spec.params.sent, place, self._report, allowed=CONNECTION_PARAMS)
        if self._adapter(spec, known) in OWN:
            for key in spec.params.sent.keys() & CONNECTION_PARAMS:
                if key == "api_version" and known.name == "azure":
                    continue
                message = f"{key!r} is a setting of LiteLLM, and this provider is relayed: it has no effect"
                self._report((*place, key), "unused-param", message, severity="warning", at_key=True)


def _instead(known: WellKnown) -> str:
    """Return the hint at a kind of the same vendor that has an address."""
    other = INSTEAD.get(known.name)
    return f", or write `kind: {other}` for the vendor's own" if other else ""


def _litellm_params(spec: ProviderSpec) -> Params:
    """Return the entry's `params` with its `api_version`, which LiteLLM takes for one of them."""
    if spec.api_version is None:
        return spec.params
    return spec.params.under(Params(MappingProxyType({"api_version": azure_version(spec)})))


def _names_key(spec: ProviderSpec) -> bool:
    """Tell whether an entry names its key; an empty `api_key` means no key."""
    return bool(spec.api_key_files) or not all(map(_is_empty, spec.api_keys))


def _is_empty(key: KeySpec) -> bool:
    """Tell whether a text means no key; one with a variable that is not set means one."""
    return key.value is not None and not key.value.reveal().strip()


def _source(key: KeySpec) -> KeySource:
    text = key.value.reveal().strip() if key.value else ""
    value = Secret(text) if text else None
    if key.written is not None:
        return KeySource(name=key.written, value=value)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    name = " ".join([f"sha256:{digest}", *key.variables])
    return KeySource(name=name, value=value) if value else NO_KEY


def _place(spec: ProviderSpec, key: str, number: int) -> Where:
    """Return the place of one of an entry's keys: in a list, or the only one."""
    several = len(spec.api_keys if key == "api_key" else spec.api_key_files) > 1
    return ("providers", spec.name, key, number) if several else ("providers", spec.name, key)


_VENDOR_ROUTING: Final = frozenset({"models", "provider", "route"})
"""OpenRouter's own routing: the file may set it, a client may not."""


def check_params(
    params: Mapping[str, Json], place: Where, report: Report, *, allowed: frozenset[str] = frozenset()
) -> None:
    """Report the keys that no `params` block of the file may set."""
    for key in params:
        if key in OWN_FIELDS:
            report((*place, key), "forbidden-param", f"{key!r} is the request's own; params cannot set it", at_key=True)
        elif key in FORBIDDEN_PARAMS and key not in allowed and key not in _VENDOR_ROUTING:
            where = "; it belongs in a provider's params" if key in CONNECTION_PARAMS else ""
            message = f"{key!r} would choose a host, a key or a retry policy; params cannot set it{where}"
            report((*place, key), "forbidden-param", message, at_key=True)


def bad_address(text: str, known: WellKnown) -> str | None:
    """Return the problem of a base URL, or None. Never repeats the URL: it may contain a password."""
    if any(character <= " " or character == "\x7f" for character in text):
        return "an address holds no spaces and no control characters"
    try:
        parts = urlsplit(text)
        port_is_bad = parts.port == 0
    except ValueError:
        return "this is no address: its host or its port is malformed"
    if parts.scheme not in ("http", "https"):
        return "an address begins with `http://` or `https://`"
    if not parts.hostname or port_is_bad:
        return "this is no address: its host or its port is malformed"
    if parts.username is not None or parts.password is not None:
        return "an address holds no user and no password; use `api_key`, or an `authorization` header"
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        return "an address has no query and no fragment"
    if known.name == "azure" and "/deployments" in parts.path:
        return "leave `/openai` and what follows it out of an Azure address: it is added, with the deployment"
    if known.wire == "openai" and parts.path.rstrip("/").endswith(("/chat/completions", "/embeddings")):
        return "leave the last part of the path out: `/chat/completions` and the like are added to a base URL"
    return None


def bad_header(lower: str, value: str, *, has_key: bool) -> str | None:
    """Return the problem of a header, its name in lower case, or None. `has_key`: the entry has a key too."""
    if not _HEADER_NAME.fullmatch(lower):
        return "a header's name is made of letters, digits and dashes"
    if lower in FRAMING_HEADERS:
        return f"{lower!r} is set by whoever sends the request, not by the file"
    if lower == "authorization" and has_key:
        return "the entry has a key as well, which goes into this very header; keep one of the two"
    if any(character > "\xff" for character in value):
        return f"the value of {lower!r} holds characters beyond Latin-1, which no header can carry"
    if not _HEADER_VALUE.fullmatch(value) or value != value.strip():
        return f"the value of {lower!r} holds line breaks, control characters or spaces around it"
    return None
