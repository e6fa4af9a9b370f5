"""A config file with a variable, and a literal secret, wherever one can stand; and what no output of it may show."""

from __future__ import annotations

from typing import Final

VALUE: Final = "expanded-value"
LITERAL: Final = "literal-secret"
VARIABLES: Final = {"S": VALUE, "HOST": "127.0.0.1"}

ROUTES: Final = """\
version: 1
defaults: {params: {hf_token: "${S}"}}
providers:
  up:
    kind: openai
    base_url: "http://${HOST}:1/v1"
    api_key: "${S}"
    headers: {x-auth: "Bearer ${S}", x-plain: literal-secret}
    params: {passwd: "${S}", db_pwd: literal-secret}
  drill: {kind: mock, script: [{text: "${S}"}]}
models:
  fast:
    description: for ${S}
    chain:
      - target: up/a
        params: {client_secret_x: "${S}", plain: "a ${S}", deep: {token: literal-secret, list: ["${S}"]}}
      - {alias: other}
    params: {session_token: literal-secret, seed: "${N:-7}"}
  other: [{target: drill/x, params: {user: "${S}"}}]
  "w/*": [{target: "up/*", params: {user: "${S}"}}]
"""
