"""Whose `hash_policy` counts (balancer, cluster or route), and the cookies it makes, beside Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.client import exchange
from tests.support.configs import HTTP_OPTIONS, Json, cluster, http_proxy, route, typed
from tests.support.differential import Pair, Side
from tests.support.http_text import Message
from tests.support.neighbours import Neighbours, neighbour

HOSTS: Final = 6
KEYS: Final = 24
FIELDS: Final = ("x-route", "x-cluster", "x-balancer")
COOKIE: Final = [{"cookie": {"name": "seat", "ttl": "10s", "path": "/seat"}}]


def by(field: str) -> list[Json]:
    return [{"header": {"header_name": field}}]


def _balancer(kind: str, message: str, **fields: Any) -> Json:
    config = typed(f"envoy.extensions.load_balancing_policies.{kind}.v3.{message}", **fields)
    return {"policies": [{"typed_extension_config": {"name": kind, "typed_config": config}}]}


def _cluster(name: str, balancer: Json | None = None, policy: list[Json] | None = None) -> Json:
    hosts = [neighbour(number) for number in range(1, HOSTS + 1)]
    made = cluster(name, 1, load_assignment={"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]})
    made |= {"lb_policy": "RING_HASH"} if balancer is None else {"load_balancing_policy": balancer}
    if policy is not None:
        options = typed(HTTP_OPTIONS, explicit_http_config={"http_protocol_options": {}}, hash_policy=policy)
        made["typed_extension_protocol_options"] = {HTTP_OPTIONS: options}
    return made


def _aggregate(name: str, member: str) -> Json:
    config = typed("envoy.extensions.clusters.aggregate.v3.ClusterConfig", clusters=[member])
    kind = {"name": "envoy.clusters.aggregate", "typed_config": config}
    return {"name": name, "lb_policy": "CLUSTER_PROVIDED", "cluster_type": kind}


OWN: Final = {"consistent_hashing_lb_config": {"hash_policy": by("x-balancer")}}
IN_SUBSETS: Final = _balancer(
    "subset",
    "Subset",
    fallback_policy="ANY_ENDPOINT",
    subset_selectors=[{"keys": ["none"]}],
    subset_lb_policy=_balancer("ring_hash", "RingHash", **OWN),
)
CLUSTERS: Final = [
    _cluster("by_route"),
    _cluster("by_cluster", policy=by("x-cluster")),
    _cluster("ring", _balancer("ring_hash", "RingHash", **OWN), by("x-cluster")),
    _cluster("table", _balancer("maglev", "Maglev", **OWN)),
    _cluster("in_subsets", IN_SUBSETS),
    _cluster("without_hash", _balancer("round_robin", "RoundRobin"), COOKIE),
    _cluster("cookie_of_cluster", policy=COOKIE),
    _cluster(
        "cookie_of_ring",
        _balancer("ring_hash", "RingHash", consistent_hashing_lb_config={"hash_policy": COOKIE}),
    ),
    _aggregate("of_ring", "by_route"),
    _aggregate("of_own_ring", "ring"),
    _aggregate("of_none", "without_hash"),
    {**_cluster("empty"), "load_assignment": {"cluster_name": "empty"}},
]
NAMES: Final = [one["name"] for one in CLUSTERS]
CONFIG: Final = http_proxy(
    routes=[
        *(route(name, f"/cookie/{name}", hash_policy=COOKIE) for name in NAMES),
        *(route(name, f"/field/{name}", hash_policy=by("x-route")) for name in NAMES),
    ],
    clusters=CLUSTERS,
)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Neighbours() as neighbours, Pair(CONFIG, values={"neighbours_port": neighbours.port}) as made:
        yield made


def get(side: Side, path: str, *fields: str) -> Message:
    lines = "".join(f"{field}\r\n" for field in fields)
    return exchange(side.proxy.port, f"GET {path} HTTP/1.1\r\nhost: a\r\n{lines}\r\n".encode()).responses[0]


def spreads(side: Side, path: str) -> list[bool]:
    """For each of `FIELDS`, whether requests that differ in it alone go to several hosts."""

    def hosts(varied: str) -> set[bytes]:
        return {
            get(side, path, *(f"{field}: {key if field == varied else 0}" for field in FIELDS)).body
            for key in range(KEYS)
        }

    return [len(hosts(field)) > 1 for field in FIELDS]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("by_route", [True, False, False]),
        ("by_cluster", [False, True, False]),
        ("ring", [False, False, True]),
        ("table", [False, False, True]),
        ("in_subsets", [False, False, True]),
        ("of_ring", [True, False, False]),
        ("of_own_ring", [False, False, True]),
    ],
)
def test_one_policy_counts(pair: Pair, name: str, counts: list[bool]) -> None:
    assert pair.both(lambda side: spreads(side, f"/field/{name}")) == (counts, counts)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["cookie", "field"])
def test_cookies_are_made_where_they_are_hashed(pair: Pair, kind: str, name: str) -> None:
    def attributes(side: Side) -> list[str]:
        made = get(side, f"/{kind}/{name}").all("set-cookie")
        return [one.partition('"; ')[2] for one in made]

    envoy, outrider = pair.both(attributes)
    assert outrider == envoy
    if name == "by_route":
        assert outrider == ([] if kind == "field" else ["Max-Age=10; Path=/seat; HttpOnly"])


def test_a_cookie_that_was_made_leads_to_the_same_host(pair: Pair) -> None:
    def same(side: Side) -> tuple[bool, list[str]]:
        first = get(side, "/cookie/by_route")
        cookie = (first.get("set-cookie") or "").partition(";")[0]
        again = [get(side, "/cookie/by_route", f"cookie: {cookie}") for _ in range(4)]
        return {one.body for one in again} == {first.body}, [
            field for one in again for field in one.all("set-cookie")
        ]

    assert pair.both(same) == ((True, []), (True, []))


def test_each_client_gets_a_cookie_of_its_own(pair: Pair) -> None:
    def cookies(side: Side) -> int:
        return len({get(side, "/cookie/by_route").get("set-cookie") for _ in range(5)})

    assert pair.both(cookies) == (5, 5)
