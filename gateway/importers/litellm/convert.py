"""Convert the bytes of a LiteLLM config to the text of a routes.yaml that compiles, and a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gateway.config.compiler.compiler import Compiler
from gateway.config.document.document import MAX_BYTES, parse, written
from gateway.importers.litellm import places
from gateway.importers.litellm.deployments import Deployments, references
from gateway.importers.litellm.draft import Draft, alias_value, in_order, name_upstreams, provider_entry
from gateway.importers.litellm.fallbacks import ChainMaker
from gateway.importers.litellm.providers import Secrets
from gateway.importers.litellm.report import Item, Report, Verdict, as_text, plain_value, summary
from gateway.importers.litellm.settings import SettingsReader, credentials
from gateway.importers.litellm.writing import comment_lines, entry
from gateway.policy.failures import FALLBACK_ON, names_of
from gateway.policy.problem import Problem, listed
from gateway.reports import problems
from gateway.wire.json import JsonObject
from gateway.words import printable

_MAX_ATTEMPTS: Final = 8
"""The gateway's default of `max_attempts`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The result of one import."""

    routes: str | None
    """The text of the routes.yaml; None when the config cannot be read."""
    items: tuple[Item, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Faults of the config when there are no routes."""
    variables: tuple[tuple[str, int], ...] = ()
    """(variable to set, line of the config with its value)."""

    @property
    def is_exact(self) -> bool:
        """Whether every item is carried over exactly."""
        return all(item.verdict is Verdict.EXACT for item in self.items)

    def as_text(self, source: str) -> str:
        """Return the report as text; `source` is the config's name in it."""
        if self.routes is None:
            return "".join(f"{problems.as_text(problem)}\n" for problem in self.problems)
        text = as_text(self.items, source=source)
        return text + "".join(f"set {name} to the value in line {line}\n" for name, line in self.variables)

    def as_json(self, source: str) -> JsonObject:
        """Return the report as JSON; `gateway import --help` describes it."""
        verdicts = [item.verdict for item in self.items]
        return {
            "source": source,
            "ok": self.routes is not None,
            "counts": {verdict.value: verdicts.count(verdict) for verdict in Verdict},
            "variables": [{"name": name, "line": line} for name, line in self.variables],
            "items": [item.as_json() for item in self.items],
            "problems": [problem.as_json() for problem in self.problems],
        }


def convert(data: bytes, *, source: str) -> Imported:
    """Convert one config. Faults of the config are in the result."""
    document = parse(data, name=source, last_key_wins=True)
    if document.root is None:
        message = "the file is empty; a config of the LiteLLM proxy has at least a model_list"
        if document.problems[0].code == "empty-file":
            return Imported(routes=None, problems=(replace(document.problems[0], message=message, excerpt=None),))
        note = places.of_template(data)
        more = () if note is None else (document.problem("not-litellm", (), note),)
        return Imported(routes=None, problems=listed((*document.problems, *more)))
    whole = plain_value(document.root)
    place = places.find(whole, data)
    if isinstance(place, str):
        return Imported(routes=None, problems=(document.problem("not-litellm", (), place),))
    config: JsonObject = whole
    for key in place:
        config = config[str(key)]
    report = Report(document, base=place)
    if place:
        others = [key for key in whole if key != place[0]]
        message = f"only {written(place)} is read; all else in the file is for Kubernetes: {', '.join(others)}"
        if others:
            report.left_out((), message)
    for problem in document.problems:
        report.of_text(problem)
    draft = _draft(config, report)
    report.sweep()
    routes = validated(draft, report, source)
    if len(routes) > MAX_BYTES:
        message = f"its fallbacks come to a file of {len(routes)} bytes; at most {MAX_BYTES} are read"
        return Imported(routes=None, problems=(document.problem("file-too-large", (), message),))
    return Imported(routes=routes, items=report.items, variables=tuple(draft.variables.items()))


def _draft(config: JsonObject, report: Report) -> Draft:
    secrets = Secrets(references(config))
    deployments = Deployments(report, secrets, credentials(config, report))
    deployments.read(config.get("model_list"))
    if not deployments.groups:
        report.left_out((), "no model could be carried over; LiteLLM may have them from included files or a database")
    groups = {name: alias for name, alias in deployments.names.items() if alias in deployments.groups}
    settings = SettingsReader(
        config,
        report,
        groups=groups,
        is_relayed=bool(deployments.relayed),
        is_translated=bool(deployments.translated),
    ).read()
    maker = ChainMaker(deployments, settings, report)
    aliases = maker.make()
    defaults = settings.defaults
    if maker.fallback_on != FALLBACK_ON:
        defaults["fallback_on"] = names_of(maker.fallback_on)
        settings.comments["fallback_on"] = "the failures that LiteLLM's fallbacks follow"
    written = [step.retries for alias in aliases.values() for step in alias.steps]
    most = max([settings.retries, *(retries for retries in written if isinstance(retries, int))])
    if most >= _MAX_ATTEMPTS:
        defaults["max_attempts"] = most + 1
    return Draft(
        upstreams=deployments.upstreams,
        defaults=defaults,
        default_comments=settings.comments,
        aliases=aliases,
        cache=settings.cache,
        variables=secrets.lines,
        addresses=secrets.addresses,
    )


def validated(draft: Draft, report: Report, source: str) -> str:
    """Return the file's text. Remove entries that the compiler refuses, and report them as left out."""
    while True:
        text, entries = _write(draft, report, source)
        compiled = Compiler(environ=_placeholders(draft), skip_hooks=True).compile(text.encode(), source="routes.yaml")
        faults = [problem for problem in compiled.problems if problem.severity == "error"]
        if not faults or faults[0].code == "file-too-large":
            return text
        is_changed = False
        for fault in faults:
            block, name = next((place for first, last, place in entries if first <= fault.line <= last), ("", ""))
            if block == "models" and name in draft.aliases:
                del draft.aliases[name]
            elif block == "defaults" and name in draft.defaults:
                del draft.defaults[name]
            elif block == "providers" and name in draft.upstreams:
                for alias in draft.aliases.values():
                    alias.remove(name)
                draft.aliases = {key: alias for key, alias in draft.aliases.items() if alias.chain}
                del draft.upstreams[name]
            else:
                continue
            is_changed = True
            report.left_out((), f"{fault.path}: {fault.message}")
        assert is_changed, [str(fault) for fault in faults]


def _placeholders(draft: Draft) -> dict[str, str]:
    """Return a value for each variable that holds a model's name: without one the compiler refuses the target."""
    steps = [step for alias in draft.aliases.values() for step in alias.steps]
    names = name_upstreams(draft.upstreams, (step.upstream for step in steps))
    return {
        step.variable: f"{names[step.upstream]}/{step.model}" if step.names_provider else step.model
        for step in steps
        if step.variable
    }


def _write(draft: Draft, report: Report, source: str) -> tuple[str, list[tuple[int, int, tuple[str, str]]]]:
    """Return the file's text, and (first line, last line, (block, key)) of each entry."""
    used = [step.upstream for alias in draft.aliases.values() for step in alias.steps]
    names = name_upstreams(draft.upstreams, used)
    lines = _head(draft, report, source)
    places: list[tuple[int, int, tuple[str, str]]] = []

    def add(block: str, key: str, new: list[str]) -> None:
        places.append((len(lines) + 1, len(lines) + len(new), (block, key)))
        lines.extend(new)

    if draft.defaults:
        lines.append("defaults:")
        for key, value in in_order("defaults", draft.defaults).items():
            add("defaults", key, entry(key, value, indent=2, comment=draft.default_comments.get(key, "")))
        lines.append("")
    entries = {identity: provider_entry(name, draft.upstreams[identity]) for identity, name in names.items()}
    if any(entries.values()):
        lines.append("providers:")
        for identity, value in entries.items():
            if value:
                add("providers", identity, entry(names[identity], value, indent=2))
        lines.append("")
    lines.append("models:" if draft.aliases else "models: {}")
    for name, alias in draft.aliases.items():
        for comment in filter(None, alias.comments):
            lines += comment_lines(comment, indent=2)
        add("models", name, entry(name, alias_value(alias, names, draft.cache), indent=2))
    return "\n".join(lines) + "\n", places


def _head(draft: Draft, report: Report, source: str) -> list[str]:
    lines = comment_lines(f"Imported from {printable(source)}, a config of the LiteLLM proxy.", indent=0)
    lines += comment_lines(f"{summary(report.items)}. The report of the import tells each of them.", indent=0)
    lines.append("# Check it: gateway validate routes.yaml")
    for name, line in draft.variables.items():
        lines += comment_lines(f"Set {name} to the value in line {line} there.", indent=0)
    for name, line in draft.addresses.items():
        lines += comment_lines(f"Set {name} (line {line} there): without it that address leads nowhere.", indent=0)
    steps = [step for alias in draft.aliases.values() for step in alias.steps]
    for name, where in {step.variable: step.where for step in reversed(steps) if step.variable}.items():
        text = f"Set {name} (line {report.line(where)} there), which names a model: without it this file has a problem."
        lines += comment_lines(text, indent=0)
    return [*lines, "version: 1", ""]
