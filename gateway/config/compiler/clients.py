"""Compile the groups of `clients`: the aliases that they may ask for, and their limits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from gateway.config.compiler.chains import Alias, look_up
from gateway.config.compiler.limits import compiled_limits
from gateway.config.document.yaml_tree import Where
from gateway.config.model.partial import NOTHING, LeftOut
from gateway.config.model.specs import ClientGroupSpec, LimitSpec
from gateway.config.problems import Report
from gateway.policy.limits import DEFAULT_GROUP, ClientGroup, ClientGroups
from gateway.policy.table import RoutingTable
from gateway.wire.json import EMPTY
from gateway.words import did_you_mean

_REDIRECTING: Final = frozenset({"tokens", "spend"})
_BUDGETS: Final = frozenset({"day", "month"})


def compiled_groups(
    specs: Mapping[str, ClientGroupSpec] | None,
    aliases: Mapping[str, Alias],
    report: Report,
    *,
    left_out: LeftOut = NOTHING,
) -> ClientGroups:
    """Return the groups of `clients`, the default one too; none where the file has no `clients`.

    `left_out` has aliases of the file that already have problems.
    """
    if specs is None:
        return EMPTY
    groups = _Groups(aliases, report, left_out)
    found = {DEFAULT_GROUP: ClientGroup(name=DEFAULT_GROUP)}
    found |= {name: groups.compiled(spec) for name, spec in specs.items()}
    return MappingProxyType(found)


class _Groups:
    """Compiles groups against the aliases of one file."""

    def __init__(self, aliases: Mapping[str, Alias], report: Report, left_out: LeftOut) -> None:
        self._aliases = aliases
        self._report = report
        self._left_out = left_out
        left = left_out.names.get("models")
        self._known: Collection[str] = {**aliases, **dict.fromkeys(left)} if left else aliases
        """The names for hints."""
        self._names: RoutingTable | None = None

    def compiled(self, spec: ClientGroupSpec) -> ClientGroup:
        place = ("clients", spec.name)
        for number, limit in enumerate(spec.limits):
            if limit.then is not None:
                self._check_then(limit, limit.then, (*place, "limits", number, "then"))
        return ClientGroup(
            name=spec.name,
            models=None if spec.models is None else frozenset(self._models(spec.models, (*place, "models"))),
            limits=compiled_limits(spec.limits, (*place, "limits"), self._report),
            is_shared=spec.share,
        )

    def _models(self, names: Sequence[str], place: Where) -> Iterator[str]:
        """Yield the aliases that the names mean; one with a star means all that begin so, wildcards among them."""
        for number, name in enumerate(names):
            if name in self._aliases and not name.endswith("*"):
                yield name
                continue
            found = []
            if name.endswith("*") and "*" not in name[:-1]:
                found = [alias for alias in self._aliases if alias.startswith(name[:-1])]
                yield from found
            if not found and not self._is_left_out(name):
                self._report((*place, number), *self._why_none(name))

    def _is_left_out(self, name: str) -> bool:
        if name.endswith("*"):
            return self._left_out.has_beginning("models", name[:-1])
        return "models" in self._left_out.unnamed or name in self._left_out.names.get("models", ())

    def _why_none(self, name: str) -> tuple[str, str]:
        """Return the code and message for a name that means no alias of the file."""
        if "*" in name[:-1]:
            return "misplaced-star", f"{name!r} may have one `*`, at its end"
        if name.endswith("*"):
            message = f"no alias begins with {name[:-1]!r}"
            return "unknown-alias", f"{message}{did_you_mean(name, self._known)}"
        wildcard = self._find(name)
        if wildcard is not None:
            message = f"{name!r} is no alias of its own, only one that {wildcard!r} takes"
            return "unknown-alias", f"{message}; name that, or add an alias {name!r}"
        return "unknown-alias", f"no alias named {name!r}{did_you_mean(name, self._known)}"

    def _check_then(self, limit: LimitSpec, name: str, place: Where) -> None:
        if limit.unit not in _REDIRECTING or limit.per not in _BUDGETS:
            message = "'then' is for limits of tokens and spend per day or month; over this one a request is refused"
            self._report(place, "bad-then", message, at_key=True)
        elif "*" in name:
            message = f"{name!r} must name one alias; a `*` is not carried into it"
            self._report((*place, "alias"), "misplaced-star", message)
        elif name not in self._aliases and not self._left_out.has("models", name) and self._find(name) is None:
            message = f"no alias named {name!r}{did_you_mean(name, self._known)}"
            self._report((*place, "alias"), "unknown-alias", message)

    def _find(self, name: str) -> str | None:
        """Return the alias that a client's `name` leads to, as written in the file."""
        if self._names is None:
            self._names = look_up(self._aliases)
        route = self._names.find(name)
        return route.alias if route is not None else None
