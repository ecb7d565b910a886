"""Zone-aware routing beside Envoy: who serves how much, and what is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.client import exchange
from tests.support.configs import Json, cluster, http_proxy, route
from tests.support.differential import Pair, Side, same_verdict
from tests.support.neighbours import Neighbours, neighbour

REQUESTS = 400


def _zones(name: str, zones: dict[str, list[int]], **common: Any) -> Json:
    places = [
        {
            "locality": {"region": "r", "zone": zone},
            "lb_endpoints": [
                neighbour(abs(number), health_status="UNHEALTHY" if number < 0 else "HEALTHY")
                for number in numbers
            ],
        }
        for zone, numbers in zones.items()
    ]
    aware = {"zone_aware_lb_config": {"min_cluster_size": 2, **common}}
    return cluster(
        name, 1, load_assignment={"cluster_name": name, "endpoints": places}, common_lb_config=aware
    )


def _by_extension(name: str, zones: dict[str, list[int]], **zone_aware: Any) -> Json:
    made = _zones(name, zones)
    del made["common_lb_config"]
    locality = {"zone_aware_lb_config": {"min_cluster_size": 2, **zone_aware}}
    package = "envoy.extensions.load_balancing_policies.random.v3"
    policy = {"@type": f"type.googleapis.com/{package}.Random", "locality_lb_config": locality}
    made["load_balancing_policy"] = {
        "policies": [{"typed_extension_config": {"name": "r", "typed_config": policy}}]
    }
    return made


def _weighing(made: Json, weight: int) -> Json:
    """The hosts of the first zone get a weight."""
    for host in made["load_assignment"]["endpoints"][0]["lb_endpoints"]:
        host["load_balancing_weight"] = weight
    return made


#: This proxy is in zone a, with two of four proxies.
LOCAL = _zones("local", {"a": [1, 2], "b": [3], "c": [4]})
#: Cluster, and where it sends what share of the requests.
CASES: list[tuple[Json, dict[int, float]]] = [
    (_zones("direct", {"a": [1, 2], "b": [3]}), {1: 0.5, 2: 0.5}),
    (_zones("residual", {"a": [1], "b": [2, 3], "c": [4]}), {1: 0.5, 2: 0.25, 3: 0.25}),
    (_zones("elsewhere", {"b": [1], "c": [2, 3]}), {1: 1 / 6, 2: 5 / 12, 3: 5 / 12}),
    (_zones("small", {"a": [1], "b": [2, 3]}, min_cluster_size=4), {1: 1 / 3, 2: 1 / 3, 3: 1 / 3}),
    (_zones("off", {"a": [1], "b": [2]}, routing_enabled={"value": 0}), {1: 0.5, 2: 0.5}),
    (_zones("one_zone", {"b": [1, 2]}), {1: 0.5, 2: 0.5}),
    (_zones("sick", {"a": [1, -2], "b": [3, 4]}), {1: 2 / 3, 3: 1 / 6, 4: 1 / 6}),
    (_by_extension("forced", {"a": [1], "b": [2, 3, 4]}, force_local_zone={}), {1: 1.0}),
    (
        _by_extension("enough", {"a": [1, 2], "b": [3, 4, 5]}, force_local_zone={"min_size": 2}),
        {1: 0.5, 2: 0.5},
    ),
    (
        _by_extension("too_few", {"a": [1], "b": [2, 3, 4]}, force_local_zone={"min_size": 2}),
        {1: 0.5, 2: 1 / 6, 3: 1 / 6, 4: 1 / 6},
    ),
    (_by_extension("old_name", {"a": [1], "b": [2, 3, 4]}, force_locality_direct_routing=True), {1: 1.0}),
    (
        _weighing(
            _by_extension("weights", {"a": [1], "b": [2, 3]}, locality_basis="HEALTHY_HOSTS_WEIGHT"), 2
        ),
        {1: 1.0},
    ),
    (_zones("panic", {"a": [1, -2], "b": [-3, -4]}), {1: 0.25, 2: 0.25, 3: 0.25, 4: 0.25}),
]
CONFIG = {
    **http_proxy(
        routes=[route(one["name"], prefix=f"/{one['name']}/") for one, _ in CASES],
        clusters=[LOCAL, *(one for one, _ in CASES)],
    ),
    "node": {"id": "n", "cluster": "c", "locality": {"region": "r", "zone": "a"}},
    "cluster_manager": {"local_cluster_name": "local"},
}


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Neighbours() as neighbours, Pair(CONFIG, values={"neighbours_port": neighbours.port}) as made:
        yield made


def _picks(side: Side, name: str) -> Counter[int]:
    request = f"GET /{name}/ HTTP/1.1\r\nhost: a\r\n\r\n".encode()
    reply = exchange(side.proxy.port, request * REQUESTS, methods=["GET"] * REQUESTS, timeout=30.0)
    return Counter(int(response.body) for response in reply.responses)


@pytest.mark.parametrize(("name", "shares"), [(one["name"], shares) for one, shares in CASES])
def test_zones_get_what_they_get_in_envoy(pair: Pair, name: str, shares: dict[int, float]) -> None:
    for counts in pair.both(lambda side: _picks(side, name)):
        assert counts.total() == REQUESTS
        assert set(counts) == set(shares)
        for number, share in shares.items():
            assert abs(counts[number] - REQUESTS * share) < 5 * (REQUESTS * share) ** 0.5


@pytest.mark.parametrize(
    ("name", "counter"),
    [("direct", "lb_zone_routing_all_directly"), ("small", "lb_zone_routing_all_directly")],
)
def test_what_zones_decide_is_counted(pair: Pair, name: str, counter: str) -> None:
    def counted(side: Side) -> int:
        _picks(side, name)
        before = side.proxy.stats(f"cluster.{name}.")[f"cluster.{name}.{counter}"]
        _picks(side, name)
        return side.proxy.stats(f"cluster.{name}.")[f"cluster.{name}.{counter}"] - before

    envoy, outrider = pair.both(counted)
    assert outrider == envoy == (REQUESTS if name == "direct" else 0)


def test_the_local_cluster_must_be_there() -> None:
    config = {"cluster_manager": {"local_cluster_name": "nowhere"}, "static_resources": {}}
    assert not same_verdict(config)[0]
