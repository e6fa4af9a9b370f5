"""What is secret by its name or its shape, and how a value is shown without it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.policy.secrets import (
    is_secret_name,
    mask_address,
    mask_key,
    mask_text,
    mask_upstream_text,
    mask_url,
    mask_written,
    shown,
)
from gateway.policy.variables import is_made_of_variables


@pytest.mark.parametrize(
    "name",
    ["api_key", "x-api-key", "apiKey", "client_secret_x", "passwd", "password", "passphrase", "db_pwd", "key", "token",
     "HF_TOKEN", "hfToken", "my_key", "x-key", "signing-key", "session_token", "aws_access_key_id", "credentials",
     "vertex_credentials", "Authorization", "cookie", "set-cookie", "x-auth", "proxy-auth", "extra_headers",
     "pass", "db_pass", "pw", "passcode", "jwt",
     "passowrd", "db_pasword", "psasword", "pass word", "api_ke${y", "vendor_secrte", "vendor_ecret",
     "auth_tkoen", "hf_tokn", "authorisation", "autorization", "credntials", "cokie"],
)  # fmt: skip
def test_names_that_look_like_a_key_token_secret_or_password_are_secret(name: str) -> None:
    assert is_secret_name(name)
    assert shown({name: "s3cret"}) == {name: "***"}


@pytest.mark.parametrize(
    "name",
    ["max_tokens", "max_completion_tokens", "first_token", "prompt_cache_key", "eos_token", "stop_token_ids", "monkey",
     "keyword", "author", "api_key_file", "temperature", "user", "tokenizer", "keys", "organization",
     "tokens", "taken", "completion_tokens", "logit_bias", "session_id", "session", "signature", "pin", "bypass"],
)  # fmt: skip
def test_names_of_other_parameters_are_not(name: str) -> None:
    assert not is_secret_name(name)
    assert shown({name: "plain"}) == {name: "plain"}


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ({"passwd": "${S}"}, {"passwd": "${S}"}),
        ({"passwd": "${S:-literal}"}, {"passwd": "${S:-***}"}),
        ({"passwd": "a${S}"}, {"passwd": "***${S}"}),
        ({"passwd": None, "token": 5, "key": True}, {"passwd": None, "token": "***", "key": "***"}),
        ({"a": [{"token": "t"}, ("${S}", "t")]}, {"a": [{"token": "***"}, ["${S}", "t"]]}),
        ({"credentials": {"inner": ["x", {"y": "z"}]}}, {"credentials": {"***": ["***", {"***": "***"}]}}),
        ({"headers": {"x-a": "b"}}, {"headers": {"x-a": "***"}}),
        ({"x_url": "http://me:pw@host"}, {"x_url": "http://***@host"}),
        ({"url": "https://u:p@h/x?api_key=litQ1"}, {"url": "https://***@h/x?api_key=***"}),
        ({"endpoint": "https://u:p@h/sk-abcdefghijklmnopqrstuv"}, {"endpoint": "https://***@h/***"}),
        (
            {"url": "https://h/x?a=1&key=k&b=${S}&sig_token=${S}"},
            {"url": "https://h/x?a=1&key=***&b=${S}&sig_token=${S}"},
        ),
        ({"plain": "Bearer xyz"}, {"plain": "Bearer ***"}),
        ({"plain": ["send Basic dXNlcg== to it"]}, {"plain": ["send Basic *** to it"]}),
        ({"plain": "bearer ${S}"}, {"plain": "bearer ${S}"}),
        ({"plain": "a basic model"}, {"plain": "a basic model"}),
        ("sk-abcdefghijklmnopqrst", "***"),
        ({"nested": "password >- correct horse"}, {"nested": "password***"}),
        ({"nested": "passwor:d >- swordfish"}, {"nested": "passwor:d***"}),
        ({"nested": ["\"api_key\" 'swordfish'"]}, {"nested": ['"api_key***']}),
        ({"nested": "tokens: at most 5"}, {"nested": "tokens: at most 5"}),
        ({"url": "https://h/x?ap\\i_key=fish&a=1"}, {"url": "https://h/x?ap\\i_key=***&a=1"}),
        ({"url": "https://h/x?api_key- =fish"}, {"url": "https://h/x?api_key- =***"}),
        ({"nested": "k3v8q0zw5mx1"}, {"nested": "***"}),
        ({"k3v8q0zw5mx1": 1}, {"***": 1}),
        (0.5, 0.5),
    ],
)
def test_a_value_is_shown_without_what_is_secret_in_it(value: Any, seen: Any) -> None:
    assert shown(value) == seen


def test_an_upstreams_text_shows_no_key_however_short() -> None:
    assert mask_upstream_text("key sk-abc123 and Bearer abcdefg") == "key *** and Bearer ***"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1"),
        ("https://ann:secret@host/v1", "https://***@host/v1"),
        ("https://host/v1?key=secret", "https://host/v1?***"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, masked: str) -> None:
    assert mask_url(url) == masked


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", ""),
        ("sk-1", "***"),
        ("${A}", "${A}"),
        ("${A}${B:-}", "${A}${B:-}"),
        ("Bearer ${A}", "***${A}"),
        ("${A} x", "${A}***"),
        ("${A:-literal}", "${A:-***}"),
        ("${A:-a$$b}", "${A:-***}"),
        ("${A:-${B}}", "***${B}***"),
        ("${not valid}", "***"),
    ],
)
def test_a_secret_as_written_keeps_its_variables_only(text: str, seen: str) -> None:
    assert mask_written(text) == seen


def test_text_made_of_variables_gives_nothing_away() -> None:
    assert is_made_of_variables("${A}${B:-}")
    assert not any(map(is_made_of_variables, ["", "x", "${A}x", "${A:-x}", "$A", "$$", "${A}\n"]))


def test_messages_and_keys_are_masked_as_well() -> None:
    assert mask_text("found 'https://me:pw@host'") == "found 'https://***@host'"
    assert mask_text("mail me@host, see https://host") == "mail me@host, see https://host"
    assert mask_text("found 'http:/me:pw@host'") == "found 'http:/***@host'"
    assert mask_address("http://me:p w@host") == "http://***@host"
    assert mask_address("me:p w@host/v1") == "***@host/v1"
    assert mask_address("http://host/v1") == "http://host/v1"
    assert mask_text("a sk-proj-abcdefghijkl1234 b") == "a *** b"
    assert mask_key("api_key:sk-1") == "api_key***"
    assert mask_key("api_key sk-1") == "api_key***"
    assert mask_key("api_key_file") == "api_key_file"
    assert mask_key("secret-model") == "secret-model"
