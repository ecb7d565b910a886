"""Hosts with several addresses: which one is used, and what is said when none answers."""

from __future__ import annotations

import pytest

from tests.support.configs import Json, address, cluster, file_log, http_proxy, route
from tests.support.differential import Pair, pair_fixture

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
