"""No excerpt, message or place shows a secret, whether or not the file parses."""

from __future__ import annotations

import re

import pytest

from gateway.config.document.document import parse
from gateway.config.document.excerpt import EXCERPT_LENGTH
from gateway.config.model.read import Dump, Judge
from gateway.policy.secrets import is_secret_name

SECRET = "Zq9Zq9Zq9"


def excerpt(text: str, line: int = 1, column: int = 1) -> tuple[str, int]:
    found = parse(text.encode(), name="x").mask.excerpt(line, column)
    assert found is not None
    return found


def all_lines(text: str) -> list[str]:
    document = parse(text.encode(), name="x")
    return [excerpt(text, number)[0] for number in range(1, len(document.lines) + 1)]


@pytest.mark.parametrize(
    "key",
    ["api_key", "api-key", "apiKey", "API_KEY", "apikey", "api_kye", "api_ky", "x-api-key", "headers", "header",
     "haeders", "extra_headers", "authorization", "Proxy-Authorization", "aws_secret_access_key", "aws_access_key_id",
     "password", "client_secret", "auth_token", "token", "key"],
)  # fmt: skip
def test_the_values_of_keys_that_look_secret_are_hidden(key: str) -> None:
    assert is_secret_name(key)
    assert excerpt(f"{key}: {SECRET}")[0] == f"{key}: ***"


@pytest.mark.parametrize(
    "key", ["api_key_file", "max_tokens", "first_token", "kind", "base_url", "timeout", "params", "keys", "readme", "x"]
)
def test_other_values_are_shown(key: str) -> None:
    assert not is_secret_name(key)
    assert excerpt(f"{key}: {SECRET}")[0] == f"{key}: {SECRET}"


def test_the_dump_of_a_file_shows_no_user_of_an_address() -> None:
    text = "providers: {a: {base_url: 'me:S@host', params: {x_url: ['S @h']}}}\nmodels: {curl: a/b@1}"
    assert Dump(parse(text.encode(), name="x")) == {
        "providers": {"a": {"base_url": "***@host", "params": {"x_url": ["***@h"]}}},
        "models": {"curl": "a/b@1"},
    }


POOLS = f"""\
version: 1
models:
  fast:
    - {{pool: [a/b, c/d], pick: sticky, key: {{header: x-session-id}}}}
    - {{pool: [a/b, c/d], pick: sticky, key: client}}
    - {{when: {{header: {{x-tier: paid}}, not: {{header: {{x-region: [us, "eu-*"]}}}}}}, target: a/b}}
    - {{when: {{header: {{authorization: {SECRET}}}}}, target: a/b}}
    - {{target: a/b, key: {SECRET}}}
    - {{target: a/b, key: {{value: {SECRET}, header: x}}}}
    - {{target: a/b, header: {{x-tier: {SECRET}}}}}
    - {{target: a/b, params: {{when: {{api_key: {SECRET}}}, key: [{SECRET}]}}}}
"""


def test_the_source_of_a_sticky_key_and_the_values_of_conditions_are_shown_and_keys_beside_them_are_not() -> None:
    lines = all_lines(POOLS)
    assert lines[:6] == POOLS.splitlines()[:6]
    assert SECRET not in "".join(lines)
    assert lines[6:] == [
        "    - {when: {header: {authorization: ***}}, target: a/b}",
        "    - {target: a/b, key: ***}",
        "    - {target: a/b, key: {value: ***, header: x}}",
        "    - {target: a/b, header: {***: ***}}",
        "    - {target: a/b, params: {when: {api_key: ***}, key: [***]}}",
        "",
    ]
    document = parse(POOLS.encode(), name="x")
    steps = Dump(document)["models"]["fast"]
    assert steps[:3] == (document.value or {})["models"]["fast"][:3]
    assert SECRET not in repr(steps)


def test_an_alias_may_have_a_name_that_looks_secret() -> None:
    assert excerpt("models:\n  curl-model: a/b@1", 2)[0] == "  curl-model: a/b@1"
    assert excerpt("models:\n  secret-model: a/b", 2)[0] == "  secret-model: a/b"
    assert excerpt("providers:\n  api_key: sk-1", 2)[0] == "  api_key: ***"


def test_a_word_that_looks_random_is_hidden_without_a_name_and_an_odd_alias_is_not() -> None:
    text = "models:\n  Llama3Instruct2: openai/Llama3Instruct3\n  a: {alias: Llama3Instruct2}\nx:\n  k3v8q0zw5mx1\n"
    assert all_lines(text) == [*text.replace("k3v8q0zw5mx1", "***").split("\n")]
    assert all_lines(f"{text}\t[")[4] == "  ***"
    message = parse(text.encode(), name="x").problem("c", ("models", "a"), "no 'Llama3Instruct2', no 'Llama3Instruct9'")
    assert message.message == "no 'Llama3Instruct2', no '***'"
    assert Dump(parse(text.encode(), name="x")) == {
        "models": {"Llama3Instruct2": "openai/Llama3Instruct3", "a": {"alias": "Llama3Instruct2"}},
        "x": "***",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a: {api_key: S, kind: openai}", "a: {api_key: ***, kind: openai}"),
        ("a: {'api_key': 'S', kind: openai}", "a: {'api_key': ***, kind: openai}"),
        ('a: {"api_key": "S, S", kind: openai}', 'a: {"api_key": ***, kind: openai}'),
        ("a: {headers: {x: S, y: [S, {z: S}]}, kind: b}", "a: {headers: {x: ***, y: [***, {***: ***}]}, kind: b}"),
        ("a: {headers: {x S, kind: b}}", "a: {headers: {***, kind: ***}}"),
        ("api_key: {S: S}", "api_key: {***: ***}"),
        ("api_key: [S, S]", "api_key: [***, ***]"),
        ("api_key: &k S", "api_key: &k ***"),
        ("api_key: S # was S", "api_key: *** #***"),
        ('api_key: "${K}" # was S', 'api_key: "${K}" #***'),
        ("kind: a # api_key: S", "kind: a # api_key***"),
        ("{api_key:S}", "{***"),
        ("a: [api_key:S, api_key=S]", "a: [api_key:*** api_key=***"),
        ("api_key: ${K}", "api_key: ${K}"),
        ('api_key: "${K:-}"', 'api_key: "${K:-}"'),
        ('api_key: "${A}${B}"', 'api_key: "${A}${B}"'),
        ('api_key: "${K:-S}"', "api_key: ***"),
        ("api_key: S${K}", "api_key: ***"),
        ("base_url: https://me:S@host/v1", "base_url: https://***@host/v1"),
        ("base_url: https://S@host/v1", "base_url: https://***@host/v1"),
        ("base_url: https://me:a/b@S@host/v1", "base_url: https://***@host/v1"),
        ("base_url: https://host/v1", "base_url: https://host/v1"),
        ('base_url: "http:/me:S@host/v1"', 'base_url: "***@host/v1"'),
        ("base_url: http//me:S@host/v1", "base_url: ***@host/v1"),
        ("base_url: me:S@host/v1", "base_url: ***@host/v1"),
        ('a: {base_url: "http://me:S S@host/v1", kind: b}', 'a: {base_url: "http://***@host/v1", kind: b}'),
        ("a: {base_ulr: me:S@host, kind: b}", "a: {base_ulr: ***@host, kind: b}"),
        ("a: {api_base: [me:S@host, {x: me:S@host}]}", "a: {api_base: [***@host, {x: ***@host}]}"),
        ("base_url: &u me:S@host", "base_url: &u ***@host"),
        ("base_url: *me:S@host", "base_url: ***@host"),
        ("kind: a # was http:/me:S@host", "kind: a # was http:/***@host"),
        ("a: {api_key: *S, kind: b}", "a: {api_key: ***, kind: b}"),
        ("a: {headers: {x: *S}, kind: b}", "a: {headers: {x: ***}, kind: b}"),
        ("api_key: &S", "api_key: ***"),
        ("api_key: !S", "api_key: ***"),
        (r'a: "https:\/\/me:S@host"', "a: ***"),
        ("kind: sk-abcdefghijklmnopqrst", "kind: ***"),
        ("kind: sk-short", "kind: sk-short"),
    ],
)
def test_secrets_on_one_line_become_stars(text: str, shown: str) -> None:
    assert excerpt(text.replace("S", SECRET))[0] == shown


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  api_key: |\n    S\n    S\n  kind: b",
        "a:\n  api_key: >-\n\n    S\n\n    S\n  kind: b",
        'a:\n  api_key: "x\n    S"\n  kind: b',
        "a:\n  api_key:\n    S\n    S\n  kind: b",
        "a:\n  api_key:\n    - S\n    - x: S\n  kind: b",
        "a:\n  headers:\n    x: S\n    y:\n      - S\n  kind: b",
        "a: {headers:\n  {x:\n  S\n }, kind: b}",
        "a:\n  ? api_key\n  : S\n  kind: b",
        "a:\n  <<: {api_key: S}\n  kind: b",
        "x: &k S\na:\n  api_key: *k\n  kind: b",
        "x: &k me:S@host\na:\n  base_url: *k\n  kind: b",
        'a:\n  base_url: "me:S\n    S@host"\n  kind: b',
        "a:\n  base_url: >-\n    me:S\n    S@host\n  kind: b",
        "x: &k\n  y: S\n  z: [S]\na:\n  headers: *k\n  kind: b",
        "a:\n  api_key: x\n  api_key: S\n  kind: b",
        'a:\n  base_url: "https://me:x\\\n    S@host"\n  kind: b',
        'a:\n  "api\\u005fkey": S\n  kind: b',
    ],
)
def test_secrets_over_several_lines_become_stars(text: str) -> None:
    lines = all_lines(text.replace("S", SECRET))
    assert SECRET not in "\n".join(lines)
    assert lines[-1].lstrip(" },") in ("kind: b", "kind: b}")


@pytest.mark.parametrize(
    "text",
    [
        "a:\n  api_key: S\n  kind: [b",
        "a: {api_key: S\n  kind: b",
        "a:\n  api_key: |\n    S\n    S\n  kind: [b",
        'a:\n  api_key: "x\n    S\n kind: b',
        "a: {\n  api_key:\n  S,\n  kind: b",
        "a:\n  api_key: S\n   kind: b",
        "a:\n  api_key: S\n\tkind: b",
        "a:\n  headers:\n    x: S\n   y: S\n  kind: [b",
        "a:\n  headers:\n  - S\n  - S\n  kind: [b",
        "a:\n  headers: {x: S,\n   'y': S\n  kind: b",
        "a:\n  ? api_key\n  : S\n  kind: [b",
        "@x\na:\n  Api-Key : 'S'\n  kind: b",
        "@x\na:\n  authorization: Bearer S\n  kind: b",
        "@x\na:\n  key: S\n  kind: b",
        "@x\na: https://me:S@host\n",
        "@x\na: {base_url: 'me:S S@host', kind: b}\n",
        "@x\nbase_url: me:S@host\nbase_url: me:S@host\n",
        "@x\na:\n  base_url: 'me:S\n    S@host'\n  kind: b",
        "api_key: *S\nx: [\n",
        "base_url: 'me:S@host",
        "base_url: " + "[" * 300 + "me:S@host",
        "@x\nx: &k S\na: {api_key: *k}",
        "api_key: S\n--- [\n",
        "\x07\napi_key: S",
        "api_key: &x [S, *x]",
        "api_key: " + "[" * 300 + "S",
    ],
)
def test_a_file_that_does_not_parse_keeps_its_secrets(text: str) -> None:
    assert SECRET not in "\n".join(all_lines(text.replace("S", SECRET)))


@pytest.mark.parametrize("name", ["client_secret_x", "passwd", "hf_token", "x-key", "db_pwd", "x-auth", "passphrase"])
def test_a_secret_name_tells_in_a_file_that_does_not_parse_too(name: str) -> None:
    assert is_secret_name(name)
    assert all_lines(f"a:\n  {name}: {SECRET}\n  kind: [b")[1:] == [f"  {name}: ***", "  kind: [b"]
    assert all_lines(f"kind: a # {name}: {SECRET}")[0] == f"kind: a # {name}***"


@pytest.mark.parametrize(
    "text", ["e: {url", "e: {base_url", "e: {url\n", "url: [endpoint", "a: {api_key", "? {url", "url: 'x"]
)
def test_a_text_that_ends_within_a_value_is_shown(text: str) -> None:
    """As it does while somebody types: the value that is missing begins below the last line."""
    document = parse(text.encode(), name="x")
    assert document.problems
    assert len(all_lines(text)) == text.count("\n") + 1


def test_a_file_that_does_not_parse_shows_the_rest() -> None:
    text = "a:\n  api_key: S\n  kind: openai\n  headers: {x: S}\n  base_url: http://host\nmodels:\n  - [\n"
    assert all_lines(text) == [
        "a:", "  api_key: ***", "  kind: openai", "  headers: ***", "  base_url: http://host", "models:", "  - [", "",
    ]  # fmt: skip


def test_quotes_around_a_hidden_value_are_hidden_with_it() -> None:
    assert all_lines('@x\n"api_key": "S" # S\n')[1] == '"api_key": ***'


@pytest.mark.parametrize(
    ("column", "caret"),
    [(1, 1), (5, 5), (14, 14), (16, 14), (24, 18), (28, 22)],
)
def test_the_caret_moves_with_what_is_hidden(column: int, caret: int) -> None:
    line = "a: {api_key: 'secrets', kind: b}"
    shown, moved = excerpt(line, 1, column)
    assert shown == "a: {api_key: ***, kind: b}"
    assert moved == caret
    if column in (1, 5, 24, 28):
        assert shown[moved - 1] == line[column - 1]


@pytest.mark.parametrize("column", [1, 50, 500, 950, 1000])
def test_a_long_line_is_cut_around_the_caret(column: int) -> None:
    line = "k: " + "".join(chr(ord("a") + n % 26) for n in range(997))
    shown, caret = excerpt(line, 1, column)
    assert len(shown) <= EXCERPT_LENGTH
    assert shown[caret - 1] == line[column - 1]
    assert shown.startswith("…") == (column > 101)
    assert shown.endswith("…") == (column < 900)


def test_there_is_no_excerpt_outside_the_file() -> None:
    mask = parse(b"a: 1", name="x").mask
    assert mask.excerpt(0, 1) is None
    assert mask.excerpt(2, 1) is None


def test_an_excerpt_holds_nothing_that_a_terminal_obeys() -> None:
    assert excerpt("a: \x1b[31m\u202e")[0] == "a: \ufffd[31m\ufffd"


TEMPLATES = [
    "version: 1\nproviders:\n  a:\n    api_key: S\n    kind: x\n  b: {api_key: S, kind: y}\nmodels: {}\n",
    "providers:\n  a:\n    headers: {x: S, 'y': 'S'}\n    kind: x\n",
    'providers:\n  a:\n    api_key: |\n      S\n    kind: x\n  b:\n    api_key: "foo\n      S"\n',
    "providers:\n  a:\n    'api_key': &k S\n    kind: x\n  b: {\"api_key\": S, kind: *k}\n",
    "providers:\n  a:\n    base_url: https://user:S@host/v1\n    kind: x\n",
    "providers:\n  a:\n    base_url: user:S@host/v1\n    kind: x\n  b: {base_url: 'user:S @host', kind: x}\n",
]
DAMAGE = ["\n", "\n\n", "  ", ":", "{", "}", "[", "]", '"', "'", "\t", "%", "\x07", ": ", "- ", "---\n"]
WHOLE = re.compile(r"api_key|headers|https://user:S@host|base_url: .?user:S @host|base_url: user:S@host|S")


@pytest.mark.parametrize("template", TEMPLATES)
def test_one_slip_in_a_file_never_shows_a_secret(template: str) -> None:
    judge = Judge()
    inside = {at for match in WHOLE.finditer(template) for at in range(match.start() + 1, match.end())}
    for at in set(range(len(template) + 1)) - inside:
        for piece in DAMAGE:
            text = template[:at] + piece + template[at:]
            document = parse(text.replace("S", SECRET).encode(), name="x")
            config, problems = judge.read(document, environ={}, strict_env=True)
            shown = "\n".join(f"{problem} {problem.excerpt}" for problem in problems)
            shown += repr(Dump(document)) if config is not None else ""
            assert SECRET not in shown, text
