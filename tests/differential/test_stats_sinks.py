"""What statsd servers are told of the same traffic, beside Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.client import exchange
from tests.support.configs import cluster, http_proxy, route
from tests.support.differential import Pair, Side
from tests.support.origin import HELLO, Origin
from tests.support.statsd import StatsdServer

GET: Final = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
API: Final = "type.googleapis.com/envoy.config.metrics.v3"
ORIGINS: Final = {
    "origin": Origin,
    "plain": StatsdServer,
    "tagged": StatsdServer,
    "packed": StatsdServer,
    "stream": lambda: StatsdServer(stream=True),
}


def udp(name: str) -> dict[str, Any]:
    return {
        "socket_address": {"protocol": "UDP", "address": "127.0.0.1", "port_value": f"{{{{{name}_port}}}}"}
    }


def sink(kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": kind, "typed_config": {"@type": f"{API}.{kind}", **fields}}


def config(**more: Any) -> dict[str, Any]:
    return http_proxy(
        routes=[route()],
        clusters=[cluster(), cluster("stream", "{{stream_port}}")],
        node={"id": "n", "cluster": "c"},
        stats_sinks=[
            sink("StatsdSink", address=udp("plain"), prefix="mine"),
            sink("DogStatsdSink", address=udp("tagged")),
            sink("DogStatsdSink", address=udp("packed"), prefix="p", max_bytes_per_datagram=500),
            sink("StatsdSink", tcp_cluster_name="stream"),
        ],
        **more,
    )


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair(config(stats_flush_interval="0.2s"), origins=ORIGINS) as made:
        made.both(_talk)
        yield made


def _talk(side: Side) -> None:
    side.origin.script(HELLO)
    for _ in range(12):
        assert exchange(side.proxy.port, GET).status == 200
    for name in ("plain", "tagged", "packed", "stream"):
        server = side.origins[name]
        server.wait_for(lambda server=server: sum(server.recorded("upstream_rq_time").values()) >= 12)
        server.wait_for(lambda server=server: sum(server.counters("upstream_rq_total").values()) >= 12)


@pytest.mark.parametrize("name", ["plain", "tagged", "packed", "stream"])
def test_servers_are_told_the_same_counters(pair: Pair, name: str) -> None:
    def told(side: Side) -> dict[str, int]:
        found: dict[str, int] = {}
        for part in ("cluster.origin.upstream_rq", ".http.", "cluster.upstream_rq", "downstream_rq"):
            for (stat, tags), value in side.origins[name].counters(part).items():
                if "admin" not in stat + tags and "stream" not in tags and "_bytes_" not in stat:
                    found[f"{stat} {tags}".replace(str(side.proxy.port), "PORT")] = value
        return found

    counted = pair.same_value(f"counters {name}", told)
    assert 12 in counted.values()


@pytest.mark.parametrize("name", ["plain", "tagged", "packed", "stream"])
def test_histograms_tell_of_each_value(pair: Pair, name: str) -> None:
    def told(side: Side) -> dict[str, int]:
        return {
            f"{stat} {tags}": n for (stat, tags), n in side.origins[name].recorded("upstream_rq_time").items()
        }

    assert set(pair.same_value(f"histograms {name}", told).values()) == {12}


@pytest.mark.parametrize("name", ["plain", "tagged", "stream"])
def test_gauges_are_told_as_they_are(pair: Pair, name: str) -> None:
    def told(side: Side) -> list[int]:
        gauges = side.origins[name].gauges("membership_total")
        return sorted(gauges.values())

    assert pair.same_value(f"gauges {name}", told) == [1, 1]


def test_datagrams_hold_as_much_as_they_may(pair: Pair) -> None:
    def told(side: Side) -> tuple[bool, bool, bool]:
        packed, tagged = side.origins["packed"].pieces, side.origins["tagged"].pieces
        return (
            max(map(len, packed)) <= 500,
            any(b"\n" in piece for piece in packed),
            any(b"\n" in piece for piece in tagged),
        )

    assert pair.same_value("datagrams", told) == (True, True, False)


def test_the_last_numbers_are_told_at_the_end() -> None:
    with Pair(config(stats_flush_interval="299s"), origins=ORIGINS) as pair:

        def end(side: Side) -> int:
            side.origin.script(HELLO)
            exchange(side.proxy.port, GET)
            side.proxy.stop()
            plain = side.origins["plain"]
            plain.wait_for(lambda: bool(plain.counters("cluster.origin.upstream_rq_total")))
            return next(iter(plain.counters("cluster.origin.upstream_rq_total").values()))

        assert pair.same_value("last", end, settle=0) == 1


def test_a_scrape_flushes_if_wanted() -> None:
    with Pair(config(stats_flush_on_admin=True), origins=ORIGINS) as pair:

        def scraped(side: Side) -> int:
            side.origin.script(HELLO)
            exchange(side.proxy.port, GET)
            side.proxy.stats("cluster.")
            plain = side.origins["plain"]
            plain.wait_for(lambda: bool(plain.counters("cluster.origin.upstream_rq_total")))
            return sum(plain.counters("cluster.origin.upstream_rq_total").values())

        assert pair.same_value("scraped", scraped, settle=0) == 1
