"""`dynamic_stats` of the router: without it, nobody counts answers by their codes. Beside Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.client import exchange
from tests.support.configs import ROUTER, Json, cluster, http_proxy, route, typed
from tests.support.differential import Pair, Side
from tests.support.origin import HELLO

FAILURE: Final = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"
INTERNAL: Final = {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]}
RETRY: Final = {"retry_on": "5xx", "num_retries": 2, "retry_back_off": {"base_interval": "0.001s"}}


def config(dynamic: bool) -> Json:
    empty = {**cluster("empty", 1), "load_assignment": {"cluster_name": "empty"}}
    virtual_cluster = {"name": "any", "headers": [{"name": ":path", "string_match": {"prefix": "/"}}]}
    host = {
        "name": "v",
        "domains": ["*"],
        "virtual_clusters": [virtual_cluster],
        "routes": [route("empty", "/empty"), {**route(retry_policy=RETRY), "stat_prefix": "r"}],
    }
    return http_proxy(
        virtual_hosts=[host],
        clusters=[cluster(), empty],
        hcm={
            "http_filters": [{"name": "router", "typed_config": typed(ROUTER, dynamic_stats=dynamic)}],
            "use_remote_address": True,
            "internal_address_config": INTERNAL,
        },
    )


@pytest.fixture(scope="module", params=[True, False], ids=["on", "off"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[bool, Pair]]:
    with Pair(config(request.param)) as made:
        yield request.param, made


def _send(side: Side, script: bytes, *requests: bytes) -> None:
    side.origins["origin"].script(script)
    for one in requests:
        exchange(side.proxy.port, one, methods=[one.partition(b" ")[0].decode()])


def _talk(side: Side) -> None:
    get = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
    named = b"x-envoy-upstream-alt-stat-name: alt\r\n"
    post = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n%b\r\nabc"
    _send(side, HELLO, get, get, get.replace(b"/ ", b"/empty "), post % named)
    _send(side, FAILURE, get, post % b"")


def _counted(side: Side) -> dict[str, Any]:
    """What is not 0, of the clusters and virtual hosts."""
    stats = {**side.proxy.stats("cluster."), **side.proxy.stats("vhost.")}
    return {
        name: value
        for name, value in stats.items()
        if "upstream_rq" in name and not name.endswith(("_ms", "_time", "bytes_total")) and value
    }


def test_answers_are_counted_alike(pair: tuple[bool, Pair]) -> None:
    dynamic, both = pair
    both.both(_talk)
    counted = both.same_value("stats", _counted)
    assert ("cluster.origin.upstream_rq_503" in counted) == dynamic
    assert ("cluster.origin.alt.upstream_rq_200" in counted) == dynamic
    assert counted["cluster.origin.upstream_rq_total"] == 9
    assert counted["vhost.v.route.r.upstream_rq_retry"] == 4
