"""Compile a config file's bytes into a routing table, or into all of its problems."""

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
from gateway.config.compiler.caches import check_shared
from gateway.config.compiler.chains import Alias, Chains, CompiledAlias, look_up, split_wildcards
from gateway.config.compiler.clients import compiled_groups
from gateway.config.compiler.hook_import import HookLoader, misshapen
from gateway.config.compiler.inherit import DEADLINE_S, MAX_ATTEMPTS, merge_streams, read_environment
from gateway.config.compiler.pools import Link, filled
from gateway.config.compiler.providers import Upstreams, check_params
from gateway.config.compiler.spending import priced
from gateway.config.compiler.targets import Targets
from gateway.config.document.document import Document, in_file_order, parse, written
from gateway.config.document.reparse import Entries
from gateway.config.document.yaml_tree import Where
from gateway.config.include import Include, from_disk
from gateway.config.model.join import Joiner
from gateway.config.model.partial import NOTHING, LeftOut, prune
from gateway.config.model.read import Dump, Judge
from gateway.config.model.schema_faults import WORDING
from gateway.config.model.specs import NO_LIMITS, AliasSpec, Config, DefaultsSpec, HookSpec, StepSpec
from gateway.config.problems import Fault
from gateway.policy.overlay import NO_OVERLAY, Overlay
from gateway.policy.pools import Part
from gateway.policy.problem import Problem, Severity, listed
from gateway.policy.table import MAX_NAME, AliasHooks, Hook, Route, RoutingTable, Shadow, Step
from gateway.policy.target import AdapterName, Endpoint
from gateway.wire.json import EMPTY

_IN_CODE: Final = "overlay"
"""First part of the place of an alias that a program added in code."""

_ROUNDS: Final = 5
"""Times that a file with problems is pruned and read again at most."""

_NO_EVENTS: Final = "only a post hook gets the events of a stream; a pre hook gets the request"

_ANY: Final = AliasSpec(name="*", chain=())
"""Alias of the passthrough, which takes every name that the file does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """Result of one compile."""

    table: RoutingTable | None
    """None when a problem has the severity "error"."""
    found: tuple[Problem, ...]
    """All errors and warnings, in file order; those of the overlay come first, with line 0."""
    skipped_hooks: int = 0
    """Number of hooks and capabilities that were left out because of `skip_hooks`."""
    digest: str = ""
    """SHA-256 of the bytes, in hex."""
    document: Document | None = field(default=None, repr=False)
    config: Config | None = field(default=None, repr=False)
    """The file's contents; without a table only their valid parts, or None."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Those found that are listed, and how many more there are."""
        return listed(self.found)


@dataclass(frozen=True, slots=True)
class _Memory:
    """Results of the last good compile. The next one reuses the unchanged ones."""

    defaults: DefaultsSpec | None = None
    """The other fields are valid only with the same defaults."""
    endpoints: Mapping[str, Endpoint] = field(default_factory=lambda: EMPTY)
    aliases: Mapping[str, CompiledAlias] = field(default_factory=lambda: EMPTY)
    hooks: tuple[tuple[Hook, ...], tuple[Hook, ...]] = ((), ())
    """Pre and post hooks of every request."""


class Compiler:
    """Compiles the successive texts of config files, reusing what did not change. Any thread, one call at a time."""

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

        With `bare_names` (embedded use) an overlay's target may be any LiteLLM name, and the table has a passthrough.
        """
        self._environ = environ
        self._environment = read_environment(environ)
        self._openai_adapter = openai_adapter
        self._strict_env = strict_env
        self._skip_hooks = skip_hooks
        self._bare_names = bare_names
        self._judge = Judge()
        self._entries = Entries()
        self._joiner = Joiner(environ)
        self._memory = _Memory()
        self._loaders: dict[str, HookLoader] = {}

    def compile(
        self,
        data: bytes,
        *,
        source: str,
        folder: str | None = None,
        include: Include | None = None,
        overlay: Overlay = NO_OVERLAY,
        generation: int = 1,
        now: float = 0.0,
    ) -> Compiled:
        """Compile a text. Never raises for a problem of the text, its hooks or the overlay.

        `source` is the file's path as given. Key files are relative to `folder`, by default the file's own; the
        import path of hooks ends with it. `include` reads the files that the text includes, by default those on disk.
        `now` is in seconds since the epoch.
        """
        document = parse(data, name=source, entries=self._entries, environ=self._environ, wording=WORDING)
        document = self._joiner.join(document, include or from_disk(source, data))
        config, judged, left_out = self._read(document)
        if config is None:
            return Compiled(table=None, found=tuple(judged), digest=document.digest, document=document)
        folder = os.path.dirname(os.path.abspath(source)) if folder is None else os.path.abspath(folder)
        loader = self._loaders.setdefault(folder, HookLoader(Path(folder)))
        loader.begin()
        memory = self._memory if self._memory.defaults == config.defaults else _Memory()
        run = _Run(
            document=document,
            config=config,
            overlay=overlay,
            memory=memory,
            loader=None if self._skip_hooks else loader,
            bare_names=self._bare_names,
            problems=[*judged],
            left_out=left_out,
        )
        upstreams = Upstreams(
            config,
            report=run.report,
            environ=self._environ,
            folder=Path(folder),
            openai_adapter=self._openai_adapter,
            strict_env=self._strict_env,
            left_out=left_out,
            earlier=memory.endpoints,
        )
        targets = Targets(upstreams, bare_names=self._bare_names)
        check_params(config.defaults.limits.params.sent, ("defaults", "params"), run.report)
        aliases = run.aliases()
        own_hooks = run.own_hooks(aliases)
        chains = Chains(
            aliases,
            targets=targets,
            defaults=config.defaults,
            environment=self._environment,
            report=run.report,
            left_out=left_out,
            hooks=own_hooks,
            earlier=memory.aliases,
        )
        steps = chains.flatten()
        routes = run.routes(aliases, steps, own_hooks, chains.parts, chains.shadows)
        check_shared(aliases, steps, run.report)
        groups = compiled_groups(config.clients, aliases, run.report, left_out=left_out)
        price_of = priced(groups, upstreams.endpoints, chains, steps, run.report, left_out=left_out)
        capabilities = run.capabilities()
        compiled = Compiled(
            table=None,
            found=tuple(in_file_order(run.problems, document.included)),
            skipped_hooks=run.skipped_hooks,
            digest=document.digest,
            document=document,
            config=config,
        )
        if any(problem.severity == "error" for problem in compiled.found):
            return compiled
        results = {
            name: before
            if (before := memory.aliases.get(name)) is not None and before.route is route
            else CompiledAlias(aliases[name], chains.elements[name], chains.shapes.get(name), route)
            for name, route in paced(routes.items())
        }
        self._memory = _Memory(config.defaults, upstreams.endpoints, results, run.hooks)
        found = {step.target.name: step.target for route in paced(routes.values()) for step in _called(route)}
        exact, wildcards, lengths = split_wildcards(routes)
        table = RoutingTable(
            generation=generation,
            routes=exact,
            wildcards=wildcards,
            wildcard_lengths=lengths,
            passthrough=run.passthrough(chains.step(targets.bare("*"), NO_LIMITS)) if self._bare_names else None,
            capabilities=capabilities,
            digest=document.digest,
            source=source,
            loaded_at=now,
            config=Dump(document),
            targets=tuple(found.values()),
            clients=groups,
            price_of=price_of,
        )
        return replace(compiled, table=table)

    def _read(self, document: Document) -> tuple[Config | None, list[Problem], LeftOut]:
        """Return the config, or its valid parts; the problems; and what is left out of the parts."""
        config, judged = self._judge.read(document, environ=self._environ, strict_env=self._strict_env)
        left_out, refused = NOTHING, list[Where]()
        # What is left may lack what the schema requires.
        for _ in range(_ROUNDS):
            refused += self._judge.refused
            pruned = prune(document, refused) if config is None else None
            if pruned is None:
                break
            left_out = pruned.left_out
            config, _ = self._judge.read(pruned.document, environ=self._environ, strict_env=self._strict_env)
        return config, judged, left_out


@dataclass(kw_only=True)
class _Run:
    """One compile: merges the file with the overlay and collects the problems."""

    document: Document
    config: Config
    overlay: Overlay
    memory: _Memory
    loader: HookLoader | None
    """None: count hooks and capabilities, and leave them out."""
    bare_names: bool
    problems: list[Problem]
    left_out: LeftOut
    skipped_hooks: int = 0
    found_hooks: dict[HookSpec, Hook | Fault | None] = field(default_factory=dict)

    def report(
        self, place: Where, code: str, message: str, *, severity: Severity = "error", at_key: bool = False
    ) -> None:
        """Note one problem at a place written in full, unless the schema refused what is there."""
        if self.left_out.takes(place):
            return
        if place[0] == _IN_CODE:
            problem = Problem(
                line=0,
                column=0,
                code=code,
                path=written(place),
                message=message,
                severity=severity,
                source=self.document.name,
            )
        else:
            problem = self.document.problem_in_full(code, place, message, key=at_key, severity=severity)
        self.problems.append(problem)

    def aliases(self) -> dict[str, Alias]:
        """Return the file's aliases with the overlay's targets, then the aliases that only the overlay has."""
        aliases: dict[str, Alias] = {}
        for name, spec in paced(self.config.models.items()):
            before = self.memory.aliases.get(name)
            if before is not None and before.alias.spec is spec and before.alias.is_as_written:
                aliases[name] = before.alias
                continue
            self._check_name(name, ("models", name))
            place = ("models", name, "chain")
            links = tuple(Link(step, (*place, number)) for number, step in enumerate(spec.chain))
            aliases[name] = Alias(spec, links, place, is_as_written=True)
        added = {**self.overlay.fallbacks, **self.overlay.mappings}
        if not added:
            return aliases
        names = look_up(aliases)
        for name in added:
            place = (_IN_CODE, "mappings" if name in self.overlay.mappings else "fallbacks", name)
            if name not in aliases:
                self._check_name(name, place)
            alias = aliases.get(name) or self._by_wildcard(name, aliases, names, place)
            links = self._overlaid(name, alias.links)
            replaced = tuple(link for link in alias.links if link not in links)
            if links:
                aliases[name] = Alias(alias.spec, links, alias.place, replaced)
        return aliases

    def _by_wildcard(self, name: str, aliases: Mapping[str, Alias], names: RoutingTable, place: Where) -> Alias:
        """Return the alias that a wildcard of the file gives for a name; one without links if no wildcard matches."""
        route = names.find(name)
        if route is None:
            return Alias(AliasSpec(name=name, chain=()), (), place)
        wildcard = aliases[route.alias]
        matched = name[len(route.alias) - 1 :]
        links = tuple(replace(link, spec=filled(link.spec, matched)) for link in wildcard.links)
        shadow = wildcard.spec.shadow
        if shadow is not None:
            shadow = replace(shadow, target=shadow.target.replace("*", matched))
        return Alias(replace(wildcard.spec, name=name, shadow=shadow), links, wildcard.place)

    def _overlaid(self, name: str, links: tuple[Link, ...]) -> tuple[Link, ...]:
        """Return an alias' chain with the overlay's targets and without repeated targets."""
        mapping = self.overlay.mappings.get(name)
        fallbacks = self.overlay.fallbacks.get(name)
        if mapping is None and not links and self.bare_names and "/" in name:
            provider = name.partition("/")[0]
            if provider in self.config.providers or known_providers.find(provider) is not None:
                mapping = name
        first, rest = links[:1], links[1:]
        if mapping is not None:
            first = (Link(StepSpec(target=mapping), (_IN_CODE, "mappings", name), from_code=True),)
        if fallbacks is not None:
            place = (_IN_CODE, "fallbacks", name)
            steps = [StepSpec(target=text) for text in fallbacks]
            rest = tuple(Link(step, (*place, number), from_code=True) for number, step in enumerate(steps))
        chain: dict[str | Where, Link] = {}
        for link in (*first, *rest):
            is_target = link.spec.target is not None and link.spec.when is None
            chain.setdefault(link.spec.target if is_target and link.spec.target else link.place, link)
        return tuple(chain.values())

    def _check_name(self, name: str, place: Where) -> None:
        if "*" in name[:-1]:
            self.report(place, "misplaced-star", f"{name!r} may have one `*`, at its end", at_key=True)
        elif not name or " " in name or not name.isprintable():
            self.report(place, "bad-name", "a name holds no spaces and no control characters", at_key=True)
        elif len(name) > MAX_NAME:
            self.report(place, "bad-name", f"a name has at most {MAX_NAME} characters", at_key=True)

    def own_hooks(self, aliases: Mapping[str, Alias]) -> dict[str, AliasHooks]:
        """Return the aliases with hooks of their own, and check these hooks. Left-out hooks leave an empty entry."""
        found: dict[str, AliasHooks] = {}
        for name, alias in paced(aliases.items()):
            hooks = alias.spec.hooks
            if hooks.pre or hooks.post:
                place = ("models", name, "hooks")
                pre, post = self._hooks(hooks.pre, (*place, "pre")), self._hooks(hooks.post, (*place, "post"))
                found[name] = AliasHooks(alias=name, pre=pre, post=post)
        return found

    def routes(
        self,
        aliases: Mapping[str, Alias],
        steps: Mapping[str, tuple[Step, ...]],
        own_hooks: Mapping[str, AliasHooks] = EMPTY,
        parts: Mapping[str, tuple[Part, ...]] = EMPTY,
        shadows: Mapping[str, Shadow] = EMPTY,
    ) -> dict[str, Route]:
        """Return the route of every alias that has steps. `parts` has the pools and conditions, where there are any."""
        defaults = self.config.defaults
        pre, post = self.hooks
        routes: dict[str, Route] = {}
        for name, alias in paced(aliases.items()):
            spec = alias.spec
            before = self.memory.aliases.get(name)
            own = own_hooks.get(name)
            if before is not None and before.alias is alias and own is None:
                route = before.route
                is_same = route.pre is pre and route.post is post and route.shadow is shadows.get(name)
                if is_same and route.steps is steps.get(name) and route.parts is parts.get(name):
                    routes[name] = route
                    continue
            if name in steps:
                routes[name] = Route(
                    alias=name,
                    steps=steps[name],
                    parts=parts.get(name),
                    pre=(*pre, *own.pre) if own is not None and own.pre else pre,
                    post=(*post, *own.post) if own is not None and own.post else post,
                    own=own if own is not None and (own.pre or own.post) else None,
                    deadline_s=spec.deadline_s or defaults.deadline_s or _longest_s(steps[name]),
                    max_attempts=max(spec.max_attempts or defaults.max_attempts or MAX_ATTEMPTS, len(steps[name])),
                    stream=merge_streams(spec.stream, defaults.stream),
                    description=spec.description,
                    shadow=shadows.get(name),
                    hedge=spec.hedge,
                    cache=spec.cache,
                )
        return routes

    def passthrough(self, step: Step) -> Route:
        """Return the route of names that are passed to LiteLLM unchanged."""
        return self.routes({_ANY.name: Alias(_ANY, (), (_IN_CODE,))}, {_ANY.name: (step,)})[_ANY.name]

    @cached_property
    def hooks(self) -> tuple[tuple[Hook, ...], tuple[Hook, ...]]:
        """Pre and post hooks of every request; the earlier compile's objects if they are equal."""
        pre = (*self._hooks(self.config.hooks.pre, ("hooks", "pre")), *self.overlay.pre)
        post = (*self._hooks(self.config.hooks.post, ("hooks", "post")), *self.overlay.post)
        return self.memory.hooks if (pre, post) == self.memory.hooks else (pre, post)

    def _hooks(self, specs: tuple[HookSpec, ...], place: Where) -> tuple[Hook, ...]:
        hooks = []
        for number, spec in enumerate(specs):
            if spec.events is not None and place[-1] == "pre":
                self.report((*place, number, "events"), "hook-events-pre", _NO_EVENTS, at_key=True)
            self.skipped_hooks += self.loader is None
            if spec not in self.found_hooks:
                self.found_hooks[spec] = misshapen(spec.path) if self.loader is None else self.loader.load_hook(spec)
            found = self.found_hooks[spec]
            if isinstance(found, Fault):
                key = "timeout" if found.code == "hook-timeout-sync" else "path"
                self.report((*place, number, key), found.code, f"{spec.path}: {found.message}")
            elif found is not None:
                hooks.append(found)
        return tuple(hooks)

    def capabilities(self) -> Mapping[str, object]:
        """Return the capabilities of file and overlay; the overlay wins."""
        # `gateway.Provider` is imported at first use: not for a file without capabilities.
        made: dict[str, object] = {}
        for name, path in self.config.capabilities.items():
            if name.startswith("_") or hasattr(gateway.Provider, name):
                message = f"{name!r} could never be reached: on a provider it means something else already"
                self.report(("capabilities", name), "bad-name", message, at_key=True)
            self.skipped_hooks += self.loader is None
            found = misshapen(path) if self.loader is None else self.loader.load_capability(path)
            if isinstance(found, Fault):
                self.report(("capabilities", name), found.code, f"{path}: {found.message}")
            elif self.loader is not None:
                made[name] = found
        return MappingProxyType({**made, **self.overlay.capabilities})


def _called(route: Route) -> tuple[Step, ...]:
    """Return all steps that a route's requests may be sent to, its shadow's at the end."""
    return route.steps if route.shadow is None else (*route.steps, route.shadow.step)


def _longest_s(steps: tuple[Step, ...]) -> float:
    """Return the default deadline: DEADLINE_S, or the total limit of the slowest step."""
    return max(DEADLINE_S, *(max(step.limits.total_s, step.limits.stream_total_s or 0.0) for step in steps))
