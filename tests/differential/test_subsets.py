"""Subsets of a cluster's hosts: who serves a request of which metadata, beside Envoy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.support.client import exchange
from tests.support.configs import Json, cluster, http_proxy, route
from tests.support.differential import Pair, Side
from tests.support.neighbours import Neighbours, neighbour


def _lb(**values: Any) -> Json:
    return {"filter_metadata": {"envoy.lb": values}}


def _host(number: int, health: str = "HEALTHY", **values: Any) -> Json:
    return neighbour(number, health_status=health, **({"metadata": _lb(**values)} if values else {}))


HOSTS = [
    _host(1, version="1", stage="prod", id=1),
    _host(2, version="1", stage="dev", id=2),
    _host(3, version="2", stage="prod", id=3),
    _host(4, "UNHEALTHY", version="3", stage="prod", id=3, old=True),
    _host(5, version=["1", "2"], weight={"a": 1}),
    _host(6),
]
BY_VERSION = [{"keys": ["version"]}]


def _subsets(name: str, **config: Any) -> Json:
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": HOSTS}]}
    return cluster(name, 1, load_assignment=assignment, lb_subset_config=config)


CLUSTERS = [
    _subsets("strict", subset_selectors=BY_VERSION),
    _subsets("any", subset_selectors=BY_VERSION, fallback_policy="ANY_ENDPOINT"),
    _subsets(
        "default",
        subset_selectors=[
            *BY_VERSION,
            {"keys": ["stage", "version"]},
            {"keys": ["old"]},
            {"keys": ["weight"]},
        ],
        fallback_policy="DEFAULT_SUBSET",
        default_subset={"stage": "dev"},
    ),
    _subsets(
        "panic",
        subset_selectors=BY_VERSION,
        fallback_policy="DEFAULT_SUBSET",
        default_subset={"stage": "none"},
        panic_mode_any=True,
    ),
    _subsets("listed", subset_selectors=BY_VERSION, list_as_any=True),
    _subsets("single", subset_selectors=[{"keys": ["id"], "single_host_per_subset": True}]),
    _subsets(
        "selectors",
        subset_selectors=[
            {"keys": ["version"], "fallback_policy": "NO_FALLBACK"},
            {"keys": ["stage"], "fallback_policy": "ANY_ENDPOINT"},
            {"keys": ["id"], "fallback_policy": "DEFAULT_SUBSET"},
            {
                "keys": ["stage", "version"],
                "fallback_policy": "KEYS_SUBSET",
                "fallback_keys_subset": ["stage"],
            },
        ],
        fallback_policy="ANY_ENDPOINT",
        default_subset={"stage": "dev"},
    ),
    _subsets(
        "listed_fallback",
        subset_selectors=[*BY_VERSION, {"keys": ["stage", "version"]}],
        metadata_fallback_policy="FALLBACK_LIST",
    ),
]
#: Cluster, what the route asks for, and who may serve (0: nobody).
CASES: list[tuple[str, Json | None, set[int]]] = [
    ("strict", {"version": "1"}, {1, 2}),
    ("strict", {"version": "2"}, {3}),
    ("strict", {"version": 1}, {0}),
    ("strict", {"version": "3"}, {4}),
    ("strict", {"version": "1", "stage": "prod"}, {0}),
    ("strict", None, {0}),
    ("strict", {}, {0}),
    ("strict", {"version": ["1", "2"]}, {5}),
    ("any", {"version": "9"}, {1, 2, 3, 5, 6}),
    ("any", None, {1, 2, 3, 5, 6}),
    ("default", {"stage": "prod", "version": "1"}, {1}),
    ("default", {"stage": "none", "version": "1"}, {2}),
    ("default", {"old": True}, {4}),
    ("default", {"old": 1}, {2}),
    ("default", {"weight": {"a": 1}}, {5}),
    ("default", None, {2}),
    ("panic", {"version": "9"}, {1, 2, 3, 5, 6}),
    ("listed", {"version": "1"}, {1, 2, 5}),
    ("listed", {"version": "2"}, {3, 5}),
    ("single", {"id": 1}, {1}),
    ("single", {"id": 3}, {3}),
    ("selectors", {"version": "9"}, {0}),
    ("selectors", {"stage": "none"}, {1, 2, 3, 5, 6}),
    ("selectors", {"id": 9}, {2}),
    ("selectors", {"stage": "prod", "version": "9"}, {1, 3}),
    ("selectors", {"other": 1}, {1, 2, 3, 5, 6}),
    ("listed_fallback", {"fallback_list": [{"version": "9"}, {"version": "2"}]}, {3}),
    ("listed_fallback", {"stage": "prod", "fallback_list": [{"version": "9"}, {"version": "1"}]}, {1}),
    ("listed_fallback", {"version": "9", "fallback_list": []}, {0}),
]


def _route(number: int) -> Json:
    name, asked, _ = CASES[number]
    match = {} if asked is None else {"metadata_match": _lb(**asked)}
    return route(name, prefix=f"/{number}/", **match)


#: Only half of the criteria are those of the route.
MERGED = {
    "match": {"prefix": "/merged/"},
    "route": {
        "weighted_clusters": {
            "clusters": [{"name": "default", "weight": 1, "metadata_match": _lb(version="1")}]
        },
        "metadata_match": _lb(stage="prod", version="2"),
    },
}


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    routes = [*(_route(number) for number in range(len(CASES))), MERGED]
    config = http_proxy(routes=routes, clusters=CLUSTERS)
    with Neighbours() as neighbours, Pair(config, values={"neighbours_port": neighbours.port}) as made:
        yield made


def _served(side: Side, path: str, count: int = 16) -> set[int]:
    request = f"GET /{path}/ HTTP/1.1\r\nhost: a\r\n\r\n".encode()
    # One by one: Envoy is slow to go on with pipelined requests after a local reply.
    replies = [exchange(side.proxy.port, request) for _ in range(count)]
    return {int(reply.responses[0].body) if reply.status == 200 else 0 for reply in replies}


def _ids(cases: Sequence[tuple[str, Json | None, set[int]]]) -> list[str]:
    return [f"{name}-{asked}" for name, asked, _ in cases]


@pytest.mark.parametrize("number", range(len(CASES)), ids=_ids(CASES))
def test_a_subset_serves_what_it_serves_in_envoy(pair: Pair, number: int) -> None:
    name, _, expected = CASES[number]
    before = [side.proxy.stats(f"cluster.{name}.lb_") for side in (pair.envoy, pair.outrider)]
    envoy, outrider = pair.both(lambda side: _served(side, str(number)))
    assert (envoy, outrider) == (expected, expected)
    after = [side.proxy.stats(f"cluster.{name}.lb_") for side in (pair.envoy, pair.outrider)]
    moved = [
        {
            key: value - first.get(key, 0)
            for key, value in last.items()
            if "subsets_selected" in key or "subsets_fallback" in key
        }
        for first, last in zip(before, after, strict=True)
    ]
    assert moved[0] == moved[1]


def test_a_weighted_clusters_criteria_are_merged_into_the_routes(pair: Pair) -> None:
    assert pair.both(lambda side: _served(side, "merged")) == ({1}, {1})


@pytest.mark.parametrize("name", ["strict", "single", "listed", "default"])
def test_subsets_are_counted(pair: Pair, name: str) -> None:
    number = next(place for place, case in enumerate(CASES) if case[0] == name)
    pair.both(lambda side: _served(side, str(number), 1))

    def standing(side: Side) -> dict[str, int]:
        names = ("active", "created", "removed", "single_host_per_subset_duplicate")
        found = side.proxy.stats(f"cluster.{name}.lb_subsets_")
        # The main thread of Envoy has subsets of its own.
        threads = 2 if side is pair.envoy else 1
        return {
            key: found[f"cluster.{name}.lb_subsets_{key}"] // (threads if key in {"active", "created"} else 1)
            for key in names
        }

    pair.same_value("subsets", standing)
