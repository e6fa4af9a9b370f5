"""Find the proxy's config in a file that holds more, such as the values of LiteLLM's Helm chart or a ConfigMap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.config.document.document import written
from gateway.config.document.yaml_tree import Where
from gateway.importers.litellm.reasons import SECTIONS
from gateway.wire.json import Json, JsonObject

HELM_KEY: Final = "proxy_config"
"""The value of LiteLLM's Helm chart that is the proxy's config."""
_DEEPEST: Final = 5
_MARK: Final = "model_list:"

_NO_CONFIG: Final = "this is no config of the LiteLLM proxy: it has neither model_list nor any of its settings"
_NOT_HERE: Final = "a model_list stands further down, in another document; put that config into a file of its own"


def find(config: JsonObject, data: bytes) -> Where | str:
    """Return the place of the config in a file of these bytes, () for the whole file, or why none can be read."""
    inner = list(_configs(config, ()))
    if SECTIONS & config.keys() and not (inner and HELM_KEY in config):
        return ()
    if len(inner) == 1:
        return inner[0]
    if inner:
        places = ", ".join(map(written, inner))
        return (
            f"it holds several configs of the LiteLLM proxy: {places}; put one into a file of its own and import that"
        )
    for where in _texts(config, ()):
        selector = "".join(f'."{key}"' if isinstance(key, str) else f"[{key}]" for key in where)
        return (
            f"{written(where)} holds a config of the LiteLLM proxy as text; import that text: "
            f"`yq '{selector}' FILE | gateway import litellm -`"
        )
    if config.keys() >= {"version", "models"}:
        return "this is a routes.yaml already; `gateway validate` checks it"
    return _NOT_HERE if _MARK.encode() in data else _NO_CONFIG


def of_template(data: bytes) -> str | None:
    """Return what to do with a text that is no YAML because it is a template of a config; None if it is none."""
    if _MARK.encode() not in data or b"{{" not in data:
        return None
    return "a template is no YAML yet: render it first (`helm template`), and import the config in the result"


def _configs(value: Json, where: Where) -> Iterator[Where]:
    """Yield the places of mappings below a value that are configs."""
    for key, item in value.items() if isinstance(value, dict) and len(where) < _DEEPEST else ():
        if isinstance(item, dict) and ("model_list" in item or (key == HELM_KEY and SECTIONS & item.keys())):
            yield (*where, key)
        else:
            yield from _configs(item, (*where, key))


def _texts(value: Json, where: Where) -> Iterator[Where]:
    """Yield the places of texts that hold a config."""
    if isinstance(value, str) and _MARK in value:
        yield where
    if len(where) < _DEEPEST:
        entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in entries:
            yield from _texts(item, (*where, key))
