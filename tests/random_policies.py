"""Random policies with pools, conditions, nested aliases and key lists, as texts of a routes.yaml."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, get_args

from hypothesis import strategies as st

from gateway.policy.pools import Pick
from gateway.policy.table import RoutingTable
from tests.compiling import table

ENVIRON: Final = {"KEY_1": "key-one", "KEY_2": "key-two", "KEY_3": "key-three"}
KEYS: Final = len(ENVIRON)
"""Keys of each target of the provider `keyed`."""

PAID: Final = {"header": {"x-tier": "paid"}}
EU: Final = {"header": {"x-region": ["eu", "uk"]}}
WHENS: Final[Sequence[Any]] = [PAID, EU, {"not": PAID}, {"stream": True}, {"tokens": "> 1k"}, {"tools": False}]
PICKS: Final[Sequence[Pick]] = get_args(Pick)

_PROVIDERS: Final = {
    "own": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"},
    "keyed": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": [f"${{{name}}}" for name in ENVIRON]},
}


def compiled(models: Any) -> RoutingTable:
    """Compile the `models` of a file."""
    return table(f"providers: {json.dumps(_PROVIDERS)}\nmodels: {json.dumps(models)}\n", environ=ENVIRON)


@st.composite
def models(draw: st.DrawFn, *, whens: Sequence[Any] = WHENS, picks: Sequence[Pick] = PICKS) -> dict[str, Any]:
    """Return `models` with the alias `smart`, whose pools may have the alias `inner` as a member.

    No target is there twice. The key of sticky pools is the header `x-run`.
    """
    number = iter(range(1000))
    is_used = False

    def target() -> str:
        return f"{draw(st.sampled_from(['own', 'own', 'keyed']))}/m{next(number)}"

    def step() -> Any:
        name, retries = target(), draw(st.sampled_from([None, 0, 1, 2]))
        return name if retries is None else {"target": name, "retries": retries}

    def member(inner: bool) -> Any:
        nonlocal is_used
        weight = draw(st.sampled_from([0, 1, 1, 2.5, 9]))
        if inner and not is_used and draw(st.integers(0, 3)) == 0:
            is_used = True
            return {"alias": "inner", "weight": weight}
        found = step()
        return {**(found if isinstance(found, dict) else {"target": found}), "weight": weight}

    def pool(inner: bool) -> Any:
        pick = draw(st.sampled_from(picks))
        key = {"key": {"header": "x-run"}} if pick == "sticky" else {}
        return {"pool": [member(inner) for _ in range(draw(st.integers(1, 4)))], "pick": pick, **key}

    def chain(inner: bool) -> list[Any]:
        found: list[Any] = []
        for _ in range(draw(st.integers(1, 3))):
            made = pool(inner) if draw(st.booleans()) else step()
            if draw(st.booleans()):
                made = {**(made if isinstance(made, dict) else {"target": made}), "when": draw(st.sampled_from(whens))}
            found.append(made)
        return found

    nested = chain(inner=False)
    return {"smart": chain(inner=True), "inner": nested}
