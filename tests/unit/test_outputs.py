"""Every output shows a variable as written, and a literal under a name that looks secret as stars."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gateway.cli import main
from tests.command_line import write
from tests.paths import ROOT
from tests.written import LITERAL, ROUTES, VALUE, VARIABLES

OTHER = (
    ROUTES.replace('"${S}"', '"${T}"')
    .replace("a ${S}", "b ${S}")
    .replace("literal-secret", "literal-secret-2")
    .replace("Bearer ${S}", "Bearer ${T}")
    .replace("${HOST}:1", "${HOST}:2")
)
CASES = """\
cases:
  - name: it differs
    request: {model: fast}
    expect:
      text: nothing
      sent: {passwd: x, client_secret_x: x, plain: x, deep: {token: x, list: [x]}, db_pwd: x, seed: 1, user_token: x}
"""
LITELLM = """\
model_list:
  - model_name: fast
    litellm_params:
      model: openai/gpt-4o
      api_key: literal-secret
      api_base: http://127.0.0.1:1/v1
      extra_headers: {x-auth: literal-secret}
      extra_body: {passwd: literal-secret}
"""
BODY = {"messages": [{"role": "user", "content": "hi"}], "user_token": LITERAL, "stop": None}


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {**VARIABLES, "T": f"{VALUE}-2", "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.chdir(tmp_path)
    write("routes.yaml", ROUTES)
    write("other.yaml", OTHER)
    write("bad.yaml", ROUTES.replace("kind: openai", "kind: opnai").replace("up/a", "nowhere"))
    write("broken.yaml", f"{ROUTES}\n  - [")
    write("routes.test.yaml", CASES)
    write("litellm.yaml", LITELLM)
    write("body.json", json.dumps(BODY))


def _shown(capsys: pytest.CaptureFixture[str], command: str) -> str:
    assert main(command.split()) in (0, 1)
    told = capsys.readouterr()
    return told.out + told.err


@pytest.mark.parametrize(
    ("command", "shows"),
    [
        ("explain fast", "passwd           \"${S}\""),
        ("explain fast --format json", '"client_secret_x": "${S}"'),
        ("explain fast --format json", '"base_url": "http://${HOST}:1/v1"'),
        ("explain fast --format json", '"description": "for ${S}"'),
        ("explain fast --format json", '"deep": {\n          "token": "***",\n          "list": [\n            "${S}"'),
        ("explain fast --request body.json", 'user_token       "***"'),
        ("explain fast --request body.json", "stop             null"),
        ("explain fast --request body.json --format json", '"stop": null'),
        ("explain other", 'user      "${S}"'),
        ("explain w/x --format json", '"user": "${S}"'),
        ("diff routes.yaml other.yaml", "params.passwd \"${S}\" → \"${T}\""),
        ("diff routes.yaml other.yaml --format markdown", "${HOST}:2"),
        ("diff routes.yaml other.yaml --format json", '"old": "***${S}"'),
        ("test", '+ "${S}"'),
        ("test --format json", '***'),
        ("test --format junit", "***"),
        *((f"validate bad.yaml --format {name}", "bad.yaml") for name in ("text", "json", "github", "sarif", "junit")),
        ("validate broken.yaml", "broken.yaml"),
        ("validate routes.yaml", "***"),
        ("import litellm litellm.yaml", "x-auth"),
    ],
)  # fmt: skip
def test_no_output_shows_an_expanded_variable_or_a_literal_secret(
    capsys: pytest.CaptureFixture[str], command: str, shows: str
) -> None:
    told = _shown(capsys, command)
    assert VALUE not in told
    assert LITERAL not in told
    assert shows in told


FAULTY = {
    "no-provider": 'models: {a: "${S}"}',
    "unknown-provider": 'models: {a: "${S}/m"}',
    "unknown-kind": 'models: {a: up/x}\nproviders: {up: {kind: "${S}", base_url: "http://127.0.0.1:1"}}',
    "unknown-alias": 'models: {module_nam: mock/x, a: [{alias: "${S}"}]}',
    "hook-import": 'models: {a: mock/x}\nhooks: {pre: ["${S}.x"]}\ncapabilities: {c: "${S}.b"}',
    "hook-missing": 'models: {a: mock/x}\nhooks: {post: [{path: "os.${S}", timeout: 1s}]}',
}


@pytest.mark.parametrize("form", ["text", "json", "github", "sarif", "junit"])
@pytest.mark.parametrize("code", FAULTY)
def test_a_problem_names_a_variable_as_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, code: str, form: str
) -> None:
    monkeypatch.setenv("S", "module_name")
    write("faulty.yaml", f"version: 1\n{FAULTY[code]}\n")
    told = _shown(capsys, f"validate faulty.yaml --format {form}")
    assert code in told
    assert "${S}" in told
    assert "module_nam" not in told.replace("module_nam: mock", "")
    assert "did you mean" not in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('models: {a: "${SHORT}"}', "'${SHORT}' names no provider; write `provider/${SHORT}`"),
        ('models: {a: "${TARGET}"}', "no provider named '${TARGET}'"),
        ('models: {a: "x-${S}/m"}', "no provider named 'x-${S}'"),
        ('models: {a: "${NEAR}/m"}', "no provider named '${NEAR}'"),
        ('models: {a: "opnai/${S}"}', "no provider named 'opnai'"),
        ('models: {a: "${UNSET:-nobody}/m"}', "no provider named '${UNSET:-nobody}'"),
        (
            'models: {a: up/x}\nproviders: {up: {base_url: "http://127.0.0.1:9", kind: openai, api_key: "${WORDS}"}}',
            "api_key: this is no key; a key is one word of visible ASCII characters",
        ),
        (
            'models: {a: mock/x}\ndefaults: {timeout: "${WORDS}"}',
            "timeout: '${WORDS}' is no duration above zero; write 250ms, 10s, 2m, 1h, or a number of seconds",
        ),
        ('models: {a: [{alias: "${QUOTE}"}]}', 'no alias named "${QUOTE}"'),
        ('models: {a: mock/x}\nproviders: {up: {base_url: "${URL}", kind: openai}}', "${URL} is a public host: over"),
        ('models: {a: ["openai/${S}", "openai/b", "openai/${S}"]}', "the chain has openai/${S} (step 1) already"),
    ],
)
def test_a_message_shows_no_part_of_a_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    values = {"SHORT": "p", "TARGET": "hid/den", "NEAR": "opnai", "QUOTE": "a\\b'c", "URL": "http://Foo.example:9/v1"}
    for name, value in (values | {"WORDS": "one account's 10s"}).items():
        monkeypatch.setenv(name, value)
    write("faulty.yaml", f"version: 1\n{text}\n")
    told = _shown(capsys, "validate faulty.yaml")
    assert message in told
    assert "did you mean" not in told
