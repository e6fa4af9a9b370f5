"""`make editor`: ask yaml-language-server what it completes at every place of both schemas.

At each place every enumerated value has to be offered, and nothing may read `[object Object]`. Needs the program of the
server on the path, or its name in YAML_LANGUAGE_SERVER: https://github.com/redhat-developer/yaml-language-server.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.wire.json import Json, JsonObject
from tests.paths import ROOT
from tests.schemas import choices

SCHEMAS: Final = {name: ROOT / "schemas" / f"{name}.schema.json" for name in ("routes", "routes.test")}
NAME: Final = "x/*"
"""A key wherever the schema leaves its name open: an alias, and a target with a star."""


def places(schema: JsonObject) -> Iterator[tuple[str, str, list[str]]]:
    """Yield for each value that the schema knows: its path, a file that ends right before it, and its choices."""
    yield from _values(_resolved(schema, schema), schema, "", "\n", "")


def _values(
    part: JsonObject, root: JsonObject, path: str, text: str, indent: str
) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the values in `part`, before which the file is `text`; its members begin in column `indent`."""
    if path:
        yield path, f"{text} ", choices(part)
    inner: dict[str, Json] = dict(part.get("properties", {}))
    if isinstance(part.get("additionalProperties"), dict):
        inner[NAME] = part["additionalProperties"]
    if isinstance(part.get("patternProperties"), dict):
        inner |= {"x-mine": part["patternProperties"]["^x-"]} if "^x-" in part["patternProperties"] else {}
    start = f"{text}\n" if path else ""
    for name, value in inner.items():
        key = json.dumps(name) if name == NAME else name
        yield from _values(_resolved(value, root), root, f"{path}.{name}", f"{start}{indent}{key}:", f"{indent}  ")
    if isinstance(part.get("items"), dict):
        item = _resolved(part["items"], root)
        yield from _values(item, root, f"{path}[]", f"{text}\n{indent}-", f"{indent}  ")


def _resolved(part: Json, root: JsonObject) -> JsonObject:
    """Return a part with the definition that it refers to; its own keywords win."""
    if not isinstance(part, dict) or "$ref" not in part:
        return part if isinstance(part, dict) else {}
    return {**root["$defs"][part["$ref"].removeprefix("#/$defs/")], **part}


class Server:
    """A language server on its standard streams (https://microsoft.github.io/language-server-protocol/)."""

    def __init__(self, command: str, schema: str) -> None:
        self._process = subprocess.Popen([command, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._schema = schema
        self._last = 0
        capabilities = {"workspace": {"configuration": True}, "textDocument": {"completion": {}}}
        self._ask("initialize", {"processId": os.getpid(), "rootUri": None, "capabilities": capabilities})
        self._tell("initialized", {})
        self._tell("workspace/didChangeConfiguration", {"settings": {"yaml": self._settings}})

    @property
    def _settings(self) -> JsonObject:
        return {"schemas": {self._schema: "*"}, "completion": True, "schemaStore": {"enable": False}}

    def completions(self, number: int, text: str) -> list[JsonObject]:
        """Return what is offered at the end of a new file."""
        uri = f"file:///tmp/{number}.yaml"
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._tell("textDocument/didOpen", {"textDocument": document})
        lines = text.split("\n")
        place = {"line": len(lines) - 1, "character": len(lines[-1])}
        answer = self._ask("textDocument/completion", {"textDocument": {"uri": uri}, "position": place})
        self._tell("textDocument/didClose", {"textDocument": {"uri": uri}})
        found: list[JsonObject] = answer["items"] if isinstance(answer, dict) else answer or []
        return found

    def close(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, method: str, params: JsonObject) -> Any:
        self._last += 1
        number = self._last
        self._send({"id": number, "method": method, "params": params})
        while True:
            message = self._receive()
            if message.get("id") == number and "method" not in message:
                return message["result"]
            if "id" in message:
                self._send({"id": message["id"], "result": self._reply(message)})

    def _reply(self, message: JsonObject) -> Json:
        if message["method"] != "workspace/configuration":
            return None
        return [self._settings if item.get("section") == "yaml" else {} for item in message["params"]["items"]]

    def _tell(self, method: str, params: JsonObject) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: Mapping[str, Json]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _receive(self) -> JsonObject:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            if match := re.fullmatch(rb"Content-Length: (\d+)", line):
                length = int(match[1])
        if not length:
            raise EOFError("the language server ended")
        message: JsonObject = json.loads(self._process.stdout.read(length))
        return message


def faults(command: str) -> Iterator[str]:
    """Yield a line for each place at which the server offers too little, or something unreadable."""
    for name, path in SCHEMAS.items():
        schema = json.loads(path.read_text(encoding="utf-8"))
        server = Server(command, path.as_uri())
        try:
            count = 0
            for number, (where, text, wanted) in enumerate(places(schema)):
                offered = server.completions(number, text)
                labels = {item["label"] for item in offered}
                if missing := [value for value in wanted if value not in labels]:
                    yield f"{name}: {where}: does not offer {', '.join(missing)}"
                if "[object Object]" in json.dumps(offered):
                    yield f"{name}: {where}: offers [object Object]"
                count += 1
            print(f"{name}: {count} places asked")
        finally:
            server.close()


if __name__ == "__main__":
    found = list(faults(os.environ.get("YAML_LANGUAGE_SERVER", "yaml-language-server")))
    print("\n".join(found) or "every enumerated value is offered, and everything can be read")
    sys.exit(1 if found else 0)
