"""`gateway explain`: the explanation of an alias, its simulated calls, and the exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.mock import MockAdapter
from gateway.cli import main
from gateway.config.compiler.compiler import Compiler
from gateway.operations import OPERATIONS
from gateway.policy.failures import Kind
from gateway.policy.table import Route
from gateway.policy.target import Limits
from gateway.reports.aligned import table
from gateway.reports.explanation import timeout
from gateway.simulation.explain import as_json, explain, look_up, verdicts
from gateway.simulation.upstreams import named
from gateway.simulation.walk import walk
from tests.paths import ROOT
from tests.supposing import fails, resting

POLICY = ROOT / "examples" / "policy" / "routes.yaml"

HELLO = '{"messages": [{"role": "user", "content": "hi"}]}'

ROUTES = """\
version: 1
defaults: {timeout: 10s, retries: 1, deadline: 45s}
providers:
  own: {kind: openai, base_url: "http://127.0.0.1:1/v1", api_key: "${OWN_KEY}", cooldown: {failures: 1}}
models:
  smart:
    description: the one to ask
    chain:
      - {target: own/llama, retries: 0, timeout: {connect: 1s, total: 20s}, params: {top_p: 1}}
      - {target: openai/gpt-4o, fallback_on: [rate_limit], params: {seed: null}}
      - {target: mistral/mistral-large-latest, retries: 2}
    params: {temperature: 0}
    stream: {hold: full}
  plain: openai/gpt-4o
  hooked:
    chain: [mock/echo]
    hooks:
      pre: [explain_hooks.polite, {path: explain_hooks.slow, timeout: 2s}]
      post: [{path: explain_hooks.polite, on_error: skip}]
  broken: {chain: [mock/echo], hooks: {pre: [explain_hooks.fail]}}
  refused: {chain: [mock/echo, mock/hello], hooks: {pre: [explain_hooks.refuse]}}
  spoiled: {chain: [mock/echo], hooks: {post: [explain_hooks.fail]}}
  endless: {chain: [mock/echo], hooks: {pre: [explain_hooks.wait]}}
  "team/*": ["own/*", plain/x]
  nesting: [mock/echo, {alias: hooked}, {alias: careful}]
  careful: {chain: [mock/hello], hooks: {pre: [explain_hooks.refuse]}}
  choosy:
    chain: [mock/echo]
    hooks:
      pre:
        - {path: explain_hooks.polite, operations: [completions, messages]}
        - {path: explain_hooks.refuse, operations: [speech], on_error: skip}
      post: [{path: explain_hooks.polite, events: final}, {path: explain_hooks.refuse, operations: [messages]}]
"""

HOOKS = """\
import asyncio
def polite(request):
    print("polite")
    request["messages"] = [{"role": "system", "content": "Be polite."}, *request.get("messages", [])]
    return request
async def slow(request):
    await asyncio.sleep(1)
    return request
def fail(request):
    raise ValueError("no tenant")
def refuse(request):
    from gateway import BadRequest
    raise BadRequest("no such tenant")
async def wait(request):
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()
"""


@pytest.fixture(autouse=True)
def a_policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*os.environ]:
        if name.startswith(("GATEWAY_", "LITELLM_", "OWN_")) or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delitem(sys.modules, "explain_hooks", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("routes.yaml").write_text(ROUTES.replace(", plain/x", ""))
    Path("explain_hooks.py").write_text(HOOKS)


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["explain", *argv]) == 0
    return capsys.readouterr().out


def squeezed(out: str) -> str:
    """Return a text without the padding of its columns."""
    return re.sub(r"(?<=\S)  +", "  ", out)


def as_data(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    return json.loads(told(capsys, *argv, "--format", "json"))


class TestText:
    def test_everything_about_an_alias(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert (
            told(capsys, "smart")
            == """\
smart  routes.yaml:6
  the one to ask

chain
  1  own/llama                     relay, litellm in Python  no retry   no key here
  2  openai/gpt-4o                 relay, litellm in Python  1 retry    no key here
  3  mistral/mistral-large-latest  litellm                   2 retries

limits
  deadline        45s until the first content, over all calls
  calls           at most 8
  relayed         step 3: moderations, transcriptions
  timeout         step 1: connect 1s, first token 10s, idle 10s, total 20s
                  step 2, 3: 10s
  tried again on  connection, rate_limit, overloaded, server_error, bad_response
  goes on after   step 1, 3: every failure but content_filter, bad_request
                  step 2: rate_limit
  cooldown        step 1: after 1 failed request and 50% within 30s, for 15s
                  step 2, 3: after 3 failed requests and 50% within 30s, for 15s
  stream          held back until the whole answer is there

params
  all  temperature  0
  1    top_p        1
  2    seed         removed

a call
  0s  1  own/llama                     answers
      2  openai/gpt-4o                 kept in reserve
      3  mistral/mistral-large-latest  kept in reserve
  0s  the client gets 200

worst case
  calls         1 + 2 + 3 = 6
  plain answer  fails after 45s, the deadline
  stream        fails to begin after 10m, the most for a stream that is held back
"""
        )

    def test_what_a_call_does_when_targets_fail(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = told(capsys, "smart", "--fail", "own/*=timeout", "--fail", "openai/gpt-4o=429")
        assert (
            out[out.index("a call when") : out.index("\n\nworst")]
            == """\
a call when own/* fails with timeout and openai/gpt-4o fails with rate_limit
     0s  1  own/llama                     timeout after 20s  next target: retries: 0
    20s  2  openai/gpt-4o                 rate_limit 429     tried again in 250ms
  20.25s  2  openai/gpt-4o                 rate_limit 429     next target: its retry is used up
  20.25s  3  mistral/mistral-large-latest  answers
  20.25s  the client gets 200""".replace("\n     0s", "\n      0s").replace("\n    20s", "\n     20s")
        )

    @pytest.mark.parametrize(
        ("fails", "lines"),
        [
            (
                ["own/llama=content_filter"],
                [
                    "  0s  1  own/llama                     content_filter 400  stops: content_filter is not in fall",
                    "      2  openai/gpt-4o                 not reached: the call stops at content_filter",
                    "  0s  the client gets 400 upstream_refused, with the upstream's own body",
                ],
            ),
            (
                ["own/llama=503", "openai/gpt-4o=401"],
                ["  0s  the client gets 502 upstream_failed"],
            ),
            (
                ["*=rate_limit"],
                ["gives up: its retries are used up", "the client gets 429 upstream_failed: no target is left"],
            ),
            (
                ["*=529"],
                ["* fails with 529", "overloaded 529", "gets 529 upstream_refused, with the upstream's own body"],
            ),
            (
                ["own/llama=timeout", "mistral/*=timeout", "openai/*=rate_limit"],
                [
                    "gives up: timeout is not in retry_on",
                    "30.25s  the client gets 502 upstream_failed: no target is left",
                ],
            ),
        ],
    )
    def test_each_way_to_end(self, fails: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        out = told(capsys, "smart", *(word for text in fails for word in ("--fail", text)))
        assert [line for line in lines if line not in out] == []

    def test_a_deadline_that_passes_first(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("routes.yaml").write_text(
            "version: 1\nmodels: {a: {chain: [openai/x, openai/y], retries: 0, timeout: 10s, deadline: 10s}}\n"
        )
        out = told(capsys, "a", "--fail", "openai/x=timeout")
        assert "gives up: the deadline has passed" in out
        assert "2  openai/y  not reached: the deadline passes first" in out
        assert "10s  the client gets 504 upstream_failed: the deadline has passed" in out

    def test_kinds_are_listed_the_shorter_way(self, capsys: pytest.CaptureFixture[str]) -> None:
        kinds = ", ".join(Kind)
        Path("routes.yaml").write_text(
            f"version: 1\nmodels: {{a: {{chain: [openai/x], retry_on: [], fallback_on: [{kinds}]}}}}\n"
        )
        out = told(capsys, "a")
        assert "tried again on  nothing\n  goes on after   every failure\n" in out

    def test_a_name_that_a_wildcard_takes(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = told(capsys, "team/llama-70b")
        assert out.startswith(
            "team/llama-70b  by team/*  routes.yaml:24\n\nchain\n"
            "  1  own/llama-70b  relay, litellm in Python  1 retry  no key here\n"
        )
        out = told(capsys, "team/*")
        assert out.startswith(
            "team/*  routes.yaml:24\n\nchain\n  1  own/*  relay, litellm in Python  1 retry  no key here\n"
        )

    def test_several_keys_are_counted_and_tried_at_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        keyed = ROUTES.replace('"${OWN_KEY}"', '["${OWN_1}", "${OWN_2}", "${OWN_3:-}"]').replace(", plain/x", "")
        Path("routes.yaml").write_text(keyed)
        text = told(capsys, "smart", "--fail", "own/llama=auth")
        assert "no retry   2 keys in turn, no key here" in text
        assert text.count("auth 401") == 2
        assert "another key at once" in text
        assert as_data(capsys, "smart")["chain"][0]["keys"] == 2

    def test_hooks_in_their_order(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = told(capsys, "hooked")
        assert (
            out[out.index("hooks\n") : out.index("\n\na call")]
            == """\
hooks
  pre    explain_hooks.polite
         explain_hooks.slow    async, at most 2s
  post   explain_hooks.polite  skipped when it fails
  takes  chat, embeddings; any other request gets 400, as a pre hook does not know it"""
        )

    def test_hooks_with_the_operations_and_events_that_they_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = told(capsys, "choosy")
        assert (
            out[out.index("hooks\n") : out.index("\nworst case")]
            == """\
hooks
  pre    explain_hooks.polite  knows completions, messages, refuses chat
         explain_hooks.refuse  skipped when it fails, knows speech, not run for chat
  post   explain_hooks.polite  final events of a stream
         explain_hooks.refuse  knows messages, not run for chat
  takes  completions, messages; any other request gets 400, as a pre hook does not know it

a call
  nothing is called; the client gets 400 unsupported:
  'choosy' has the pre hook explain_hooks.polite, which does not know chat, so nothing is sent past it; \
once it does, its entry says so: operations: [chat, completions, messages]
"""
        )

    def test_hooks_for_the_operation_of_the_request(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("body.json").write_text('{"input": "words"}')
        out = told(capsys, "choosy", "--request", "body.json")
        assert "as sent\n  nothing is sent: unsupported: 'choosy' has the pre hook explain_hooks.polite, which" in out
        Path("body.json").write_text('{"prompt": "once"}')
        out = told(capsys, "choosy", "--request", "body.json")
        assert "  pre    explain_hooks.polite  knows completions, messages\n" in out
        assert "polite  final events of a stream, not run for completions\n" in out

    def test_hooks_for_the_operation_that_is_supposed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "  explain_hooks.refuse  knows messages\n" in told(capsys, "choosy", "--operation", "messages")
        assert as_data(capsys, "choosy", "--operation", "count_tokens")["refused"] is None
        refused = as_data(capsys, "choosy", "--operation", "compact")["refused"]
        assert refused.endswith("operations: [completions, compact, messages]")

    def test_a_keepalive_is_told_beside_what_is_held(self, capsys: pytest.CaptureFixture[str]) -> None:
        routes = Path("routes.yaml").read_text()
        Path("routes.yaml").write_text(routes.replace("{hold: full}", "{hold: full, keepalive: 15s}"))
        out = told(capsys, "smart")
        assert "held back until the whole answer is there\n" in out
        assert "a comment after each 15s of silence; the first brings the status\n" in out
        assert as_data(capsys, "smart")["stream"]["keepalive_s"] == 15.0

    def test_a_shadow_with_its_share_and_a_missing_key(self, capsys: pytest.CaptureFixture[str]) -> None:
        routes = Path("routes.yaml").read_text()
        shadow = "shadow: {target: openai/new, share: 2.5%}"
        Path("routes.yaml").write_text(routes.replace("stream: {hold: full}", f"stream: {{hold: full}}\n    {shadow}"))
        out = told(capsys, "smart")
        assert "  shadow  2.5% of the requests once more to openai/new, whose answers are dropped\n" in squeezed(out)
        assert "no key here for openai/new\n" in out
        shown = {"target": "openai/new", "share": 0.025, "has_key": False}
        assert as_data(capsys, "smart")["shadow"] == shown

    def test_a_hedge_and_the_call_that_it_begins(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = "version: 1\nmodels: {fast: {chain: [mock/slow-4s, mock/slow-500ms], hedge: 3s}}\n"
        Path("routes.yaml").write_text(text)
        out = told(capsys, "fast")
        assert "  hedge  a target without content after 3s gets the next one called beside it\n" in squeezed(out)
        assert "0s  1  mock/slow-4s  closed after 3.5s  another call answers first\n" in squeezed(out)
        assert "3s  2  mock/slow-500ms  answers after 500ms (called beside the other)\n" in squeezed(out)
        data = as_data(capsys, "fast")
        assert data["hedge"] == {"after_s": 3.0}
        assert data["walk"]["answered"] == "mock/slow-500ms"
        assert [(call["kind"], call["hedge"], call["then"]) for call in data["walk"]["calls"]] == [
            ("hedged_out", False, "closed"),
            (None, True, "answers"),
        ]
        Path("routes.yaml").write_text(text.replace("3s", "p95"))
        assert "  hedge  a target without content after the 95th percentile of its times" in squeezed(
            told(capsys, "fast")
        )

    def test_nested_hooks_with_their_steps(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = told(capsys, "nesting")
        assert (
            out[out.index("hooks\n") : out.index("\n\na call")]
            == """\
hooks
  pre of hooked, step 2   explain_hooks.polite
                          explain_hooks.slow    async, at most 2s
  pre of careful, step 3  explain_hooks.refuse
  post of hooked, step 2  explain_hooks.polite  skipped when it fails
  takes                   chat, embeddings; any other request gets 400, as a pre hook does not know it"""
        )
        chain = as_data(capsys, "nesting")["chain"]
        assert [[own["alias"] for own in step["hooks"]] for step in chain] == [[], ["hooked"], ["careful"]]
        assert [hook["path"] for hook in chain[1]["hooks"][0]["pre"]] == ["explain_hooks.polite", "explain_hooks.slow"]

    def test_hooks_may_be_skipped(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = told(capsys, "hooked", "--skip-hooks")
        assert "hooks\n" not in out
        assert out.endswith("\n12 hooks skipped\n")

    def test_an_example_of_some_size(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = told(capsys, "chat-pro", "--config", str(POLICY), "--fail", "anthropic/*=timeout")
        assert "calls         3 + 2 + 1 + 1 + 1 = 8\n" in out
        assert max(map(len, out.splitlines())) <= 120


class TestRequest:
    def test_it_is_shown_as_each_target_gets_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        body = {"model": "x", "messages": [{"role": "user", "content": "hi"}], "seed": 7, "stop": ["a"]}
        Path("body.json").write_text(json.dumps(body))
        out = told(capsys, "smart", "--request", "body.json")
        assert (
            out[out.index("as sent\n") : out.index("\n\na call")]
            == """\
as sent
  all   messages     user: hi
        stop         ["a"]
        temperature  0
  1     top_p        1
  1, 3  seed         7"""
        )

    def test_it_goes_through_the_hooks(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("body.json").write_text('{"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}')
        out = told(capsys, "hooked", "--request", "body.json")
        assert (
            out[out.index("as sent\n") : out.index("\n\na call")]
            == """\
as sent
  messages  system: Be polite.
            user: [{"type": "text", "text": "hi"}]""".replace("\n  ", "\n    ")
        )
        assert not out.startswith("polite")

    def test_each_target_gets_what_the_hooks_before_it_make(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("body.json").write_text(HELLO)
        out = told(capsys, "nesting", "--request", "body.json")
        assert (
            out[out.index("as sent\n") : out.index("\n\na call")]
            == """\
as sent
  1  messages  user: hi
  2  messages  system: Be polite.
               user: hi

  nothing is sent to step 3: bad_request: no such tenant"""
        )
        sent = as_data(capsys, "nesting", "--request", "body.json")["request"]["sent"]
        assert [one and len(one["messages"]) for one in sent] == [1, 2, None]

    def test_a_stream_takes_a_streams_limits(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("body.json").write_text('{"stream": true, "prompt": "hi"}')
        out = told(capsys, "plain", "--request", "body.json", "--fail", "openai/gpt-4o=timeout")
        assert "timeout after 10s" in out

    def test_a_stream_may_be_asked_for_without_a_request_or_with_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The alias waits 2 s for a stream's first token, and 9 s for a whole answer."""
        step = "{target: openai/gpt-4o, timeout: {first_token: 2s, total: 9s}}"
        Path("routes.yaml").write_text(f"version: 1\nmodels:\n  limited: [{step}]\n")
        fail = ("--fail", "openai/gpt-4o=timeout")
        assert "a call when openai/gpt-4o fails with timeout\n  0s  1  openai/gpt-4o  timeout after 9s" in told(
            capsys, "limited", *fail
        )
        streamed = "a stream when openai/gpt-4o fails with timeout\n  0s  1  openai/gpt-4o  timeout after 2s"
        assert streamed in told(capsys, "limited", "--stream", *fail)
        Path("body.json").write_text('{"stream": false, "messages": [{"role": "user", "content": "hi"}]}')
        out = told(capsys, "limited", "--stream", *fail, "--request", "body.json")
        assert streamed in out
        assert as_data(capsys, "limited", "--stream", *fail)["walk"]["ended_s"] == 2

    def test_a_target_that_cannot_be_asked_for_its_operation_is_passed_over(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("body.json").write_text('{"prompt": "hi"}')
        out = told(capsys, "smart", "--request", "body.json", "--fail", "o*=rate_limit")
        assert "      3  mistral/mistral-large-latest  passed over: its adapter cannot carry this operation\n" in out
        assert "calls         1 + 2 = 3\n" in out
        assert "never tried" not in out
        assert "the client gets 429 upstream_failed: no target is left" in out

    def test_of_a_pool_the_worst_case_says_that_it_is_in_the_files_order(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        models = "models:\n  plain: [mock/a, mock/b]\n  pool: [{pool: [mock/a, mock/b]}]\n"
        Path("routes.yaml").write_text(f"version: 1\n{models}")
        never = "never tried   mock/b, once slow failures before have used up the deadline"
        assert f"{never}\n" in told(capsys, "plain")
        assert f"{never} (all steps, in the file's order)\n" in told(capsys, "pool")

    def test_the_files_parameters_of_other_operations_are_not_sent(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("body.json").write_text('{"input": "hi"}')
        assert as_data(capsys, "smart", "--request", "body.json")["request"]["sent"] == [
            {"input": "hi", "model": model} for model in ("llama", "gpt-4o", "mistral-large-latest")
        ]
        out = told(capsys, "smart", "--request", "body.json")
        assert out[out.index("as sent\n") : out.index("\n\na call")] == 'as sent\n  all  input  "hi"'
        assert "temperature" not in out

    def test_it_may_come_from_standard_input(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(HELLO.encode())))
        assert as_data(capsys, "plain", "--request", "-")["request"] == {
            "refused": None,
            "status": 200,
            "sent": [{**json.loads(HELLO), "model": "gpt-4o"}],
        }

    @pytest.mark.parametrize(
        ("alias", "why"),
        [
            ("broken", "hook explain_hooks.fail failed: ValueError: no tenant, at explain_hooks.py:10"),
            ("endless", "the request never ends: it waits for something that never comes; does a hook wait"),
        ],
    )
    def test_a_request_that_a_hook_ends(self, alias: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
        Path("body.json").write_text(HELLO)
        assert f"as sent\n  nothing is sent: {why}" in told(capsys, alias, "--request", "body.json")
        request = as_data(capsys, alias, "--request", "body.json")["request"]
        assert request["refused"].startswith(why)
        assert request["sent"] == []

    def test_a_call_that_a_hook_refuses_reaches_no_target(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("body.json").write_text(HELLO)
        out = told(capsys, "refused", "--request", "body.json")
        assert "as sent\n  nothing is sent: bad_request: no such tenant\n" in out
        assert "a call\n  nothing is called; the client gets 400 bad_request\n\nworst case" in out
        walk = as_data(capsys, "refused", "--request", "body.json")["walk"]
        assert (walk["status"], walk["error"], walk["answered"], walk["calls"]) == (400, "bad_request", None, [])
        assert walk["not_called"] == [
            {"step": 1, "target": "mock/echo", "why": "nothing is sent"},
            {"step": 2, "target": "mock/hello", "why": "nothing is sent"},
        ]

    def test_a_call_whose_hook_never_ends_has_no_status(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("body.json").write_text(HELLO)
        assert "a call\n  nothing is called\n" in told(capsys, "endless", "--request", "body.json")
        assert as_data(capsys, "endless", "--request", "body.json")["walk"]["status"] is None

    @pytest.mark.parametrize(
        ("stream", "gets"), [("false", "500 hook_failed"), ("true", "200, and a stream that breaks off")]
    )
    def test_an_answer_that_a_hook_spoils_is_told(
        self, stream: str, gets: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("body.json").write_text(f'{HELLO[:-1]}, "stream": {stream}}}')
        why = "hook explain_hooks.fail failed: ValueError: no tenant, at explain_hooks.py:10"
        out = told(capsys, "spoiled", "--request", "body.json")
        assert f"  0s  1  mock/echo  answers\n  0s  the client gets {gets}: {why}\n" in out
        walk = as_data(capsys, "spoiled", "--request", "body.json")["walk"]
        assert (walk["answered"], walk["error"]) == ("mock/echo", "hook_failed")
        out = told(capsys, "spoiled", "--request", "body.json", "--fail", "mock/echo=auth")
        assert "the client gets 502 upstream_failed" in out

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            ('{"prompt": 5}', "prompt must be a string or a non-empty list"),
            ('{"messages": []}', "messages must be a non-empty list"),
            ('{"input": {}}', "input must be a string or a list"),
            (f'{HELLO[:-1]}, "stream": "yes"}}', "stream must be true or false"),
            ("{}", "messages must be a non-empty list"),
        ],
    )
    def test_a_body_that_the_server_refuses_is_not_sent(
        self, body: str, why: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("body.json").write_text(body)
        out = told(capsys, "plain", "--request", "body.json")
        assert f"as sent\n  nothing is sent: bad_request: {why}\n" in out
        assert "\n  nothing is called; the client gets 400 bad_request\n" in out
        shown = as_data(capsys, "plain", "--request", "body.json")
        assert shown["request"] == {"refused": f"bad_request: {why}", "status": 400, "sent": []}
        assert (shown["walk"]["status"], shown["walk"]["error"], shown["walk"]["calls"]) == (400, "bad_request", [])

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("{", "body.json is not JSON: "),
            ("[]", "body.json holds no JSON object"),
            (None, "cannot read body.json: no such file or directory"),
        ],
    )
    def test_what_is_no_request_is_wrong_usage(
        self, text: str | None, why: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if text is not None:
            Path("body.json").write_text(text)
        assert main(["explain", "plain", "--request", "body.json"]) == 2
        assert why in capsys.readouterr().err


class TestBound:
    @pytest.fixture(autouse=True)
    def _a_chain(self, a_policy: None) -> None:
        Path("routes.yaml").write_text(
            'version: 1\nproviders:\n  own: {kind: openai, base_url: "http://127.0.0.1:1/v1"}\n'
            "models: {several: [mock/echo, own/a, own/b], one: own/a}\n"
        )

    def test_it_says_where_an_id_that_is_not_known_goes(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = told(capsys, "several", "--operation", "responses")
        assert "a request with an id goes to its maker in this chain, else to own/a only" in out
        assert as_data(capsys, "several", "--operation", "messages")["bound"] is None, "it is translated"

    @pytest.mark.parametrize("asked", [("several",), ("one", "--operation", "responses")])
    def test_it_says_nothing_where_that_is_no_question(
        self, asked: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "maker" not in told(capsys, *asked)


class TestJson:
    def test_a_request_that_a_hook_does_not_know_is_called_nowhere(self, capsys: pytest.CaptureFixture[str]) -> None:
        shown = as_data(capsys, "choosy")
        assert (shown["operation"], shown["takes"]) == ("chat", ["completions", "messages", "count_tokens"])
        assert shown["refuses"] == [name for name in OPERATIONS if name not in shown["takes"]]
        assert shown["refused"].startswith("'choosy' has the pre hook explain_hooks.polite, which does not know chat")
        assert [hook["knows"] for hook in (*shown["hooks"]["pre"], *shown["hooks"]["post"])] == [
            False,
            False,
            True,
            False,
        ]
        walk = shown["walk"]
        assert (walk["status"], walk["error"], walk["calls"]) == (400, "unsupported", [])
        assert walk["not_called"] == [{"step": 1, "target": "mock/echo", "why": "nothing is sent"}]

    def test_it_holds_everything(self, capsys: pytest.CaptureFixture[str]) -> None:
        usual = {"operations": ["chat", "embeddings"], "events": "all", "knows": True}
        shown = as_data(capsys, "hooked", "--fail", "mock/echo=overloaded")
        chain = shown.pop("chain")
        assert shown == {
            "name": "hooked",
            "alias": "hooked",
            "operation": "chat",
            "takes": ["chat", "embeddings"],
            "refuses": [name for name in OPERATIONS if name not in ("chat", "embeddings")],
            "bound": None,
            "refused": None,
            "description": None,
            "deadline_s": 45.0,
            "max_attempts": 8,
            "stream": {"hold": "first_token", "max_bytes": 16777216, "keepalive_s": None},
            "hedge": None,
            "shadow": None,
            "hooks": {
                "pre": [
                    {"path": "explain_hooks.polite", "async": False, "timeout_s": None, "on_error": "fail", **usual},
                    {"path": "explain_hooks.slow", "async": True, "timeout_s": 2.0, "on_error": "fail", **usual},
                ],
                "post": [
                    {"path": "explain_hooks.polite", "async": False, "timeout_s": None, "on_error": "skip", **usual}
                ],
            },
            "walk": {
                "status": 503,
                "error": "upstream_failed",
                "ended_s": 0.25,
                "answered": None,
                "calls": [
                    {
                        "step": 1,
                        "target": "mock/echo",
                        "at_s": at_s,
                        "took_s": 0.0,
                        "kind": "overloaded",
                        "status": 503,
                        "last_resort": False,
                        "hedge": False,
                        "then": then,
                        "wait_s": wait_s,
                        "why": why,
                    }
                    for at_s, then, wait_s, why in (
                        (0.0, "retry", 0.25, None),
                        (0.25, "give up", 0.0, "its retry is used up"),
                    )
                ],
                "not_called": [],
            },
            "worst_case": {"calls": 2, "plain_s": 20.25, "stream_s": 20.25, "untried": []},
        }
        assert chain == [
            {
                "step": 1,
                "target": "mock/echo",
                "provider": "mock",
                "model": "echo",
                "adapter": "mock",
                "library_adapter": "mock",
                "wires": [],
                "base_url": None,
                "has_key": None,
                "keys": 0,
                "limits": {
                    "connect_s": 5.0,
                    "first_token_s": 10.0,
                    "idle_s": 10.0,
                    "total_s": 10.0,
                    "stream_total_s": None,
                },
                "retries": 1,
                "retry_on": ["connection", "rate_limit", "overloaded", "server_error", "bad_response"],
                "fallback_on": [
                    "connection", "timeout", "rate_limit", "overloaded", "server_error", "bad_response", "auth",
                    "billing", "not_found", "context_window",
                ],
                "params": {},
                "hooks": [],
                "cooldown": {"failures": 3, "share": 0.5, "within_s": 30.0, "for_s": 15.0},
            }
        ]  # fmt: skip

    def test_a_key_that_is_there_is_never_shown(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("OWN_KEY", "sk-very-secret-indeed")
        out = told(capsys, "smart", "--format", "json")
        assert json.loads(out)["chain"][0]["has_key"] is True
        assert "very-secret" not in out + told(capsys, "smart")


class TestExitCodes:
    def test_an_unknown_alias_is_exit_1_with_a_hint(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["explain", "smrt"]) == 1
        assert capsys.readouterr().err == "gateway: routes.yaml has no alias 'smrt'; did you mean 'smart'?\n"
        assert main(["explain", "zzz"]) == 1
        known = "smart, plain, hooked, broken, refused, spoiled, endless, nesting, …"
        assert capsys.readouterr().err == f"gateway: routes.yaml has no alias 'zzz'; there are {known}\n"

    def test_a_bad_config_is_exit_1_with_its_problems(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("routes.yaml").write_text("version: 1\nmodels: {smart: nowhere}\n")
        assert main(["explain", "smart"]) == 1
        assert "routes.yaml:2:17: no-provider: models.smart" in capsys.readouterr().err

    def test_no_config_is_exit_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["explain", "smart", "--config", "none.yaml"]) == 2
        assert capsys.readouterr().err == "gateway: cannot read none.yaml: no such file or directory\n"

    @pytest.mark.parametrize(
        ("failure", "why"),
        [
            ("rate_limit", "--fail is 'rate_limit'; write TARGET=KIND, such as own/llama=rate_limit"),
            ("=rate_limit", "--fail is '=rate_limit'; write TARGET=KIND"),
            ("openai/gpt4o=rate_limit", "in the chain of 'smart'; did you mean 'openai/gpt-4o'?"),
            ("zzz=rate_limit", "in the chain of 'smart'; it has own/llama, openai/gpt-4o, mistral/"),
            ("own/llama=ratelimit", "--fail has no kind 'ratelimit'; did you mean 'rate_limit'?"),
            ("own/llama=200", "--fail has no kind '200'; write a status, or one of connection, timeout"),
        ],
    )
    def test_a_failure_that_there_is_not_is_exit_2(
        self, failure: str, why: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["explain", "smart", "--fail", failure]) == 2
        assert why in capsys.readouterr().err

    def test_no_heavy_library_is_loaded(self) -> None:
        code = (
            "import sys; from gateway.cli import main; code = main(['explain', 'smart'])\n"
            "print(code, sorted({'aiohttp', 'litellm', 'uvloop', 'httpx', 'openai'} & sys.modules.keys()))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=9, check=True)
        assert done.stdout.splitlines()[-1] == "0 []"


def routes_of(text: str) -> dict[str, Route]:
    compiled = Compiler(environ={}).compile(text.encode(), source="routes.yaml").table
    assert compiled is not None
    return dict(compiled.routes)


class TestExplaining:
    PAIR = "version: 1\nmodels: {pair: {chain: [mock/a, mock/b, mock/c], retries: 0, max_attempts: 3}}\n"

    def test_live_cooldowns_are_told(self) -> None:
        route = routes_of(self.PAIR)["pair"]
        explanation = explain("pair", route, {}, mock=MockAdapter(), health=resting(route, {0: 12.0}))
        told = as_json(explanation)["walk"]
        assert told["answered"] == "mock/b"
        assert told["not_called"] == [
            {"step": 1, "target": "mock/a", "why": "passed over: in cooldown"},
            {"step": 3, "target": "mock/c", "why": "kept in reserve"},
        ]

    def test_a_last_resort_is_told(self) -> None:
        route = routes_of(self.PAIR)["pair"]
        told = walk(route, fails(Kind.OVERLOADED), health=resting(route, {0: 12.0, 1: 11.0, 2: 10.0}))
        assert [(event.step, event.last_resort) for event in told.events] == [(2, True), (1, True), (0, True)]
        assert verdicts(route, told) == {}

    def test_a_step_after_a_fallback_is_simply_not_reached(self) -> None:
        route = routes_of(self.PAIR)["pair"]
        supposed = {"mock/a": named(Kind.OVERLOADED)}
        explanation = explain("pair", route, supposed, mock=MockAdapter())
        assert verdicts(route, explanation.walk) == {2: "not reached"}

    def test_patterns_stand_for_themselves(self) -> None:
        compiled = Compiler(environ={}).compile(b"version: 1\nmodels: {'a/*': 'mock/*'}\n", source="r.yaml").table
        assert compiled is not None
        filled, pattern = look_up(compiled, "a/x"), look_up(compiled, "a/*")
        assert filled is not None
        assert pattern is not None
        assert (filled.steps[0].target.name, pattern.steps[0].target.name) == ("mock/x", "mock/*")
        assert look_up(compiled, "b/*") is None


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Limits(connect_s=5, first_token_s=30, idle_s=30, total_s=30), "30s"),
        (Limits(connect_s=5, first_token_s=30, idle_s=30, total_s=30, stream_total_s=30), "30s, of a whole stream too"),
        (Limits(connect_s=1, first_token_s=1, idle_s=1, total_s=1), "1s"),
        (
            Limits(connect_s=1, first_token_s=2, idle_s=3, total_s=4),
            "connect 1s, first token 2s, idle 3s, total 4s (streams: none)",
        ),
        (
            Limits(connect_s=1, first_token_s=2, idle_s=3, total_s=4, stream_total_s=4),
            "connect 1s, first token 2s, idle 3s, total 4s",
        ),
    ],
)
def test_timeouts_are_as_short_as_a_file_could_write_them(limits: Limits, text: str) -> None:
    assert timeout(limits) == text


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert list(table([("a\x1b[1m", "b")])) == ["  a\\x1b[1m  b", ""]
