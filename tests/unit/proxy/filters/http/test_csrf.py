from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.csrf.v3 import csrf_pb2
from google.protobuf import json_format

from proxy.base.runtime import Runtime
from proxy.config.context import CompileContext
from proxy.filters.http import csrf
from tests.support.filters import FilteredStream
from tests.support.listeners import numbers, services

ALWAYS = {"default_value": {"numerator": 100}}
NEVER = {"default_value": {"numerator": 0}}


def policy(runtime: Runtime | None = None, **fields: Any) -> csrf.CsrfPolicy:
    message = json_format.ParseDict({"filter_enabled": ALWAYS, **fields}, csrf_pb2.CsrfPolicy())
    compiled = csrf.compile_policy(message, "", context := CompileContext(runtime))
    assert not context.problems
    return compiled


class Guarded:
    """Requests to the authority `host` through one filter."""

    def __init__(self, config: csrf.CsrfPolicy) -> None:
        self.services = services()
        assert csrf.FACTORY.create is not None
        self.make: Any = csrf.FACTORY.create(config, self.services, "http.x.")

    def refuses(self, method: str = "POST", overrides: Any = None, **fields: str) -> bool:
        stream = FilteredStream(self.make, overrides=overrides)
        stream.begin(end_stream=True, method=method, **fields)
        assert stream.replies in ([], ["csrf_origin_mismatch"])
        assert bool(stream.replies) is not bool(stream.request)
        return bool(stream.replies)

    @property
    def numbers(self) -> tuple[int, ...]:
        found = numbers(self.services)
        return tuple(
            found.get(f"http.x.csrf.{name}", 0)
            for name in ("request_valid", "request_invalid", "missing_source_origin")
        )


def test_a_request_of_the_same_origin_passes_and_others_do_not() -> None:
    guarded = Guarded(policy())
    assert not guarded.refuses(origin="https://host")
    assert guarded.refuses(origin="https://evil")
    assert guarded.refuses()
    assert guarded.numbers == (1, 1, 1)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_methods_that_change_nothing_are_not_counted(method: str) -> None:
    guarded = Guarded(policy())
    assert not guarded.refuses(method, origin="http://evil")
    assert guarded.numbers == (0, 0, 0)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_methods_that_change_something_are_checked(method: str) -> None:
    assert Guarded(policy()).refuses(method, origin="http://evil")


def test_the_referer_counts_where_there_is_no_origin() -> None:
    guarded = Guarded(policy())
    assert not guarded.refuses(referer="http://host/page?a=b")
    assert not guarded.refuses(origin="", referer="http://host/")
    assert guarded.refuses(origin="http://evil", referer="http://host/")


def test_an_opaque_origin_is_none_whatever_the_referer_says() -> None:
    guarded = Guarded(policy())
    assert guarded.refuses(origin="null", referer="http://host/")
    assert guarded.numbers == (0, 0, 1)


def test_further_origins_are_matched_as_host_and_port() -> None:
    guarded = Guarded(policy(additional_origins=[{"exact": "www.example.com:8080"}, {"suffix": ".test"}]))
    assert not guarded.refuses(origin="http://www.example.com:8080")
    assert not guarded.refuses(origin="http://a.test/")
    assert guarded.refuses(origin="http://www.example.com")


def test_a_shadow_counts_and_lets_pass() -> None:
    guarded = Guarded(policy(filter_enabled=NEVER, shadow_enabled=ALWAYS))
    assert not guarded.refuses(origin="http://evil")
    assert guarded.numbers == (0, 1, 0)


def test_what_is_neither_enabled_nor_shadowed_does_nothing() -> None:
    guarded = Guarded(policy(filter_enabled=NEVER, shadow_enabled=NEVER))
    assert not guarded.refuses(origin="http://evil")
    assert guarded.numbers == (0, 0, 0)


def test_the_runtime_switches_it_off() -> None:
    enabled = {**ALWAYS, "runtime_key": "csrf.on"}
    guarded = Guarded(policy(Runtime({"csrf.on": "0"}), filter_enabled=enabled))
    assert not guarded.refuses(origin="http://evil")


def test_the_policy_of_a_route_takes_the_place_of_the_filter_s() -> None:
    guarded = Guarded(policy(additional_origins=[{"exact": "friend"}]))
    of_route = {"filter0": policy(additional_origins=[{"exact": "other"}])}
    assert guarded.refuses(overrides=of_route, origin="http://friend")
    assert not guarded.refuses(overrides=of_route, origin="http://other")
    assert guarded.numbers == (1, 1, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a", "a"),
        ("HTTPS://a:8443/x?y#z", "a:8443"),
        ("http://[::1]:8", "[::1]:8"),
        ("http://u:p@a?x", "a"),
        ("a:80", "a:80"),
        ("http:///x", "http:///x"),
        ("http://a b", "http://a b"),
        ("http://a@evil@b", "http://a@evil@b"),
        ("http://evil#@host", "http://evil#@host"),
        ("http://host/\xff", "http://host/\xff"),
    ],
)
def test_what_is_read_of_a_url(text: str, expected: str) -> None:
    assert csrf.host_and_port(text) == expected
