"""The csrf filter: which requests it looks at, what it takes for their origin, and the policies of routes."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.configs import ROUTER, TYPE, Json, route, typed
from tests.support.differential import Pair
from tests.support.managers import Case, get, managers_fixture, post, same_everywhere
from tests.support.origin import HELLO

CSRF: Final = "envoy.extensions.filters.http.csrf.v3.CsrfPolicy"
NAME: Final = "envoy.filters.http.csrf"
ROUTER_FILTER: Final = {"name": "router", "typed_config": typed(ROUTER)}


def fraction(numerator: int, **fields: Any) -> Json:
    return {"default_value": {"numerator": numerator, "denominator": "TEN_THOUSAND"}, **fields}


ALWAYS: Final = fraction(10_000)
NEVER: Final = fraction(0)


def policy(enabled: Json = ALWAYS, **fields: Any) -> Json:
    return typed(CSRF, filter_enabled=enabled, **fields)


def manager(one: Json) -> Json:
    return {"http_filters": [{"name": NAME, "typed_config": one}, ROUTER_FILTER]}


OFF: Final = {"@type": f"{TYPE}envoy.config.route.v3.FilterConfig", "disabled": True}
ROUTES: Final = [
    {**route(prefix="/off"), "typed_per_filter_config": {NAME: OFF}},
    {**route(prefix="/shadow"), "typed_per_filter_config": {NAME: policy(NEVER, shadow_enabled=ALWAYS)}},
    {
        **route(prefix="/friend"),
        "typed_per_filter_config": {NAME: policy(additional_origins=[{"exact": "friend.test"}])},
    },
    {"match": {"prefix": "/direct"}, "direct_response": {"status": 204}},
    route(prefix="/pass"),
]
MANAGERS: Final = {
    "on": manager(
        policy(
            additional_origins=[
                {"exact": "www.example.org"},
                {"prefix": "TLS."},
                {"suffix": ".ok.test", "ignore_case": True},
                {"safe_regex": {"regex": r".*\.trusted\.test:8\d+"}},
            ]
        )
    ),
    "shadow": manager(policy(NEVER, shadow_enabled=ALWAYS)),
    "off": manager(policy(NEVER)),
    "runtime": manager(policy(fraction(0, runtime_key="my.csrf"))),
}
RUNTIME: Final = {"my.csrf": 10_000}
pair = managers_fixture(
    MANAGERS,
    routes=ROUTES,
    layered_runtime={"layers": [{"name": "static", "static_layer": RUNTIME}]},
)

METHODS: Final = ("GET", "HEAD", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE")
ORIGINS: Final = (
    "http://example.com",
    "https://example.com",
    "HTTP://example.com/",
    "example.com",
    "http://EXAMPLE.com",
    "http://example.com:80",
    "http://u:p@example.com",
    "http://@example.com",
    "http://a@evil@example.com",
    "http://evil@example.com/x",
    "http://example.com@evil",
    "http://example.com?x#y",
    "http://example.com/x#y",
    "http://evil/http://example.com",
    "http://evil?example.com",
    "http://example.com http://evil",
    "//example.com",
    "http:example.com",
    "http:///example.com",
    "1a://example.com",
    "a+b.c-d://example.com",
    "null",
    "",
    "*",
    "www.example.org",
    "http://www.example.org:80",
    "http://TLS.test",
    "http://a.OK.test",
    "http://ok.test",
    "https://a.trusted.test:8443",
    "https://a.trusted.test:9443",
)
HOSTS: Final = (
    ("example.com:80", "http://example.com:80"),
    ("example.com:080", "http://example.com:080"),
    ("example.com:080", "http://example.com:80"),
    ("[::1]:8", "http://[::1]:8"),
    ("[::1]", "http://[::1]/x"),
    ("ex_ample", "http://ex_ample"),
)


def test_methods_that_change_something_are_checked(pair: Pair) -> None:
    cases: list[Case] = [
        ("on", get("/pass", f"origin: {origin}", "content-length: 0", method=method), HELLO)
        for method in METHODS
        for origin in ("http://example.com", "http://evil")
    ]
    with pair.same_stats("http.on.csrf."):
        same_everywhere(pair, cases)


def test_what_counts_as_the_origin(pair: Pair) -> None:
    cases: list[Case] = [("on", post("/pass", b"body", f"origin: {origin}"), HELLO) for origin in ORIGINS]
    with pair.same_stats("http.on.csrf."):
        outcomes = same_everywhere(pair, cases)
    assert {outcome.status for outcome in outcomes} == {200, 403}


def test_the_host_is_compared_as_it_is_written(pair: Pair) -> None:
    cases: list[Case] = [
        ("on", post("/pass", b"", f"origin: {origin}", host=host), HELLO) for host, origin in HOSTS
    ]
    with pair.same_stats("http.on.csrf."):
        same_everywhere(pair, cases)


def test_the_referer_stands_in_for_the_origin(pair: Pair) -> None:
    same: Final = "referer: http://example.com/page?a=b"
    cases: list[Case] = [
        ("on", post("/pass", b"", *fields), HELLO)
        for fields in (
            (),
            (same,),
            ("origin:", same),
            ("origin: null", same),
            ("origin: http://evil", same),
            ("origin: http://example.com", "referer: http://evil/"),
            ("referer: http://evil/",),
            ("referer: null",),
            ("referer: example.com",),
            ("origin: http://example.com", "origin: http://evil"),
            (same, same),
        )
    ]
    with pair.same_stats("http.on.csrf."):
        same_everywhere(pair, cases)


@pytest.mark.parametrize("name", MANAGERS)
def test_policies_of_routes(pair: Pair, name: str) -> None:
    cases: list[Case] = [
        (name, post(path, b"", *fields), HELLO)
        for path in ("/off", "/shadow", "/friend", "/direct", "/pass", "/nowhere")
        for fields in ((), ("origin: http://example.com",), ("origin: http://friend.test",))
    ]
    with pair.same_stats(f"http.{name}.csrf.", f"http.{name}.downstream_rq_"):
        same_everywhere(pair, cases)


def test_a_grpc_client_is_told_in_its_own_way(pair: Pair) -> None:
    fields = ("content-type: application/grpc", "te: trailers")
    same_everywhere(pair, [("on", post("/pass", b"", *fields), HELLO)])
