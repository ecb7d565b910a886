from __future__ import annotations

from typing import Any

import pytest

from proxy.base.runtime import Runtime
from proxy.router.redirect import RedirectAction
from proxy.router.virtual_host import VirtualHost
from tests.unit.proxy.router.tables import one, problems_of, request, route_of, routes, stream, table, why


def virtual_host(config: dict[str, Any], **options: Any) -> VirtualHost:
    found = table(config, **options).virtual_host("h")
    assert found is not None
    return found


def test_the_first_route_that_matches_wins() -> None:
    compiled = table(
        routes(
            {"match": {"prefix": "/a", "headers": [{"name": "x"}]}, "route": {"cluster": "1"}},
            {"match": {"path": "/a"}, "route": {"cluster": "2"}},
            {"match": {"prefix": "/"}, "route": {"cluster": "3"}},
        )
    )
    assert why(compiled, request("/a", ("x", "1"))) == "virtual_hosts[0].routes[0]"
    assert why(compiled, request("/a")) == "virtual_hosts[0].routes[1]"
    assert why(compiled, request("/b")) == "virtual_hosts[0].routes[2]"


def test_consecutive_runtime_fractions_share_one_draw() -> None:
    def fraction(percent: int, key: str = "") -> dict[str, Any]:
        return {
            "prefix": "/",
            "runtime_fraction": {"default_value": {"numerator": percent}, "runtime_key": key},
        }

    runtime = Runtime()
    compiled = table(
        routes(
            {"match": fraction(30, "first"), "route": {"cluster": "1"}},
            {"match": fraction(50), "route": {"cluster": "2"}},
        ),
        runtime=runtime,
    )
    chosen = [why(compiled, request(), draw=draw)[-2:-1] for draw in (29, 30, 49, 50)]
    assert chosen == ["0", "1", "1", ""]
    runtime.replace({"first": "0"})
    assert why(compiled, request(), draw=1)[-2:-1] == "1"


@pytest.mark.parametrize(
    ("match", "deterministic"),
    [
        ({"prefix": "/", "headers": [{"name": "x"}]}, True),
        ({"prefix": "/", "query_parameters": [{"name": "x"}]}, True),
        ({"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 1}}}, False),
        ({"prefix": "/", "tls_context": {"presented": True}}, False),
        ({"prefix": "/", "dynamic_metadata": [{"filter": "f", "value": {"null_match": {}}}]}, False),
        ({"prefix": "/", "filter_state": [{"key": "k", "string_match": {"exact": "v"}}]}, False),
    ],
)
def test_a_choice_by_the_head_alone_is_deterministic(match: dict[str, Any], deterministic: bool) -> None:
    assert virtual_host(one(match)).deterministic is deterministic


@pytest.mark.parametrize(
    ("requirement", "fields", "scheme", "redirected"),
    [
        ("NONE", [], "http", False),
        ("ALL", [], "http", True),
        ("ALL", [], "https", False),
        ("ALL", [("x-envoy-internal", "true")], "http", True),
        ("EXTERNAL_ONLY", [], "http", True),
        ("EXTERNAL_ONLY", [("x-envoy-internal", "true")], "http", False),
    ],
)
def test_plain_requests_are_sent_to_https_where_tls_is_required(
    requirement: str, fields: list[tuple[str, str]], scheme: str, redirected: bool
) -> None:
    compiled = table(routes({"match": {"prefix": "/"}, "route": {"cluster": "c"}}, require_tls=requirement))
    head = request("/a?b", *fields, host="h:80", scheme=scheme)
    route = route_of(compiled, head)
    assert route is not None
    assert isinstance(route.action, RedirectAction) is redirected
    if isinstance(route.action, RedirectAction):
        response = route.action.respond(head, stream())
        assert (response.status, response.headers["location"]) == (301, "https://h:80/a?b")
        assert route.why == "virtual_hosts[0].require_tls"


def test_virtual_clusters_name_requests() -> None:
    clusters = [
        {"name": "posts", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]},
        {"name": "a", "headers": [{"name": ":path", "string_match": {"prefix": "/a"}}]},
    ]
    found = virtual_host(routes(virtual_clusters=clusters))
    assert found.virtual_cluster(request("/a", method="POST")) == "posts"
    assert found.virtual_cluster(request("/a")) == "a"
    assert found.virtual_cluster(request("/b")) == "other"
    assert virtual_host(routes()).virtual_cluster(request("/a")) is None
    refused = problems_of(routes(virtual_clusters=[{"name": "x"}]))
    assert refused == [
        ("virtual_hosts[0].virtual_clusters[0].headers", "virtual clusters must define 'headers'")
    ]


def test_routes_inherit_from_the_virtual_host() -> None:
    config = routes(
        {"match": {"path": "/own"}, "route": {"cluster": "c"}, "request_body_buffer_limit": "5"},
        {"match": {"path": "/old"}, "route": {"cluster": "c"}, "per_request_buffer_limit_bytes": 6},
        {"match": {"prefix": "/"}, "route": {"cluster": "c"}},
        per_request_buffer_limit_bytes=7,
        include_request_attempt_count=True,
    )
    found = virtual_host(config)
    assert [route.body_buffer_limit for route in found.routes] == [5, 6, 7]
    assert all(route.include_request_attempt_count for route in found.routes)
    assert not any(route.include_attempt_count_in_response for route in found.routes)
