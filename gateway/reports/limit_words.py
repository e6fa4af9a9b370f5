"""Limits in words: what changes of them, of groups of clients, of prices and caches; and what is used of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.config.model.limit_texts import amount_text
from gateway.wire.json import Json, JsonObject
from gateway.words import as_number, count, rough_size, shown

Quote = Callable[[str], str]


def limits_text(old: JsonObject, new: JsonObject, quote: Quote) -> str:
    """Return what changes in a list of limits: `60 → 30 requests a minute; at most 20 at once now`."""
    return "; ".join(_limit_text(bucket, old.get(bucket), new.get(bucket), quote) for bucket in {**old, **new})


def _limit_text(bucket: str, old: JsonObject | None, new: JsonObject | None, quote: Quote) -> str:
    if old is None:
        return f"at most {_in_full(bucket, new or {}, quote)} now"
    if new is None:
        return f"the limit of {_in_full(bucket, old, quote)} is gone"
    amounts = _amount(bucket, old), _amount(bucket, new)
    text = f"{amounts[0]} → {amounts[1]}{_of(bucket)}" if amounts[0] != amounts[1] else f"{amounts[0]}{_of(bucket)}"
    before, after = (quote(limit["then"]) if "then" in limit else "refused" for limit in (old, new))
    return f"{text}, then {before} → {after}" if before != after else text


def limit_list(limits: Mapping[str, Any], quote: Quote) -> str:
    """Return limits in full: `60 requests a minute, 20 at once`."""
    return ", ".join(_in_full(bucket, limit, quote) for bucket, limit in limits.items())


def _in_full(bucket: str, limit: JsonObject, quote: Quote) -> str:
    then = f" (then {quote(limit['then'])})" if "then" in limit else ""
    return f"{_amount(bucket, limit)}{_of(bucket)}{then}"


def _amount(bucket: str, limit: JsonObject) -> str:
    return _dollars(limit["amount"]) if bucket.startswith("spend") else amount_text(limit["amount"])


def _of(bucket: str) -> str:
    """Return what is counted, behind an amount: ` requests a minute`, ` a day` of dollars, ` at once`."""
    unit, _, window = bucket.partition("/")
    if not window:
        return " at once"
    return f"{'' if unit == 'spend' else f' {unit}'} {'an' if window == 'hour' else 'a'} {window}"


def models_text(old: list[str] | None, new: list[str] | None, quote: Quote) -> str:
    """Return what a group may ask for now, and what no longer."""
    if new is None:
        return "may ask for every alias now"
    if old is None:
        return f"may ask for {_names(new, quote)} only now" if new else "may ask for nothing now"
    more, less = ([name for name in one if name not in other] for one, other in ((new, old), (old, new)))
    texts = [f"may ask for {_names(more, quote)} too"] if more else []
    return "; ".join(texts + ([f"may no longer ask for {_names(less, quote)}"] if less else []))


def _names(names: list[str], quote: Quote) -> str:
    return ", ".join(map(quote, names)) or "nothing"


def group_text(group: JsonObject, quote: Quote) -> str:
    """Return what a new group may do."""
    models = "every alias" if group["models"] is None else _names(group["models"], quote)
    if not group["limits"]:
        return f"may ask for {models}, without limits"
    whose = "all together" if group["share"] else "each"
    return f"may ask for {models}, {whose} {limit_list(group['limits'], quote)}"


def price_text(price: Json) -> str:
    """Return a price per million tokens, or where it comes from."""
    if price is None:
        return "by the price data"
    values = dict.fromkeys([price["input"], price["output"], price["cached_input"]])
    if len(values) == 1:
        return _dollars(price["input"])
    cached = f", {_dollars(price['cached_input'])} cached" if price["cached_input"] != price["input"] else ""
    return f"{_dollars(price['input'])} in, {_dollars(price['output'])} out{cached}"


def _dollars(amount: float) -> str:
    return f"${as_number(amount)}"


def cache_text(old: Json, new: Json) -> str:
    """Return what changes in how answers are kept: `answers are kept 10m instead of 1h`."""
    if new is None:
        return f"answers are no longer kept (were for {shown(old['ttl'])})"
    stale = None if new["stale_if_error"] is None else shown(new["stale_if_error"])
    if old is None:
        more = ["for all clients"] if new["scope"] == "shared" else []
        more += [] if stale is None else [f"{stale} more when all fails"]
        return f"answers are kept now: {', '.join([shown(new['ttl']), *more])}"
    texts = []
    if old["ttl"] != new["ttl"]:
        texts.append(f"answers are kept {shown(new['ttl'])} instead of {shown(old['ttl'])}")
    if old["scope"] != new["scope"]:
        whose = "all clients" if new["scope"] == "shared" else "the client that asked"
        texts.append(f"kept answers are for {whose} now")
    if old["stale_if_error"] != new["stale_if_error"]:
        before = "" if old["stale_if_error"] is None else f" instead of {shown(old['stale_if_error'])}"
        texts.append(
            "no answer that is too old serves any more when all fails"
            if stale is None
            else f"when all fails they serve {stale} more{before}"
        )
    return "; ".join(texts)


def has_caches(state: JsonObject) -> bool:
    """Tell whether an alias that `/-/state` lists has a cache."""
    return any("cache" in one for one in state["aliases"])


def kept_text(cache: JsonObject) -> str:
    """Return how many answers a gateway keeps: `12 kept answers, 34KiB of 64MiB`."""
    if not cache["max_bytes"]:
        return "no kept answers: --cache-size is 0"
    return f"{count(cache['entries'], 'kept answer')}, {rough_size(cache['bytes'])} of {rough_size(cache['max_bytes'])}"


def redis_text(redis: JsonObject | None) -> str:
    """Return what is wrong with the Redis that replicas share; empty if nothing is."""
    return "" if redis is None or redis["is_up"] else f"{redis['address']} is out of reach"


def owner_text(one: JsonObject) -> str:
    """Return whose limit it is: `client ann`, `group search`, `requests without a key`."""
    return f"{one['owner']} {one['name']}" if one["name"] else "requests without a key"


def used_text(one: JsonObject) -> str:
    """Return how much of a limit is used, such as `1,200 of 5,000`."""
    if one["limit"].startswith("$"):
        return f"${one['used']:,.2f} of ${one['amount']:,.2f}"
    return f"{one['used']:,.0f} of {one['amount']:,.0f}"
