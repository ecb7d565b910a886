"""`typed_per_filter_config` at every level of a route table, and the filters that live by it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.configs import Json, cluster, http_proxy, route, typed, virtual_host
from tests.support.differential import Pair, pair_fixture

ROUTER: Final[Json] = {
    "name": "router",
    "typed_config": typed("envoy.extensions.filters.http.router.v3.Router"),
}
_MUTATION: Final = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
_CORS: Final = "envoy.extensions.filters.http.cors.v3.Cors"


def _named(text: str) -> Json:
    change = {"append": {"header": {"key": "x-level", "value": text}, "append_action": 0}}
    last = {"append": {"header": {"key": "x-last", "value": text}, "append_action": 2}}
    return {"mutations": {"request_mutations": [change, last], "response_mutations": [change, last]}}


def _mutate(text: str) -> Json:
    return typed(_MUTATION + "PerRoute", **_named(text))


def _policy(**fields: Any) -> Json:
    return typed(_CORS + "Policy", **fields)


OFF: Final = typed("envoy.config.route.v3.FilterConfig", disabled=True)
WEIGHTED: Final[Json] = {
    "match": {"prefix": "/weighted"},
    "route": {
        "weighted_clusters": {
            "clusters": [
                {"name": "origin", "weight": 1, "typed_per_filter_config": {"first": _mutate("weight")}},
                {"name": "origin", "weight": 0, "typed_per_filter_config": {"first": _mutate("never")}},
            ]
        }
    },
    "typed_per_filter_config": {"first": _mutate("route"), "second": _mutate("route")},
}
ORIGINS: Final[Json] = {
    "allow_origin_string_match": [{"exact": "http://a.test"}, {"suffix": ".b.test"}],
    "allow_methods": "GET,PUT",
    "max_age": "60",
}
pair = pair_fixture(
    http_proxy(
        hcm={
            "http_filters": [
                {"name": "first", "typed_config": typed(_MUTATION, **_named("filter"))},
                {
                    "name": "second",
                    "typed_config": typed(
                        _MUTATION, **_named("filter2"), most_specific_header_mutations_wins=True
                    ),
                },
                {"name": "envoy.filters.http.cors", "typed_config": typed(_CORS)},
                ROUTER,
            ]
        },
        route_config={"typed_per_filter_config": {"first": _mutate("table"), "second": _mutate("table")}},
        virtual_hosts=[
            virtual_host(
                [
                    WEIGHTED,
                    {**route(prefix="/plain"), "typed_per_filter_config": {"first": _mutate("route")}},
                    {**route(prefix="/off"), "typed_per_filter_config": {"first": OFF}},
                    {**route(prefix="/other"), "typed_per_filter_config": {"first": _policy(max_age="1")}},
                    route(prefix="/"),
                ],
                ["levels"],
                typed_per_filter_config={"first": _mutate("host"), "second": _mutate("host")},
            ),
            virtual_host(
                [
                    {
                        **route(prefix="/star"),
                        "typed_per_filter_config": {
                            "envoy.filters.http.cors": _policy(
                                allow_origin_string_match=[{"safe_regex": {"regex": ".*"}}],
                                allow_methods="*",
                                allow_headers="*",
                                expose_headers="x-a",
                                allow_credentials=True,
                                allow_private_network_access=True,
                            )
                        },
                    },
                    {
                        **route(prefix="/strict"),
                        "typed_per_filter_config": {
                            "envoy.filters.http.cors": _policy(
                                forward_not_matching_preflights=False, max_age="5"
                            )
                        },
                    },
                    {
                        **route(prefix="/shadow"),
                        "typed_per_filter_config": {
                            "envoy.filters.http.cors": _policy(
                                filter_enabled={"default_value": {"numerator": 0}},
                                shadow_enabled={"default_value": {"numerator": 100}},
                            )
                        },
                    },
                    {"match": {"prefix": "/direct"}, "direct_response": {"status": 200}},
                    route(prefix="/"),
                ],
                ["cors"],
                typed_per_filter_config={"envoy.filters.http.cors": _policy(**ORIGINS)},
            ),
            virtual_host(
                [
                    route(prefix="/own", cors={"allow_methods": "PATCH", "expose_headers": "x-own"}),
                    route(prefix="/"),
                ],
                ["older"],
                cors={**ORIGINS, "allow_headers": "x-older"},
            ),
            virtual_host([route()], ["none"]),
        ],
        clusters=[cluster()],
    )
)


@pytest.mark.parametrize("path", ["/weighted", "/plain", "/off", "/other", "/"])
def test_every_level_has_its_say_in_header_mutations(pair: Pair, path: str) -> None:
    pair.same(f"GET {path} HTTP/1.1\r\nHost: levels\r\n\r\n".encode())


@pytest.mark.parametrize("host", ["cors", "older", "none"])
@pytest.mark.parametrize("path", ["/", "/star", "/strict", "/shadow", "/own", "/direct"])
@pytest.mark.parametrize("origin", ["", "http://a.test", "https://x.b.test", "http://c.test"])
def test_cors_marks_responses_and_answers_preflights(pair: Pair, host: str, path: str, origin: str) -> None:
    mark = f"Origin: {origin}\r\n" if origin else ""
    asked = (
        "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-q,x-r\r\n"
        "Access-Control-Request-Private-Network: true\r\n"
    )
    with pair.same_stats("http.ingress.cors."):
        pair.same(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{mark}\r\n".encode())
        pair.same(f"OPTIONS {path} HTTP/1.1\r\nHost: {host}\r\n{mark}\r\n".encode())
        pair.same(f"OPTIONS {path} HTTP/1.1\r\nHost: {host}\r\n{mark}{asked}\r\n".encode())
