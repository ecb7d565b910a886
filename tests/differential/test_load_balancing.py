"""Which host gets a request: hashing key by key, priorities, panic and localities, beside Envoy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.support.client import exchange
from tests.support.configs import Json, cluster, http_proxy, route, typed
from tests.support.differential import Pair, Side, same_verdict
from tests.support.neighbours import Neighbours, neighbour

KEYS = [f"key-{number}" for number in range(120)]
SICK = {"health_status": "UNHEALTHY"}
SLOW = {"health_status": "DEGRADED"}
GOING = {"health_status": "DRAINING"}
HASH_POLICY = [{"header": {"header_name": "x-key"}}]


def _groups(name: str, *groups: Json | Sequence[Json], policy: Json | None = None, **fields: Any) -> Json:
    """A cluster of localities; a bare list of endpoints is one of its own priority."""
    endpoints = [
        {"lb_endpoints": group, "priority": priority} if isinstance(group, Sequence) else group
        for priority, group in enumerate(groups)
    ]
    assignment = {"cluster_name": name, "endpoints": endpoints, **({"policy": policy} if policy else {})}
    return cluster(name, 1, load_assignment=assignment, **fields)


def _place(zone: str, endpoints: Sequence[Json], weight: int | None = None, **fields: Any) -> Json:
    weighs = {} if weight is None else {"load_balancing_weight": weight}
    return {"locality": {"region": "r", "zone": zone}, "lb_endpoints": list(endpoints), **weighs, **fields}


def _extension(name: str, type_name: str, **fields: Any) -> Json:
    full_name = f"envoy.extensions.load_balancing_policies.{name}.v3.{type_name}"
    config = typed(full_name, **fields)
    return {
        "load_balancing_policy": {
            "policies": [{"typed_extension_config": {"name": name, "typed_config": config}}]
        }
    }


_CLIENT_WEIGHTS = _extension("client_side_weighted_round_robin", "ClientSideWeightedRoundRobin")
EQUAL = [neighbour(number) for number in range(1, 8)]
WEIGHTED = [neighbour(number, load_balancing_weight=number * number) for number in range(1, 6)]
NAMED = [
    {"endpoint": {**neighbour(number)["endpoint"], "hostname": f"host-{number}"}} for number in range(1, 6)
]
MARKED = [
    neighbour(number, metadata={"filter_metadata": {"envoy.lb": {"hash_key": f"mark-{number}"}}})
    for number in range(1, 6)
]
MIXED = [neighbour(1), neighbour(2, **SICK), neighbour(3), neighbour(4, **SLOW), neighbour(5, **GOING)]
ZONES = [
    _place("a", [neighbour(1), neighbour(2)], 3),
    _place("b", [neighbour(3)], 5),
    _place("c", [neighbour(4)]),
]
RING = {"lb_policy": "RING_HASH"}
MAGLEV = {"lb_policy": "MAGLEV"}
BY_LOCALITY = {"common_lb_config": {"locality_weighted_lb_config": {}}}

HASHING = [
    _groups("ring", EQUAL, **RING),
    _groups("ring_one", EQUAL[:1], **RING),
    _groups("ring_weighted", WEIGHTED, **RING),
    _groups(
        "ring_small", EQUAL, **RING, ring_hash_lb_config={"minimum_ring_size": 3, "maximum_ring_size": 10}
    ),
    _groups("ring_murmur", EQUAL, **RING, ring_hash_lb_config={"hash_function": "MURMUR_HASH_2"}),
    _groups("ring_marked", MARKED, **RING),
    _groups("ring_mixed", MIXED, **RING),
    _groups("ring_panic", [neighbour(1), neighbour(2, **SICK), neighbour(3, **SICK)], **RING),
    _groups("ring_failover", [neighbour(1), neighbour(2, **SICK)], EQUAL[2:], **RING),
    _groups("ring_localities", *ZONES, **RING, **BY_LOCALITY),
    _groups("ring_extension", WEIGHTED, **_extension("ring_hash", "RingHash", minimum_ring_size=64)),
    _groups("maglev", EQUAL, **MAGLEV),
    _groups("maglev_weighted", WEIGHTED, **MAGLEV),
    _groups("maglev_small", WEIGHTED, **MAGLEV, maglev_lb_config={"table_size": 11}),
    _groups("maglev_marked", MARKED, **MAGLEV),
    _groups("maglev_mixed", MIXED, **MAGLEV),
    _groups("maglev_failover", [neighbour(1), neighbour(2, **SICK)], EQUAL[2:], **MAGLEV),
    _groups("maglev_localities", *ZONES, **MAGLEV, **BY_LOCALITY),
    _groups(
        "maglev_named",
        NAMED,
        type="STRICT_DNS",
        dns_lookup_family="V4_ONLY",
        common_lb_config={"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}},
        **MAGLEV,
    ),
    _groups("maglev_extension", WEIGHTED, **_extension("maglev", "Maglev", table_size=101)),
]
#: Cluster, and where it sends what share of the requests.
SPREAD: list[tuple[Json, dict[int, float]]] = [
    (_groups("failover", [neighbour(1), neighbour(2, **SICK)], [neighbour(3)]), {1: 0.7, 3: 0.3}),
    (_groups("all_of_the_next", [neighbour(1, **SICK)], [neighbour(2)]), {2: 1.0}),
    (_groups("degraded", [neighbour(1), neighbour(2, **SLOW)]), {1: 0.7, 2: 0.3}),
    (_groups("degraded_last", [neighbour(1, **SLOW)], [neighbour(2)]), {2: 1.0}),
    (
        _groups("total_panic", [neighbour(1, **SICK)], [neighbour(2, **SICK), neighbour(3, **SICK)]),
        {1: 0.34, 2: 0.33, 3: 0.33},
    ),
    (
        _groups(
            "tight",
            [neighbour(1), neighbour(2, **SICK)],
            [neighbour(3)],
            policy={"overprovisioning_factor": 100},
        ),
        {1: 0.5, 3: 0.5},
    ),
    (
        _groups(
            "by_weight",
            [neighbour(1, load_balancing_weight=1), neighbour(2, load_balancing_weight=4, **SICK)],
            [neighbour(3)],
            policy={"overprovisioning_factor": 100, "weighted_priority_health": True},
        ),
        {1: 0.2, 3: 0.8},
    ),
    (_groups("localities", *ZONES, **BY_LOCALITY), {1: 3 / 16, 2: 3 / 16, 3: 5 / 8}),
    (
        _groups(
            "sick_locality",
            _place("a", [neighbour(1), neighbour(2, **SICK)], 1),
            _place("b", [neighbour(3), neighbour(4)], 1),
            **BY_LOCALITY,
        ),
        {1: 0.7 / 1.7, 3: 0.5 / 1.7, 4: 0.5 / 1.7},
    ),
    (
        _groups(
            "localities_extension",
            *ZONES,
            **_extension("random", "Random", locality_lb_config={"locality_weighted_lb_config": {}}),
        ),
        {1: 3 / 16, 2: 3 / 16, 3: 5 / 8},
    ),
]
DROPPING = [
    _groups(
        f"drops_{percent}",
        EQUAL,
        policy={"drop_overloads": [{"category": "c", "drop_percentage": {"numerator": percent}}]},
    )
    for percent in (30, 100)
]
CLUSTERS = [*HASHING, *(one for one, _ in SPREAD), *DROPPING]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    routes = [route(one["name"], prefix=f"/{one['name']}/", hash_policy=HASH_POLICY) for one in CLUSTERS]
    config = http_proxy(routes=routes, clusters=CLUSTERS)
    with Neighbours() as neighbours, Pair(config, values={"neighbours_port": neighbours.port}) as made:
        yield made


def _picks(side: Side, name: str, keys: Sequence[str]) -> list[int]:
    """Who answered a request for each key, 0 for nobody."""
    requests = [f"GET /{name}/ HTTP/1.1\r\nhost: a\r\nx-key: {key}\r\n\r\n" for key in keys]
    reply = exchange(side.proxy.port, "".join(requests).encode(), methods=["GET"] * len(keys), timeout=30.0)
    assert len(reply.responses) == len(keys)
    return [int(response.body) if response.status == 200 else 0 for response in reply.responses]


@pytest.mark.parametrize("name", [one["name"] for one in HASHING])
def test_every_key_lands_on_envoys_host(pair: Pair, name: str) -> None:
    envoy, outrider = pair.both(lambda side: _picks(side, name, KEYS))
    assert dict(zip(KEYS, outrider, strict=True)) == dict(zip(KEYS, envoy, strict=True))
    assert 0 not in outrider


@pytest.mark.parametrize(
    "name", ["ring_weighted", "ring_small", "ring_failover", "maglev_weighted", "maglev_small"]
)
def test_the_numbers_of_rings_and_tables_are_envoys(pair: Pair, name: str) -> None:
    pair.both(lambda side: _picks(side, name, KEYS[:1]))
    kind = "ring_hash_lb" if name.startswith("ring") else "maglev_lb"
    found = pair.same_value("gauges", lambda side: side.proxy.stats(f"cluster.{name}.{kind}."))
    assert found


@pytest.mark.parametrize(("name", "shares"), [(one["name"], shares) for one, shares in SPREAD])
def test_the_traffic_is_spread_as_in_envoy(pair: Pair, name: str, shares: dict[int, float]) -> None:
    count = 600
    for picked in pair.both(lambda side: _picks(side, name, KEYS[:1] * count)):
        counts = Counter(picked)
        assert set(counts) == set(shares)
        for number, share in shares.items():
            assert abs(counts[number] - count * share) < 5 * (count * share) ** 0.5


@pytest.mark.parametrize("name", ["failover", "total_panic", "localities", "ring_panic"])
def test_panic_is_counted_as_in_envoy(pair: Pair, name: str) -> None:
    def in_panic(side: Side) -> int:
        return side.proxy.stats(f"cluster.{name}.").get(f"cluster.{name}.lb_healthy_panic", 0)

    def counted(side: Side) -> int:
        _picks(side, name, KEYS[:1])
        before = in_panic(side)
        _picks(side, name, KEYS)
        return in_panic(side) - before

    envoy, outrider = pair.both(counted)
    assert outrider == envoy
    assert outrider == (len(KEYS) if "panic" in name else 0)


def test_overload_is_dropped_as_the_assignment_says(pair: Pair) -> None:
    with pair.same_stats("cluster.drops_100.", ignore=["cluster.drops_100.upstream_rq_active"]):
        reply = pair.same(b"GET /drops_100/ HTTP/1.1\r\nhost: a\r\n\r\n")
    assert reply.status == 503

    def dropped(side: Side) -> int:
        request = b"GET /drops_30/ HTTP/1.1\r\nhost: a\r\n\r\n"
        return sum(exchange(side.proxy.port, request).status == 503 for _ in range(200))

    for number in pair.both(dropped):
        assert abs(number - 60) < 5 * 60**0.5


def _one(**fields: Any) -> Json:
    endpoints = [
        {
            "lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": "1.2.3.4", "port_value": 1}}}}
            ]
        }
    ]
    return {"name": "c", "load_assignment": {"cluster_name": "c", "endpoints": endpoints}, **fields}


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({**RING, "ring_hash_lb_config": {"minimum_ring_size": 3, "maximum_ring_size": 2}}, False),
        ({**RING, "ring_hash_lb_config": {"minimum_ring_size": 0}}, True),
        ({**RING, "ring_hash_lb_config": {"minimum_ring_size": 8388609}}, False),
        ({**RING, "common_lb_config": {"consistent_hashing_lb_config": {"hash_balance_factor": 99}}}, False),
        ({**RING, "common_lb_config": {"consistent_hashing_lb_config": {"hash_balance_factor": 100}}}, True),
        ({**MAGLEV, "maglev_lb_config": {"table_size": 12}}, False),
        ({**MAGLEV, "maglev_lb_config": {"table_size": 11}}, True),
        (
            {
                **MAGLEV,
                "common_lb_config": {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}},
            },
            False,
        ),
        ({"round_robin_lb_config": {"slow_start_config": {"slow_start_window": "10s"}}}, True),
        ({"common_lb_config": {"zone_aware_lb_config": {"min_cluster_size": 0}}}, True),
        ({"lb_subset_config": {"fallback_policy": "ANY_ENDPOINT"}}, True),
        ({"lb_subset_config": {"subset_selectors": [{"keys": []}]}}, True),
        (
            {
                "lb_subset_config": {
                    "subset_selectors": [
                        {"keys": ["a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["b"]}
                    ]
                }
            },
            False,
        ),
        (
            {
                "lb_subset_config": {
                    "subset_selectors": [{"keys": ["a", "b"], "single_host_per_subset": True}]
                }
            },
            True,
        ),
        ({"lb_subset_config": {"subset_selectors": [{"keys": ["a"]}], "locality_weight_aware": True}}, False),
        (_extension("ring_hash", "RingHash"), True),
        (_extension("pick_first", "PickFirst"), False),
        (_extension("cluster_provided", "ClusterProvided"), False),
        (
            {
                **_extension("ring_hash", "RingHash"),
                "lb_subset_config": {"subset_selectors": [{"keys": ["a"]}]},
            },
            False,
        ),
        (_extension("subset", "Subset"), False),
        (_CLIENT_WEIGHTS, True),
        (
            _extension(
                "wrr_locality",
                "WrrLocality",
                endpoint_picking_policy=_CLIENT_WEIGHTS["load_balancing_policy"],
            ),
            True,
        ),
        (
            _extension(
                "wrr_locality",
                "WrrLocality",
                endpoint_picking_policy=_extension("round_robin", "RoundRobin")["load_balancing_policy"],
            ),
            False,
        ),
    ],
)
def test_the_same_policies_are_accepted(fields: Json, accepted: bool) -> None:
    assert same_verdict({"static_resources": {"clusters": [_one(**fields)]}})[0] is accepted
