"""A config file's bytes into a routing table, or into everything that is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Final

import gateway
from gateway.concurrency.pacing import paced
from gateway.config.compiler import known_providers
from gateway.config.compiler.chains import Alias, Chains, Link, Made, Targets, look_up, split_wildcards
from gateway.config.compiler.hook_import import HookLoader, misshapen
from gateway.config.compiler.inherit import DEADLINE_S, MAX_ATTEMPTS, merge_streams, read_environment
from gateway.config.compiler.providers import Upstreams, check_params
from gateway.config.document.document import Document, in_file_order, parse, written
from gateway.config.document.reparse import Entries
from gateway.config.document.yaml_tree import Where
from gateway.config.model.partial import prune
from gateway.config.model.read import Dump, Judge
from gateway.config.model.specs import AliasSpec, Config, DefaultsSpec, HookSpec, StepSpec
from gateway.config.problems import Fault
from gateway.policy.overlay import NO_OVERLAY, Overlay
from gateway.policy.problem import Problem, Severity
from gateway.policy.table import Hook, Route, RoutingTable, Step
from gateway.policy.target import AdapterName, Endpoint, Target
from gateway.wire.json import EMPTY

_IN_CODE: Final = "overlay"
"""The first part of a place that a program added in code."""

_ANY: Final = AliasSpec(name="*", chain=())
"""Stands for every name that the file does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What became of one text."""

    table: RoutingTable | None
    """None when any problem has the severity "error"."""
    problems: tuple[Problem, ...]
    """Errors and warnings, in file order; those of the overlay come first, with line 0."""
    skipped_hooks: int = 0
    """Hooks and capabilities that were left out because of `skip_hooks`."""
    digest: str = ""
    """SHA-256 of the bytes, in hex."""
    document: Document | None = field(default=None, repr=False)
    """The text as it was understood."""
    config: Config | None = field(default=None, repr=False)
    """What the file says; what is sound of it when there is no table. None when nothing is."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a compile may take over from the last good one, so that it costs what was changed and little more."""

    defaults: DefaultsSpec | None = None
    """All else holds under the same defaults only."""
    endpoints: Mapping[str, Endpoint] = field(default_factory=lambda: EMPTY)
    made: Mapping[str, Made] = field(default_factory=lambda: EMPTY)
    hooks: tuple[tuple[Hook, ...], tuple[Hook, ...]] = ((), ())
    """Those for every request, before and after."""


class Compiler:
    """Remembers between compiles what did not change, and imported hooks. One caller at a time, of whatever thread."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        openai_adapter: AdapterName = "relay",
        strict_env: bool = False,
        skip_hooks: bool = False,
        bare_names: bool = False,
    ) -> None:
        """Raises UsageError when LITELLM_TIMEOUT or LITELLM_MAX_RETRIES is malformed.

        `bare_names` is for embedded use: an overlay's target may be any name that LiteLLM takes, and the table has a
        passthrough.
        """
        self._environ = environ
        self._environment = read_environment(environ)
        self._openai_adapter = openai_adapter
        self._strict_env = strict_env
        self._skip_hooks = skip_hooks
        self._bare_names = bare_names
        self._judge = Judge()
        self._entries = Entries()
        self._memory = _Memory()
        self._loaders: dict[str, HookLoader] = {}

    def compile(
        self,
        data: bytes,
        *,
        source: str,
        folder: str | None = None,
        overlay: Overlay = NO_OVERLAY,
        generation: int = 1,
        now: float = 0.0,
    ) -> Compiled:
        """Compile a text. Never raises for what the text, its hooks or the overlay have wrong.

        `source` is the file's path as it was given. `folder`, the file's own unless said, is where key files lie, and
        it is put last on the import path when there are hooks. `now` is in seconds since the epoch.
        """
        document = parse(data, name=source, entries=self._entries)
        config, judged, left_out = self._read(document)
        if config is None:
            return Compiled(table=None, problems=tuple(judged), digest=document.digest, document=document)
        folder = os.path.dirname(os.path.abspath(source)) if folder is None else os.path.abspath(folder)
        loader = self._loaders.setdefault(folder, HookLoader(Path(folder)))
        loader.begin()
        memory = self._memory if self._memory.defaults == config.defaults else _Memory()
        run = _Run(
            document,
            config,
            overlay,
            memory=memory,
            loader=None if self._skip_hooks else loader,
            bare_names=self._bare_names,
            problems=list(judged),
        )
        upstreams = Upstreams(
            config,
            report=run.report,
            environ=self._environ,
            folder=Path(folder),
            openai_adapter=self._openai_adapter,
            strict_env=self._strict_env,
            left_out={name for block, name in left_out if block == "providers"},
            earlier=memory.endpoints,
        )
        targets = Targets(upstreams, bare_names=self._bare_names)
        check_params(config.defaults.limits.params.sent, ("defaults", "params"), run.report)
        aliases = run.aliases()
        chains = Chains(
            aliases,
            targets=targets,
            defaults=config.defaults,
            environment=self._environment,
            report=run.report,
            left_out={name for block, name in left_out if block == "models"},
            earlier=memory.made,
        )
        routes = run.routes(aliases, chains.flatten())
        capabilities = run.capabilities()
        compiled = Compiled(
            table=None,
            problems=tuple(in_file_order(run.problems)),
            skipped_hooks=run.skipped_hooks,
            digest=document.digest,
            document=document,
            config=config,
        )
        if any(problem.severity == "error" for problem in compiled.problems):
            return compiled
        made = {
            name: before
            if (before := memory.made.get(name)) is not None and before.route is route
            else Made(aliases[name], chains.parts[name], route)
            for name, route in paced(routes.items())
        }
        self._memory = _Memory(config.defaults, upstreams.endpoints, made, run.hooks)
        exact, wildcards, lengths = split_wildcards(routes)
        table = RoutingTable(
            generation=generation,
            routes=exact,
            wildcards=wildcards,
            wildcard_lengths=lengths,
            passthrough=run.passthrough(chains.step(targets.bare("*"), _ANY, StepSpec())) if self._bare_names else None,
            capabilities=capabilities,
            digest=document.digest,
            source=source,
            loaded_at=now,
            config=Dump(document),
            targets=_distinct_targets(routes),
        )
        return replace(compiled, table=table)

    def _read(self, document: Document) -> tuple[Config | None, list[Problem], frozenset[tuple[str, str]]]:
        """Return what the file says, or what is sound of it; all that the judge finds; the entries that are missing."""
        config, judged = self._judge.read(document, environ=self._environ, strict_env=self._strict_env)
        pruned = prune(document, judged) if config is None else None
        if pruned is None:
            return config, judged, frozenset()
        config, _ = self._judge.read(pruned.document, environ=self._environ, strict_env=self._strict_env)
        return config, judged, pruned.left_out


class _Run:
    """One compile: the file's and the overlay's parts brought together, and the problems found so far."""

    def __init__(
        self,
        document: Document,
        config: Config,
        overlay: Overlay,
        *,
        memory: _Memory,
        loader: HookLoader | None,
        bare_names: bool,
        problems: list[Problem],
    ) -> None:
        """Without a `loader` hooks and capabilities are counted and left out."""
        self.problems = problems
        self.skipped_hooks = 0
        self._document = document
        self._config = config
        self._overlay = overlay
        self._memory = memory
        self._loader = loader
        self._bare_names = bare_names
        self._found_hooks: dict[HookSpec, Hook | Fault | None] = {}

    def report(
        self, place: Where, code: str, message: str, *, severity: Severity = "error", at_key: bool = False
    ) -> None:
        """Note one problem at a place that is written in full."""
        if place[0] == _IN_CODE:
            problem = Problem(
                line=0,
                column=0,
                code=code,
                path=written(place),
                message=message,
                severity=severity,
                source=self._document.name,
            )
        else:
            problem = self._document.problem_in_full(code, place, message, key=at_key, severity=severity)
        self.problems.append(problem)

    def aliases(self) -> dict[str, Alias]:
        """Return the file's aliases with the overlay's targets in them, then those that only the overlay has."""
        overlay = self._overlay
        aliases: dict[str, Alias] = {}
        earlier = self._memory.made
        for name, spec in paced(self._config.models.items()):
            made = earlier.get(name)
            if made is not None and made.alias.spec is spec and made.alias.is_as_written:
                aliases[name] = made.alias
                continue
            self._check_name(name, ("models", name))
            place = ("models", name, "chain")
            links = tuple(Link(step, (*place, number)) for number, step in enumerate(spec.chain))
            aliases[name] = Alias(spec, links, place, is_as_written=True)
        added = {**overlay.fallbacks, **overlay.mappings}
        names = look_up(aliases) if added else None
        for name in added:
            place = (_IN_CODE, "mappings" if name in overlay.mappings else "fallbacks", name)
            if name not in aliases:
                self._check_name(name, place)
            alias = aliases.get(name) or self._by_wildcard(name, aliases, names, place)
            links = self._overlaid(name, alias.links)
            replaced = tuple(link for link in alias.links if link not in links)
            if links:
                aliases[name] = Alias(alias.spec, links, alias.place, replaced)
        return aliases

    def _by_wildcard(self, name: str, aliases: Mapping[str, Alias], names: RoutingTable | None, place: Where) -> Alias:
        """Return what the file's wildcards make of a name that it does not have; an alias without links if nothing."""
        route = names.find(name) if names is not None else None
        if route is None:
            return Alias(AliasSpec(name=name, chain=()), (), place)
        wildcard = aliases[route.alias]
        matched = name[len(route.alias) - 1 :]
        links = tuple(
            replace(link, spec=replace(link.spec, target=link.spec.target and link.spec.target.replace("*", matched)))
            for link in wildcard.links
        )
        return Alias(replace(wildcard.spec, name=name), links, wildcard.place)

    def _overlaid(self, name: str, links: tuple[Link, ...]) -> tuple[Link, ...]:
        """Return an alias' chain with the overlay's targets in it, repeats of a target left out."""
        mapping = self._overlay.mappings.get(name)
        fallbacks = self._overlay.fallbacks.get(name)
        if mapping is None and not links and self._bare_names and self._has_provider(name):
            mapping = name
        first, rest = links[:1], links[1:]
        if mapping is not None:
            first = (Link(StepSpec(target=mapping), (_IN_CODE, "mappings", name), from_code=True),)
        if fallbacks is not None:
            place = (_IN_CODE, "fallbacks", name)
            rest = tuple(
                Link(StepSpec(target=text), (*place, number), from_code=True) for number, text in enumerate(fallbacks)
            )
        chain = (*first, *rest)
        texts = [link.spec.target for link in chain]
        return tuple(
            link
            for number, (link, text) in enumerate(zip(chain, texts, strict=True))
            if text is None or text not in texts[:number]
        )

    def _has_provider(self, name: str) -> bool:
        provider, slash, _ = name.partition("/")
        return bool(slash) and (provider in self._config.providers or known_providers.find(provider) is not None)

    def _check_name(self, name: str, place: Where) -> None:
        if "*" in name[:-1]:
            self.report(place, "misplaced-star", f"{name!r} may have one `*`, at its end", at_key=True)
        elif not name or " " in name or not name.isprintable():
            self.report(place, "bad-name", "a name holds no spaces and no control characters", at_key=True)

    def routes(self, aliases: Mapping[str, Alias], steps: Mapping[str, tuple[Step, ...]]) -> dict[str, Route]:
        """Return the route of every alias that has steps; every alias' hooks are checked."""
        defaults = self._config.defaults
        pre, post = self.hooks
        routes: dict[str, Route] = {}
        for name, alias in paced(aliases.items()):
            spec = alias.spec
            made = self._memory.made.get(name)
            if made is not None and made.alias is alias and not (spec.hooks.pre or spec.hooks.post):
                route = made.route
                if route.steps is steps.get(name) and route.pre is pre and route.post is post:
                    routes[name] = route
                    continue
            place = ("models", name, "hooks")
            own_pre = self._hooks(spec.hooks.pre, (*place, "pre")) if spec.hooks.pre else ()
            own_post = self._hooks(spec.hooks.post, (*place, "post")) if spec.hooks.post else ()
            if name in steps:
                routes[name] = Route(
                    alias=name,
                    steps=steps[name],
                    pre=(*pre, *own_pre) if own_pre else pre,
                    post=(*post, *own_post) if own_post else post,
                    deadline_s=spec.deadline_s or defaults.deadline_s or _longest_s(steps[name]),
                    max_attempts=max(spec.max_attempts or defaults.max_attempts or MAX_ATTEMPTS, len(steps[name])),
                    stream=merge_streams(spec.stream, defaults.stream),
                    description=spec.description,
                )
        return routes

    def passthrough(self, step: Step) -> Route:
        """Return the route of names that go to LiteLLM as they are."""
        return self.routes({_ANY.name: Alias(_ANY, (), (_IN_CODE,))}, {_ANY.name: (step,)})[_ANY.name]

    @cached_property
    def hooks(self) -> tuple[tuple[Hook, ...], tuple[Hook, ...]]:
        """Those for every request, before and after; the very objects of an earlier compile where they are the same."""
        pre = (*self._hooks(self._config.hooks.pre, ("hooks", "pre")), *self._overlay.pre)
        post = (*self._hooks(self._config.hooks.post, ("hooks", "post")), *self._overlay.post)
        return self._memory.hooks if (pre, post) == self._memory.hooks else (pre, post)

    def _hooks(self, specs: tuple[HookSpec, ...], place: Where) -> tuple[Hook, ...]:
        hooks: list[Hook] = []
        for number, spec in enumerate(specs):
            if self._loader is None:
                self.skipped_hooks += 1
            if spec not in self._found_hooks:
                self._found_hooks[spec] = misshapen(spec.path) if self._loader is None else self._loader.load_hook(spec)
            found = self._found_hooks[spec]
            if isinstance(found, Fault):
                key = "timeout" if found.code == "hook-timeout-sync" else "path"
                self.report((*place, number, key), found.code, f"{spec.path}: {found.message}")
            elif found is not None:
                hooks.append(found)
        return tuple(hooks)

    def capabilities(self) -> Mapping[str, object]:
        """Return the file's capabilities with the overlay's over them."""
        # `gateway.Provider`, the public name, loads its class at first use: a file without capabilities never does.
        made: dict[str, object] = {}
        for name, path in self._config.capabilities.items():
            if name.startswith("_") or hasattr(gateway.Provider, name):
                message = f"{name!r} could never be reached: on a provider it means something else already"
                self.report(("capabilities", name), "bad-name", message, at_key=True)
            if self._loader is None:
                self.skipped_hooks += 1
                found: object = misshapen(path)
            else:
                found = self._loader.load_capability(path)
            if isinstance(found, Fault):
                self.report(("capabilities", name), found.code, f"{path}: {found.message}")
            elif self._loader is not None:
                made[name] = found
        made.update(self._overlay.capabilities)
        return MappingProxyType(made)


def _longest_s(steps: tuple[Step, ...]) -> float:
    """Return the default deadline: long enough for the slowest step to use its whole time."""
    return max(DEADLINE_S, *(max(step.limits.total_s, step.limits.stream_total_s or 0.0) for step in steps))


def _distinct_targets(routes: Mapping[str, Route]) -> tuple[Target, ...]:
    return tuple({step.target.name: step.target for route in paced(routes.values()) for step in route.steps}.values())
