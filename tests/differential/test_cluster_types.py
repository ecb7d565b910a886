"""Clusters whose hosts depend on the request or on other clusters, as in Envoy: replies, statistics, logs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.configs import Json, cluster, file_log, http_proxy, route, typed
from tests.support.differential import Pair, Side, pair_fixture, same_verdict

LOG = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER% "
    "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
)


def aggregate(name: str, *members: str, **fields: Any) -> Json:
    config = typed("envoy.extensions.clusters.aggregate.v3.ClusterConfig", clusters=list(members))
    kind = {"name": "envoy.clusters.aggregate", "typed_config": config}
    return {"name": name, "lb_policy": "CLUSTER_PROVIDED", "cluster_type": kind, **fields}


def original_dst(name: str, **fields: Any) -> Json:
    config = {"use_http_header": True, **fields}
    kind = {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "original_dst_lb_config": config}
    return {"name": name, "cleanup_interval": "1s", **kind}


def with_health(one: Json, health: str) -> Json:
    for endpoint in one["load_assignment"]["endpoints"][0]["lb_endpoints"]:
        endpoint["health_status"] = health
    return one


CLUSTERS = [
    cluster("origin", "{{origin_port}}"),
    cluster("second", "{{second_port}}"),
    with_health(cluster("sick", "{{second_port}}"), "UNHEALTHY"),
    with_health(cluster("also_sick", "{{origin_port}}"), "UNHEALTHY"),
    with_health(cluster("degraded", "{{second_port}}"), "DEGRADED"),
    {"name": "empty", "load_assignment": {"cluster_name": "empty"}},
    aggregate("first_serves", "origin", "second"),
    aggregate("falls_over", "empty", "nobody_knows_it", "sick", "second", alt_stat_name="other_name"),
    aggregate("degraded_last", "degraded", "origin"),
    aggregate("nobody", "empty"),
    aggregate("nested", "first_serves"),
    original_dst("by_header"),
    original_dst("by_other_header", http_header_name="X-To"),
    original_dst("other_port", upstream_port_override="{{second_port}}"),
    original_dst("by_connection", use_http_header=False),
    original_dst("by_metadata", metadata_key={"key": "a", "path": [{"key": "b"}]}),
]
NAMES = [one["name"] for one in CLUSTERS]
pair = pair_fixture(
    http_proxy(
        clusters=CLUSTERS,
        routes=[route(name, prefix=f"/{name}/") for name in NAMES],
        hcm={"access_log": [file_log(LOG)]},
    ),
    origins=("origin", "second"),
)


def ask(pair: Pair, name: str, **fields: str) -> Any:
    """The same request to the cluster of that name on both sides; `{port}` stands for that of the side's origin."""

    def one(side: Side) -> tuple[int, list[str]]:
        lines = "".join(
            f"{field.replace('_', '-')}: {value.format(port=side.origin.port)}\r\n"
            for field, value in fields.items()
        )
        head = f"GET /{name}/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n"
        outcome = side.run(head.encode(), b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", None, {})
        return outcome.status, [origin for origin, requests in outcome.upstream.items() if requests]

    before = pair.lines_logged()
    with pair.same_stats(*(f"cluster.{one}." for one in (*NAMES, "other_name")), ignore=IGNORED):
        result = pair.same_value(name, one, settle=0)
    pair.logged_since(before, 1)
    pair.same_log()
    return result


#: Sizes of messages, which differ by the length of what each side says of itself; and hosts, which come and go.
IGNORED = [
    f"cluster.{name}.{number}"
    for name in NAMES
    for number in (
        "upstream_cx_rx_bytes_total",
        "upstream_cx_tx_bytes_total",
        "upstream_cx_rx_bytes_buffered",
        "upstream_cx_tx_bytes_buffered",
        "membership_change",
        "membership_total",
        "membership_healthy",
    )
]


@pytest.mark.parametrize(
    ("name", "status", "reached"),
    [
        ("first_serves", 200, ["origin"]),
        ("falls_over", 200, ["second"]),
        ("degraded_last", 200, ["origin"]),
        ("nobody", 503, []),
        ("nested", 503, []),
    ],
)
def test_an_aggregate_takes_the_first_member_that_can_serve(
    pair: Pair, name: str, status: int, reached: list[str]
) -> None:
    assert ask(pair, name) == (status, reached)


HEADER = "127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("name", "fields", "status", "reached"),
    [
        ("by_header", {"x_envoy_original_dst_host": HEADER}, 200, ["origin"]),
        ("by_header", {"x_envoy_original_dst_host": "localhost:{port}"}, 503, []),
        ("by_header", {"x_envoy_original_dst_host": "127.0.0.1"}, 503, []),
        ("by_header", {"x_envoy_original_dst_host": "127.0.0.1:70000"}, 503, []),
        ("by_header", {"x_envoy_original_dst_host": "[::1:80"}, 503, []),
        ("by_header", {"x_envoy_original_dst_host": ""}, 503, []),
        ("by_header", {}, 503, []),
        ("by_other_header", {"x_to": HEADER}, 200, ["origin"]),
        ("by_other_header", {"x_envoy_original_dst_host": HEADER}, 503, []),
        ("other_port", {"x_envoy_original_dst_host": "127.0.0.1:1"}, 200, ["second"]),
        ("by_connection", {"x_envoy_original_dst_host": HEADER}, 503, []),
        ("by_metadata", {}, 503, []),
    ],
)
def test_the_original_destination_may_come_from_the_request(
    pair: Pair, name: str, fields: dict[str, str], status: int, reached: list[str]
) -> None:
    assert ask(pair, name, **fields) == (status, reached)


def test_hosts_are_made_when_asked_for_and_go_when_nobody_uses_them(pair: Pair) -> None:
    def members(side: Side) -> dict[str, int]:
        stats = side.proxy.stats()
        return {
            name: stats[f"cluster.by_header.membership_{name}"] for name in ("total", "healthy", "degraded")
        }

    to_nobody = {"x_envoy_original_dst_host": "127.0.0.1:1"}
    assert ask(pair, "by_header", **to_nobody)[0] == 503
    pair.same_value("members", lambda side: members(side)["total"] > 0)
    # The kept connection to the origin keeps its host.
    pair.same_value("members", lambda side: members(side)["total"] <= 1, settle=8)


def _balancing(name: str) -> Json:
    packed = typed(f"envoy.extensions.load_balancing_policies.{name}")
    return {"policies": [{"typed_extension_config": {"name": name, "typed_config": packed}}]}


PROVIDED = _balancing("cluster_provided.v3.ClusterProvided")
ROTATING = _balancing("round_robin.v3.RoundRobin")


def validated(*clusters: Json) -> Json:
    return {"static_resources": {"clusters": list(clusters)}}


@pytest.mark.parametrize(
    ("one", "accepted"),
    [
        (aggregate("a", "b"), True),
        (aggregate("a"), False),
        (aggregate("a", "b", lb_policy="ROUND_ROBIN"), False),
        (original_dst("o"), True),
        ({**original_dst("o"), "lb_policy": "RANDOM"}, False),
        ({**original_dst("o"), "cleanup_interval": "0s"}, False),
        (original_dst("o", use_http_header=False, http_header_name="x"), False),
        ({**original_dst("o"), "load_assignment": {"cluster_name": "o"}}, False),
        (original_dst("o", upstream_port_override=65536), False),
        (original_dst("o", metadata_key={"key": "a"}), False),
        ({"name": "s", "lb_policy": "CLUSTER_PROVIDED"}, False),
        ({**original_dst("o"), "load_balancing_policy": PROVIDED}, True),
        ({**original_dst("o"), "lb_policy": "ROUND_ROBIN", "load_balancing_policy": PROVIDED}, False),
        ({**original_dst("o"), "load_balancing_policy": ROTATING}, False),
        (aggregate("a", "b", lb_policy="ROUND_ROBIN", load_balancing_policy=PROVIDED), True),
        ({"name": "s", "load_balancing_policy": PROVIDED}, False),
    ],
)
def test_both_refuse_the_same(one: Json, accepted: bool) -> None:
    assert same_verdict(validated(one))[0] is accepted
