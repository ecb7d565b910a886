"""To which hosts retries go, beside Envoy: priorities and hosts that were tried, canaries, metadata."""

from __future__ import annotations

import itertools
from typing import Any, Final

import pytest

from tests.support.configs import Json, address, cluster, http_proxy, route, typed, virtual_host
from tests.support.differential import Pair, Side, pair_fixture

FAST: Final = {"base_interval": "0.001s", "max_interval": "0.001s"}
ORIGINS: Final = ("a", "b", "c", "d")
BAD: Final = b"HTTP/1.1 503 Bad\r\ncontent-length: 0\r\n\r\n"
HOSTS: Final = "envoy.extensions.retry.host"
PREVIOUS: Final = {
    "name": "previous",
    "typed_config": typed(f"{HOSTS}.previous_hosts.v3.PreviousHostsPredicate"),
}
NO_CANARY: Final = {
    "name": "canaries",
    "typed_config": typed(f"{HOSTS}.omit_canary_hosts.v3.OmitCanaryHostsPredicate"),
}


def without(**labels: Any) -> Json:
    match = {"filter_metadata": {"envoy.lb": labels}}
    return {
        "name": "labels",
        "typed_config": typed(f"{HOSTS}.omit_host_metadata.v3.OmitHostMetadataConfig", metadata_match=match),
    }


def priorities(frequency: int) -> Json:
    name = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
    return {"name": "priorities", "typed_config": typed(name, update_frequency=frequency)}


def policy(retries: int = 6, **fields: Any) -> Json:
    return {"retry_on": "5xx", "num_retries": retries, "retry_back_off": FAST, **fields}


def hosts(name: str, levels: list[str], metadata: dict[str, Json] | None = None, **fields: Any) -> Json:
    """`levels` are the origins of each priority, by letters; upper-case ones are unhealthy."""
    endpoints = [
        {
            "priority": priority,
            "lb_endpoints": [
                {
                    "endpoint": {"address": address(f"{{{{{letter.lower()}_port}}}}")},
                    "health_status": "UNHEALTHY" if letter.isupper() else "HEALTHY",
                    "metadata": {
                        "filter_metadata": {
                            "envoy.lb": {"hash_key": letter, **(metadata or {}).get(letter, {})}
                        }
                    },
                }
                for letter in letters
            ],
        }
        for priority, letters in enumerate(levels)
    ]
    made = cluster(name, "1", **fields)
    made["load_assignment"] = {"cluster_name": name, "endpoints": endpoints}
    return made


RING: Final = {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 16}}
AGGREGATE: Final = {
    "name": "aggregate",
    "connect_timeout": "1s",
    "lb_policy": "CLUSTER_PROVIDED",
    "cluster_type": {
        "name": "envoy.clusters.aggregate",
        "typed_config": typed(
            "envoy.extensions.clusters.aggregate.v3.ClusterConfig", clusters=["three", "sick-last"]
        ),
    },
}
CLUSTERS: Final = [
    hosts("three", ["a", "b", "c"]),
    hosts("sick-first", ["A", "b", "c"]),
    hosts("sick-last", ["d", "C"]),
    hosts("all-sick", ["A", "B", "C"], common_lb_config={"healthy_panic_threshold": {"value": 0}}),
    hosts("two", ["ab"]),
    hosts("ring", ["abcd"], **RING),
    hosts("maglev", ["abcd"], lb_policy="MAGLEV"),
    hosts("ring-levels", ["ab", "cd"], **RING),
    hosts(
        "canaries",
        ["abcd"],
        {"a": {"canary": True}, "b": {"canary": True}, "c": {"canary": False}, "d": {"canary": True}},
        **RING,
    ),
    hosts(
        "labelled",
        ["abcd"],
        {
            "a": {"stage": "dev", "zone": 1},
            "b": {"stage": ["dev", "test"]},
            "c": {"stage": "prod"},
            "d": {"stage": "dev"},
        },
        **RING,
    ),
    hosts(
        "subset",
        ["a", "b", "cd"],
        {letter: {"kind": "x"} for letter in "abc"},
        lb_subset_config={"fallback_policy": "NO_FALLBACK", "subset_selectors": [{"keys": ["kind"]}]},
    ),
    AGGREGATE,
]
HASH: Final = {"hash_policy": [{"header": {"header_name": "x-hash"}}]}
KIND: Final = {"metadata_match": {"filter_metadata": {"envoy.lb": {"kind": "x"}}}}
#: Host name → cluster, its retry policy, more of the route.
ROUTES: Final[dict[str, tuple[str, Json, Json]]] = {
    "every": ("three", policy(retry_priority=priorities(1)), {}),
    "second": ("three", policy(8, retry_priority=priorities(2)), {}),
    "third": ("three", policy(8, retry_priority=priorities(3)), {}),
    "both": ("three", policy(retry_priority=priorities(1), retry_host_predicate=[PREVIOUS]), {}),
    "first-sick": ("sick-first", policy(retry_priority=priorities(1)), {}),
    "half-sick": ("sick-last", policy(retry_priority=priorities(1)), {}),
    "all-sick": ("all-sick", policy(retry_priority=priorities(1)), {}),
    "subset": ("subset", policy(retry_priority=priorities(1)), KIND),
    "aggregate": ("aggregate", policy(retry_priority=priorities(1)), {}),
    "ring-levels": ("ring-levels", policy(retry_priority=priorities(1)), HASH),
    "two": (
        "two",
        policy(retry_host_predicate=[PREVIOUS], host_selection_retry_max_attempts=4),
        {},
    ),
    "ring": ("ring", policy(), HASH),
    "ring-once": ("ring", policy(retry_host_predicate=[PREVIOUS]), HASH),
    "ring-often": (
        "ring",
        policy(retry_host_predicate=[PREVIOUS], host_selection_retry_max_attempts=20),
        HASH,
    ),
    "maglev-once": ("maglev", policy(retry_host_predicate=[PREVIOUS]), HASH),
    "maglev-often": (
        "maglev",
        policy(retry_host_predicate=[PREVIOUS], host_selection_retry_max_attempts=20),
        HASH,
    ),
    "canaries": (
        "canaries",
        policy(2, retry_host_predicate=[NO_CANARY], host_selection_retry_max_attempts=20),
        HASH,
    ),
    "labels": (
        "labelled",
        policy(retry_host_predicate=[without(stage="dev")], host_selection_retry_max_attempts=20),
        HASH,
    ),
    "two-labels": (
        "labelled",
        policy(
            retry_host_predicate=[without(stage="dev", zone=1), PREVIOUS],
            host_selection_retry_max_attempts=20,
        ),
        HASH,
    ),
    "no-labels": (
        "labelled",
        policy(retry_host_predicate=[without()], host_selection_retry_max_attempts=3),
        HASH,
    ),
}
pair = pair_fixture(
    http_proxy(
        virtual_hosts=[
            virtual_host(
                [route(name, retry_policy=retry, **more)],
                [f"{host}.test"],
                include_request_attempt_count=True,
            )
            for host, (name, retry, more) in ROUTES.items()
        ],
        clusters=CLUSTERS,
    ),
    origins=ORIGINS,
)


def trace(side: Side, host: str, key: str) -> str:
    """The origins of all tries of one request that nobody answers well, in order, by letters."""
    request = f"GET / HTTP/1.1\r\nhost: {host}.test\r\nx-hash: {key}\r\n\r\n".encode()
    outcome = side.run(request, BAD, None, {"timeout": 10.0})
    tries = sorted(
        (int(message.get("x-envoy-attempt-count") or 0), letter)
        for letter, messages in outcome.upstream.items()
        for message in messages
    )
    assert [number for number, _ in tries] == list(range(1, len(tries) + 1))
    return f"{outcome.status} " + "".join(letter for _, letter in tries)


@pytest.mark.parametrize("host", ROUTES)
def test_the_hosts_of_all_tries(pair: Pair, host: str) -> None:
    keys = ("one", "two", "three", "four") if ROUTES[host][2] is HASH else ("one",)
    if host == "two":
        # Who is first is left to chance.
        traces = [
            tuple("same" if one == other else "other" for one, other in itertools.pairwise(made))
            for made in pair.both(lambda side: trace(side, host, "one").split()[1])
        ]
        assert traces[0] == traces[1]
        assert traces[0][0] == "other"
        return
    for key in keys:
        pair.same_value(f"hosts for {key}", lambda side, key=key: trace(side, host, key), settle=0)
