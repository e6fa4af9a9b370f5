"""Imports go down a column, never across: DESIGN's section 7 as a table."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = Path(__file__).parents[2] / "gateway"

BOTTOM: Final = frozenset({"alarm", "types", "encoding", "errors", "pacing", "telemetry", "sse"})
"""What every module above may import."""

CONFIG_HALF: Final = {
    "specs": "",
    "wellknown": "",
    "yamltree": "",
    "codes": "",
    "findings": "yamltree",
    "masking": "yamltree",
    "entries": "yamltree",
    "source": "entries masking yamltree",
    "fitting": "",
    "shapes": "masking yamltree",
    "variables": "masking shapes source yamltree",
    "config": "fitting masking shapes source specs variables yamltree",
    "limits": "specs table",
    "hooks": "findings specs table",
    "upstreams": "findings limits specs wellknown yamltree",
    "chains": "findings limits specs table upstreams yamltree",
    "pruning": "masking source yamltree",
    "compiler": "chains config entries findings hooks limits pruning source specs table upstreams wellknown yamltree",
    "reload": "compiler table",
    "edits": "",
    "changes": "config edits masking table",
    "lint.modeldata": "",
    "lint.policy": "compiler lint.modeldata specs table yamltree",
    "lint.chains": "lint.policy specs table",
    "lint.hooks": "lint.policy specs yamltree",
    "lint.models": "lint.modeldata lint.policy",
    "lint.providers": "lint.policy masking source specs yamltree",
    "lint.silences": "codes findings source yamltree",
    "lint": "compiler lint.chains lint.hooks lint.models lint.policy lint.providers lint.silences source",
}

REQUEST_HALF: Final = {
    "answers": "",
    "messages": "",
    "state": "table",
    "decisions": "state table",
    "usage": "",
    "commit": "answers state table",
    "engine": "answers commit decisions state table usage",
    "forecast": "decisions engine state table",
    "explaining": "forecast table",
    "fates": "forecast table",
    "provider": "engine messages state table",
    "server": "",
    "server.guards": "",
    "server.laid": "",
    "server.heads": "",
    "server.fastpath": "server.heads server.laid",
    "server.exchange": "server.fastpath server.guards server.laid table",
    "server.endpoints": "provider server.exchange server.fastpath server.laid table",
    "server.pauses": "",
    "server.admin": "explaining fates provider server.exchange server.guards state table",
}

ADAPTERS: Final = {
    "adapters": "",
    "adapters.mock": "",
    "adapters.http1_errors": "",
    "adapters.http1_decoding": "adapters.http1_errors",
    "adapters.http1_response": "adapters.http1_decoding adapters.http1_errors",
    "adapters.http1_known": "",
    "adapters.http1_connection": "adapters.http1_errors adapters.http1_known adapters.http1_response",
    "adapters.http1_connect": "adapters.http1_connection adapters.http1_errors",
    "adapters.http1": "adapters.http1_connect adapters.http1_connection adapters.http1_errors adapters.http1_response",
    "adapters._relay_shape": "",
    "adapters._relay_events": "adapters._relay_shape adapters.http1",
    "adapters.relay": "adapters._relay_events adapters.http1",
    "adapters._litellm_shape": "",
    "adapters._litellm_errors": "adapters._litellm_shape",
    "adapters._litellm_call": "",
    "adapters._litellm_wire": "adapters._litellm_call adapters._litellm_errors adapters.http1_decoding"
    " adapters.http1_errors",
    "adapters._litellm_module": "adapters._litellm_call adapters._litellm_wire",
    "adapters._litellm_stream": "adapters._litellm_call adapters._litellm_errors adapters._litellm_shape",
    "adapters.litellm": "adapters._litellm_call adapters._litellm_errors adapters._litellm_module"
    " adapters._litellm_shape adapters._litellm_stream",
}
"""Each adapter may have private modules of its own; no adapter knows another."""

ROOTS: Final = {
    "embed": "adapters.litellm adapters.mock adapters.relay compiler provider reload state table",
    "server.app": "adapters.litellm adapters.mock adapters.relay compiler provider reload server.admin"
    " server.endpoints server.exchange server.fastpath server.guards server.pauses state table",
    "cli": "cli.completion cli.diff cli.explain cli.fmt cli.import_ cli.render cli.schema cli.serve cli.test"
    " cli.validate",
    "cli.cases": "cli.scripted config shapes source yamltree",
    "cli.checking": "cli.linting compiler hooks",
    "cli.checkxml": "cli.checking cli.junit cli.pages cli.render",
    "cli.completion": "cli.settings codes yamltree",
    "cli.coverage": "cli.playing table",
    "cli.diff": "cli.diffing",
    "cli.diffing": "changes cli.cases cli.diffjson cli.difftext cli.outcomes cli.render cli.revisions cli.settings"
    " compiler table",
    "cli.diffjson": "changes cli.difftext cli.diffwords cli.outcomes",
    "cli.difftext": "changes cli.diffwords cli.outcomes cli.render",
    "cli.diffwords": "changes cli.durations cli.outcomes cli.render masking",
    "cli.durations": "",
    "cli.expectations": "cli.cases cli.durations cli.simulate config yamltree",
    "cli.explain": "cli.explanation",
    "cli.explanation": "adapters.mock cli.explaintext cli.render cli.scripted cli.settings cli.simulate cli.virtual"
    " compiler explaining fates findings forecast source table",
    "cli.explaintext": "cli.durations cli.render cli.scripted cli.simulate explaining forecast table",
    "cli.fmt": "cli.formatting cli.render cli.settings",
    "cli.formatting": "cli.layout cli.shortening cli.yamltext config shapes source",
    "cli.github": "cli.checking cli.pages cli.render",
    "cli.inputs": "",
    "cli.junit": "cli.render",
    "cli.layout": "cli.yamltext",
    "cli.linting": "compiler forecast lint lint.modeldata lint.silences table",
    "cli.outcomes": "cli.cases cli.playing cli.simulate table yamltree",
    "cli.pages": "cli.render codes findings",
    "cli.playing": "cli.cases cli.expectations cli.scripted cli.simulate cli.virtual fates findings table",
    "cli.revisions": "",
    "cli.render": "masking",
    "cli.sarif": "cli.checking cli.pages cli.render codes",
    "cli.schema": "config",
    "cli.serve": "cli.render cli.settings server.app table wellknown",
    "cli.scripted": "adapters.mock fates",
    "cli.settings": "",
    "cli.shortening": "cli.yamltext shapes yamltree",
    "cli.simulate": "cli.scripted engine provider state table",
    "cli.test": "cli.testing",
    "cli.testing": "cli.cases cli.coverage cli.playing cli.render cli.settings cli.testreport cli.testxml"
    " compiler table",
    "cli.testreport": "cli.coverage cli.durations cli.expectations cli.playing cli.render cli.simulate",
    "cli.testxml": "cli.junit cli.testreport",
    "cli.validate": "cli.github cli.checking cli.checkxml cli.inputs cli.linting cli.pages cli.render cli.sarif"
    " cli.settings",
    "cli.virtual": "",
    "cli.yamltext": "yamltree",
}

IMPORTING: Final = {
    "cli.import_": "cli.litellm_config.convert cli.litellm_config.report cli.render",
    "cli.litellm_config": "",
    "cli.litellm_config.convert": "cli.litellm_config.deployments cli.litellm_config.draft cli.litellm_config.fallbacks"
    " cli.litellm_config.providers cli.litellm_config.reasons cli.litellm_config.report cli.litellm_config.settings"
    " cli.litellm_config.writing cli.render compiler source",
    "cli.litellm_config.deployments": "chains cli.litellm_config.draft cli.litellm_config.providers"
    " cli.litellm_config.report cli.litellm_config.values upstreams wellknown yamltree",
    "cli.litellm_config.draft": "wellknown yamltree",
    "cli.litellm_config.fallbacks": "chains cli.litellm_config.deployments cli.litellm_config.draft"
    " cli.litellm_config.report cli.litellm_config.settings cli.litellm_config.values table yamltree",
    "cli.litellm_config.providers": "cli.litellm_config.draft cli.litellm_config.report cli.litellm_config.values"
    " masking upstreams wellknown yamltree",
    "cli.litellm_config.reasons": "",
    "cli.litellm_config.report": "cli.render masking source yamltree",
    "cli.litellm_config.settings": "cli.litellm_config.deployments cli.litellm_config.reasons"
    " cli.litellm_config.report cli.litellm_config.values yamltree",
    "cli.litellm_config.values": "cli.litellm_config.draft",
    "cli.litellm_config.writing": "yamltree",
}
"""`gateway import`: configs of other gateways, which nothing else knows."""

ALLOWED: Final = {
    "": frozenset({"embed", "errors"}),
    "__main__": frozenset({"cli"}),
    "types": frozenset[str](),
    "encoding": frozenset({"types"}),
    "errors": frozenset({"types"}),
    "sse": frozenset({"types", "errors"}),
    "alarm": frozenset[str](),
    "pacing": frozenset[str](),
    "tallies": frozenset[str](),
    "telemetry": frozenset({"types", "errors", "tallies"}),
    "table": frozenset({"types", "errors"}),
    **{
        module: BOTTOM | frozenset(names.split())
        for module, names in {**CONFIG_HALF, **REQUEST_HALF, **ADAPTERS, **ROOTS, **IMPORTING}.items()
    },
}
"""By module, without the leading `gateway.`: the modules of ours that it may import."""


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES: Final = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _imported(path: Path) -> set[str]:
    """Return the dotted names of all modules that a file imports, wherever in the file and however it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they go"
            module = node.module or ""
            submodules = {alias.name: f"{module}.{alias.name}" for alias in node.names}
            inside = {name for name in submodules.values() if name.removeprefix("gateway.") in MODULES}
            found |= inside or {module}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return found


def _ours(path: Path) -> set[str]:
    return {
        name.removeprefix("gateway.") for name in _imported(path) if name.startswith("gateway.") and name != "gateway"
    }


def _third_parties(path: Path) -> set[str]:
    first = {name.partition(".")[0] for name in _imported(path)}
    return first - sys.stdlib_module_names - {"gateway"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_is_below_it(module: str) -> None:
    assert module in ALLOWED, f"gateway/{module}: give the new module its place in this table"
    across = _ours(MODULES[module]) - ALLOWED[module]
    assert not across, f"gateway.{module} must not import {sorted(across)}"


def test_the_table_has_no_circle() -> None:
    done: set[str] = set()
    while left := ALLOWED.keys() - done:
        ready = {module for module in left if ALLOWED[module] <= done}
        assert ready, f"a circle among {sorted(left)}"
        done |= ready


def test_the_halves_share_only_the_table() -> None:
    for one, other in ((CONFIG_HALF, REQUEST_HALF), (REQUEST_HALF, CONFIG_HALF)):
        for module in one:
            assert not ALLOWED[module] & other.keys(), module


@pytest.mark.parametrize("module", ["table", *CONFIG_HALF, *BOTTOM])
def test_the_config_half_starts_without_the_heavy_libraries(module: str) -> None:
    if module in MODULES:
        assert not _third_parties(MODULES[module]) & {"aiohttp", "litellm", "uvloop"}


@pytest.mark.parametrize("module", ["table", *REQUEST_HALF, *ADAPTERS])
def test_the_request_half_never_sees_the_file(module: str) -> None:
    if module in MODULES:
        assert not _third_parties(MODULES[module]) & {"yaml", "jsonschema", "watchfiles"}


def test_one_file_imports_litellm() -> None:
    assert [module for module, path in MODULES.items() if "litellm" in _third_parties(path)] == [
        "adapters._litellm_module"
    ]


def test_only_the_composition_roots_name_adapters() -> None:
    naming = {
        module
        for module, path in MODULES.items()
        if not module.startswith("adapters") and any(name.startswith("adapters") for name in _ours(path))
    }
    assert naming <= {"server.app", "embed"} | {module for module in MODULES if module.startswith("cli")}
