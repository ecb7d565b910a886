"""Which repeated fields leave as one line."""

from __future__ import annotations

from proxy.base.headers import HeaderMap
from proxy.hcm.repeated_fields import REQUEST, RESPONSE, join_repeated


def test_known_fields_become_one_line_and_others_stay() -> None:
    headers = HeaderMap([("via", "a"), ("x-own", "1"), ("via", "b"), ("x-own", "2")])
    join_repeated(headers, REQUEST)
    assert list(headers.fields()) == [("via", "a,b"), ("x-own", "1"), ("x-own", "2")]


def test_cookies_are_never_joined_with_commas() -> None:
    for names, name in ((REQUEST, "cookie"), (RESPONSE, "set-cookie")):
        headers = HeaderMap([(name, "a"), (name, "b")])
        join_repeated(headers, names)
        assert headers.values_of(name) == ["a", "b"]


def test_nothing_repeated() -> None:
    headers = HeaderMap([("via", "a")])
    join_repeated(headers, REQUEST)
    assert list(headers.fields()) == [("via", "a")]
