"""Messages for the faults that the schema finds: exact, in our own words, without secrets."""

from __future__ import annotations

import pytest

from gateway.config.document.document import parse
from gateway.config.model.read import Judge
from gateway.config.model.schema_faults import inline

KINDS = (
    "connection, timeout, rate_limit, overloaded, server_error, bad_response, auth, billing, not_found, context_window,"
    " content_filter, bad_request"
)


def message(text: str) -> str:
    document = parse(f"version: 1\n{text}".encode(), name="routes.yaml")
    _, problems = Judge().read(document, environ={}, strict_env=False)
    assert len(problems) == 1, problems
    return problems[0].message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: {a: 1}",
         "expected a target, a list of steps, or a mapping, found a number; put quotes around it if it is text"),
        ("models: {a: [true]}", "expected a target, or a mapping, found a boolean; put quotes around it if it is text"),
        ("models: {a: null}", "expected a target, a list of steps, or a mapping, found nothing"),
        ("models: null", "expected a mapping, found nothing; write {} for an empty one"),
        ("models: {a: {chain: b/c}}", "expected a list, found text; put it in brackets"),
        ("models: {}\ndefaults: {retries: '2'}", "expected a whole number, found '2'; leave the quotes out"),
        ("models: {}\ndefaults: {retries: two}", "expected a whole number, found 'two'"),
        ("models: {}\ndefaults: {retries: true}", "expected a whole number, found a boolean"),
        ("models: {}\ndefaults: {retries: 101}", "expected a whole number of at most 100, found 101"),
        ("models: {}\ndefaults: {retry_on: [429]}", f"expected one of {KINDS}, found a number"),
        ("models: {}\ndefaults: {retry_on: [rate-limit]}",
         f"expected one of {KINDS}, found 'rate-limit'; did you mean 'rate_limit'?"),
        ("models: {}\ndefaults: {stream: {hold: none}}", "expected one of first_token, full, found 'none'"),
        ("models: {}\ndefaults: {timeout: 2 minutes}",
         "'2 minutes' is no duration above zero; write 250ms, 10s, 2m, 1h, or a number of seconds"),
        ("models: {}\ndefaults: {timeout: 2000000000}",
         "2000000000 is too long; at most 1000000000 seconds are possible"),
        ("models: {}\nproviders: {mock: {script: [{delay: -1}]}}",
         "-1 is no duration; write 0, 250ms, 10s, 2m, 1h, or a number of seconds"),
        ("models: {a: b c}", "'b c' is no target; write provider/model, without spaces and control characters"),
        ("models: {a: [{alias: b, retries: 1}]}",
         "an alias brings its own steps; beside 'alias' only 'when' is possible, not 'retries'"),
        ("models: {a: [{retries: 1}]}", "a step needs 'target', 'alias' or 'pool'"),
        ("models: {a: []}", "a chain needs at least one step"),
        ("models: {}\nproviders: {a: {api_key_file: ''}}", "spaces and control characters cannot stand here, found ''"),
        ("models: {}\nproviders: {a: {api_key: s 1}}", "this is no key; a key is one word of visible ASCII characters"),
        ("models: {}\nproviders: {a: {api_key: {b: sk-1}}}", "expected a key, or a list of keys, found a mapping"),
        ("models: {}\nproviders: {a: {api_key: [[sk-1]]}}", "expected text, found a list"),
        ("models: {}\nproviders: {a: {api_key: [s 1]}}",
         "this is no key; a key is one word of visible ASCII characters"),
        ("models: {}\nproviders: {a: {api_key: []}}", 'expected at least one entry; `api_key: ""` means no key'),
        ("models: {}\nproviders: {a: {api_key_file: []}}", 'expected at least one entry; `api_key: ""` means no key'),
        ("models: {}\nproviders: {a: {api_key_file: {b: c}}}", "expected a path, or a list of paths, found a mapping"),
        ("models: {}\nproviders: {a: {base_url: {x: y}}}", "expected text, found a mapping"),
        ("models: {}\nproviders: {a: {kind: " + "x" * 70 + " y}}",
         "spaces and control characters cannot stand here, found '" + "x" * 59 + "…'"),
        ("models: {}\ndefaults: {timeout: https://me:sk-1@host}",
         "'https://***@host' is no duration above zero; write 250ms, 10s, 2m, 1h, or a number of seconds"),
    ],
)  # fmt: skip
def test_a_message_says_what_was_found_and_what_would_be_right(text: str, said: str) -> None:
    assert message(text) == said


def test_references_are_filled_in_and_what_people_read_is_left_out() -> None:
    root = {
        "title": "t",
        "properties": {"title": {"$ref": "#/$defs/name", "description": "d"}},
        "items": [{"examples": [1]}, True],
        "$defs": {"name": {"type": "string", "description": "d"}},
    }
    assert inline(root, root) == {
        "properties": {"title": {"x-name": "name", "type": "string"}},
        "items": [{}, True],
    }
