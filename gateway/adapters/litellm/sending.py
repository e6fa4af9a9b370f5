"""Stops requests of LiteLLM that would go to another host than the table means, in a process of our own.

The check is in the HTTP libraries that LiteLLM and the SDKs below it use, at the last place that every request passes,
redirects and look-ups beside the call included. Only what signs in with an account of the machine, such as Google's or
Amazon's own libraries, goes past it; it carries no prompt and no key of the file.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Final

import aiohttp
from yarl import URL

from gateway.adapters.hosts import place_of, refuse_other_hosts
from gateway.adapters.litellm.call import OurCall, our_call

_HTTPX: Final = ("httpx", "httpx2")
_MARK: Final = "gateway_checks_hosts"


def check_hosts() -> None:
    """Make aiohttp and httpx refuse, during our calls, what goes elsewhere, and follow no redirects."""
    _check_aiohttp()
    for name in _HTTPX:
        if importlib.util.find_spec(name) is not None:
            _check_httpx(importlib.import_module(name))


def _check_aiohttp() -> None:
    session: Any = aiohttp.ClientSession
    request = session._request
    if hasattr(request, _MARK):
        return

    async def request_checked(self: Any, method: str, str_or_url: Any, **kwargs: Any) -> Any:
        ours = our_call()
        if ours is not None and ours.endpoint is not None:
            refuse_if_carried(ours)
            refuse_other_hosts(ours.endpoint, place_of(self._build_url(str_or_url)), method=method)
            kwargs["allow_redirects"] = False
        return await request(self, method, str_or_url, **kwargs)

    setattr(request_checked, _MARK, True)
    session._request = request_checked


def _check_httpx(httpx: Any) -> None:
    if hasattr(httpx.AsyncHTTPTransport.handle_async_request, _MARK):
        return
    send_async, send = httpx.AsyncHTTPTransport.handle_async_request, httpx.HTTPTransport.handle_request

    async def send_async_checked(self: Any, request: Any) -> Any:
        if (ours := our_call()) is not None:
            refuse_if_carried(ours)
        return _without_redirect(await send_async(self, _checked(request)))

    def send_checked(self: Any, request: Any) -> Any:
        return _without_redirect(send(self, _checked(request)))

    setattr(send_async_checked, _MARK, True)
    httpx.AsyncHTTPTransport.handle_async_request = send_async_checked
    httpx.HTTPTransport.handle_request = send_checked


def refuse_if_carried(ours: OurCall) -> None:
    """Raise for a request that LiteLLM would send itself although it was given our client."""
    if ours.carried and ours.asking:
        raise RuntimeError("LiteLLM did not use the client that it was given")


def _checked(request: Any) -> Any:
    ours = our_call()
    if ours is not None and ours.endpoint is not None:
        if ours.is_dry:
            raise RuntimeError("LiteLLM would send in a dry run")
        ours.beside = True
        refuse_other_hosts(ours.endpoint, place_of(URL(str(request.url))), method=request.method)
    return request


def _without_redirect(response: Any) -> Any:
    if our_call() is not None:
        response.headers.pop("location", None)
    return response
