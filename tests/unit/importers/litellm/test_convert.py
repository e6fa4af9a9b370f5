"""The conversion of LiteLLM's configs: files beside their results, chains, upstreams, settings, and odd configs.

`python -m tests.unit.importers.litellm.test_convert` rewrites the results; read each line of the difference.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from gateway.config.compiler.compiler import Compiler
from gateway.config.document.document import parse
from gateway.config.format.format import format_bytes
from gateway.importers.litellm.convert import Imported, convert, validated
from gateway.importers.litellm.draft import Alias, Draft, Reference, Step, Upstream
from gateway.importers.litellm.report import Report, Verdict
from gateway.policy.pools import Pool, pools
from gateway.policy.table import RoutingTable
from tests.compiling import names
from tests.paths import CASES

FOLDER = CASES / "import"
CONFIGS = sorted(file for file in FOLDER.glob("*.yaml") if not file.name.endswith(".routes.yaml"))


def imported(text: str) -> Imported:
    return convert(text.encode(), source="config.yaml")


def table_of(text: str | None, environ: Mapping[str, str] = MappingProxyType({})) -> RoutingTable:
    """Compile with no other variable set; assert that missing keys are the only warnings."""
    assert text is not None
    compiled = Compiler(environ=environ).compile(text.encode(), source="routes.yaml")
    assert compiled.table is not None, [str(problem) for problem in compiled.problems]
    assert {problem.code for problem in compiled.problems} <= {"unset-variable"}
    return compiled.table


def table(text: str) -> RoutingTable:
    return table_of(imported(text).routes)


def pool(text: str) -> Pool | None:
    """Return the first pool of the alias `a`."""
    route = table(text).find("a")
    assert route is not None
    return next(pools(route.parts or ()), None)


def said(text: str, verdict: Verdict | None = None) -> list[str]:
    """Return the report's lines, or those of one verdict."""
    items = imported(text).items
    return [f"{item.line}: {item.path}: {item.message}" for item in items if verdict in (None, item.verdict)]


def deployments(*lines: str) -> str:
    """Return a model_list of `name: params` in flow style."""
    entries = (line.partition(": ") for line in lines)
    return "model_list:\n" + "".join(
        f"  - {{model_name: {name}, litellm_params: {params}}}\n" for name, _, params in entries
    )


class TestCases:
    @pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
    def test_a_config_becomes_what_stands_beside_it(self, file: Path) -> None:
        found = convert(file.read_bytes(), source=file.name)
        assert found.routes == file.with_suffix(".routes.yaml").read_text(encoding="utf-8")
        assert found.as_text(file.name) == file.with_suffix(".report").read_text(encoding="utf-8")

    @pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
    def test_the_result_is_in_its_normal_form(self, file: Path) -> None:
        routes = file.with_suffix(".routes.yaml")
        assert format_bytes(routes.read_bytes(), name=routes.name).data == routes.read_bytes()

    @pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
    def test_the_result_is_valid_and_every_line_of_the_report_stands_in_the_config(self, file: Path) -> None:
        found = convert(file.read_bytes(), source=file.name)
        table_of(found.routes)
        length = len(file.read_text(encoding="utf-8").splitlines())
        assert all(1 <= item.line <= length for item in found.items)

    @pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
    def test_nothing_that_was_written_out_is_shown(self, file: Path) -> None:
        found = convert(file.read_bytes(), source=file.name)
        assert "hidden-" not in f"{found.routes}{found}{found.as_text(file.name)}"

    def test_every_result_has_its_config(self) -> None:
        results = {file.name.removesuffix(".routes.yaml") for file in FOLDER.glob("*.routes.yaml")}
        assert results == {file.stem for file in FOLDER.glob("*.report")} == {file.stem for file in CONFIGS}


class TestChains:
    def test_order_says_who_is_asked_first(self) -> None:
        text = deployments("a: {model: openai/one, order: 2}", "a: {model: openai/two, order: 1}")
        assert names(table(text).find("a")) == ["openai/two", "openai/one"]
        assert not [line for line in said(text, Verdict.APPROXIMATE) if "LiteLLM shares" in line]

    @pytest.mark.parametrize(
        ("first", "second"),
        [("weight: 1", "weight: 3"), ("rpm: 5", "rpm: 50"), ("tpm: 5", "tpm: 50"), ("rpm: '5'", "rpm: '50'")],
    )
    def test_without_a_pool_for_the_strategy_the_largest_share_is_asked_first(self, first: str, second: str) -> None:
        text = deployments(f"a: {{model: openai/one, {first}}}", f"a: {{model: openai/two, {second}}}")
        text += "router_settings: {routing_strategy: cost-based-routing}\n"
        assert pool(text) is None
        assert names(table(text).find("a")) == ["openai/two", "openai/one"]
        assert f"highest {first.partition(':')[0]} first" in "".join(said(text, Verdict.APPROXIMATE))
        assert "the load is not shared" in "".join(said(text, Verdict.APPROXIMATE))

    @pytest.mark.parametrize(
        ("first", "second", "weights"),
        [
            ("weight: 1", "weight: 3", {"openai/one": 1, "openai/two": 3}),
            ("weight: 1, rpm: 2", "rpm: 50", {"openai/one": 1, "openai/two": 0}),
            ("weight: 0, rpm: 2", "rpm: 50", {"openai/one": 2, "openai/two": 50}),
            ("tpm: 5", "tpm: '50'", {"openai/one": 5, "openai/two": 50}),
            ("weight: 0", "order: null", {"openai/one": 1, "openai/two": 1}),
        ],
    )
    def test_the_load_is_shared_as_litellm_shares_it(self, first: str, second: str, weights: dict[str, float]) -> None:
        text = deployments(f"a: {{model: openai/one, {first}}}", f"a: {{model: openai/two, {second}}}")
        found = pool(text)
        assert found is not None
        assert ({one.name: one.weight for one in found.members}, found.pick) == (weights, "weighted")
        assert any("here they are a pool" in line for line in said(text, Verdict.EXACT))

    def test_a_pool_with_weights_has_models_from_variables(self) -> None:
        text = deployments("a: {model: openai/one, weight: 1}", "a: {model: os.environ/M, weight: 3}")
        found = table_of(imported(text).routes, {"M": "openai/two"}).find("a")
        assert found is not None
        (members,) = (each.members for each in pools(found.parts or ()))
        assert {one.name: one.weight for one in members} == {"openai/one": 1, "openai/two": 3}

    @pytest.mark.parametrize(
        ("strategy", "pick", "verdict"),
        [
            ("simple-shuffle", "weighted", Verdict.EXACT),
            ("least-busy", "least_busy", Verdict.APPROXIMATE),
            ("latency-based-routing", "fastest", Verdict.APPROXIMATE),
        ],
    )
    def test_a_strategy_is_a_pick(self, strategy: str, pick: str, verdict: Verdict) -> None:
        text = deployments("a: {model: openai/one, weight: 2}", "a: {model: openai/two}")
        text += f"router_settings: {{routing_strategy: {strategy}}}\n"
        found = pool(text)
        assert found is not None
        assert found.pick == pick
        assert found.weights == ((2, 0) if pick == "weighted" else (1, 1))
        assert any(f"`pick: {pick}`" in line for line in said(text, verdict))

    @pytest.mark.parametrize("strategy", ["usage-based-routing", "usage-based-routing-v2"])
    def test_the_fewest_tokens_are_an_even_pool_approximately(self, strategy: str) -> None:
        text = deployments("a: {model: openai/one, rpm: 9}", "a: {model: openai/two, rpm: 1}")
        text += f"router_settings: {{routing_strategy: {strategy}}}\n"
        found = pool(text)
        assert found is not None
        assert (found.pick, found.weights) == ("weighted", (1, 1))
        assert not [line for line in said(text, Verdict.EXACT) if "pool" in line or "strategy" in line]

    @pytest.mark.parametrize("given", ["openai/two, weight: -1", "openai/one, temperature: 1"])
    def test_what_no_pool_can_do_stays_a_chain(self, given: str) -> None:
        text = deployments("a: {model: openai/one, weight: 1}", f"a: {{model: {given}}}")
        assert pool(text) is None
        assert any("here they are a chain" in line for line in said(text, Verdict.APPROXIMATE))

    @pytest.mark.parametrize(
        ("params", "targets", "weights", "keys"),
        [
            (["model: openai/a, api_key: $1", "model: openai/a, api_key: $2"], ["openai/a"], None, [["K1", "K2"]]),
            (["model: openai/a", "model: openai/a, api_key: $2"], ["openai/a"], None, [["OPENAI_API_KEY", "K2"]]),
            (["model: openai/a, api_key: $1, weight: 2", "model: openai/a, api_key: $2, weight: 2"], ["openai/a"], None,
             [["K1", "K2"]]),
            (["model: openai/a, api_key: $1", "model: openai/a, api_key: $2", "model: openai/b"],
             ["openai-keys/a", "openai/b"], (2, 1), [["K1", "K2"], []]),
            (["model: openai/a, api_key: $1, rpm: 5", "model: openai/b, rpm: 20",
              "model: openai/a, api_key: $2, rpm: 5"], ["openai/b", "openai-keys/a"], (20, 10), [[], ["K1", "K2"]]),
            (["model: openai/a, api_key: $1, weight: 9", "model: openai/a, api_key: $2, weight: 1"],
             ["openai/a", "openai-k2/a"], (9, 1), [[], []]),
            (["model: openai/a, api_key: $1", "model: openai/a, api_key: $2, timeout: 5"], ["openai/a", "openai-k2/a"],
             (1, 1), [[], []]),
            (["model: openai/a, api_key: $1, organization: o", "model: openai/a, api_key: $2"],
             ["openai-k2/a", "openai/a"], (1, 1), [[], []]),
            (["model: ollama/a, api_base: 'http://x:1'", "model: ollama/a, api_base: 'http://x:1', api_key: $1"],
             ["ollama-x/a", "ollama-x-2/a"], (1, 1), [[], []]),
        ],
    )  # fmt: skip
    def test_those_that_differ_in_their_key_alone_are_one_target(
        self, params: list[str], targets: list[str], weights: tuple[float, ...] | None, keys: list[list[str]]
    ) -> None:
        text = deployments(*(f"a: {{{one.replace('$', 'os.environ/K')}}}" for one in params))
        environ = {"K1": "one", "K2": "two", "OPENAI_API_KEY": "own"}
        route = table_of(imported(text).routes, environ).find("a")
        assert route is not None
        assert sorted(names(route)) == sorted(targets)
        values = {name: value for value, name in environ.items()}
        found = {
            step.target.name: [
                values[secret.reveal()] for one in step.by_key if (secret := one.target.endpoint.api_key.read())
            ]
            for step in route.steps
        }
        assert found == dict(zip(targets, keys, strict=True))
        shared = pool(text)
        assert (None if shared is None else {one.name: one.weight for one in shared.members}) == (
            None if weights is None else dict(zip(targets, weights, strict=True))
        )
        assert not [line for line in said(text, Verdict.APPROXIMATE) if "LiteLLM shares" in line]
        assert any("LiteLLM shares the load" in line for line in said(text, Verdict.EXACT))

    def test_a_list_of_keys_is_exact_for_an_even_draw_alone(self) -> None:
        text = deployments(*(f"a: {{model: openai/a, api_key: os.environ/K{number}}}" for number in "123"))
        told = "here they are one target with a list of keys, used in turn"
        assert any(told in line for line in said(text, Verdict.EXACT))
        for strategy in ("least-busy", "cost-based-routing"):
            other = f"{text}router_settings: {{routing_strategy: {strategy}}}\n"
            lines = said(other, Verdict.APPROXIMATE)
            assert any(f"{told}; LiteLLM chooses by its routing_strategy" in line for line in lines)
            assert any("routing_strategy: as lists of keys, which are used in turn" in line for line in lines)

    def test_keys_that_are_written_out_are_variables_of_a_list(self) -> None:
        text = deployments("a: {model: openai/a, api_key: sk-one}", "a: {model: openai/a, api_key: sk-two}")
        found = imported(text)
        assert found.routes is not None
        assert 'api_key: ["${OPENAI_KEY}", "${OPENAI_KEY_2}"]' in found.routes
        assert "sk-" not in found.routes.replace("task-", "")

    def test_each_order_shares_by_its_own_numbers(self) -> None:
        text = deployments(
            "a: {model: openai/a, order: 1, rpm: 3}",
            "a: {model: openai/b, order: 1, rpm: 1}",
            "a: {model: openai/c, order: 2, weight: 5}",
        )
        found = pool(text)
        assert found is not None
        assert found.weights == (3, 1)
        assert names(table(text).find("a")) == ["openai/a", "openai/b", "openai/c"]
        assert any("weight: there is no other of its order" in line for line in said(text, Verdict.EXACT))

    @pytest.mark.parametrize(
        ("count", "retries", "each"), [(1, 2, 2), (2, 2, 1), (3, 2, 0), (4, 2, 0), (2, 0, 0), (2, 5, 2)]
    )
    def test_the_retries_of_a_group_go_round_its_deployments(self, count: int, retries: int, each: int) -> None:
        group = deployments(*(f"a: {{model: openai/m{number}}}" for number in range(count)))
        route = table(f"{group}router_settings: {{num_retries: {retries}}}\n").find("a")
        assert route is not None
        assert [step.retries for step in route.steps] == [each] * count

    def test_fallbacks_that_lead_in_a_circle_are_written_out_once_each(self) -> None:
        three = deployments(*(f"{name}: {{model: openai/{name}}}" for name in "abc"))
        found = table(f"{three}litellm_settings: {{fallbacks: [{{a: [b]}}, {{b: [c]}}, {{c: [a]}}]}}\n")
        assert [names(found.find(name)) for name in "abc"] == [
            ["openai/a", "openai/b", "openai/c"],
            ["openai/b", "openai/c", "openai/a"],
            ["openai/c", "openai/a", "openai/b"],
        ]

    def test_a_wildcard_that_falls_back_on_a_name_it_takes_itself_is_no_circle(self) -> None:
        text = deployments("'openai/*': {model: 'openai/*'}")
        found = table(f"{text}litellm_settings: {{fallbacks: [{{'openai/*': [openai/gpt-4o]}}]}}\n")
        assert names(found.find("openai/x")) == ["openai/x", "openai/gpt-4o"]

    def test_default_fallbacks_are_for_those_without_their_own(self) -> None:
        text = deployments(*(f"{name}: {{model: openai/{name}}}" for name in "abcd"))
        found = table(f"{text}litellm_settings: {{fallbacks: [{{a: [b]}}], default_fallbacks: [c, d]}}\n")
        assert names(found.find("b")) == ["openai/b", "openai/c", "openai/d"]
        assert names(found.find("c")) == ["openai/c", "openai/d"]
        assert names(found.find("a")) == ["openai/a", "openai/b"]

    def test_a_fallback_list_for_long_prompts_is_followed_after_them_alone(self) -> None:
        text = deployments("a: {model: openai/a}", "b: {model: openai/b}")
        route = table(f"{text}router_settings: {{context_window_fallbacks: [{{a: [b]}}]}}\n").find("a")
        assert route is not None
        assert route.steps[0].fallback_on == {"context_window"}
        assert names(route) == ["openai/a", "openai/b"]

    def test_plain_fallbacks_follow_a_refusal_unless_it_has_a_list_of_its_own(self) -> None:
        text = deployments("a: {model: openai/a}", "b: {model: openai/b}")
        plain = f"{text}litellm_settings: {{fallbacks: [{{a: [b]}}]"
        for settings, follows in (("}", True), (", content_policy_fallbacks: [{b: [a]}]}", False)):
            route = table(f"{plain}{settings}\n").find("a")
            assert route is not None
            assert ("content_filter" in route.steps[0].fallback_on) is follows

    def test_a_rule_without_the_provider_is_for_the_name_with_it(self) -> None:
        text = deployments("openai/a: {model: openai/a}", "b: {model: openai/b}")
        assert names(table(f"{text}litellm_settings: {{fallbacks: [{{a: [b]}}]}}\n").find("openai/a")) == [
            "openai/a",
            "openai/b",
        ]

    def test_aliases_that_stand_for_each_other_are_left_out(self) -> None:
        text = deployments("c: {model: openai/c}")
        aliases = "router_settings: {model_group_alias: {a: b, b: a, d: e, e: c, c: e}}\n"
        found = table(text + aliases)
        assert names(found.find("d")) == ["openai/c"]
        assert found.find("a") is None
        assert len(said(text + aliases, Verdict.LEFT_OUT)) == 3
        assert "LiteLLM does not follow an alias of an alias" in said(text + aliases, Verdict.APPROXIMATE)[0]

    def test_the_same_deployment_twice_is_one_step(self) -> None:
        text = deployments(*(f"a: {{model: openai/{model}, rpm: 5}}" for model in ("m", "n", "m")))
        assert names(table(text).find("a")) == ["openai/m", "openai/n"]
        assert "the same deployment as in line 2" in "".join(said(text, Verdict.APPROXIMATE))

    def test_a_ladder_of_fallbacks_ends_at_a_hundred_targets(self) -> None:
        text = deployments(*(f"m{number}: {{model: openai/m{number}}}" for number in range(130)))
        rules = ", ".join(f"{{m{number}: [m{number + 1}, m{number + 2}]}}" for number in range(128))
        found = table(f"{text}litellm_settings: {{fallbacks: [{rules}], max_fallbacks: 500}}\n")
        assert names(found.find("m0")) == [f"openai/m{number}" for number in range(100)]
        assert names(found.find("m120")) == [f"openai/m{number}" for number in range(120, 130)]

    def test_a_chain_has_a_hundred_targets_at_most(self) -> None:
        text = deployments(*(f"a: {{model: openai/m{number}}}" for number in range(150)))
        assert len(names(table(text).find("a"))) == 100
        assert "100 targets at most" in "".join(said(text, Verdict.APPROXIMATE))


class TestUpstreams:
    def test_the_same_upstream_is_one_entry(self) -> None:
        text = deployments(
            "a: {model: azure/a, api_base: 'https://eu.example.com', api_key: os.environ/EU}",
            "b: {model: azure/b, api_base: 'https://eu.example.com/', api_key: os.environ/EU}",
            "c: {model: azure/c, api_base: 'https://us.example.com', api_key: os.environ/EU}",
        )
        found = table(text)
        assert [target.endpoint.provider for target in found.targets] == ["azure-eu", "azure-eu", "azure-us"]

    def test_azure_is_relayed_unless_litellm_has_to_sign_in(self) -> None:
        text = deployments(
            "a: {model: azure/a, api_base: 'https://eu', api_key: os.environ/EU, api_version: os.environ/VERSION}",
            "b: {model: azure/b, api_base: 'https://us', tenant_id: t, client_id: c, api_version: '2024-10-21'}",
        )
        routes = imported(text).routes
        assert routes is not None
        relayed, signed = (target.endpoint for target in table_of(routes, {"VERSION": "2025-01-01"}).targets)
        assert (relayed.adapter, relayed.api_version) == ("relay", "2025-01-01")
        assert table_of(routes).targets[0].endpoint.api_version is None
        assert (signed.adapter, dict(signed.params.sent)) == (
            "litellm",
            {"api_version": "2024-10-21", "client_id": "c", "tenant_id": "t"},
        )

    def test_a_well_known_provider_needs_no_entry(self) -> None:
        routes = imported(deployments("a: {model: openai/a, api_key: os.environ/OPENAI_API_KEY}")).routes
        assert routes is not None
        assert "providers:" not in routes

    def test_another_account_of_openai_says_where_it_is(self) -> None:
        text = deployments("a: {model: openai/a}", "b: {model: openai/b, api_key: os.environ/TEAM_KEY}")
        found = table(text)
        urls = [target.endpoint.base_url for target in found.targets]
        assert urls == ["https://api.openai.com/v1"] * 2
        assert [target.name for target in found.targets] == ["openai/a", "openai-team/b"]

    @pytest.mark.parametrize(
        ("params", "target"),
        [
            ("{model: gpt-4o}", "openai/gpt-4o"),
            ("{model: claude-99-new}", "anthropic/claude-99-new"),
            ("{model: gpt-99-new}", "openai/gpt-99-new"),
            ("{model: text-embedding-3-large}", "openai/text-embedding-3-large"),
            ("{model: m, custom_llm_provider: groq}", "groq/m"),
            ("{model: groq/m, custom_llm_provider: groq}", "groq/m"),
            ("{model: openrouter/openai/gpt-4o}", "openrouter/openai/gpt-4o"),
        ],
    )
    def test_whose_a_model_is(self, params: str, target: str) -> None:
        assert names(table(deployments(f"a: {params}")).find("a")) == [target]

    def test_any_model_becomes_a_wildcard_for_each_provider(self) -> None:
        text = deployments("'*': {model: '*'}", "'groq/*': {model: 'groq/*', api_key: os.environ/TEAM}")
        found = table(text)
        for name in ("openai/gpt-4o", "anthropic/claude-x", "groq/llama"):
            assert names(found.find(name)) == [name]
        assert names(found.find("gpt-4o")) == ["openai/gpt-4o"]
        assert found.find("mock/echo") is None
        told = said(text, Verdict.APPROXIMATE)
        assert "a wildcard for each provider that has its key" in told[0]
        assert "LiteLLM also takes names of groq's models without it" in told[1]

    def test_a_body_of_its_own_is_parameters_of_the_step(self) -> None:
        text = deployments("a: {model: openai/a, extra_body: {top_k: 3, api_key: sk-hidden, model: b}}")
        route = table(text).find("a")
        assert route is not None
        assert route.steps[0].params.sent == {"top_k": 3}
        assert len(said(text, Verdict.LEFT_OUT)) == 2

    def test_a_parameter_to_be_dropped_cannot_be_the_model(self) -> None:
        text = deployments("a: {model: openai/a, additional_drop_params: [model]}")
        assert names(table(text).find("a")) == ["openai/a"]

    def test_names_that_would_become_one_are_kept_apart(self) -> None:
        text = deployments("'a b': {model: openai/x}", "a-b: {model: openai/y}", "'a  b': {model: openai/z}")
        assert names(table(text).find("a-b")) == ["openai/y"]
        assert len(said(text, Verdict.LEFT_OUT)) == 2

    @pytest.mark.parametrize(
        ("params", "why"),
        [
            ("{model: nothing-known}", "its provider cannot be told"),
            ("{model: m, custom_llm_provider: nobody}", "no provider that LiteLLM knows"),
            ("{model: openai/}", "the model's name is missing"),
            ("{model: 5}", "it names no model"),
            ("{}", "it names no model"),
            ("{model: auto_router/x}", "routed by name alone"),
            ("{model: 'openai/a b'}", "no spaces"),
            ("{model: openai/a, api_base: 'ftp://x'}", "api_base cannot be used"),
            ("{model: openai/a, api_base: 5}", "api_base is no address"),
            ("{model: openai/a, api_base: 'http://[::1'}", "api_base cannot be used"),
            ("{model: openai/a, api_base: 'os.environ/NOT A NAME'}", "api_base is no address"),
        ],
    )
    def test_a_deployment_that_cannot_be_carried_over_says_why(self, params: str, why: str) -> None:
        text = deployments(f"a: {params}", "b: {model: openai/b}")
        assert list(table(text).routes) == ["b"]
        assert why in said(text, Verdict.LEFT_OUT)[0]

    def test_a_key_that_is_written_out_gets_a_variable_that_nothing_else_has(self) -> None:
        found = imported(
            deployments("a: {model: groq/a, api_key: gsk-hidden}", "b: {model: groq/b, api_key: os.environ/GROQ_KEY}")
        )
        assert found.variables == (("GROQ_KEY_2", 2),)
        assert "hidden" not in repr(found)

    def test_a_parameter_that_may_be_a_secret_is_not_copied(self) -> None:
        body = "{metadata: {session_token: sk-hidden, team: x}}"
        text = deployments(f"a: {{model: openai/a, extra_body: {body}}}", f"b: {{model: azure/b, extra_body: {body}}}")
        found = imported(text)
        assert "hidden" not in f"{found}"
        assert found.variables == (("OPENAI_SESSION_TOKEN", 2),)
        assert found.routes is not None
        assert "team: x" in found.routes

    def test_what_the_compiler_refuses_is_taken_out_and_told(self) -> None:
        bad = Upstream(kind="openai", entry={"base_url": "ftp://x"})
        good = Upstream(kind="mock", entry={"script": [{"text": "hi"}]})
        draft = Draft(
            upstreams={each.identity: each for each in (bad, good)},
            defaults={"retries": -1, "timeout": "5s"},
            aliases={
                "a": Alias(chain=[Step(upstream=bad.identity, model="m", where=())]),
                "b": Alias(chain=[Step(upstream=good.identity, model="m", where=())]),
                "c": Alias(chain=[Reference("a")]),
            },
        )
        report = Report(parse(b"model_list: []", name="config.yaml"))
        found = table_of(validated(draft, report, "config.yaml"))
        assert list(found.routes) == ["b"]
        assert all(item.verdict is Verdict.LEFT_OUT for item in report.items)
        assert {item.message.partition(".")[0] for item in report.items} == {"defaults", "providers", "models"}


class TestResponses:
    @pytest.mark.parametrize(
        "text",
        [
            deployments("a: {model: openai/responses/gpt-99-new}"),
            deployments("a: {model: responses/gpt-99-new, custom_llm_provider: openai}"),
            deployments("a: {model: openai/gpt-99-new}").replace("}}", "}, model_info: {mode: responses}}"),
        ],
    )
    def test_a_model_of_the_responses_api_is_left_to_litellms_library(self, text: str) -> None:
        target = table(text).targets[0]
        assert (target.name, target.model) == ("openai-responses/responses/gpt-99-new", "responses/gpt-99-new")
        assert (target.endpoint.adapter, target.endpoint.base_url) == ("litellm", "https://api.openai.com/v1")
        assert "OPENAI_API_KEY" in target.endpoint.api_key.name
        assert "Responses API" in "".join(said(text, Verdict.EXACT))

    def test_a_model_that_litellm_knows_for_the_responses_api_alone_is_left_to_it_too(self) -> None:
        found = {target.model: target.endpoint for target in table(deployments("a: {model: openai/gpt-5-pro}")).targets}
        assert found["responses/gpt-5-pro"].adapter == "litellm"

    def test_the_chat_models_beside_it_are_still_relayed(self) -> None:
        found = table(deployments("a: {model: openai/responses/m}", "b: {model: openai/b}"))
        assert {target.name: target.endpoint.adapter for target in found.targets} == {
            "openai-responses/responses/m": "litellm",
            "openai/b": "relay",
        }

    def test_a_mode_of_chat_is_believed(self) -> None:
        text = deployments("a: {model: openai/gpt-5-pro}").replace("}}", "}, model_info: {mode: chat}}")
        assert [(target.model, target.endpoint.adapter) for target in table(text).targets] == [("gpt-5-pro", "relay")]

    def test_other_providers_are_asked_as_litellm_asks_them(self) -> None:
        text = deployments("a: {model: azure/responses/mine, api_base: 'https://x.example.com', api_key: os.environ/K}")
        assert names(table(text).find("a")) == ["azure-responses/responses/mine"]
        text = text.replace("azure/responses/mine", "azure/mine").replace("}}", "}, model_info: {mode: responses}}")
        assert names(table(text).find("a")) == ["azure-responses/responses/mine"]

    def test_its_address_is_kept(self) -> None:
        text = deployments("a: {model: openai/responses/m, api_base: 'http://127.0.0.1:1/v1/responses'}")
        assert table(text).targets[0].endpoint.base_url == "http://127.0.0.1:1/v1"


class TestModes:
    @pytest.mark.parametrize(
        ("model", "mode"),
        [
            ("cohere/rerank-v3.5", "rerank"),
            ("xinference/FLUX.1-dev", "image_generation"),
            ("openai/gpt-realtime", "realtime"),
            ("openai/sora-2", "video_generation"),
        ],
    )
    def test_what_is_not_served_is_left_out_without_a_mode_too(self, model: str, mode: str) -> None:
        text = deployments(f"a: {{model: {model}}}", "b: {model: openai/b}")
        assert list(table(text).routes) == ["b"]
        assert f"not {mode}" in said(text, Verdict.LEFT_OUT)[0]
        chat = text.replace(f"{model}}}", f"{model}}}, model_info: {{mode: chat}}")
        assert names(table(chat).find("a")) == [model]

    def test_the_base_model_says_what_a_deployment_is_for(self) -> None:
        text = deployments("a: {model: vertex_ai/pictures}").replace("}}", "}, model_info: {base_model: imagen-4}}")
        assert "not image_generation" in "".join(said(text, Verdict.LEFT_OUT))

    @pytest.mark.parametrize(
        "model",
        [
            "openai/dall-e-3", "openai/gpt-image-1", "openai/whisper-1", "groq/whisper-large-v3", "openai/tts-1-hd",
            "openai/my-whisper-server", "openai/omni-moderation-latest",
        ],
    )  # fmt: skip
    def test_what_is_relayed_is_carried_over(self, model: str) -> None:
        assert names(table(deployments(f"a: {{model: {model}}}")).find("a")) == [model]

    @pytest.mark.parametrize(
        "model", ["openai/gpt-4o-audio-preview", "openai/text-embedding-3-small", "gemini/gemini-3-pro-image"]
    )
    def test_chat_and_embeddings_are_carried_over(self, model: str) -> None:
        assert names(table(deployments(f"a: {{model: {model}}}")).find("a")) == [model]


class TestVariables:
    def test_a_variable_may_stand_in_any_value(self) -> None:
        text = deployments(
            "a: {model: os.environ/M, custom_llm_provider: openai, num_retries: os.environ/R, timeout: os.environ/T}",
            "b: {model: groq/b, temperature: os.environ/TEMPERATURE, extra_headers: {x-team: os.environ/TEAM}}",
            "c: {model: openai/c, mock_response: os.environ/ANSWER}",
        )
        text += (
            "router_settings: {num_retries: os.environ/RETRIES, timeout: os.environ/T, cooldown_time: os.environ/C}\n"
        )
        values = {
            "M": "gpt-4o", "R": "7", "T": "9", "TEMPERATURE": "0.5", "TEAM": "x", "ANSWER": "hi", "RETRIES": "4",
            "C": "3",
        }  # fmt: skip
        routes = imported(text).routes
        assert table_of(routes, {"M": "gpt-4o"}).find("a") is not None
        assert routes is not None
        found = Compiler(environ=values).compile(routes.encode(), source="routes.yaml").table
        assert found is not None
        a, b = found.find("a"), found.find("b")
        assert a is not None
        assert b is not None
        assert (a.steps[0].target.model, a.steps[0].retries, a.steps[0].limits.total_s) == ("gpt-4o", 7, 9)
        assert (b.steps[0].retries, b.steps[0].params.sent) == (4, {"temperature": 0.5})
        assert b.steps[0].target.endpoint.cooldown.for_s == 3
        assert not [line for line in said(text) if "unknown key" in line]

    @pytest.mark.parametrize("key", ["", ", api_key: os.environ/GEMINI_API_KEY"])
    def test_a_variable_may_have_provider_and_model(self, key: str) -> None:
        routes = imported(deployments(f"a: {{model: os.environ/M{key}}}")).routes
        assert routes is not None
        found = Compiler(environ={"M": "gemini/gemini-2.5-flash"}).compile(routes.encode(), source="routes.yaml").table
        assert found is not None
        assert names(found.find("a")) == ["gemini/gemini-2.5-flash"]

    @pytest.mark.parametrize(
        ("params", "target"),
        [("", "${M}"), (", custom_llm_provider: groq", "groq/${M}"), (", api_key: os.environ/GEMINI_API_KEY", "${M}")],
    )
    def test_a_model_whose_variable_is_not_set_is_a_problem(self, params: str, target: str) -> None:
        """A made-up model would start the gateway and fail every request."""
        text = deployments(f"a: {{model: os.environ/M{params}}}")
        routes = imported(text).routes
        assert routes is not None
        assert f'"{target}"' in routes
        assert "# Set M (line 2 there), which names a model: without it this file has a problem.\n" in routes
        found = Compiler(environ={}).compile(routes.encode(), source="routes.yaml")
        problems = [problem.path for problem in found.problems if problem.severity == "error"]
        assert (found.table, problems) == (None, ["models.a"])
        assert not [line for line in said(text, Verdict.EXACT) if "model_list[0]:" in line]
        assert "unset" not in routes + "".join(said(text))

    @pytest.mark.parametrize(
        ("text", "path", "why"),
        [
            ("model_name: os.environ/N, litellm_params: {model: openai/a}", "model_list[1]", "in the variable N"),
            (
                "model_name: b, litellm_params: {model: os.environ/M, api_base: 'http://x.example.com'}",
                "model_list[1]",
                "custom_llm_provider",
            ),
            ("model_name: b, litellm_params: {model: openai/b, order: os.environ/O}", "order", "from a variable"),
            ("model_name: b, litellm_params: {model: openai/b}, rpm: os.environ/O", "rpm", "from a variable"),
        ],
    )
    def test_where_none_may_stand_the_report_says_so(self, text: str, path: str, why: str) -> None:
        whole = f"{deployments('a: {model: openai/a}')}  - {{{text}}}\n"
        assert "a" in table(whole).routes
        assert [line for line in said(whole, Verdict.LEFT_OUT) if path in line and why in line]

    @pytest.mark.parametrize(
        "setting",
        [
            "allowed_fails: os.environ/X", "max_fallbacks: os.environ/X",
            "retry_policy: {DefaultRetries: os.environ/X}",
            "fallbacks: [{a: [os.environ/X]}]", "model_group_alias: {b: os.environ/X}",
        ],
    )  # fmt: skip
    def test_a_setting_that_needs_the_value_says_so(self, setting: str) -> None:
        text = f"{deployments('a: {model: openai/a}')}router_settings: {{{setting}}}\n"
        assert "a" in table(text).routes
        assert any("variable" in line for line in said(text, Verdict.LEFT_OUT))


class TestDropParams:
    @pytest.mark.parametrize(
        ("model", "given", "verdict"),
        [
            ("openai/a", "true", Verdict.APPROXIMATE),
            ("openai/a", "false", Verdict.EXACT),
            ("anthropic/a", "true", Verdict.EXACT),
            ("anthropic/a", "false", Verdict.APPROXIMATE),
            ("openai/responses/a", "true", Verdict.EXACT),
        ],
    )
    def test_it_is_exact_only_where_it_is_so(self, model: str, given: str, verdict: Verdict) -> None:
        text = deployments(f"a: {{model: {model}, drop_params: {given}}}")
        assert [line for line in said(text, verdict) if "drop_params" in line]
        text = f"{deployments(f'a: {{model: {model}}}')}litellm_settings: {{drop_params: {given}}}\n"
        assert [line for line in said(text, verdict) if "litellm_settings.drop_params" in line]

    def test_a_file_with_both_says_where_it_is_not_so(self) -> None:
        text = (
            f"{deployments('a: {model: openai/a}', 'b: {model: anthropic/b}')}litellm_settings: {{drop_params: true}}\n"
        )
        assert "passed on as they come" in "".join(said(text, Verdict.APPROXIMATE))


class TestSettings:
    def test_the_routers_settings_win_over_the_librarys(self) -> None:
        text = deployments("a: {model: openai/a}")
        text += (
            "router_settings: {timeout: 7, num_retries: 1}\nlitellm_settings: {request_timeout: 9, num_retries: 5}\n"
        )
        route = table(text).find("a")
        assert route is not None
        assert (route.steps[0].limits.total_s, route.steps[0].retries) == (7, 1)

    def test_limits_of_plain_answers_and_streams_are_kept_apart(self) -> None:
        route = table(deployments("a: {model: openai/a, timeout: 60, stream_timeout: 5}")).find("a")
        assert route is not None
        limits = route.steps[0].limits
        assert (limits.total_s, limits.first_token_s, limits.idle_s, limits.stream_total_s) == (60, 5, 5, None)

    def test_a_retry_policy_becomes_kinds_and_one_number(self) -> None:
        text = deployments("a: {model: openai/a}")
        policy = "{TimeoutErrorRetries: 3, RateLimitErrorRetries: 0, DefaultRetries: 1}"
        route = table(f"{text}router_settings: {{retry_policy: {policy}}}\n").find("a")
        assert route is not None
        assert route.steps[0].retries == 3
        assert route.steps[0].retry_on == {"timeout", "connection", "overloaded", "server_error", "bad_response"}

    @pytest.mark.parametrize(
        ("policy", "retries"),
        [
            ("{TimeoutErrorRetries: 1}", 4),
            ("{TimeoutErrorRetries: 6}", 6),
            ("{TimeoutErrorRetries: 1, DefaultRetries: 2}", 2),
            ("{RateLimitErrorRetries: 0}", 4),
        ],
    )
    def test_what_a_retry_policy_does_not_name_keeps_its_retries(self, policy: str, retries: int) -> None:
        text = deployments("a: {model: openai/a}", "b: {model: openai/b}")
        for key, given in (("retry_policy", policy), ("model_group_retry_policy", f"{{a: {policy}}}")):
            route = table(f"{text}router_settings: {{num_retries: 4, {key}: {given}}}\n").find("a")
            assert route is not None
            assert route.steps[0].retries == retries

    def test_many_retries_have_room(self) -> None:
        route = table(f"{deployments('a: {model: openai/a}')}router_settings: {{num_retries: 20}}\n").find("a")
        assert route is not None
        assert route.max_attempts == 21

    def test_cooldowns(self) -> None:
        text = deployments("a: {model: openai/a}", "b: {model: openai/b, cooldown_time: 90}")
        text += "router_settings: {allowed_fails: 0, cooldown_time: 60}\n"
        found = {target.model: target.endpoint.cooldown for target in table(text).targets}
        assert (found["a"].failures, found["a"].within_s, found["a"].for_s) == (1, 60, 60)
        assert found["b"].for_s == 90

    def test_an_unknown_key_is_told_wherever_it_stands(self) -> None:
        text = "model_list:\n- {model_name: a, litellm_params: {model: openai/a, zzz: 1}, yyy: 2}\nxxx: [1, {www: 3}]\n"
        assert [line.split(": ")[1] for line in said(text, Verdict.LEFT_OUT)] == [
            "model_list[0].litellm_params.zzz",
            "model_list[0].yyy",
            "xxx[0]",
            "xxx[1].www",
        ]

    @pytest.mark.parametrize(
        "block",
        [
            "router_settings: {fallbacks: 5}",
            "router_settings: {fallbacks: [5, a, {}, {a: 5}, {a: {}}, {a: [{model: b, messages: []}, null, {}]}]}",
            "router_settings: {fallbacks: {a: b}}",
            "router_settings: {fallbacks: [{a: [b], b: [a]}]}",
            "router_settings: {fallbacks: [{a: [b]}, {a: [b]}, {a: [a]}, {'*': [b]}, {'a b': [c]}, {b: ['*']}]}",
            "router_settings: {model_group_alias: {x: a, 'y y': b, 'z*': a, '*': a, a: a, b: {}, w: {model: a}}}",
            "router_settings: {retry_policy: 5, model_group_retry_policy: 6, allowed_fails: many, cooldown_time: -1}",
            "router_settings: {retry_policy: {TimeoutErrorRetries: x, FooRetries: 1, RateLimitErrorRetries: null}}",
            "router_settings: {model_group_retry_policy: {a: 5, b: {RateLimitErrorRetries: 2}}}",
            "router_settings: {disable_cooldowns: true, timeout: 0, stream_timeout: x, num_retries: 1.5}",
            "router_settings: {disable_cooldowns: false, timeout: os.environ/T, num_retries: 1000}",
            "litellm_settings: {default_fallbacks: a, drop_params: false, telemetry: true}",
            "litellm_settings: {default_fallbacks: [a, 5, null, {}, nobody], content_policy_fallbacks: []}",
            "litellm_settings: {default_fallbacks: {a: b}}",
            "litellm_settings: []\nrouter_settings: 5\ngeneral_settings: x\nenvironment_variables: [1]",
            "credential_list: 5",
            "credential_list: [5, {credential_name: c}, {credential_values: {}}]",
        ],
    )
    def test_odd_settings_are_told_and_the_rest_is_carried_over(self, block: str) -> None:
        text = f"{deployments('a: {model: openai/a}', 'b: {model: openai/b}')}{block}\n"
        assert {"a", "b"} <= table(text).routes.keys()
        assert len(said(text)) > 2


class TestOtherFiles:
    @pytest.mark.parametrize("path", ["proxy_config", "litellm.proxy_config", "apps.gateway.config"])
    def test_the_config_inside_of_helm_values_is_read(self, path: str) -> None:
        inner = deployments("a: {model: openai/a, zzz: 1}")
        text = "image: {tag: main}\n"
        for depth, key in enumerate(path.split(".")):
            text += f"{' ' * depth}{key}:\n"
        text += "".join(f"{' ' * (depth + 1)}{line}\n" for line in inner.splitlines())
        assert names(table(text).find("a")) == ["openai/a"]
        left = said(text, Verdict.LEFT_OUT)
        assert f"only {path} is read; all else in the file is for Kubernetes: image" in left[0]
        line = text.splitlines().index(next(line for line in text.splitlines() if "zzz" in line)) + 1
        assert left[1] == f"{line}: {path}.model_list[0].litellm_params.zzz: unknown key"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "kind: ConfigMap\ndata:\n  config.yaml: |\n    model_list: []\n",
                """`yq '."data"."config.yaml"' FILE |""",
            ),
            ("configs: [{content: 'model_list: []'}]\n", """yq '."configs"[0]."content"'"""),
            ("a: {model_list: []}\nb: {model_list: []}\n", "several configs of the LiteLLM proxy: a, b"),
            ("kind: Service\n---\nmodel_list: []\n", "in another document"),
            ("a: {{ .Values.x }}\n{{- if x }}\nmodel_list: []\n", "render it first (`helm template`)"),
        ],
    )
    def test_what_to_extract_is_said(self, text: str, message: str) -> None:
        found = imported(text)
        assert found.routes is None
        assert message in found.problems[-1].message


class TestFiles:
    @pytest.mark.parametrize(
        ("text", "code", "message"),
        [
            ("", "empty-file", "at least a model_list"),
            ("# nothing\n", "empty-file", "at least a model_list"),
            ("[1, 2]\n", "wrong-type", "must be a mapping"),
            ("a: [\n", "yaml-syntax", "a value is missing here"),
            ("version: 1\nmodels: {}\n", "not-litellm", "this is a routes.yaml already"),
            ("services: {}\n", "not-litellm", "no config of the LiteLLM proxy"),
            ("model_list: &a [*a]\n", "alias-bomb", "holds itself"),
        ],
    )
    def test_what_is_no_config_of_litellm(self, text: str, code: str, message: str) -> None:
        found = imported(text)
        assert found.routes is None
        assert [problem.code for problem in found.problems] == [code]
        assert message in found.problems[0].message

    @pytest.mark.parametrize(
        "text",
        ["model_list:\n", "model_list: []\n", "model_list: 5\n", "model_list: {a: 1}\n", "general_settings: {}\n"],
    )
    def test_a_config_without_models_is_valid_all_the_same(self, text: str) -> None:
        assert not table(text).routes
        assert "no model could be carried over" in "".join(said(text, Verdict.LEFT_OUT))

    def test_anchors_and_merge_keys_work(self) -> None:
        text = "x: &p {model: openai/a, timeout: 5}\n" + deployments("a: {<<: *p, timeout: 7}")
        route = table(text).find("a")
        assert route is not None
        assert route.steps[0].limits.total_s == 7

    def test_a_large_config_is_read_in_good_time(self) -> None:
        many = deployments(*(f"m{number}: {{model: openai/m{number}}}" for number in range(1000)))
        assert len(table(f"{many}litellm_settings: {{default_fallbacks: [m1, m2, m3]}}\n").routes) == 1000


def _write_anew() -> None:
    os.chdir(FOLDER)
    for file in CONFIGS:
        found = convert(file.read_bytes(), source=file.name)
        file.with_suffix(".routes.yaml").write_text(found.routes or "", encoding="utf-8")
        file.with_suffix(".report").write_text(found.as_text(file.name), encoding="utf-8")


if __name__ == "__main__":
    _write_anew()


class TestNeverNext:
    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ("fallbacks: [{a: [b]}], max_fallbacks: 0", "then nothing; LiteLLM does not go on to b either"),
            ("fallbacks: [{a: [a]}]", "then nothing; LiteLLM does not go on to a either"),
            ("fallbacks: [{a: [a, b]}]", "then b; LiteLLM does not go on to a either"),
            ("fallbacks: [{a: [b]}]", "then b"),
            ("fallbacks: [{a: []}]", "then nothing: it has no fallbacks"),
        ],
    )
    def test_the_report_names_only_steps_that_a_chain_has(self, settings: str, says: str) -> None:
        text = deployments("a: {model: openai/a}", "b: {model: openai/b}")
        lines = said(f"{text}router_settings: {{{settings}}}\n", Verdict.EXACT)
        assert [line.partition(": ")[2].partition(": ")[2] for line in lines if "fallbacks[0]" in line] == [says]

    def test_a_config_map_with_nothing_else_leaves_nothing_out(self) -> None:
        config = "proxy_config:\n  model_list:\n    - {model_name: a, litellm_params: {model: openai/a}}\n"
        assert not said(config, Verdict.LEFT_OUT)
