"""`gateway test`: cases played against a policy, the report of failures, and the exit codes.

The cases and their reports are files in `tests/cases/policy`. `python -m tests.unit.cli.test_test` rewrites the
reports; read each line of the difference.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.cli import main
from gateway.config.compiler.compiler import Compiler
from gateway.config.model.read import schema as schema_of
from gateway.operations import OPERATIONS, operation_of
from gateway.policy.table import Hook, Route, RoutingTable, Step
from gateway.policy.target import Endpoint, Limits, Target
from gateway.server.listen import listening
from gateway.server.wiring import Gateway, ServeOptions
from gateway.simulation import clock as virtual
from gateway.simulation.cases.coverage import measure
from gateway.simulation.cases.file import Case, read, scripted
from gateway.simulation.cases.play import play
from gateway.simulation.simulator import Observed, Simulator
from gateway.simulation.upstreams import Script
from gateway.wire.json import Json, JsonObject
from gateway.words import shown
from tests.paths import ROOT
from tests.schemas import offered

POLICY = ROOT / "examples" / "policy"
CASES = ROOT / "tests" / "cases" / "policy"
REPORTED = sorted(CASES.glob("*.report"))
SMALL = """\
version: 1
defaults: {retries: 0}
models:
  smart: [openai/gpt-4o, mistral/mistral-large-latest]
  echo: mock/echo
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*os.environ]:
        if name.startswith(("GATEWAY_", "LITELLM_", "OWN_")) or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)
    return name


@cache
def loaded(name: str) -> Any:
    """Return a file of the example policy, read once: changes go into a copy."""
    return yaml.load((POLICY / name).read_bytes(), Loader=yaml.CSafeLoader)


def slips() -> Iterator[tuple[str, list[Json]]]:
    """Yield every chain of the example policy with two of its steps swapped, or one of them dropped."""
    models = loaded("routes.yaml")["models"]
    for alias, model in models.items():
        chain = model["chain"] if isinstance(model, dict) else [model] if isinstance(model, str) else model
        for one, other in combinations(range(len(chain)), 2):
            swapped = list(chain)
            swapped[one], swapped[other] = chain[other], chain[one]
            yield alias, swapped
        if len(chain) > 1:
            yield from ((alias, chain[:gone] + chain[gone + 1 :]) for gone in range(len(chain)))


def report(*argv: str) -> tuple[int, str]:
    """Run the command; return its exit code and its output."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = main(["test", *argv])
    return code, out.getvalue()


def a_case(**expect: Json) -> str:
    return json.dumps({"cases": [{"name": "a case", "request": "smart", "expect": expect}]})


class TestTheExamplePolicy:
    def test_it_keeps_its_promises_and_no_alias_or_target_is_left_out(self) -> None:
        code, out = report(str(POLICY), "--min-coverage", "100")
        assert code == 0
        assert out.splitlines()[1:] == [
            f"{POLICY}/routes.yaml: 100% covered, 33 of 33 aliases, 21 of 21 targets, 2 of 2 groups reached",
            "69 passed, 0 failed",
        ]

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            pytest.param(
                "      - openai/gpt-5.4-mini\n      - anthropic/claude-haiku-4-5\n",
                "      - anthropic/claude-haiku-4-5\n      - openai/gpt-5.4-mini\n",
                "FAILED: chat goes to OpenAI, a little warm",
                id="two targets are swapped",
            ),
            pytest.param(
                "  summarize:\n",
                "  sumarize:\n",
                "the client gets 404 model_not_found: the model 'summarize' does not exist; did you mean 'sumarize'",
                id="an alias is misspelt",
            ),
            pytest.param(
                "    chain: [openai/gpt-5.4-mini, mistral/mistral-small-latest]\n",
                "    chain: [openai/gpt-5.4-mini]\n",
                "FAILED: triage is one cold word",
                id="a fallback is dropped",
            ),
            pytest.param(
                "gemini/gemini-3.6-flash: 5}",
                "gemini/gemini-3.6-flash: 10}",
                "FAILED: a new model suggests one reply in twenty",
                id="a weight is doubled",
            ),
            pytest.param(
                "        pick: sticky\n        key: {header: x-run-id}\n",
                "",
                "FAILED: a run of agents stays with one vendor",
                id="a pool is sticky no more",
            ),
            pytest.param(
                "        key: {header: x-run-id}\n",
                "",
                "FAILED: a run of agents stays with one vendor",
                id="a key is dropped",
            ),
            pytest.param(
                'x-region: "eu-*"',
                'x-region: "eu*"',
                "FAILED: minutes of others are written where it is cheapest",
                id="a condition is wider",
            ),
            pytest.param(
                '{when: {not: {header: {x-region: "eu-*"}}}, target: openai/gpt-5.4-mini}',
                "openai/gpt-5.4-mini",
                "FAILED: minutes of customers in the EU stay there",
                id="a condition is dropped",
            ),
            pytest.param(
                ', "${GROQ_API_KEY_2:-}"]',
                "]",
                "FAILED: a rate limit of one account leaves the other, before the voice is another vendor's",
                id="one of two keys is dropped",
            ),
            pytest.param(
                "fallback_on: [connection, timeout, overloaded, server_error, rate_limit]",
                "description: nothing",
                None,
                id="a key is written twice",
            ),
        ],
    )
    def test_a_change_that_breaks_a_promise_is_caught_by_name_and_line(
        self, old: str, new: str, told: str | None
    ) -> None:
        routes = (POLICY / "routes.yaml").read_text()
        assert old in routes
        write("routes.yaml", routes.replace(old, new))
        write("routes.test.yaml", (POLICY / "routes.test.yaml").read_text())
        write("policy_hooks.py", (POLICY / "policy_hooks.py").read_text())
        code, out = report("routes.test.yaml")
        assert code == 1
        if told is None:
            assert "duplicate-key" in out
        else:
            assert told in out
            assert "routes.test.yaml:" in out

    @pytest.mark.parametrize(("alias", "chain"), [*slips()])
    def test_no_swap_and_no_dropped_step_goes_unnoticed(self, alias: str, chain: list[Json]) -> None:
        policy, cases = loaded("routes.yaml"), loaded("routes.test.yaml")["cases"]
        model = policy["models"][alias]
        changed = {**model, "chain": chain} if isinstance(model, dict) else chain
        policy = {**policy, "models": {**policy["models"], alias: changed}}
        minded = [case for case in cases if f'"{alias}"' in json.dumps(case["request"])]
        write("routes.yaml", json.dumps(policy))
        write("routes.test.yaml", json.dumps({"cases": minded}))
        write("policy_hooks.py", (POLICY / "policy_hooks.py").read_text())
        code, out = report("routes.test.yaml")
        assert code == 1
        assert "FAILED" in out, out

    def test_its_files_name_their_schemas(self) -> None:
        for path in POLICY.glob("*.yaml"):
            first = path.read_text().splitlines()[0]
            assert (POLICY / first.partition("$schema=")[2]).is_file()

    def test_validate_and_test_together_take_little_time_and_load_no_heavy_library(self) -> None:
        code = (
            "import sys; from gateway.cli import main\n"
            f"codes = main(['validate', {str(POLICY / 'routes.yaml')!r}]), main(['test', {str(POLICY)!r}])\n"
            "print(codes, sorted({'aiohttp', 'litellm', 'uvloop', 'httpx', 'openai'} & sys.modules.keys()))"
        )
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=9, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.stdout.splitlines()[-1] == "(0, 0) []"
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3


class TestReports:
    @pytest.mark.parametrize("expected", REPORTED, ids=lambda path: path.stem)
    def test_a_files_report_is_the_one_beside_it(self, expected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(CASES)
        assert report_of(f"{expected.stem}.test.yaml") == expected.read_text()

    def test_every_file_has_a_report(self) -> None:
        assert {path.stem for path in REPORTED} == {
            path.name[: -len(".test.yaml")] for path in CASES.glob("*.test.yaml")
        }

    def test_the_schema_is_sound_and_its_examples_hold(self) -> None:
        schema = schema_of("routes.test")
        Draft202012Validator.check_schema(schema)
        for example in offered(schema):
            Draft202012Validator(schema).validate(example)
        for name, part in schema["$defs"].items():
            validator = Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})
            assert offered(part), name
            for example in offered(part):
                validator.validate(example)

    def test_verbose_names_what_passed_with_its_path(self) -> None:
        write("routes.yaml", SMALL.replace("retries: 0", "retries: 1"))
        write(
            "routes.test.yaml",
            "cases:\n  - {name: falls over, request: smart, upstream: {openai/*: [500, 503]}, expect: {status: 200}}\n"
            "  - {name: fails, request: echo, expect: {status: 500}}\n",
        )
        _, out = report("-v")
        assert out.splitlines()[:3] == [
            "routes.test.yaml: 1 passed, 1 failed",
            "  ok      falls over  openai/gpt-4o ×2 → mistral/mistral-large-latest",
            "  FAILED  fails       mock/echo",
        ]

    def test_json_holds_everything(self) -> None:
        write("routes.yaml", SMALL)
        write("routes.test.yaml", a_case(status=500))
        code, out = report("--format", "json")
        shown_ = json.loads(out)
        (file,) = shown_.pop("files")
        (case,) = file.pop("cases")
        (request,) = case.pop("requests")
        assert code == 1
        assert shown_ == {
            "ok": False,
            "summary": "0 passed, 1 failed",
            "coverage": [
                {
                    "config": "routes.yaml",
                    "percent": 40,
                    "aliases": 2,
                    "targets": 3,
                    "missed_aliases": ["echo"],
                    "missed_targets": ["mistral/mistral-large-latest", "mock/echo"],
                }
            ],
        }
        assert file == {
            "file": "routes.test.yaml",
            "config": "routes.yaml",
            "ok": False,
            "readable": True,
            "passed": 0,
            "failed": 1,
            "not_run": 0,
            "hooks_skipped": 0,
            "problems": [],
        }
        assert case == {
            "name": "a case",
            "line": 1,
            "column": 12,
            "ok": False,
            "failures": [
                {
                    "check": "status",
                    "request": 1,
                    "line": 1,
                    "column": 62,
                    "message": None,
                    "expected": ["500"],
                    "actual": ["200"],
                }
            ],
        }
        assert request["attempts"] == [
            {"target": "openai/gpt-4o", "kind": None, "status": 200, "at_s": 0.0, "took_s": 0.0}
        ]
        assert (request["target"], request["status"], request["text"]) == (
            "openai/gpt-4o",
            200,
            "hello from openai/gpt-4o",
        )

    def test_junit_is_xml_with_a_suite_for_each_file(self) -> None:
        write("routes.yaml", SMALL)
        write(
            "routes.test.yaml",
            'cases:\n  - {name: "a <good> one", request: smart, expect: {status: 200}}\n'
            '  - {name: "a \\e[1m bad one", request: smart, expect: {status: 500}}\n',
        )
        write("bad.test.yaml", "cases: []\n")
        code, out = report("routes.test.yaml", "bad.test.yaml", "--format", "junit")
        root = ET.fromstring(out)  # noqa: S314 - our own
        assert code == 1
        assert dict(root.attrib) == {"name": "gateway test", "tests": "3", "failures": "1", "errors": "1"}
        suites = root.findall("testsuite")
        assert [(suite.get("name"), suite.get("tests")) for suite in suites] == [
            ("routes.test.yaml", "2"),
            ("bad.test.yaml", "1"),
        ]
        good, bad = suites[0].findall("testcase")
        assert (good.get("name"), good.get("line"), good.find("failure")) == ("a <good> one", "2", None)
        failure = bad.find("failure")
        assert failure is not None
        assert failure.get("message") == "not as expected: status"
        assert failure.text is not None
        assert failure.text.startswith("routes.test.yaml:3:5: FAILED: a \\x1b[1m bad one\n  status (line 3)")
        error = suites[1].find("testcase/error")
        assert error is not None
        assert error.get("type") == "no-cases"


class TestChoosing:
    def test_without_a_file_it_is_the_one_beside_the_config(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write("routes.yaml", SMALL)
        write("routes.test.yaml", a_case(status=200))
        write("deploy/prod.yml", SMALL)
        write("deploy/prod.test.yml", a_case(target="openai/gpt-4o"))
        assert report()[1].startswith("routes.test.yaml: 1 passed\n")
        assert report("--config", "deploy/prod.yml")[1].startswith("deploy/prod.test.yml: 1 passed\n")
        monkeypatch.setenv("GATEWAY_CONFIG", "deploy/prod.yml")
        assert report()[1].startswith("deploy/prod.test.yml: 1 passed\n")

    def test_a_folder_stands_for_all_files_below_it(self) -> None:
        for name in ("a/routes", "a/b/other"):
            write(f"{name}.yaml", SMALL)
            write(f"{name}.test.yaml", a_case(status=200))
        code, out = report("a", "a/routes.test.yaml")
        assert (code, out.splitlines()[-1]) == (0, "2 passed, 0 failed")
        assert main(["test", "."]) == 0

    def test_a_folder_without_cases_is_wrong_usage(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["test", "."]) == 2
        assert "there is no *.test.yaml below ." in capsys.readouterr().err

    def test_the_config_is_the_one_the_file_names_or_the_flag(self) -> None:
        write("conf/a.yaml", SMALL)
        write("b.yaml", SMALL.replace("openai/gpt-4o", "openai/gpt-4.1"))
        text = {**json.loads(a_case(target="openai/gpt-4o")), "config": "../conf/a.yaml"}
        write("cases/x.test.yaml", json.dumps(text))
        assert report("cases/x.test.yaml")[0] == 0
        assert report("cases/x.test.yaml", "--config", "b.yaml")[0] == 1

    def test_a_file_of_another_name_belongs_to_routes_yaml(self) -> None:
        write("routes.yaml", SMALL)
        assert report(write("cases.yaml", a_case(status=200)))[0] == 0

    def test_only_cases_whose_name_holds_a_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out = report(str(POLICY), "-k", "RATE limited")
        assert (code, out.splitlines()[-1]) == (0, "1 passed, 0 failed")
        assert "covered" not in out
        assert main(["test", str(POLICY), "-k", "no such case"]) == 2
        assert "no case's name holds 'no such case'" in capsys.readouterr().err

    def test_coverage_of_some_cases_cannot_be_asked_for(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["test", str(POLICY), "-k", "chat", "--min-coverage", "50"]) == 2
        assert "leave one out" in capsys.readouterr().err

    @pytest.mark.parametrize("percent", ["x", "101", "-1", ""])
    def test_a_coverage_is_a_number_up_to_100(self, percent: str) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["test", f"--min-coverage={percent}"])
        assert caught.value.code == 2

    def test_too_little_coverage_fails(self) -> None:
        write("routes.yaml", SMALL)
        write("routes.test.yaml", a_case(status=200))
        assert report("--min-coverage", "40%")[0] == 0
        code, out = report("--min-coverage", "41")
        assert code == 1
        assert out.splitlines()[1:] == [
            "routes.yaml: 40% covered, 1 of 2 aliases, 1 of 3 targets reached; at least 41% are wanted",
            "  aliases no case reached:  echo",
            "  targets no case reached:  mistral/mistral-large-latest, mock/echo",
            "1 passed, 0 failed",
        ]

    def test_what_cannot_be_read_is_exit_2(self) -> None:
        code, out = report()
        assert code == 2
        assert out.splitlines() == [
            "routes.test.yaml: unreadable-file: cannot read the file: no such file or directory",
            "1 problem: the cases of routes.test.yaml are not run",
            "0 passed, 0 failed, 1 file not run",
        ]
        code, out = report(write("routes.test.yaml", a_case(status=200)))
        assert code == 2
        assert out.startswith("routes.yaml: unreadable-file: ")

    def test_a_malformed_variable_is_wrong_usage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write("routes.yaml", SMALL)
        write("routes.test.yaml", a_case(status=200))
        monkeypatch.setenv("LITELLM_TIMEOUT", "soon")
        assert report()[0] == 2

    def test_a_file_may_set_variables_for_itself(self) -> None:
        write("routes.yaml", "version: 1\nmodels: {smart: 'openai/${NAME}'}\n")
        write(
            "a.test.yaml",
            json.dumps({**json.loads(a_case(target="openai/a")), "env": {"NAME": "a"}, "config": "routes.yaml"}),
        )
        write(
            "b.test.yaml",
            json.dumps({**json.loads(a_case(target="openai/b")), "env": {"NAME": "b"}, "config": "routes.yaml"}),
        )
        assert report("a.test.yaml", "b.test.yaml")[0] == 0


class TestOperations:
    def test_a_request_with_a_prompt_is_played_as_completions(self) -> None:
        write("own_hooks.py", "def redact(request):\n    return request\n")
        write(
            "routes.yaml",
            """\
version: 1
models:
  c: [anthropic/claude-sonnet-4-5, mock/echo]
  claude: anthropic/claude-sonnet-4-5
  redacted: {chain: [mock/echo], hooks: {pre: [own_hooks.redact]}}
""",
        )
        write(
            "routes.test.yaml",
            """\
cases:
  - name: a target that cannot carry it is passed over
    request: {model: c, prompt: hi there}
    expect:
      target: mock/echo
      text: hi there
      skipped: [anthropic/claude-sonnet-4-5]
      sent: {prompt: hi there, messages: null}
    then:
      - {request: {model: c, prompt: hi there, stream: true}, expect: {target: mock/echo, text: hi there}}
      - {upstream: {mock/echo: [{text: you}]}, request: {model: c, prompt: [hi]}, expect: {text: you}}
  - name: no target carries it
    request: {model: claude, prompt: hi there}
    expect: {target: null, status: 400, error: unsupported, attempts: []}
  - name: no pre hook reads it
    request: {model: redacted, prompt: hi there}
    expect: {target: null, status: 400, error: unsupported, attempts: []}
  - name: a bad one is refused as the server does
    request: {model: c, prompt: []}
    expect: {status: 400, error: bad_request, attempts: []}
  - name: a request without any input says hello
    request: {model: c, stream: true}
    expect: {target: anthropic/claude-sonnet-4-5, sent: {messages: [{role: user, content: hello}]}}
""",
        )
        code, out = report("routes.test.yaml")
        assert (code, out.splitlines()[0]) == (0, "routes.test.yaml: 5 passed"), out


class TestHooks:
    def test_hooks_may_be_skipped_and_what_they_change_is_not_compared(self) -> None:
        routes = SMALL + "hooks: {pre: [no.such.hook]}\n"
        write("routes.yaml", routes)
        write("routes.test.yaml", a_case(target="openai/gpt-4o", text="changed", sent={"seed": 1}, body={"mark": 1}))
        assert report()[0] == 1
        code, out = report("--skip-hooks")
        assert (code, out.splitlines()[0]) == (0, "routes.test.yaml: 1 passed, 1 hook skipped")

    def test_a_nested_alias_skipped_hooks_are_not_compared_either(self) -> None:
        safe = "  nested: [{alias: safe}]\n  safe: {chain: [mock/echo], hooks: {pre: [no.such.hook]}}\n"
        write("routes.yaml", SMALL + safe)
        write("routes.test.yaml", a_case(text="changed").replace('"smart"', '"nested"'))
        assert report("--skip-hooks")[0] == 0

    def test_aliases_without_hooks_are_compared_all_the_same(self) -> None:
        write("routes.yaml", SMALL + "  hooked: {chain: [mock/echo], hooks: {pre: [no.such.hook]}}\n")
        write("routes.test.yaml", a_case(text="changed"))
        assert report("--skip-hooks")[0] == 1

    def test_a_hook_that_waits_for_ever_ends_its_case(self) -> None:
        async def wait(request: JsonObject) -> JsonObject:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()
            return request

        result = play(table(pre=(Hook(path="wait", call=wait, is_async=True),)), one_case(status=200))
        (mismatch,) = result.mismatches
        assert not result.ok
        assert (
            mismatch.message
            == "the request never ends: it waits for something that never comes; does a hook wait without a limit?"
        )

    def test_a_fault_of_the_gateway_itself_fails_a_case_whatever_it_expects(self) -> None:
        class Odd(dict[str, Any]):
            def get(self, *_: Any) -> Any:
                raise RuntimeError("odd")

        result = play(table(pre=(Hook(path="odd", call=Odd, is_async=False),)), one_case(status=500))
        (mismatch,) = result.played[0].mismatches
        assert mismatch.message is not None
        assert mismatch.message.startswith("the gateway itself failed: RuntimeError: odd, at test_test.py:")


def table(**values: Any) -> RoutingTable:
    endpoint = Endpoint(provider="openai", kind="openai", adapter="relay", key_required=True)
    target = Target(name="openai/x", model="x", label="openai/x", endpoint=endpoint)
    limits = Limits(connect_s=1, first_token_s=1, idle_s=1, total_s=1)
    route = Route(alias="smart", steps=(Step(target=target, limits=limits),), **values)
    return RoutingTable(generation=1, routes={"smart": route}, targets=(target,))


def one_case(**expect: Json) -> Case:
    file, problems = read(a_case(**expect).encode(), name="routes.test.yaml")
    assert file is not None, problems
    return file.cases[0]


def test_a_key_that_is_not_here_makes_no_scripted_target_fail() -> None:
    assert play(table(), one_case(status=200, target="openai/x")).ok


def test_nothing_to_cover_is_covered() -> None:
    assert measure(RoutingTable(generation=1, routes={}), []).percent == 100


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0004, "0s"), (0.25, "250ms"), (1, "1s"), (30.25, "30.25s"), (60, "1m"), (90, "1m30s"),
     (120.75, "2m0.75s"), (3600, "1h"), (3725.5, "1h2m5.5s")],
)  # fmt: skip
def test_durations_are_shown_as_a_file_writes_them(seconds: float, text: str) -> None:
    assert shown(seconds) == text


ROUTES = """\
version: 1
defaults: {retries: 0, timeout: 5s, cooldown: {failures: 100}}
models:
  echo: mock/echo
  pair: [mock/status-503, mock/echo]
  refused: mock/status-418
  nobody: [mock/status-429, mock/status-429]
  down: mock/status-500
  cut: mock/cut
  "m/*": "mock/*"
"""

REFUSED: list[JsonObject] = [
    {"model": "echo", "prompt": 5},
    {"model": "echo", "messages": []},
    {"model": "echo", "messages": ["hi"]},
    {"model": "echo", "input": {}},
    {"model": "echo", "prompt": "hi", "stream": "yes"},
    {"model": "echo", "prompt": "hi", "stream_options": []},
    {"model": "none", "prompt": 5},
    {"model": "", "prompt": 5},
    {"prompt": "hi"},
    {"model": 5, "stream": "yes"},
]
"""Bodies that the server refuses before it looks for the alias."""


async def test_what_the_server_adds_is_what_the_server_adds(tmp_path: Path) -> None:
    """The simulator repeats a few lines of the server, which needs aiohttp: both must answer the same."""
    path = tmp_path / "routes.yaml"
    path.write_text(ROUTES)
    requests: list[JsonObject] = [
        {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        for model in ("echo", "pair", "refused", "nobody", "down", "cut", "m/echo", "m/ächo", "none")
        for stream in (False, True)
    ]
    requests += [{"model": "echo", "prompt": "hi there", "stream": stream} for stream in (False, True)]
    requests += [{"model": "echo", "input": "hi"}, *map(dict, REFUSED)]
    served = await answers_of_the_server(path, requests)
    compiled = Compiler(environ={}).compile(path.read_bytes(), source=str(path)).table
    assert compiled is not None
    for request, (status, headers, body) in zip(requests, served, strict=True):
        observed = ask_in_a_thread(compiled, request)
        own = {name: value for name, value in observed.headers.items() if name != "x-request-id"}
        assert (observed.status, own) == (status, headers), request
        if observed.error and not observed.broken:
            assert observed.body["error"]["code"] == body["error"]["code"], request
        if request in REFUSED:
            assert observed.body == body, request


def ask_in_a_thread(compiled: RoutingTable, request: JsonObject) -> Observed:
    """Send a request on a virtual loop, separate from the test's own loop."""
    answers: list[Observed] = []

    async def ask() -> Observed:
        return await Simulator(compiled, Script({})).ask(request)

    thread = threading.Thread(target=lambda: answers.append(virtual.run(ask())))
    thread.start()
    thread.join()
    return answers[0]


async def answers_of_the_server(path: Path, requests: list[JsonObject]) -> list[tuple[int, dict[str, str], JsonObject]]:
    options = ServeOptions(config=path, port=0)
    runner = Gateway(options, environ={}).runner()
    await runner.setup()
    answers = []
    transport = {"content-length", "date", "transfer-encoding", "connection", "x-request-id"}
    try:
        async with listening(runner, options) as url, aiohttp.ClientSession() as session:
            for request in requests:
                async with session.post(f"{url}/v1{operation_of(request).path}", json=request) as response:
                    try:
                        text = await response.text()
                    except aiohttp.ClientPayloadError:
                        text = ""
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    headers = {name: value for name, value in headers.items() if name not in transport}
                    body = json.loads(text) if text.startswith("{") else {}
                    answers.append((response.status, headers, body))
    finally:
        await runner.cleanup()
    return answers


def test_one_outcome_has_many_forms() -> None:
    assert scripted("rate_limit") == scripted({"kind": "rate_limit"})
    assert scripted(503) == scripted({"status": 503})
    assert scripted("timeout").stall == 0


def report_of(name: str) -> str:
    code, out = report(name)
    return f"{out}exit {code}\n"


def _write_anew() -> None:
    os.chdir(CASES)
    for path in sorted(Path().glob("*.test.yaml")):
        Path(path.name.replace(".test.yaml", ".report")).write_text(report_of(path.name))


if __name__ == "__main__":
    _write_anew()


class TestEveryWire:
    """A case asks for any operation that the gateway serves."""

    ROUTES = """\
version: 1
providers:
  vllm: {kind: openai, base_url: "http://127.0.0.1:1/v1"}
models:
  claude: {chain: [anthropic/claude-sonnet-5, vllm/llama], retries: 0}
"""
    CASES = """\
cases:
  - name: a Claude target relays Messages
    operation: messages
    request: claude
    expect: {target: anthropic/claude-sonnet-5, status: 200, text: hello from anthropic/claude-sonnet-5}
    then:
      - upstream: {anthropic/claude-sonnet-5: overloaded}
        expect: {target: vllm/llama, text: hello from vllm/llama}
      - request: {model: claude, messages: [{role: user, content: hi}], stream: true}
        operation: messages
        expect: {target: vllm/llama, text: hello from vllm/llama}
  - name: Responses are put into chat for Claude
    operation: responses
    request: {model: claude, input: hi}
    upstream: {anthropic/claude-sonnet-5: {text: good day}}
    expect: {target: anthropic/claude-sonnet-5, text: good day, sent: {messages: [{role: user, content: hi}]}}
  - name: what counts tokens is asked of Claude only
    operation: count_tokens
    request: claude
    upstream: {anthropic/claude-sonnet-5: rate_limit}
    expect: {status: 429, attempts: [anthropic/claude-sonnet-5]}
"""

    def test_every_wire_is_played(self) -> None:
        write("routes.yaml", self.ROUTES)
        code, out = report(write("routes.test.yaml", self.CASES))
        assert code == 0, out

    def test_the_schema_lists_all_operations(self) -> None:
        assert schema_of("routes.test")["$defs"]["operation"]["then"]["enum"] == [*OPERATIONS]
