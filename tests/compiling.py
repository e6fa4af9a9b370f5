"""Short ways to compile a text and look at what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.config.compiler.compiler import Compiled, Compiler
from gateway.policy.overlay import Overlay
from gateway.policy.table import Route, RoutingTable, Step
from gateway.policy.target import AdapterName, Endpoint

NO_ENVIRON: Final[Mapping[str, str]] = {}


def compiled(
    text: str,
    *,
    environ: Mapping[str, str] = NO_ENVIRON,
    openai_adapter: AdapterName = "relay",
    strict_env: bool = False,
    skip_hooks: bool = False,
    bare_names: bool = False,
    overlay: Overlay | None = None,
    source: str = "routes.yaml",
) -> Compiled:
    compiler = Compiler(
        environ=environ,
        openai_adapter=openai_adapter,
        strict_env=strict_env,
        skip_hooks=skip_hooks,
        bare_names=bare_names,
    )
    return compiler.compile(f"version: 1\n{text}".encode(), source=source, overlay=overlay or Overlay())


def table(text: str, **options: Any) -> RoutingTable:
    result = compiled(text, **options)
    assert result.table is not None, [str(problem) for problem in result.problems]
    return result.table


def problems(text: str, **options: Any) -> list[str]:
    """Compile and return `line:column: code`, warnings with a question mark."""
    result = compiled(text, **options)
    assert (result.table is None) == any(problem.severity == "error" for problem in result.problems)
    return [
        f"{problem.line}:{problem.column}: {problem.code}{'?' if problem.severity == 'warning' else ''}"
        for problem in result.problems
    ]


def messages(text: str, **options: Any) -> list[str]:
    return [problem.message for problem in compiled(text, **options).problems]


def route(text: str, name: str = "fast", **options: Any) -> Route:
    found = table(text, **options).find(name)
    assert found is not None
    return found


def step(text: str, name: str = "fast", **options: Any) -> Step:
    return route(text, name, **options).steps[0]


def endpoint(entry: str, target: str, **options: Any) -> Endpoint:
    """Return the endpoint of a target beside one entry of `providers`."""
    return step(f"providers: {{{entry}}}\nmodels: {{fast: {target}}}\n", **options).target.endpoint


def names(found: Route | None) -> list[str]:
    assert found is not None
    return [each.target.name for each in found.steps]


def key_of(found: Endpoint) -> str | None:
    """Return the key that an endpoint would send now."""
    secret = found.api_key.read()
    return secret.reveal() if secret else None
