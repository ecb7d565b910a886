"""Clusters: who gets a request, what breakers do, which numbers move, which configs are refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.support.configs import Json, address, cluster, http_proxy, route
from tests.support.differential import Pair, Side, pair_fixture, same_verdict
from tests.support.http_text import Message
from tests.support.origin import OriginConnection

NAMES = ("a", "b", "c")
REQUESTS = 48


def _endpoint(name: str, **fields: Any) -> Json:
    return {"endpoint": {"address": address(f"{{{{{name}_port}}}}")}, **fields}


def _hosts(name: str, groups: list[list[Json]], **fields: Any) -> Json:
    endpoints = [{"priority": priority, "lb_endpoints": group} for priority, group in enumerate(groups)]
    return cluster(name, 1, load_assignment={"cluster_name": name, "endpoints": endpoints}, **fields)


def _same(name: str, **fields: Any) -> Json:
    return _hosts(name, [[_endpoint(one) for one in NAMES]], **fields)


def _weighted(name: str, **fields: Any) -> Json:
    members = [
        _endpoint(one, load_balancing_weight=weight) for one, weight in zip(NAMES, (5, 1, 2), strict=True)
    ]
    return _hosts(name, [members], **fields)


SICK = {"health_status": "UNHEALTHY"}
CLUSTERS = [
    _same("rotating"),
    _weighted("weighted"),
    _same("random", lb_policy="RANDOM"),
    _same("least", lb_policy="LEAST_REQUEST"),
    _weighted("weighted_least", lb_policy="LEAST_REQUEST"),
    _hosts("one_sick", [[_endpoint("a"), _endpoint("b", **SICK), _endpoint("c")]]),
    _hosts("most_sick", [[_endpoint("a"), _endpoint("b", **SICK), _endpoint("c", health_status="DRAINING")]]),
    _hosts(
        "never_panics",
        [[_endpoint("a", **SICK), _endpoint("b", **SICK), _endpoint("c", **SICK)]],
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
    ),
    _hosts("empty", [[]]),
    _hosts("no_pending", [[_endpoint("a")]], circuit_breakers={"thresholds": [{"max_pending_requests": 0}]}),
    _hosts("no_requests", [[_endpoint("a")]], circuit_breakers={"thresholds": [{"max_requests": 0}]}),
    _hosts(
        "tracked",
        [[_endpoint("a")]],
        circuit_breakers={"thresholds": [{"track_remaining": True, "max_connections": 7}]},
        alt_stat_name="other:name",
    ),
]

pair = pair_fixture(
    http_proxy(routes=[route(one["name"], prefix=f"/{one['name']}") for one in CLUSTERS], clusters=CLUSTERS),
    origins=NAMES,
)


def _name_yourself(_request: Message, connection: OriginConnection) -> bytes:
    port = str(connection.socket.getsockname()[1]).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(port), port)


def _picks(side: Side, name: str, count: int = REQUESTS) -> str:
    """Who answered `count` requests on one connection, one letter each."""
    request = f"GET /{name} HTTP/1.1\r\nhost: a\r\n\r\n".encode()
    outcome = side.run(request * count, _name_yourself, None, {"timeout": 20.0})
    names = {str(origin.port).encode(): key for key, origin in side.origins.items()}
    return "".join(names.get(response.body, "-") for response in outcome.reply.responses)


@pytest.mark.parametrize("name", ["rotating", "weighted", "one_sick", "most_sick"])
def test_the_order_of_hosts_is_envoys(pair: Pair, name: str) -> None:
    # Both start at a random place of the same cycle; eight picks are a whole round of the weights 5, 1 and 2.
    envoy, outrider = pair.both(lambda side: _picks(side, name))
    assert len(outrider) == REQUESTS
    assert outrider[:8] in envoy + envoy


@pytest.mark.parametrize(
    ("name", "shares"),
    [("random", (1, 1, 1)), ("least", (1, 1, 1)), ("weighted_least", (5, 1, 2))],
)
def test_random_choices_have_envoys_distribution(pair: Pair, name: str, shares: tuple[int, ...]) -> None:
    count = 300
    for picked in pair.both(lambda side: _picks(side, name, count)):
        assert len(picked) == count
        for letter, share in zip(NAMES, shares, strict=True):
            expected = count * share / sum(shares)
            assert abs(Counter(picked)[letter] - expected) < 5 * expected**0.5


@pytest.mark.parametrize("name", ["empty", "never_panics", "no_pending", "no_requests"])
def test_nobody_may_serve(pair: Pair, name: str) -> None:
    with pair.same_stats(f"cluster.{name}.", ignore=[f"cluster.{name}.upstream_rq_active"]):
        reply = pair.same(f"GET /{name} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
    assert reply.status == 503


def test_every_number_of_a_served_request_moves_as_in_envoy(pair: Pair) -> None:
    # What Envoy calls buffered are bytes that it has read and not yet given back to its allocator.
    ignore = ["cluster.other_name.upstream_cx_rx_bytes_buffered"]
    pair.same(b"GET /tracked HTTP/1.1\r\nhost: a\r\n\r\n")
    with pair.same_stats("cluster.other_name.", ignore=ignore):
        pair.same(b"GET /tracked HTTP/1.1\r\nhost: a\r\n\r\n")
        pair.same(
            b"GET /tracked HTTP/1.1\r\nhost: a\r\n\r\n", b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"
        )


def test_a_cluster_in_use_has_the_names_that_envoy_has(pair: Pair) -> None:
    pair.same(b"GET /tracked HTTP/1.1\r\nhost: a\r\n\r\n")

    def names(side: Side) -> list[str]:
        return sorted(side.proxy.stats("cluster.other_name."))

    pair.same_value("names", names)


@pytest.mark.parametrize("name", ["one_sick", "tracked", "empty"])
def test_standing_numbers_are_envoys(pair: Pair, name: str) -> None:
    stat_name = "other_name" if name == "tracked" else name
    pair.run(f"GET /{name} HTTP/1.1\r\nhost: a\r\n\r\n".encode())

    def standing(side: Side) -> dict[str, int]:
        found = side.proxy.stats(f"cluster.{stat_name}.")
        return {
            key: value
            for key, value in found.items()
            if any(part in key for part in ("membership_", "circuit_breakers", "max_host_weight"))
        }

    pair.same_value("standing", standing)


NAME = {"endpoint": {"address": address(80, "example.com")}}
IP = {"endpoint": {"address": address(80)}}


def _load(*endpoints: Json) -> Json:
    return {"cluster_name": "c", "endpoints": [{"lb_endpoints": list(endpoints)}]}


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({"load_assignment": _load(IP)}, True),
        ({}, True),
        ({"load_assignment": _load(NAME)}, False),
        ({"load_assignment": _load(NAME), "type": "STRICT_DNS"}, True),
        ({"load_assignment": _load(NAME, NAME), "type": "LOGICAL_DNS"}, False),
        ({"type": "LOGICAL_DNS"}, False),
        ({"connect_timeout": "0s"}, False),
        ({"connect_timeout": "-1s"}, False),
        ({"lb_policy": "CLUSTER_PROVIDED"}, False),
        ({"lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}, False),
        ({"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 1}}, False),
        ({"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 2}}, True),
        ({"load_assignment": _load({**IP, "load_balancing_weight": 0})}, False),
        ({"load_assignment": _load({**IP, "health_status": "DEGRADED"})}, True),
        ({"load_assignment": _load({"endpoint": {}})}, False),
        ({"name": ""}, False),
        ({"circuit_breakers": {"thresholds": [{"max_requests": 0}, {"max_requests": 1}]}}, True),
        ({"circuit_breakers": {"per_host_thresholds": [{"max_requests": 1}]}}, False),
        ({"common_lb_config": {"healthy_panic_threshold": {"value": 101}}}, False),
        ({"type": "EDS"}, False),
        (
            {
                "load_assignment": _load(NAME),
                "type": "STRICT_DNS",
                "dns_failure_refresh_rate": {"base_interval": "2s", "max_interval": "1s"},
            },
            False,
        ),
        ({"load_assignment": _load(NAME), "type": "STRICT_DNS", "dns_refresh_rate": "0s"}, False),
        ({"cluster_type": {"name": "nothing.like.it"}}, False),
        ({"per_connection_buffer_limit_bytes": 0}, True),
    ],
)
def test_the_same_clusters_are_accepted(fields: Json, accepted: bool) -> None:
    one = {"name": "c", "connect_timeout": "1s", **fields}
    assert same_verdict({"static_resources": {"clusters": [one]}})[0] is accepted
