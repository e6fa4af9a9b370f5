"""The compiler: a file's text into a table; hooks, the overlay, and all problems at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.compiler.compiler import Compiled, Compiler
from gateway.library.provider import Provider
from gateway.policy.overlay import Overlay
from gateway.policy.table import Hook, RoutingTable
from gateway.policy.target import Endpoint, Limits, Target
from tests.compiling import compiled, key_of, messages, names, problems, route, table
from tests.paths import CASES


@pytest.fixture(autouse=True)
def _clean_import_state() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def _cases(kind: str, ending: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted((CASES / kind).glob(f"*{ending}"))]


def _printed(result: Compiled) -> list[str]:
    return [f"{'warning: ' if each.severity == 'warning' else ''}{each}" for each in result.problems]


@pytest.mark.parametrize("expected", _cases("invalid", ".problems"))
def test_a_bad_file_has_exactly_the_problems_written_beside_it(expected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(expected.parent)
    file = expected.with_suffix(".yaml")
    compiler = Compiler(environ={}, strict_env=expected.stem.endswith("-strict"))
    result = compiler.compile(file.read_bytes(), source=file.name)
    assert _printed(result) == expected.read_text(encoding="utf-8").splitlines()
    assert result.table is None


@pytest.mark.parametrize("file", _cases("valid", ".yaml"))
def test_a_good_file_compiles(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    result = Compiler(environ={}).compile(file.read_bytes(), source=file.name)
    assert result.table is not None, _printed(result)
    assert all(problem.severity == "warning" for problem in result.problems)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> RoutingTable:
    monkeypatch.chdir(CASES / "valid")
    compiler = Compiler(environ={"OPENAI_API_KEY": "sk-openai", "AZURE_EU_KEY": "azure-key"})
    data = Path("design-example.yaml").read_bytes()
    result = compiler.compile(data, source="design-example.yaml", generation=7, now=123.0)
    assert result.table is not None
    assert [problem.code for problem in result.problems] == ["missing-key-file"]
    return result.table


def test_the_designs_example_becomes_its_routes(example: RoutingTable) -> None:
    assert list(example.routes) == ["gpt-4o-mini", "smart", "fast"]
    assert list(example.wildcards) == ["team-a/"]
    assert names(example.find("fast")) == [
        "openai/gpt-4o-mini",
        "vllm/meta-llama/llama-3.1-8b",
        "openai/gpt-4o",
        "anthropic/claude-sonnet-4-5",
    ]
    assert names(example.find("team-a/o3")) == ["openai/o3"]


def test_the_designs_example_keeps_the_limits_of_each_step(example: RoutingTable) -> None:
    first, second, *_ = example.routes["fast"].steps
    assert first.limits == Limits(connect_s=5, first_token_s=30, idle_s=30, total_s=30)
    assert second.limits == Limits(connect_s=5, first_token_s=10, idle_s=10, total_s=10)
    assert (first.retries, second.retries) == (2, 0)
    assert (dict(first.params.sent), dict(second.params.sent)) == ({}, {"temperature": 0})


def test_the_designs_example_runs_global_hooks_before_an_alias_own(example: RoutingTable) -> None:
    fast, smart = example.routes["fast"], example.routes["smart"]
    assert [hook.path for hook in fast.pre] == ["design_hooks.redact", "design_hooks.add_system_message"]
    assert [hook.path for hook in smart.pre] == ["design_hooks.redact"]
    (metadata,) = smart.post
    assert (metadata.timeout_s, metadata.on_error, metadata.is_async) == (0.2, "skip", True)
    assert type(example.capabilities["cached_embedding"]).__name__ == "CachedEmbedding"


def test_the_designs_example_has_the_keys_that_it_names(example: RoutingTable) -> None:
    openai, vllm = (each.target.endpoint for each in example.routes["fast"].steps[:2])
    assert (openai.adapter, openai.base_url, openai.own_base_url) == ("relay", "https://api.openai.com/v1", False)
    assert (openai.api_key.name, key_of(openai)) == ("${OPENAI_API_KEY:-}", "sk-openai")
    assert (vllm.adapter, vllm.base_url, vllm.own_base_url) == ("relay", "http://127.0.0.1:8000/v1", True)
    assert vllm.api_key.name == "file:/run/secrets/vllm"
    assert vllm.key_required, "its key file is named, so nothing goes there without it"


def test_the_table_says_where_it_comes_from(example: RoutingTable) -> None:
    assert (example.generation, example.loaded_at, example.source) == (7, 123.0, "design-example.yaml")
    assert len(example.digest) == 64
    assert example.config["providers"]["openai"]["api_key"] == "${OPENAI_API_KEY:-}"
    assert [target.label for target in example.targets] == [
        "openai/gpt-4o-mini",
        "openai/gpt-4o",
        "anthropic/claude-sonnet-4-5",
        "vllm/meta-llama/llama-3.1-8b",
        "openai/*",
    ]


@pytest.fixture
def hooked(tmp_path: Path) -> str:
    """The path of a config file with a module of hooks beside it."""
    (tmp_path / "file_hooks.py").write_text(
        "def one(x): return x\nasync def two(x): return x\nclass Cache:\n    made = []\n"
        "    def __init__(self): self.made.append(1)\n"
    )
    return str(tmp_path / "routes.yaml")


def test_a_steps_nested_hooks_are_those_of_the_aliases_that_lead_to_it_from_outer_to_inner(hooked: str) -> None:
    text = """
hooks: {pre: [file_hooks.one]}
models:
  asked: {chain: [openai/x, {alias: outer}, {alias: w/y}], hooks: {pre: [file_hooks.one]}}
  outer: {chain: [openai/x, {alias: inner}, {alias: bare}], hooks: {pre: [file_hooks.two]}}
  inner: {chain: [openai/x], hooks: {post: [file_hooks.one]}}
  bare: openai/x
  "w/*": {chain: ["openai/*"], hooks: {pre: [file_hooks.two]}}
  away: {chain: [{alias: bare}]}
"""
    live = table(text, source=hooked)
    steps = live.routes["asked"].steps
    ways = [[hooks.alias for hooks in step.nested] for step in steps]
    assert ways == [[], ["outer"], ["outer", "inner"], ["outer"], ["w/*"]]
    outer, inner = steps[2].nested
    assert [hook.path for hook in (*outer.pre, *inner.post)] == ["file_hooks.two", "file_hooks.one"]
    assert (outer.post, inner.pre) == ((), ())
    assert live.routes["bare"].steps[0].nested == ()
    without_global = table(text.replace("hooks: {pre: [file_hooks.one]}\nmodels", "models"), source=hooked)
    assert [name for name, route in without_global.routes.items() if route.has_hooks] == ["asked", "outer", "inner"]


def test_the_overlays_hooks_run_after_the_files_global_ones_and_before_an_alias_own(hooked: str) -> None:
    text = """
hooks: {pre: [file_hooks.one], post: [file_hooks.two]}
models: {fast: {chain: [openai/x], hooks: {pre: [file_hooks.two], post: [file_hooks.one]}}, other: openai/x}
"""
    mine = Hook(path="mine", call=lambda value: value, is_async=False)
    live = table(text, source=hooked, overlay=Overlay(pre=(mine,), post=(mine,)))
    fast, other = live.routes["fast"], live.routes["other"]
    assert [hook.path for hook in fast.pre] == ["file_hooks.one", "mine", "file_hooks.two"]
    assert [hook.path for hook in fast.post] == ["file_hooks.two", "mine", "file_hooks.one"]
    assert [hook.path for hook in other.pre] == ["file_hooks.one", "mine"]


def test_the_config_files_folder_goes_last_on_the_import_path(hooked: str) -> None:
    table("hooks: {pre: [file_hooks.one]}\nmodels: {}\n", source=hooked)
    assert sys.path[-1] == str(Path(hooked).parent)


def test_a_capability_is_kept_while_its_path_is_unchanged(hooked: str) -> None:
    compiler = Compiler(environ={})
    first, second = (
        compiler.compile(f"version: 1\nmodels: {models}\ncapabilities: {{c: file_hooks.Cache}}".encode(), source=hooked)
        for models in ("{}", "{fast: openai/x}")
    )
    assert first.table is not None
    assert second.table is not None
    assert first.table.capabilities["c"] is second.table.capabilities["c"]


def test_the_overlays_capabilities_win_over_the_files(hooked: str) -> None:
    text = "capabilities: {a: file_hooks.Cache, b: file_hooks.Cache}\nmodels: {}\n"
    live = table(text, source=hooked, overlay=Overlay(capabilities={"b": "mine", "c": "too"}))
    assert {name: live.capabilities[name] for name in "bc"} == {"b": "mine", "c": "too"}
    assert type(live.capabilities["a"]).__name__ == "Cache"


def test_skipped_hooks_are_counted_and_never_imported() -> None:
    text = """
hooks: {pre: [no_such_module.one, no_such_module.one]}
models: {fast: {chain: [openai/x], hooks: {post: [no_such_module.two]}}}
capabilities: {cache: no_such_module.Cache}
"""
    result = compiled(text, skip_hooks=True)
    assert result.table is not None
    assert (result.skipped_hooks, result.table.routes["fast"].pre, dict(result.table.capabilities)) == (4, (), {})


def test_the_shape_of_skipped_hooks_paths_is_checked() -> None:
    text = "hooks: {pre: [redact]}\ncapabilities: {cache: Cache}\nmodels: {fast: openai/x}\n"
    assert problems(text, skip_hooks=True) == ["2:15: hook-path", "3:23: hook-path"]


def test_a_mended_hook_file_is_seen_by_the_next_compile(tmp_path: Path) -> None:
    compiler = Compiler(environ={})
    data = b"version: 1\nhooks: {pre: [late_hooks.one]}\nmodels: {}\n"
    source = str(tmp_path / "routes.yaml")
    assert [problem.code for problem in compiler.compile(data, source=source).problems] == ["hook-import"]
    (tmp_path / "late_hooks.py").write_text("def one(x): return x\n")
    assert compiler.compile(data, source=source).table is not None


BARE = Endpoint(provider="", kind="", adapter="litellm")


def test_a_mapping_and_its_fallbacks_without_repeats_are_the_chain() -> None:
    overlay = Overlay(mappings={"mine": "openai/a"}, fallbacks={"mine": ("openai/a", "openai/b", "groq/c", "openai/b")})
    live = table("models: {}\n", overlay=overlay)
    assert names(live.find("mine")) == ["openai/a", "openai/b", "groq/c"]


FILE = """
models:
  fast: {chain: [{target: openai/a, timeout: 7s}, {target: groq/b, retries: 0}, openai/c], deadline: 9s}
"""


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        (Overlay(mappings={"fast": "groq/x"}), ["groq/x", "groq/b", "openai/c"]),
        (Overlay(mappings={"fast": "openai/c"}), ["openai/c", "groq/b"]),
        (Overlay(fallbacks={"fast": ("groq/x",)}), ["openai/a", "groq/x"]),
        (Overlay(fallbacks={"fast": ("openai/a", "groq/x")}), ["openai/a", "groq/x"]),
        (Overlay(fallbacks={"fast": ()}), ["openai/a"]),
        (Overlay(mappings={"fast": "groq/x"}, fallbacks={"fast": ("groq/y",)}), ["groq/x", "groq/y"]),
    ],
)
def test_an_overlay_wins_over_the_files_first_step_or_its_rest(overlay: Overlay, expected: list[str]) -> None:
    assert names(route(FILE, overlay=overlay)) == expected


def test_what_the_overlay_leaves_of_the_file_keeps_its_limits() -> None:
    found = route(FILE, overlay=Overlay(fallbacks={"fast": ("groq/x",)}))
    assert [each.limits.total_s for each in found.steps] == [7, 30]
    assert found.deadline_s == 9


def test_no_fallbacks_of_an_unknown_name_make_no_alias() -> None:
    assert table("models: {}\n", overlay=Overlay(fallbacks={"mine": ()})).find("mine") is None


def test_an_overlay_over_a_wildcard_changes_that_one_name() -> None:
    text = 'models: {"team/*": {chain: ["openai/*", groq/b], deadline: 9s}}\n'
    live = table(text, overlay=Overlay(fallbacks={"team/x": ("openai/y",)}))
    assert names(live.find("team/x")) == ["openai/x", "openai/y"]
    assert names(live.find("team/z")) == ["openai/z", "groq/b"]
    assert live.routes["team/x"].deadline_s == 9


def test_an_overlays_problem_has_no_line_but_says_where_it_comes_from() -> None:
    overlay = Overlay(
        mappings={"mine": "gpt-4o", "a*b": "openai/x", "two words": "openai/x", "x" * 257: "openai/x"},
        fallbacks={"mine": ("opnai/x",)},
    )
    found = compiled("models: {}\n", overlay=overlay).problems
    assert [each.message for each in found if "x" * 150 in each.path] == ["a name has at most 256 characters"]
    assert {(each.line, each.column, each.code, each.path) for each in found if "x" * 150 not in each.path} == {
        (0, 0, "misplaced-star", 'overlay.mappings["a*b"]'),
        (0, 0, "bad-name", 'overlay.mappings["two words"]'),
        (0, 0, "no-provider", "overlay.mappings.mine"),
        (0, 0, "unknown-provider", "overlay.fallbacks.mine[0]"),
    }


def test_an_overlay_over_a_chain_of_aliases_keeps_the_alias_steps() -> None:
    text = "models: {b: openai/b, fast: [openai/a, {alias: b}, {alias: b}]}\n"
    assert names(route(text, overlay=Overlay(mappings={"fast": "groq/x"}))) == ["groq/x", "openai/b", "openai/b"]


def test_an_alias_step_of_the_file_may_name_what_only_the_overlay_has() -> None:
    assert names(route("models: {fast: [{alias: mine}]}\n", overlay=Overlay(mappings={"mine": "groq/x"}))) == ["groq/x"]


def test_what_the_overlay_replaces_is_checked_all_the_same() -> None:
    text = "models: {fast: [openai/a, nothing/b]}\n"
    assert problems(text, overlay=Overlay(fallbacks={"fast": ("openai/c",)})) == ["2:27: unknown-provider"]


@pytest.mark.parametrize("name", ["gpt-4o", "nothing-known/model", "hosted_vllm/llama"])
def test_with_bare_names_an_overlays_target_goes_to_litellm_as_it_is(name: str) -> None:
    live = table("models: {}\n", overlay=Overlay(mappings={"mine": name}), bare_names=True, openai_adapter="litellm")
    assert live.routes["mine"].steps[0].target == Target(name=name, model=name, label=name, endpoint=BARE)


def test_with_bare_names_a_known_provider_is_still_known() -> None:
    overlay = Overlay(mappings={"mine": "openai/gpt-4o"})
    found = table("models: {}\n", overlay=overlay, bare_names=True, openai_adapter="litellm").routes["mine"]
    assert found.steps[0].target.endpoint.provider == "openai"


@pytest.mark.parametrize("target", ["openai/../x", "nothing-known/../x", "two words", ""])
def test_with_bare_names_a_faulty_target_is_still_a_problem(target: str) -> None:
    overlay = Overlay(mappings={"mine": target})
    assert problems("models: {}\n", overlay=overlay, bare_names=True) == ["0:0: bad-target"]


def test_with_bare_names_the_files_own_targets_still_need_a_provider() -> None:
    overlay = Overlay(mappings={"mine": "gpt-4o"})
    assert problems("models: {fast: gpt-4o}\n", overlay=overlay, bare_names=True) == ["2:16: no-provider"]


def test_with_bare_names_every_other_name_passes_through_with_the_global_hooks() -> None:
    mine = Hook(path="mine", call=lambda value: value, is_async=False)
    text = "defaults: {timeout: 7s, deadline: 50s}\nmodels: {fast: openai/x}\n"
    live = table(text, bare_names=True, openai_adapter="litellm", overlay=Overlay(pre=(mine,)))
    found = live.find("vendor/some-model")
    assert found is not None
    (only,) = found.steps
    assert only.target == Target(name="vendor/some-model", model="vendor/some-model", label="*", endpoint=BARE)
    assert (only.limits.total_s, found.deadline_s, found.pre) == (7, 50, (mine,))


def test_without_bare_names_nothing_passes_through() -> None:
    assert table("models: {fast: openai/x}\n").passthrough is None


def test_with_bare_names_a_fallback_of_a_target_stands_behind_that_target() -> None:
    overlay = Overlay(fallbacks={"openai/gpt-4o": ("openai/gpt-4o-mini",), "mine": ("openai/x",)})
    live = table("models: {}\n", overlay=overlay, bare_names=True)
    assert names(live.find("openai/gpt-4o")) == ["openai/gpt-4o", "openai/gpt-4o-mini"]
    assert names(live.find("mine")) == ["openai/x"]


def test_the_semantic_rules_judge_what_the_schema_leaves() -> None:
    text = """
defaults: {tmeout: 3s}
providers:
  mine: {kind: openai, bas_url: x}
  other: {kind: openai}
models:
  a: gpt-4o
  b: {chian: [openai/x]}
  c: [{alias: b}, {alias: nothing}, mine/x, b]
"""
    assert problems(text) == [
        "3:12: unknown-key",
        "5:24: unknown-key",
        "6:3: missing-base-url",
        "8:6: no-provider",
        "9:6: missing-key",
        "9:7: unknown-key",
        "10:27: unknown-alias",
        "10:45: no-provider",
    ]
    assert "{alias: b}" in messages(text)[-1]


@pytest.mark.parametrize("version", ["", "version: 2\n", "version: '${V}'\n", "verison: 1\n"])
def test_without_a_good_version_the_semantic_rules_judge_the_rest(version: str) -> None:
    data = f"{version}models: {{fast: gpt-4o}}\ncapabilities: {{reload: a.b}}\n".encode()
    result = Compiler(environ={}, skip_hooks=True).compile(data, source="routes.yaml")
    assert result.table is None
    assert [each.code for each in result.problems][-2:] == ["no-provider", "bad-name"]


@pytest.mark.parametrize("models", ["", "modles: {}\n", "models: 3\n"])
def test_without_models_the_semantic_rules_judge_the_rest(models: str) -> None:
    assert problems(f"{models}providers: {{mine: {{kind: openai}}}}\n")[-1].endswith("missing-base-url")


def test_what_is_refused_in_an_alias_hides_nothing_else_of_it() -> None:
    text = """
models:
  a: {chain: [gpt-4o], tiemout: 3s, retries: -1}
  b: [openai/x y, gpt-4o, {alias: nothing, timeout: 3s}, {alias: nothing, params: {}}, {taget: x}, {alias: nothing}]
  c: {chain: [{target: gpt-4o, timeuot: 3s}, 7], hooks: {pre: [nodot, {pth: x}], post: [nodot]}}
  d: {chain: [openai/x], params: {n: "${UNSET}", api_key: x}, timeout: {conect: 5s}}
"""
    assert problems(text) == [
        "4:15: no-provider",
        "4:24: unknown-key",
        "4:46: bad-value",
        "5:7: bad-target",
        "5:19: no-provider",
        "5:35: unknown-alias",
        "5:44: bad-step",
        "5:66: unknown-alias",
        "5:75: bad-step",
        "5:88: missing-key",
        "5:89: unknown-key",
        "5:108: unknown-alias",
        "6:24: no-provider",
        "6:32: unknown-key",
        "6:46: wrong-type",
        "6:64: hook-path",
        "6:71: missing-key",
        "6:72: unknown-key",
        "6:89: hook-path",
        "7:38: unset-variable",
        "7:50: forbidden-param",
        "7:73: unknown-key",
    ]


def test_a_capability_of_a_name_that_could_never_be_reached_is_a_problem(hooked: str) -> None:
    text = "models: {}\ncapabilities: {reload: file_hooks.Cache, _own: file_hooks.one, fine: file_hooks.two}\n"
    assert problems(text, source=hooked) == ["3:16: bad-name", "3:42: bad-name"]
    assert "'reload' could never be reached" in messages(text, source=hooked)[0]


@pytest.mark.parametrize("name", [name for name in dir(Provider) if not name.startswith("_")])
def test_a_capability_cannot_take_the_name_of_what_a_provider_has(name: str) -> None:
    text = f"models: {{a: mock/echo}}\ncapabilities: {{{name}: collections.Counter}}\n"
    assert [problem.code for problem in compiled(text).problems] == ["bad-name"]


def test_a_text_that_is_no_yaml_has_its_one_problem() -> None:
    result = compiled("models: {fast: [openai/x}\n")
    assert result.table is None
    assert [problem.code for problem in result.problems] == ["yaml-syntax"]
    assert len(result.digest) == 64


def test_warnings_do_not_keep_the_table_from_being_made() -> None:
    text = "providers: {openai: {api_key: '${NOT_SET}'}}\nmodels: {fast: openai/x}\n"
    assert problems(text) == ["2:31: unset-variable?"]
    assert problems(text, strict_env=True) == ["2:31: unset-variable"]


def test_no_problem_shows_a_secret() -> None:
    text = """
providers:
  a: {kind: openai, base_url: "https://user:hunter2@example.com/v1", api_key: sk-hunter2, api_key_file: x}
  b: {kind: openai, base_url: "https://example.com", headers: {"X-Key": "hunter2\\n"}}
models: {fast: a/x}
"""
    found = compiled(text).problems
    assert [each.code for each in found] == ["bad-base-url", "api-key-conflict", "bad-header"]
    assert "hunter2" not in "".join(f"{each} {each.excerpt}" for each in found)


@pytest.mark.parametrize("value", ["a\nb", "a\r\nx-evil: b", "a\0b", "a\x1b[31m", "a\x7f", "a\x85b", " a", "a\n"])
def test_what_a_variable_brings_into_a_header_is_judged_where_the_variable_stands(value: str) -> None:
    text = """version: 1
providers:
  a: {kind: openai, base_url: "https://example.com", headers: {"x-team": "${TEAM}"}}
models: {fast: a/x}
"""
    (found,) = Compiler(environ={"TEAM": value}).compile(text.encode(), source="routes.yaml").problems
    assert (found.code, found.line, found.path) == ("bad-header", 3, "providers.a.headers.x-team")


def test_a_compiler_can_be_used_again_after_a_bad_text() -> None:
    compiler = Compiler(environ={})
    good, bad = b"version: 1\nmodels: {fast: openai/x}\n", b"version: 1\nmodels: {fast: gpt}\n"
    assert [compiler.compile(data, source="routes.yaml").table is None for data in (good, bad, good)] == [
        False,
        True,
        False,
    ]


def test_an_edit_compiles_only_what_it_changed_of_ten_thousand_aliases() -> None:
    lines = [f"  alias-{number}: [openai/model-{number}, {{alias: last}}]" for number in range(10_000)]
    data = ("version: 1\nmodels:\n" + "\n".join(lines) + "\n  last: groq/llama\n").encode()
    compiler = Compiler(environ={})
    first = compiler.compile(data, source="routes.yaml")
    second = compiler.compile(data + b"  one-more: openai/gpt-4o\n", source="routes.yaml")
    assert first.table is not None
    assert second.table is not None
    assert len(second.table.routes) == 10_002
    assert all(second.table.routes[name] is route for name, route in first.table.routes.items())
