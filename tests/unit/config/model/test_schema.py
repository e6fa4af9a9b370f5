"""The shipped schema: valid, every key described, closed to unknown keys, and its examples pass."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.config.model.read import schema
from gateway.policy.failures import Kind
from gateway.policy.table import MAX_NAME
from gateway.policy.wires import OPERATION_NAMES, OPERATIONS_OF
from tests.paths import ROOT
from tests.schemas import choices, offered, parts

FILE = ROOT / "schemas" / "routes.schema.json"
SCHEMA = schema()
DEFINITIONS = SCHEMA["$defs"]


def definition(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$defs": DEFINITIONS, "$ref": f"#/$defs/{name}"})


def test_the_file_is_what_is_loaded_and_is_neatly_written() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert json.loads(text) == SCHEMA
    assert text == json.dumps(SCHEMA, indent=2, ensure_ascii=False) + "\n"


def test_the_schema_is_valid_draft_2020_12() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"]
    assert SCHEMA["title"]
    Draft202012Validator.check_schema(SCHEMA)


def test_every_key_has_a_description_for_the_editor() -> None:
    for where, part in parts(SCHEMA):
        for name, key in part.get("properties", {}).items():
            assert key.get("description", "").endswith("."), f"{where}/{name}"
        for pattern, key in part.get("patternProperties", {}).items():
            assert key.get("description"), f"{where}/{pattern}"
    for name, part in DEFINITIONS.items():
        assert part["title"], name
        assert part["description"].endswith("."), name
        assert offered(part), name


def test_every_mapping_is_closed_but_params() -> None:
    for where, part in parts(SCHEMA):
        if "object" in part.get("type", ()) and not where.endswith("/if"):
            closed = part.get("additionalProperties")
            assert (closed is None) == where.endswith("$defs/params"), where
            assert closed is False or isinstance(closed, dict) or closed is None, where
        assert ("patternProperties" in part) == (where == "#"), where


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_examples_of_a_definition_are_valid(name: str) -> None:
    for example in offered(DEFINITIONS[name]):
        assert not list(definition(name).iter_errors(example))


def test_the_examples_of_every_key_are_valid() -> None:
    count = 0
    for where, part in parts(SCHEMA):
        for example in offered(part):
            alone = {key: value for key, value in part.items() if key not in ("$id", "$schema")}
            validator = Draft202012Validator({**alone, "$defs": DEFINITIONS})
            assert validator.is_valid(example), (where, example)
            count += 1
    assert count > 40


@pytest.mark.parametrize("name", ["routes", "routes.test"])
class TestEditors:
    """What yaml-language-server makes of a schema; `make editor` asks the server itself."""

    def test_every_enumerated_value_completes_and_says_what_it_means(self, name: str) -> None:
        """Values behind `if` and `then` are checked and not completed: a snippet has to offer each."""
        count = 0
        for where, part in parts(schema(name)):
            if "enum" in part and where.endswith("/then"):
                continue
            values = choices(part)
            snippets = {snippet["label"]: snippet for snippet in part.get("defaultSnippets", ())}
            assert [value for value in values if value in snippets] == values, where
            for value in values:
                assert snippets[value]["body"] == value
                assert snippets[value]["description"].endswith("."), (where, value)
            count += len(values)
        assert count > 17

    def test_an_example_is_no_mapping_which_would_be_offered_as_object_object(self, name: str) -> None:
        for where, part in parts(schema(name)):
            for value in (*part.get("examples", ()), part.get("default")):
                assert not isinstance(value, dict), where
                assert not (isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value)), where

    def test_a_snippet_has_a_name_and_no_variable_which_an_editor_would_take_for_its_own(self, name: str) -> None:
        for where, part in parts(schema(name)):
            snippets = part.get("defaultSnippets", ())
            labels = [snippet["label"] for snippet in snippets]
            assert len(set(labels)) == len(labels), where
            assert all(labels), where
            for snippet in snippets:
                assert snippet.keys() <= {"label", "description", "body"}, where
                assert not re.search(r"\$", json.dumps(snippet["body"])), where


def test_no_definition_is_left_unused() -> None:
    used = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(SCHEMA)))
    assert used == set(DEFINITIONS)


@pytest.mark.parametrize(
    ("part", "keys"),
    [
        (SCHEMA, "version include defaults providers models clients hooks capabilities"),
        (DEFINITIONS["defaults"], "timeout retries deadline max_attempts cooldown retry_on fallback_on params stream"),
        (DEFINITIONS["provider"],
         "kind base_url api_key api_key_file adapter wires api_version headers params cooldown limits script"),
        (DEFINITIONS["alias"],
         ("description chain hooks timeout retries deadline max_attempts params retry_on fallback_on stream "
          "hedge shadow cache")),
        (DEFINITIONS["step"], "when target alias pool pick key timeout retries params retry_on fallback_on price"),
        (DEFINITIONS["member"], "target alias weight timeout retries params retry_on fallback_on price"),
        (DEFINITIONS["when"],
         "stream tools images audio files tokens max_tokens operation header metadata client param during not"),
        (DEFINITIONS["inverse"],
         "stream tools images audio files tokens max_tokens operation header metadata client param during"),
        (DEFINITIONS["stickyKey"], "header metadata"),
        (DEFINITIONS["hook"], "path timeout on_error operations events"),
        (DEFINITIONS["hooks"], "pre post"),
        (DEFINITIONS["stream"], "hold max_bytes keepalive"),
        (DEFINITIONS["timeout"], "connect first_token idle total"),
        (DEFINITIONS["cooldown"], "failures share within for"),
        (DEFINITIONS["clientGroup"], "models limits share"),
        (DEFINITIONS["limit"], "requests tokens spend concurrent per then"),
        (DEFINITIONS["limitThen"], "alias"),
        (DEFINITIONS["price"], "input output cached_input"),
        (DEFINITIONS["cache"], "ttl scope stale_if_error"),
        (DEFINITIONS["outcome"], "text status retry_after delay cut stall"),
    ],
)  # fmt: skip
def test_the_keys_are_exactly_these(part: dict[str, Any], keys: str) -> None:
    assert set(part["properties"]) == set(keys.split())


def test_an_alias_is_as_long_as_a_name_that_clients_may_ask_for() -> None:
    assert DEFINITIONS["aliasName"]["maxLength"] == MAX_NAME


def test_the_wires_are_those_of_the_operations() -> None:
    assert DEFINITIONS["wire"]["then"]["enum"] == list(OPERATIONS_OF)


def test_the_kinds_are_those_of_the_engine() -> None:
    assert DEFINITIONS["kind"]["then"]["enum"] == [str(kind) for kind in Kind]


def test_the_operations_are_those_of_the_wires() -> None:
    assert DEFINITIONS["operation"]["then"]["enum"] == [*OPERATION_NAMES]


SCALARS = [
    "version: V", "defaults.retries: V", "defaults.max_attempts: V", "defaults.timeout: V", "defaults.deadline: V",
    "defaults.timeout.idle: V", "defaults.cooldown.failures: V", "defaults.cooldown.within: V",
    "defaults.stream.hold: V", "defaults.stream.max_bytes: V", "defaults.retry_on: [V]",
    "providers.a.kind: V", "providers.a.base_url: V",
    "providers.a.api_key: V", "providers.a.api_key_file: V", "providers.a.adapter: V", "providers.a.headers.x: V",
    "providers.a.api_key: [V]", "providers.a.api_key_file: [V]",
    "providers.a.script: [{status: V}]", "providers.a.script: [{retry_after: V}]", "providers.a.script: [{delay: V}]",
    "providers.a.script: [{cut: V}]", "providers.a.script: [{stall: V}]", "providers.a.script: [{text: V}]",
    "models.a: [{pool: [V]}]", "models.a: [{pool: [{target: V, weight: V}]}]", "models.a: [{pool: [V], pick: V}]",
    "models.a: [{pool: [V], key: V}]", "models.a: [{pool: [V], key: {header: V}}]",
    "models.a: [{target: V, when: {stream: V, tokens: V, during: V, operation: [V], client: [V]}}]",
    "models.a: [{target: V, when: {param: {x: V}}}]", "models.a: [{target: V, when: {not: {metadata: {x: [V]}}}}]",
    "models.a: V", "models.a: [V]", "models.a: [{target: V}]", "models.a: [{alias: V}]", "models.a.chain: [V]",
    "hooks.pre: [V]", "hooks.pre: [{path: V}]", "hooks.pre: [{path: a.b, timeout: V}]",
    "hooks.pre: [{path: a.b, on_error: V}]", "hooks.pre: [{path: a.b, operations: [V]}]",
    "hooks.post: [{path: a.b, events: V}]", "capabilities.a: V",
    "clients.a.limits: [V]", "clients.a.limits: [{requests: V, per: V}]", "clients.a.limits: [{concurrent: V}]",
    "clients.a.limits: [{spend: V, per: day, then: {alias: V}}]", "clients.a.share: V", "clients.a.models: [V]",
    "providers.a.limits: [{tokens: V, per: V}]", "models.a: [{target: V, price: V}]",
    "models.a: [{target: V, price: {input: V, output: V, cached_input: V}}]",
    "models.a: {chain: [V], cache: V}", "models.a: {chain: [V], cache: {ttl: V, scope: V, stale_if_error: V}}",
]  # fmt: skip


def placed(place: str, value: str) -> dict[str, Any]:
    path, _, written = place.partition(": ")
    found: Any = json.loads(
        re.sub(r"[\w.]+", lambda word: json.dumps(word[0]), written).replace('"V"', json.dumps(value))
    )
    for key in reversed(path.split(".")):
        found = {key: found}
    return {"version": 1, "models": {}, **found}


@pytest.mark.parametrize("place", SCALARS)
@pytest.mark.parametrize("variable", ["${NAME}", "${_n9:-}", "${NAME:-a-default}", "x${A}y"])
def test_a_variable_may_stand_for_every_scalar(place: str, variable: str) -> None:
    assert Draft202012Validator(SCHEMA).is_valid(placed(place, variable))


@pytest.mark.parametrize(
    "place", [place for place in SCALARS if "api_key" not in place and "text" not in place and "header" not in place]
)
def test_text_that_only_looks_like_a_variable_is_judged_as_text(place: str) -> None:
    for text in ("${} ", "$NAME x", "${9} x", "${A-b} x"):
        accepted = Draft202012Validator(SCHEMA).is_valid(placed(place, text))
        assert accepted == ("base_url" in place or "api_key_file" in place)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("openai/a", True), (["openai/a"], True), ([], False), ({}, False), ({"chain": []}, False),
        ({"chain": "a/b"}, False), ([{"alias": "x"}], True), ([{"alias": "x", "retries": 1}], False),
        ([{"target": "a/b", "alias": "x"}], False), ([{"alias": "x", "when": {"stream": True}}], True),
        ([{"pool": {"a/b": 9, "c/d": 0}}], True), ([{"pool": ["a/b", {"alias": "x", "weight": 2}]}], True),
        ([{"pool": {"a/b": -1}}], False), ([{"pool": []}], False), ([{"pool": {}}], False), ([{"pool": "a/b"}], False),
        ([{"pool": ["a/b"], "target": "c/d"}], False), ([{"pool": ["a/b"], "alias": "x"}], False),
        ([{"pool": [{"alias": "x", "timeout": 1}]}], False), ([{"pool": [{"pool": ["a/b"]}]}], False),
        ([{"pool": ["a/b"], "pick": "sticky", "key": "client", "timeout": 1}], True),
        ([{"target": "a/b", "pick": "sticky"}], False), ([{"target": "a/b", "weight": 1}], False),
        ([{"target": "a/b", "when": {}}], False), ([{"target": "a/b", "when": {"not": {"not": {}}}}], False),
        ([{}], False), ([{"retries": 1}], False), ("a b", False), ("a\n", False), ("", False), (None, False),
        (1, False),
    ],
)  # fmt: skip
def test_an_alias_is_a_target_a_list_of_steps_or_a_mapping_with_a_chain(value: Any, good: bool) -> None:
    assert Draft202012Validator(SCHEMA).is_valid({"version": 1, "models": {"a": value}}) == good


def test_patterns_are_plain_enough_for_other_languages() -> None:
    for where, part in parts(SCHEMA):
        pattern = part.get("pattern")
        if isinstance(pattern, str):
            re.compile(pattern)
            assert not re.search(r"\(\?[P<#aiLmsux]|\\[AZ]", pattern), where
