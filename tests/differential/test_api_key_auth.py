"""The api_key_auth filter: where keys are found, who may use a route, and what the upstream sees of it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.configs import ROUTER, TYPE, Json, route, typed
from tests.support.differential import Pair
from tests.support.envoy import Envoy
from tests.support.managers import Case, get, managers, managers_fixture, same_everywhere
from tests.support.origin import HELLO
from tests.support.outrider import subject

AUTH: Final = "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth"
NAME: Final = "envoy.filters.http.api_key_auth"
ROUTER_FILTER: Final = {"name": "router", "typed_config": typed(ROUTER)}
KEYS: Final = [
    {"key": "k1", "client": "one"},
    {"key": "k 2", "client": "two"},
    {"key": "Bearer k3", "client": "three"},
    {"key": '"k4"', "client": "four"},
    {"key": "k\xe9", "client": "\xe9"},
]
SOURCES: Final = [{"header": "X-Key"}, {"query": "q"}, {"cookie": "c"}]


def manager(**fields: Any) -> Json:
    return {"http_filters": [{"name": NAME, "typed_config": typed(AUTH, **fields)}, ROUTER_FILTER]}


def routed(prefix: str, **fields: Any) -> Json:
    return {
        **route(prefix=prefix),
        "typed_per_filter_config": {NAME: typed(f"{AUTH}PerRoute", **fields)},
    }


OFF: Final = {NAME: {"@type": f"{TYPE}envoy.config.route.v3.FilterConfig", "disabled": True}}
ROUTES: Final = [
    routed("/some", allowed_clients=["two", "six"]),
    routed("/none"),
    routed("/keys", credentials=[{"key": "k6", "client": "six"}]),
    routed("/all", credentials=[{"key": "k6", "client": "six"}], key_sources=[{"header": "x-other"}]),
    routed("/sources", key_sources=[{"query": "other"}, {"header": "x-other"}]),
    routed("/told", forwarding={"header": "x-told"}),
    {**route(prefix="/off"), "typed_per_filter_config": OFF},
    route(prefix="/rewritten", prefix_rewrite="/new"),
    route(prefix="/"),
]
MANAGERS: Final = {
    "plain": manager(credentials=KEYS, key_sources=SOURCES),
    "told": manager(credentials=KEYS, key_sources=SOURCES, forwarding={"header": "X-Client"}),
    "hidden": manager(
        credentials=KEYS, key_sources=SOURCES, forwarding={"header": "x-client", "hide_credentials": True}
    ),
    "no_keys": manager(key_sources=SOURCES),
    "no_sources": manager(credentials=KEYS),
    "first": manager(credentials=KEYS, key_sources=[{"header": "x-a", "query": "q", "cookie": "c"}]),
    "authorization": manager(credentials=KEYS, key_sources=[{"header": "Authorization"}]),
}
pair = managers_fixture(MANAGERS, routes=ROUTES)

#: Target and fields of a request.
REQUESTS: Final[tuple[tuple[str, ...], ...]] = (
    ("/",),
    ("/", "x-key: k1"),
    ("/", "x-key: K1"),
    ("/", "x-key: k 2"),
    ("/", "x-key: Bearer k1"),
    ("/", "x-key: bearer k1"),
    ("/", "x-key: Bearer  k1"),
    ("/", "x-key: Bearer Bearer k3"),
    ("/", "x-key: Bearer"),
    ("/", "x-key: k\xc3\xa9"),
    ("/", "x-key: k\xe9"),
    ("/", "x-key:", "cookie: c=k1"),
    ("/", "x-key: bad", "cookie: c=k1"),
    ("/", "x-key: k1", "x-key: bad"),
    ("/", "x-key: bad", "x-key: k1"),
    ("/", "x-key: k1", "x-client: me", "x-last: 1"),
    ("/", "x-key: k1", "x-client: me", "x-client: you"),
    ("/?q=k1",),
    ("/?a=1&q=k1&z=2",),
    ("/?q=k%202",),
    ("/?q=k+2",),
    ("/?q=k%C3%A9",),
    ("/?q=&q=k1",),
    ("/?q=k1&q=bad",),
    ("/?q=bad&q=k1",),
    ("/?Q=k1",),
    ("/?%71=k1",),
    ("/?a=1;q=k1",),
    ("/?q=k1=",),
    ("/?q=%6b%31",),
    ("/?q=%zzk1",),
    ("/?q", "cookie: c=k1"),
    ("/", "cookie: c=k1"),
    ("/", "cookie: a=1; c=k1; b=2"),
    ("/", "cookie: a=1;c=k1;  b=2"),
    ("/", "cookie: a=1", "cookie: c=k1"),
    ("/", "cookie: c=bad", "cookie: c=k1"),
    ("/", "cookie: c=k1; c=bad"),
    ("/", 'cookie: c="k1"; d="1"; e= 2 ; odd'),
    ("/", 'cookie: c=""k4""'),
    ("/", "cookie: c = k1"),
    ("/", "cookie: C=k1"),
    ("/", "cookie: ;;c=k1;;"),
    ("/", "x-key: k1", "cookie: a=1;b=2; c=3"),
    ("/", "x-key: k1", "cookie: odd"),
    ("/", "x-key: k1", "cookie:"),
    ("/rewritten/a?q=k1&z=1",),
)


@pytest.mark.parametrize("name", ["plain", "told", "hidden", "no_keys", "no_sources", "first"])
def test_where_keys_are_found(pair: Pair, name: str) -> None:
    cases: list[Case] = [(name, get(target, *fields), HELLO) for target, *fields in REQUESTS]
    with pair.same_stats(f"http.{name}.api_key_auth."):
        same_everywhere(pair, cases)


def test_a_field_that_is_joined(pair: Pair) -> None:
    cases: list[Case] = [
        ("authorization", get("/", *fields), HELLO)
        for fields in (
            (),
            ("authorization: k1",),
            ("authorization: Bearer k1",),
            ("authorization: Bearer k1", "authorization: x"),
        )
    ]
    same_everywhere(pair, cases)


@pytest.mark.parametrize("name", ["told", "no_keys", "no_sources"])
def test_configs_of_routes(pair: Pair, name: str) -> None:
    cases: list[Case] = [
        (name, get(path + query, *fields), HELLO)
        for path in ("/some", "/none", "/keys", "/all", "/sources", "/told", "/off")
        for query, *fields in (
            ("", "x-key: k1"),
            ("", "x-key: k 2"),
            ("", "x-key: k6"),
            ("", "x-other: k6"),
            ("", "x-other: k1"),
            ("?other=k1", "x-other: k 2"),
            ("", "content-type: application/grpc", "x-key: k1"),
        )
    ]
    with pair.same_stats(f"http.{name}.api_key_auth."):
        same_everywhere(pair, cases)


def test_the_rest_of_a_query_stays_as_it_came(pair: Pair) -> None:
    cases: list[Case] = [
        ("hidden", get(f"/?{query}"), HELLO) for query in ("z=1&q=k1&a=2", "q=k1&a=%26%3D", "q=k1&a=1&&b")
    ]
    outcomes = same_everywhere(pair, cases)
    assert [outcome.request.start.split()[1] for outcome in outcomes] == [
        "/?z=1&a=2",
        "/?a=%26%3D",
        "/?a=1&&b",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"credentials": [{"key": "k1", "client": "a"}, {"key": "k1", "client": "b"}]},
        {"credentials": [{"key": "", "client": "a"}]},
        {"credentials": [{"key": "a", "client": ""}]},
        {"key_sources": [{}]},
        {"key_sources": [{"header": "a b\n"}]},
    ],
)
@pytest.mark.parametrize("of_route", [False, True])
def test_what_is_refused(fields: dict[str, Any], of_route: bool) -> None:
    routes = [routed("/", **fields)] if of_route else [route()]
    config = managers({"one": manager() if of_route else manager(**fields)}, routes=routes)
    for kind in (Envoy, subject()):
        accepted, said = kind.validate(config, {"one_port": 0, "origin_port": 1})
        assert not accepted, said
