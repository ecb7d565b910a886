"""Hosts with several addresses: which one is used, and what is said when none answers."""

from __future__ import annotations

import pytest

from tests.support.configs import (
    Json,
    address,
    bootstrap,
    cluster,
    connection_manager,
    file_log,
    http_proxy,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, pair_fixture
from tests.support.origin import Origin

DEAD = address(1)
DEAD6 = address(1, "::1")
ORIGIN = address("{{origin_port}}")


def reached(name: str, first: Json, *more: Json) -> Json:
    endpoint = {"address": first, "additional_addresses": [{"address": one} for one in more]}
    members = [{"lb_endpoints": [{"endpoint": endpoint}]}]
    return cluster(name, 1, load_assignment={"cluster_name": name, "endpoints": members})


CLUSTERS = [
    reached("second", DEAD, ORIGIN),
    reached("first", ORIGIN, DEAD),
    reached("family", DEAD6, ORIGIN),
    reached("third", DEAD, DEAD6, ORIGIN),
    reached("nowhere", DEAD, DEAD6),
]
pair = pair_fixture(
    http_proxy(
        routes=[route(one["name"], f"/{one['name']}") for one in CLUSTERS],
        clusters=CLUSTERS,
        hcm={"access_log": [file_log("%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_REMOTE_ADDRESS%")]},
    )
)


@pytest.mark.parametrize("name", [one["name"] for one in CLUSTERS])
def test_a_host_is_reached_where_it_answers(pair: Pair, name: str) -> None:
    stats = ("upstream_cx_total", "upstream_cx_connect_fail", "upstream_rq_total", "membership_healthy")
    with pair.same_stats(*(f"cluster.{name}.{one}" for one in stats)):
        outcome = pair.same(f"GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert outcome.status == (503 if name == "nowhere" else 200)


TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
ORIGIN6 = address("{{six_port}}", "::1")
#: Two addresses of each list answer, one of each family or both of one.
LISTS = {
    "many": (*(address(1, f"127.0.0.{i}") for i in (1, 2, 3)), ORIGIN, DEAD, DEAD6, ORIGIN6),
    "six_first": (DEAD6, ORIGIN6, ORIGIN, DEAD),
    "four_first": (DEAD, ORIGIN, DEAD6, address(2, "::1"), ORIGIN6),
    "last": (DEAD, address(1, "127.0.0.2"), ORIGIN, ORIGIN6),
    "six": (ORIGIN6, ORIGIN),
    "four": (ORIGIN, ORIGIN6),
}
SETTINGS: dict[str, Json] = {
    "unset": {},
    "v4": {"first_address_family_version": "V4"},
    "v6": {"first_address_family_version": "V6"},
    "two": {"first_address_family_count": 2},
    "three": {"first_address_family_count": 3},
    "two_of_v6": {"first_address_family_version": "V6", "first_address_family_count": 2},
    "two_of_v4": {"first_address_family_version": "V4", "first_address_family_count": 2},
    "all": {"first_address_family_count": 99},
}
ORDERED = [
    {
        **reached(f"{addresses}_{settings}", *LISTS[addresses]),
        "upstream_connection_options": {"happy_eyeballs_config": SETTINGS[settings]},
    }
    for addresses in LISTS
    for settings in SETTINGS
]
WAYS = ("second", "family", "third", "nowhere")
LOG = "%UPSTREAM_REMOTE_ADDRESS% %RESPONSE_FLAGS%"


def tcp(name: str) -> Json:
    proxy = typed(TCP_PROXY, stat_prefix=name, cluster=name, access_log=[file_log(LOG)])
    return listener([{"name": "tcp", "typed_config": proxy}], name)


def requests() -> Json:
    routes = [route(one["name"], f"/{one['name']}/") for one in ORDERED]
    manager = connection_manager(
        {"name": "r", "virtual_hosts": [virtual_host(routes)]}, access_log=[file_log(LOG)]
    )
    return listener([manager])


ordered_pair = pair_fixture(
    bootstrap([requests(), *(tcp(name) for name in WAYS)], [*CLUSTERS, *ORDERED]),
    origins={"origin": Origin, "six": lambda: Origin(host="::1")},
    listeners=("listener", *WAYS),
)


def family(lines: list[str]) -> list[str]:
    return ["six" if line.startswith("[") else line.partition(":")[0] for line in lines]


@pytest.mark.parametrize("name", [one["name"] for one in ORDERED])
def test_addresses_are_tried_in_the_same_order(ordered_pair: Pair, name: str) -> None:
    before = ordered_pair.lines_logged()
    ordered_pair.run(f"GET /{name}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    envoy, outrider = ordered_pair.logged_since(before, 1)
    assert family(outrider) == family(envoy)


@pytest.mark.parametrize("name", WAYS)
def test_a_tcp_proxy_reaches_a_host_where_it_answers(ordered_pair: Pair, name: str) -> None:
    before = ordered_pair.lines_logged()
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    envoy, outrider = ordered_pair.run(request, listener=name)
    assert outrider.reply.raw[:12] == envoy.reply.raw[:12] == (b"" if name == "nowhere" else b"HTTP/1.1 200")
    logged = ordered_pair.logged_since(before, 1)
    assert family(logged[1]) == family(logged[0])
