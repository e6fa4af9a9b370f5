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
