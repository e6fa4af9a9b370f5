"""Endpoints: which key goes where, addresses, adapters, headers and connection settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.compiler.compiler import Compiler
from gateway.config.compiler.providers import bad_header
from gateway.policy.target import FRAMING_HEADERS, AdapterName, Cooldown, Endpoint, ScriptedOutcome
from tests.compiling import endpoint, key_of, messages, problems, step, table

KEYS = {
    "OPENAI_API_KEY": "sk-env",
    "ANTHROPIC_API_KEY": "sk-ant",
    "GROQ_API_KEY": "gsk-env",
    "GOOGLE_API_KEY": "sk-goo",
}


@pytest.mark.parametrize(
    ("entry", "target", "name", "key", "required"),
    [
        pytest.param("", "openai/x", "env:OPENAI_API_KEY", "sk-env", True, id="no entry: the vendor's variable"),
        pytest.param("", "anthropic/x", "env:ANTHROPIC_API_KEY", "sk-ant", True, id="the same for Anthropic"),
        pytest.param("", "gemini/x", "env:GOOGLE_API_KEY", "sk-goo", True, id="the same for Gemini"),
        pytest.param(
            "gemini: {adapter: litellm}",
            "gemini/x",
            "env:GOOGLE_API_KEY",
            "sk-goo",
            False,
            id="the same through LiteLLM",
        ),
        pytest.param("openai: {}", "openai/x", "env:OPENAI_API_KEY", "sk-env", True, id="an entry without a key"),
        pytest.param(
            "openai: {kind: openai}", "openai/x", "env:OPENAI_API_KEY", "sk-env", True, id="its own kind written out"
        ),
        pytest.param("openai: {api_key: ''}", "openai/x", "none", None, True, id="an empty key means none"),
        pytest.param(
            "openai: {api_key: '${NOT_SET:-}'}", "openai/x", "${NOT_SET:-}", None, True, id="expanded to nothing"
        ),
        pytest.param(
            "openai: {api_key: '${NOT_SET}'}", "openai/x", "${NOT_SET}", None, True, id="a variable that is not set"
        ),
        pytest.param(
            "openai: {api_key: '${GROQ_API_KEY}'}", "openai/x", "${GROQ_API_KEY}", "gsk-env", True, id="named"
        ),
        pytest.param(
            "openai: {base_url: 'http://127.0.0.1:1/v1'}", "openai/x", "none", None, False, id="an own address: no key"
        ),
        pytest.param(
            "mine: {kind: openai, base_url: 'http://127.0.0.1:1/v1'}", "mine/x", "none", None, False, id="an own server"
        ),
        pytest.param("groq: {kind: openai}", "groq/x", "none", None, False, id="another kind at the vendor's address"),
        pytest.param("groq-b: {kind: groq}", "groq-b/x", "none", None, True, id="a second account has its own key"),
        pytest.param(
            "claude: {kind: anthropic}", "claude/x", "none", None, True, id="the same through LiteLLM, blocked"
        ),
        pytest.param(
            "anthropic: {api_key: ''}", "anthropic/x", "none", None, True, id="LiteLLM must not borrow either"
        ),
        pytest.param(
            "openai: {headers: {Authorization: Basic abc}}", "openai/x", "none", None, False, id="a header is a key"
        ),
        pytest.param("", "vertex_ai/x", "none", None, False, id="other credentials"),
        pytest.param("g: {kind: vertex_ai}", "g/x", "none", None, False, id="other credentials, another name"),
        pytest.param("g: {kind: vertex_ai_beta}", "g/x", "none", None, False, id="a relative of these"),
        pytest.param("watsonx: {}", "watsonx/x", "none", None, False, id="known to LiteLLM alone, its own entry"),
        pytest.param("w: {kind: watsonx}", "w/x", "none", None, True, id="LiteLLM alone, a second account"),
        pytest.param("watsonx: {api_key: ''}", "watsonx/x", "none", None, True, id="LiteLLM alone, no key"),
        pytest.param(
            "w: {kind: watsonx, base_url: 'http://h'}", "w/x", "none", None, False, id="LiteLLM alone, an own address"
        ),
        pytest.param(
            "w: {kind: watsonx, headers: {authorization: b}}", "w/x", "none", None, False, id="LiteLLM alone, a header"
        ),
        pytest.param(
            "mine: {kind: openai, base_url: 'http://h/v1', api_key: '${NOT_SET}'}",
            "mine/x",
            "${NOT_SET}",
            None,
            True,
            id="an own server whose key is named and missing",
        ),
        pytest.param(
            "mine: {kind: openai, base_url: 'http://h/v1', api_key: '${NOT_SET:-}'}",
            "mine/x",
            "${NOT_SET:-}",
            None,
            False,
            id="an own server whose key may be missing",
        ),
        pytest.param("", "watsonx/x", "none", None, False, id="known to LiteLLM alone"),
        pytest.param("", "lm_studio/x", "env:LM_STUDIO_API_KEY", None, False, id="a local server needs no key"),
        pytest.param("", "mock/echo", "none", None, False, id="the mock"),
    ],
)
def test_an_endpoint_gets_the_key_that_it_may_have(
    entry: str, target: str, name: str, key: str | None, required: bool
) -> None:
    found = endpoint(entry, target, environ=KEYS)
    assert (found.api_key.name, key_of(found), found.key_required) == (name, key, required)


def test_without_a_variable_the_vendors_relay_still_requires_akey_of() -> None:
    found = endpoint("", "openai/x")
    assert (found.api_key.name, key_of(found), found.key_required) == ("env:OPENAI_API_KEY", None, True)


def test_a_second_variable_of_a_vendor_serves_when_the_first_is_not_set() -> None:
    found = endpoint("", "together_ai/x", environ={"TOGETHER_AI_TOKEN": "t", "TOGETHER_API_KEY": " "})
    assert (found.api_key.name, key_of(found)) == ("env:TOGETHER_AI_TOKEN", "t")


def test_a_literal_key_is_named_by_a_digest_that_does_not_show_it() -> None:
    found = endpoint("openai: {api_key: ' sk-literal '}", "openai/x")
    assert key_of(found) == "sk-literal"
    assert found.api_key.name.startswith("sha256:")
    assert "literal" not in repr(found) + found.api_key.name + repr(found.api_key)
    assert endpoint("openai: {api_key: sk-other}", "openai/x").api_key.name != found.api_key.name


def test_a_key_file_is_beside_the_config_file_and_read_when_it_changes(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    key_file = tmp_path / "keys" / "openai"
    key_file.write_text("sk-one\n")
    found = endpoint(
        "openai: {api_key_file: keys/openai}", "openai/x", source=str(tmp_path / "routes.yaml"), strict_env=True
    )
    assert (found.api_key.name, key_of(found), found.key_required) == ("file:keys/openai", "sk-one", True)
    key_file.write_text("sk-another")
    assert key_of(found) == "sk-another"


@pytest.mark.parametrize(("content", "word"), [(None, "does not exist"), ("", "is empty"), (" \n", "is empty")])
def test_a_key_file_without_a_key_is_a_warning_and_with_strict_env_a_problem(
    tmp_path: Path, content: str | None, word: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    text = "providers: {openai: {api_key_file: key}}\nmodels: {fast: openai/x}\n"
    source = str(tmp_path / "routes.yaml")
    assert problems(text, source=source) == ["2:36: missing-key-file?"]
    assert problems(text, source=source, strict_env=True) == ["2:36: missing-key-file"]
    assert word in messages(text, source=source)[0]


@pytest.mark.parametrize(
    "content", [b"sk-hunter2\nx", b"sk hunter2", b"sk-hunter2\x00", b"sk-hunter2\xc3\xa9", b"\xff"]
)
def test_a_key_file_that_holds_no_key_is_a_warning_and_with_strict_env_a_problem(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "key").write_bytes(content)
    text = "providers: {openai: {api_key_file: key}}\nmodels: {fast: openai/x}\n"
    source = str(tmp_path / "routes.yaml")
    assert problems(text, source=source) == ["2:36: bad-api-key?"]
    assert problems(text, source=source, strict_env=True) == ["2:36: bad-api-key"]
    (message,) = messages(text, source=source)
    assert message == "what the key file 'key' holds is no key; a key is one word of visible ASCII characters"


def test_a_server_whose_key_file_is_named_is_never_called_without_its_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-one")
    entry = "mine: {kind: openai, base_url: 'http://h/v1', api_key_file: key}"
    found = endpoint(entry, "mine/x", source=str(tmp_path / "routes.yaml"))
    assert (key_of(found), found.key_required) == ("sk-one", True)
    (tmp_path / "key").write_text("sk-one\nsk-two")
    assert (key_of(found), found.key_required) == ("sk-one", True), "the last key stays"
    late = endpoint(entry, "mine/x", source=str(tmp_path / "routes.yaml"))
    assert (key_of(late), late.key_required) == (None, True)


@pytest.mark.parametrize("target", ["openai/x", "anthropic/x"])
def test_a_vendors_variable_that_holds_no_key_is_no_key(target: str) -> None:
    broken = "sk-hunter2\nx"
    found = endpoint("", target, environ={"OPENAI_API_KEY": broken, "ANTHROPIC_API_KEY": broken})
    assert (key_of(found), found.key_required) == (None, True)


def keys_of(found: Endpoint) -> list[tuple[str, str | None]]:
    """Return, of each endpoint with one key, the key's name and the key."""
    return [(one.api_key.name, key_of(one)) for one in found.by_key]


def test_a_list_of_keys_makes_an_endpoint_with_each() -> None:
    found = endpoint(
        "mine: {kind: openai, base_url: 'http://h/v1', api_key: ['${A}', '${B:-}', sk-c, '${D}']}",
        "mine/x",
        environ={"A": "sk-a", "B": "sk-b"},
    )
    names = [name for name, _ in keys_of(found)]
    assert (names[:2], names[3]) == (["${A}", "${B:-}"], "${D}")
    assert names[2].startswith("sha256:")
    assert [key for _, key in keys_of(found)] == ["sk-a", "sk-b", "sk-c", None]
    assert (key_of(found), found.key_required) == ("sk-a", True)
    assert all(one.key_required and one.base_url == found.base_url for one in found.by_key)


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        ("['${A:-}', sk-b, '']", ("sk-b", True)),
        ("[' ', sk-b]", ("sk-b", True)),
        ("[sk-b]", ("sk-b", True)),
        ("['${A:-}', '']", (None, False)),
        ("['']", (None, False)),
    ],
)
def test_empty_keys_drop_out_and_one_that_is_left_is_as_any_single_key(
    keys: str, left: tuple[str | None, bool]
) -> None:
    found = endpoint(f"mine: {{kind: openai, base_url: 'http://h/v1', api_key: {keys}}}", "mine/x")
    assert ((key_of(found), found.key_required), found.by_key) == (left, ())


def test_a_list_of_empty_keys_means_none_and_not_the_vendors_variable() -> None:
    assert key_of(endpoint("openai: {api_key: ['', '']}", "openai/x", environ=KEYS)) is None


def test_a_list_of_key_files_is_read_as_one_is(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("sk-one\n")
    text = "providers: {openai: {api_key_file: [one, two]}}\nmodels: {fast: openai/x}\n"
    source = str(tmp_path / "routes.yaml")
    assert problems(text, source=source) == ["2:42: missing-key-file?"]
    assert problems(text, source=source, strict_env=True) == ["2:42: missing-key-file"]
    found = endpoint("openai: {api_key_file: [one, two]}", "openai/x", source=source)
    assert keys_of(found) == [("file:one", "sk-one"), ("file:two", None)]
    (tmp_path / "two").write_text("sk-two")
    assert keys_of(found) == [("file:one", "sk-one"), ("file:two", "sk-two")]


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("api_key: [sk-1, sk-2, sk-1]", ["2:58: repeated-key"]),
        ("api_key: ['${A}', '${B}', '${A}']", ["2:62: repeated-key"]),
        ("api_key: ['${UNSET}', '${UNSET}']", ["2:46: unset-variable?", "2:58: unset-variable?", "2:58: repeated-key"]),
        ("api_key_file: [k, k]", ["2:51: missing-key-file?", "2:54: repeated-key"]),
        ("api_key: ['${A}', '${SAME}']", ["2:54: repeated-key?"]),
        ("api_key: ['${A}', sk-a]", ["2:54: repeated-key?"]),
        ("api_key: ['${E}', '${E}', '']", []),
    ],
)
def test_a_key_that_is_in_a_list_twice_is_told(entry: str, found: list[str]) -> None:
    environ = {"A": "sk-a", "B": "sk-b", "SAME": "sk-a", "E": ""}
    text = f"providers: {{openai: {{kind: openai, {entry}}}}}\nmodels: {{fast: openai/x}}\n"
    assert problems(text, environ=environ) == found
    assert "sk-" not in "".join(messages(text, environ=environ))


def test_a_key_that_two_variables_hold_is_used_once() -> None:
    found = endpoint("openai: {api_key: ['${A}', '${B}', '${C}']}", "openai/x", environ={"A": "x", "B": "x", "C": "y"})
    assert keys_of(found) == [("${A}", "x"), ("${C}", "y")]


def test_keys_that_did_not_change_are_the_same_endpoint_after_a_reload() -> None:
    compiler = Compiler(environ={"A": "x", "B": "y"})
    text = b"version: 1\nproviders: {openai: {api_key: ['${A}', '${B}']}}\nmodels: {fast: openai/x}\n#"
    one, other = (compiler.compile(text + more, source="routes.yaml").table for more in (b"a", b"b"))
    assert one is not None
    assert other is not None
    assert one.routes["fast"].steps[0].target.endpoint is other.routes["fast"].steps[0].target.endpoint


def test_a_tilde_in_a_key_files_path_is_not_expanded() -> None:
    text = "providers: {openai: {api_key_file: ~/key}}\nmodels: {fast: openai/x}\n"
    assert messages(text) == ["the key file '~/key' does not exist (`~` is not expanded)"]


def test_a_trailing_slash_of_a_base_url_is_dropped() -> None:
    found = endpoint("mine: {kind: openai, base_url: 'http://[::1]:8000/v1//'}", "mine/x")
    assert found.base_url == "http://[::1]:8000/v1"


@pytest.mark.parametrize(
    ("entry", "target", "openai_adapter", "expected"),
    [
        ("", "openai/x", "relay", ("openai", "relay", "https://api.openai.com/v1", False)),
        ("", "openai/x", "litellm", ("openai", "litellm", None, False)),
        ("openai: {adapter: litellm}", "openai/x", "relay", ("openai", "litellm", None, False)),
        ("openai: {adapter: relay}", "openai/x", "litellm", ("openai", "relay", "https://api.openai.com/v1", False)),
        ("", "groq/x", "relay", ("groq", "relay", "https://api.groq.com/openai/v1", False)),
        ("", "anthropic/x", "relay", ("anthropic", "anthropic", None, False)),
        ("", "anthropic/x", "litellm", ("anthropic", "litellm", None, False)),
        ("anthropic: {adapter: litellm}", "anthropic/x", "relay", ("anthropic", "litellm", None, False)),
        ("", "gemini/x", "relay", ("gemini", "gemini", None, False)),
        ("", "gemini/x", "litellm", ("gemini", "litellm", None, False)),
        ("gemini: {adapter: litellm}", "gemini/x", "relay", ("gemini", "litellm", None, False)),
        ("gemini: {wires: [chat]}", "gemini/x", "relay", ("gemini", "litellm", None, False)),
        ("g: {kind: gemini, base_url: 'http://h/'}", "g/x", "relay", ("gemini", "gemini", "http://h", True)),
        ("", "mistral/x", "relay", ("mistral", "litellm", None, False)),
        ("groq: {kind: openai}", "groq/x", "litellm", ("openai", "litellm", "https://api.groq.com/openai/v1", True)),
        ("", "lm_studio/x", "litellm", ("lm_studio", "litellm", "http://127.0.0.1:1234/v1", True)),
        ("", "lm_studio/x", "relay", ("lm_studio", "relay", "http://127.0.0.1:1234/v1", False)),
        ("vllm: {base_url: 'http://h/v1'}", "vllm/x", "relay", ("hosted_vllm", "relay", "http://h/v1", True)),
        ("eu: {kind: azure, base_url: 'https://eu'}", "eu/x", "relay", ("azure", "relay", "https://eu", True)),
        ("", "mock/echo", "litellm", ("mock", "mock", None, False)),
    ],
)
def test_the_kind_decides_the_adapter_unless_the_entry_does(
    entry: str, target: str, openai_adapter: AdapterName, expected: tuple[str, AdapterName, str | None, bool]
) -> None:
    found = endpoint(entry, target, openai_adapter=openai_adapter)
    assert (found.kind, found.adapter, found.base_url, found.own_base_url) == expected


def test_a_mock_provider_carries_its_script() -> None:
    found = endpoint("sick: {kind: mock, script: [{status: 503, retry_after: 2s}, {text: hi}]}", "sick/any")
    assert found.script == (ScriptedOutcome(status=503, retry_after_s=2), ScriptedOutcome(text="hi"))


def test_headers_have_lower_case_names() -> None:
    assert dict(endpoint("openai: {headers: {X-Team: red}}", "openai/x").headers) == {"x-team": "red"}


@pytest.mark.parametrize("name", sorted(FRAMING_HEADERS))
def test_a_header_that_the_sender_sets_is_a_problem_of_the_file(name: str) -> None:
    assert "is set by whoever sends the request" in (bad_header(name, "x", has_key=False) or "")


def test_connection_settings_are_for_litellm_and_a_relay_leaves_them_out() -> None:
    text = "providers: {openai: {params: {organization: org-1, seed: 1}}}\nmodels: {fast: openai/x}\n"
    assert dict(step(text, openai_adapter="litellm").params.sent) == {"organization": "org-1", "seed": 1}
    assert dict(step(text).params.sent) == {"seed": 1}
    assert problems(text) == ["2:31: unused-param?"]


def test_an_entry_that_no_chain_uses_is_checked_all_the_same() -> None:
    assert problems("providers: {mine: {kind: openai}}\nmodels: {}\n") == ["2:13: missing-base-url"]


def test_a_target_of_a_faulty_entry_is_not_reported_again() -> None:
    assert problems("providers: {mine: {kind: nothing}}\nmodels: {fast: mine/x}\n") == ["2:26: unknown-kind"]


def test_targets_of_one_provider_share_one_endpoint() -> None:
    steps = table("models: {fast: [openai/a, openai/b, {alias: c}], c: openai/a}\n").routes["fast"].steps
    assert steps[0].target.endpoint is steps[1].target.endpoint
    assert steps[0].target is steps[2].target
    assert steps[0].limits is steps[1].limits


def test_a_cooldown_is_the_providers_over_the_defaults() -> None:
    text = """
defaults: {cooldown: {failures: 7, for: 1m}}
providers: {openai: {cooldown: {failures: 1}}}
models: {fast: openai/gpt-4o, other: groq/llama}
"""
    assert step(text).target.endpoint.cooldown == Cooldown(failures=1, for_s=60)
    assert step(text, "other").target.endpoint.cooldown == Cooldown(failures=7, for_s=60)


def test_a_vendors_own_routing_is_the_files_to_choose() -> None:
    text = "models: {a: [{target: openrouter/x, params: {provider: {order: [y]}, models: [a], route: fallback}}]}\n"
    assert problems(text) == []
