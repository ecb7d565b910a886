"""DNS clusters against one scripted DNS server: the hosts that both proxies find, and their counters."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.configs import Json, address, bootstrap
from tests.support.differential import Pair, Side
from tests.support.dns_server import DnsServer, Zone

CARES = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"

ZONE: Zone = {
    "two.test": {"A": ["127.0.0.1", "127.0.0.2"]},
    "both.test": {"A": ["127.0.0.9"], "AAAA": ["::1"]},
    "nodata.test": {"A": []},
    "fail.test": "servfail",
    "moving.test": {"A": ["127.0.0.1"]},
    "silent.test": {"A": ["127.0.0.1"]},
    "a.test": {"A": ["127.0.0.1"]},
    "aaaa.test": {"A": ["127.0.0.1"]},
    "emptied.test": {"A": ["127.0.0.1"]},
}


def _cluster(name: str, hosts: list[str], kind: str = "STRICT_DNS", **fields: Any) -> Json:
    resolver = {
        "@type": CARES,
        "resolvers": [address("{{dns_port}}")],
        "query_timeout_seconds": 1,
        "query_tries": 1,
    }
    endpoints = [{"endpoint": {"address": address(80, host)}} for host in hosts]
    return {
        "name": name,
        "type": kind,
        "dns_refresh_rate": "0.2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": resolver},
        **fields,
    }


CONFIG = bootstrap(
    [],
    [
        _cluster("two", ["two.test"]),
        _cluster("auto", ["both.test"]),
        _cluster("v4_preferred", ["both.test"], dns_lookup_family="V4_PREFERRED"),
        _cluster("v6_only", ["both.test"], dns_lookup_family="V6_ONLY"),
        _cluster("all", ["both.test"], dns_lookup_family="ALL"),
        _cluster("auto_v4", ["two.test"], dns_lookup_family="AUTO"),
        _cluster("nodata", ["nodata.test"]),
        _cluster("unknown", ["unknown.test"]),
        _cluster("fail", ["fail.test"]),
        _cluster("many", ["two.test", "moving.test", "127.0.0.7"]),
        _cluster("moving", ["moving.test"]),
        _cluster("logical", ["moving.test"], "LOGICAL_DNS"),
        _cluster("logical_unknown", ["unknown.test"], "LOGICAL_DNS"),
        _cluster("silent", ["silent.test"], dns_lookup_family="V4_ONLY"),
        _cluster("logical_silent", ["silent.test"], "LOGICAL_DNS", dns_lookup_family="V4_ONLY"),
        _cluster("without_a", ["a.test"]),
        # The other way round both queries are answered if the zone changes between them.
        _cluster("without_aaaa", ["aaaa.test"], dns_lookup_family="V4_PREFERRED"),
        _cluster("emptied", ["emptied.test"]),
        _cluster("logical_emptied", ["emptied.test"], "LOGICAL_DNS"),
    ],
)


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with DnsServer(dict(ZONE)) as server:
        yield server


@pytest.fixture(scope="module")
def pair(server: DnsServer) -> Iterator[Pair]:
    with Pair(CONFIG, values={"dns_port": server.port}, listeners=(), origins=()) as pair:
        yield pair


def _hosts(side: Side, cluster: str) -> list[tuple[str, str]]:
    statuses = json.loads(side.proxy.admin("/clusters?format=json")[1])["cluster_statuses"]
    (status,) = (one for one in statuses if one["name"] == cluster)
    return sorted(
        (host["address"]["socket_address"]["address"], host["hostname"])
        for host in status.get("host_statuses", [])
    )


def _gauges(side: Side, cluster: str) -> dict[str, int]:
    prefix = f"cluster.{cluster}."
    names = ("membership_total", "membership_healthy", "membership_degraded", "membership_excluded")
    stats = side.proxy.stats(prefix)
    return {name: stats[prefix + name] for name in (*names, "max_host_weight")}


CLUSTERS = [cluster["name"] for cluster in CONFIG["static_resources"]["clusters"]]


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_the_same_hosts_are_found(pair: Pair, cluster: str) -> None:
    pair.same_value(f"hosts.{cluster}", lambda side: _hosts(side, cluster), settle=5.0)
    pair.same_value(f"stats.{cluster}", lambda side: _gauges(side, cluster))


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_the_same_kind_of_outcome_is_counted(pair: Pair, cluster: str) -> None:
    def counted(side: Side) -> dict[str, bool]:
        stats = side.proxy.stats(f"cluster.{cluster}.update_")
        return {name: value > 0 for name, value in stats.items()}

    pair.same_value(f"updates.{cluster}", counted, settle=5.0)


def test_a_name_that_vanishes_and_returns_elsewhere(pair: Pair, server: DnsServer) -> None:
    del server.zone["moving.test"]
    _settles(pair, "moving", [])
    _settles(pair, "logical", [("127.0.0.1", "moving.test")])
    server.zone["moving.test"] = {"A": ["127.0.0.5"]}
    _settles(pair, "moving", [("127.0.0.5", "moving.test")])
    _settles(pair, "logical", [("127.0.0.5", "moving.test")])


def test_a_server_that_fails_changes_nothing(pair: Pair, server: DnsServer) -> None:
    server.zone["two.test"] = "servfail"

    def failures(side: Side) -> int:
        return side.proxy.stats("cluster.two.update_failure")["cluster.two.update_failure"]

    pair.same_value("failed", lambda side: failures(side) > 1, settle=5.0)
    _settles(pair, "two", [("127.0.0.1", "two.test"), ("127.0.0.2", "two.test")])


@pytest.mark.parametrize("cluster", ["silent", "logical_silent"])
def test_a_server_that_does_not_answer_changes_nothing(pair: Pair, server: DnsServer, cluster: str) -> None:
    server.zone["silent.test"] = "silence"
    name = f"cluster.{cluster}.update_failure"
    _comes_to(pair, lambda side: side.proxy.stats(name)[name] > 0, True)
    _settles(pair, cluster, [("127.0.0.1", "silent.test")])


@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_a_query_of_two_that_is_not_answered_changes_nothing(
    pair: Pair, server: DnsServer, kind: str
) -> None:
    cluster = f"without_{kind.lower()}"
    server.zone[f"{kind.lower()}.test"] = f"silence {kind}"
    name = f"cluster.{cluster}.update_failure"
    _comes_to(pair, lambda side: side.proxy.stats(name)[name] > 0, True)
    _settles(pair, cluster, [("127.0.0.1", f"{kind.lower()}.test")])


def test_a_name_that_has_no_address_any_more(pair: Pair, server: DnsServer) -> None:
    server.zone["emptied.test"] = {"A": []}
    _settles(pair, "emptied", [])
    _settles(pair, "logical_emptied", [("127.0.0.1", "emptied.test")])
    server.zone["emptied.test"] = {"A": ["127.0.0.6"]}
    _settles(pair, "logical_emptied", [("127.0.0.6", "emptied.test")])
    _settles(pair, "emptied", [("127.0.0.6", "emptied.test")])


def _settles(pair: Pair, cluster: str, expected: list[tuple[str, str]]) -> None:
    """Both sides come to have exactly these hosts."""
    _comes_to(pair, lambda side: _hosts(side, cluster), expected)


def _comes_to(pair: Pair, read: Callable[[Side], Any], expected: Any) -> None:
    deadline = time.monotonic() + 10
    while True:
        found = pair.both(read)
        if found == (expected, expected):
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
