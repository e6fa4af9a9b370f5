"""Rules for providers: secrets written out, addresses without encryption, packages that are not installed."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from gateway.config.document.document import Document
from gateway.config.document.yaml_tree import Node, Where
from gateway.config.lint.subject import Finding, Policy
from gateway.config.model.specs import Config
from gateway.policy.packages import LITELLM, PACKAGES
from gateway.policy.secrets import is_secret_name
from gateway.policy.variables import VARIABLE

_SCHEME: Final = re.compile(r"^\s*(?:bearer|basic|token|key|api-?key)\b\s*", re.IGNORECASE)
_STAND_IN: Final = re.compile(
    r"(?:sk-)?(?:no|not|none|null|nil|empty|dummy|fake|test|unused|ignored|local|example|placeholder|changeme|your|todo"
    r"|secret|key|token|anything|any|ollama|vllm|lm-studio|lmstudio|llamafile|x+|\*+|\.+)(?![a-z0-9])[^0-9]*",
    re.IGNORECASE,
)
"""Placeholders for servers that require a key but do not check it."""

_SHORTEST: Final = 8
"""Fewest characters of a secret in a parameter or beside a variable; shorter text is none."""

_NOT_SECRET: Final = frozenset({"functions", "metadata", "response_format", "tools"})
"""Parameters whose keys are chosen by the user."""

_PRIVATE_SUFFIXES: Final = (
    ".local", ".localhost", ".internal", ".intranet", ".private", ".corp", ".home", ".lan", ".home.arpa", ".svc",
    ".test", ".ts.net",
)  # fmt: skip


def plain_secrets(document: Document) -> Iterator[Finding]:
    """Find keys, passwords and tokens that are written out. Messages never repeat them."""
    for name, entry in _members(document.node(("providers",))).items():
        place: Where = ("providers", name)
        if document.node((*place, "kind")) is None and name == "mock":
            continue
        parts = entry.members
        is_mock = "kind" in parts and parts["kind"].value == "mock"
        for where, key in _keys(parts.get("api_key"), (*place, "api_key")) if not is_mock else ():
            if _is_written_out(key.value):
                message = "a key is written out here; write `${NAME}` and set the variable, or use `api_key_file`"
                yield Finding(code="plain-secret", place=where, message=message)
        for header, value in _members(parts.get("headers")).items():
            if is_secret_name(header) and _is_written_out(value.value):
                message = "a secret is written out in this header; write `${NAME}` and set the variable"
                yield Finding(code="plain-secret", place=(*place, "headers", header), message=message)
        yield from _in_params(parts.get("params"), (*place, "params"))
    yield from _in_params(document.node(("defaults", "params")), ("defaults", "params"))
    for name, alias in _members(document.node(("models",))).items():
        place = ("models", name)
        parts = alias.members
        yield from _in_params(parts.get("params"), (*place, "params"))
        chain, where = (parts["chain"], (*place, "chain")) if "chain" in parts else (alias, place)
        for number, step in enumerate(chain.children if isinstance(chain.children, list) else ()):
            yield from _in_params(step.members.get("params"), (*where, number, "params"))
            pool = step.members.get("pool")
            for index, member in enumerate(
                pool.children if pool is not None and isinstance(pool.children, list) else ()
            ):
                yield from _in_params(member.members.get("params"), (*where, number, "pool", index, "params"))


def _members(node: Node | None) -> dict[str, Node]:
    return node.members if node is not None else {}


def _keys(node: Node | None, place: Where) -> Iterator[tuple[Where, Node]]:
    """Yield the one key, or those of the list, each with its place."""
    if node is not None and isinstance(node.children, list):
        yield from (((*place, number), child) for number, child in enumerate(node.children))
    elif node is not None:
        yield place, node


def _in_params(node: Node | None, place: Where) -> Iterator[Finding]:
    if node is not None and isinstance(node.children, list):
        for number, child in enumerate(node.children):
            yield from _in_params(child, (*place, number))
    for key, child in _members(node).items():
        where = (*place, key)
        if key in _NOT_SECRET:
            continue
        text = child.value
        if key != "key" and is_secret_name(key) and isinstance(text, str) and " " not in text.strip():
            if len(text) >= _SHORTEST and _is_written_out(text):
                message = "this looks like a secret that is written out; write `${NAME}` and set the variable"
                yield Finding(code="plain-secret", place=where, message=message)
        else:
            yield from _in_params(child, where)


def _is_written_out(text: object) -> bool:
    if not isinstance(text, str):
        return False
    defaults = [default for _, default in VARIABLE.findall(text) if default]
    rest = _SCHEME.sub("", VARIABLE.sub("", text)).strip()
    if "${" in text and len(rest) < _SHORTEST:
        rest = ""
    return any(part and not _STAND_IN.fullmatch(part) for part in (_SCHEME.sub("", part) for part in (rest, *defaults)))


def public_http(config: Config) -> Iterator[Finding]:
    """Find public addresses without TLS."""
    for name, spec in config.providers.items():
        try:
            parts = urlsplit(spec.base_url or "")
        except ValueError:
            continue  # the compiler reports it
        if parts.scheme == "http" and parts.hostname and is_public(parts.hostname):
            message = (
                f"{parts.hostname} is a public host: over http:// everybody on the way reads prompts, answers and keys"
            )
            yield Finding(code="plain-http", place=("providers", name, "base_url"), message=message)


def missing_packages(policy: Policy) -> Iterator[Finding]:
    """Find providers that need LiteLLM, or a package of its, which is not installed here; each at its first target."""
    seen: set[str] = set()
    has_litellm = policy.outside.is_installed(LITELLM)
    for chain in policy.chains:
        for entry, step in chain.targets:
            endpoint = step.target.endpoint
            if endpoint.adapter != "litellm" or endpoint.provider in seen:
                continue
            package = PACKAGES.get(endpoint.kind)
            if not has_litellm:
                message = (
                    f"{endpoint.kind} needs LiteLLM, which is not installed here: install routes-gateway without -slim"
                )
            elif package is not None and not policy.outside.is_installed(package):
                message = f"{endpoint.kind} needs the package {package.name}, which is not installed here"
            else:
                continue
            seen.add(endpoint.provider)
            yield entry.finding("missing-package", message)


def is_public(host: str) -> bool:
    """Tell whether a host is on the internet, judged by its name or address alone, without a lookup."""
    host = host.lower().rstrip(".").partition("%")[0]
    address = _address(host)
    if address is not None:
        return address.is_global
    labels = host.split(".")
    return len(labels) > 1 and not host.endswith(_PRIVATE_SUFFIXES) and labels[2:3] != ["svc"]


def _address(host: str) -> IPv4Address | IPv6Address | None:
    with suppress(ValueError):
        return ip_address(host)
    with suppress(OSError):
        return IPv4Address(socket.inet_aton(host)) if host[:1].isdigit() else None  # 127.1 and the like
    return None
