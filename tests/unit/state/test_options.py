"""What `--state` and its neighbours may say; no message repeats a URL, which may hold a password."""

from __future__ import annotations

import pytest

from gateway.state.options import read_address, read_on_error, read_prefix


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://:secret@cache.example:7000/3", "redis://cache.example:7000/3"),
        ("rediss://app:secret@cache.example/0?ssl_ca_certs=/etc/ca.pem", "rediss://cache.example:6379/0"),
        ("redis://[::1]:6380", "redis://[::1]:6380/0"),
        ("unix:///run/redis.sock?db=2&password=secret", "unix:///run/redis.sock"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    address = read_address(url)
    assert (address.url, str(address)) == (url, shown)
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("localhost:6379", "that is no URL"),
        ("http://secret@host", "'http' is no scheme of Redis"),
        ("secret:x://host", "that is no URL"),
        ("redis://:secret@", "it names no host"),
        ("redis://host:secret", "its host or port is malformed"),
        ("redis://:se#cret@host", "a '#' in a password is written %23"),
        ("redis://host/secret", "the number of a database"),
        ("redis://host?timeout=secret", "timeout is no option of a redis:// URL; there are db"),
        ("redis://:12?secret@host/0", "a '?' in a password is written %3F"),
        ("unix:///run/redis.sock?password=a&secret", "what stands after '?' is no option of a unix:// URL"),
        ("redis://host?db=secret", "db is the number of a database"),
        ("rediss://host?ssl_cert_reqs=secret", "ssl_cert_reqs is none, optional or required"),
        ("unix://", "it names no socket"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_text(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=r".") as told:
        read_address(url)
    assert why in str(told.value)
    assert "secret" not in str(told.value)


def test_other_flags() -> None:
    assert [read_prefix(text) for text in ("team-a:gateway", "{team-a}")] == ["team-a:gateway", "{team-a}"]
    assert [read_on_error(text) for text in ("local", "ALLOW", "deny")] == ["local", "allow", "deny"]
    for text in ("two words", "a{tag}", "{two}{tags}", "{}", "ä", "x" * 65):
        with pytest.raises(ValueError, match="64 characters"):
            read_prefix(text)
    with pytest.raises(ValueError, match="local, allow or deny"):
        read_on_error("fail")
