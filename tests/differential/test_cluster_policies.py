"""Retry and mirror policies of clusters beside Envoy: what they leave of the route's, and what requests add."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.client import exchange
from tests.support.compare import diff_lists, diff_replies
from tests.support.configs import (
    HTTP_OPTIONS,
    Json,
    cluster,
    file_log,
    http_proxy,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side, pair_fixture
from tests.support.http_text import Message
from tests.support.origin import Answer
from tests.support.outrider import subject
from tests.support.stories import TRUST

ORIGINS: Final = ("origin", "shadow", "second")
FAST: Final = {"base_interval": "0.001s", "max_interval": "0.002s"}
HEDGE: Final = {"hedge_on_per_try_timeout": True}
LOG: Final = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"


def policy(on: str = "5xx", **fields: Any) -> Json:
    return {"retry_on": on, "retry_back_off": FAST, **fields}


def to(name: str) -> Json:
    return {"cluster": name}


def options(**fields: Any) -> Json:
    explicit = {"http_protocol_options": {}}
    return {
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: typed(HTTP_OPTIONS, explicit_http_config=explicit, **fields)
        }
    }


def own(name: str, port: str = "origin", **fields: Any) -> Json:
    return cluster(name, f"{{{{{port}_port}}}}", **options(**fields))


def aggregate(name: str, member: str, **fields: Any) -> Json:
    config = typed("envoy.extensions.clusters.aggregate.v3.ClusterConfig", clusters=[member])
    return {
        "name": name,
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": config},
        **fields,
    }


ASKED: Final = [{"name": "x-again", "present_match": True}]
CLUSTERS: Final = [
    *(cluster(name) for name in ORIGINS),
    own("twice", retry_policy=policy(num_retries=2)),
    own("empty", retry_policy={}),
    own("timed", retry_policy=policy(per_try_timeout="0.3s", per_try_idle_timeout="0.3s")),
    own("asked", retry_policy=policy(retriable_request_headers=ASKED)),
    own("reset", retry_policy=policy("reset")),
    own("copied", request_mirror_policies=[to("shadow")]),
    own("to-nobody", request_mirror_policies=[to("nonesuch")]),
    own("by-field", request_mirror_policies=[{"cluster_header": "x-to"}]),
    own(
        "changed",
        request_mirror_policies=[
            {
                "cluster": "shadow",
                "request_headers_mutations": [
                    {"append": {"header": {"key": "x-route", "value": "%ROUTE_NAME%"}}}
                ],
            }
        ],
    ),
    own("dead", "dead", request_mirror_policies=[to("shadow")]),
    own("copies-on", "shadow", request_mirror_policies=[to("second")]),
    aggregate("of-twice", "twice"),
    aggregate("twice-of", "origin", **options(retry_policy=policy(), request_mirror_policies=[to("shadow")])),
]
TIMED: Final = {"per_try_timeout": "0.3s"}
#: Host name → its route, more of the host.
HOSTS: Final[dict[str, tuple[Json, Json]]] = {
    "cluster": (route("twice"), {}),
    "route": (route("twice", retry_policy=policy("retriable-4xx", num_retries=3)), {}),
    "host": (route("twice"), {"retry_policy": policy("retriable-4xx", num_retries=3)}),
    "empty": (route("empty", retry_policy=policy()), {}),
    "timed": (route("timed"), {}),
    "idle": (route("timed", retry_policy=policy("")), {}),
    "route-timed": (route("twice", retry_policy=policy("", **TIMED)), {}),
    "route-idle": (route("twice", retry_policy=policy("", per_try_idle_timeout="0.3s")), {}),
    "empty-timed": (route("empty", retry_policy=policy(**TIMED)), {}),
    "reset-timed": (route("reset", retry_policy=policy("", **TIMED)), {}),
    "hedged": (route("timed", hedge_policy=HEDGE), {}),
    "route-hedged": (route("twice", hedge_policy=HEDGE, retry_policy=policy("", **TIMED)), {}),
    "asked": (route("asked", retry_policy=policy()), {}),
    "route-asked": (route("twice", retry_policy=policy(retriable_request_headers=ASKED)), {}),
    "weighted": (
        {
            "match": {"prefix": "/"},
            "route": {
                "retry_policy": policy("retriable-4xx"),
                "weighted_clusters": {
                    "clusters": [{"name": "twice", "weight": 100}, {"name": "origin", "weight": 0}]
                },
            },
        },
        {},
    ),
    "field": ({"match": {"prefix": "/"}, "route": {"cluster_header": "x-cluster"}}, {}),
    "of-twice": (route("of-twice"), {}),
    "twice-of": (route("twice-of"), {}),
    "copied": (route("copied"), {}),
    "route-copied": (route("copied", request_mirror_policies=[to("second")]), {}),
    "host-copied": (route("copied"), {"request_mirror_policies": [to("second")]}),
    "to-nobody": (route("to-nobody", request_mirror_policies=[to("second")]), {}),
    "by-field": (route("by-field"), {}),
    "changed": ({"name": "the-route", **route("changed")}, {}),
    "dead": (route("dead"), {}),
    "copies-on": (route(request_mirror_policies=[to("copies-on")]), {}),
}

pair = pair_fixture(
    http_proxy(
        virtual_hosts=[
            virtual_host(
                [one],
                [f"{name}.test"],
                include_request_attempt_count=True,
                include_attempt_count_in_response=True,
                **fields,
            )
            for name, (one, fields) in HOSTS.items()
        ],
        clusters=CLUSTERS,
        hcm={"access_log": [file_log(LOG)], **TRUST},
    ),
    origins=ORIGINS,
    values={"dead_port": 1},
)


def reply(status: int) -> bytes:
    return f"HTTP/1.1 {status} Some\r\ncontent-length: 1\r\n\r\nx".encode()


def request(host: str, fields: str = "", body: str = "") -> bytes:
    start = f"POST / HTTP/1.1\r\ncontent-length: {len(body)}" if body else "GET / HTTP/1.1"
    return f"{start}\r\nhost: {host}.test\r\n{fields}\r\n{body}".encode()


OK: Final = reply(200)
BAD: Final = reply(503)
CONFLICT: Final = reply(409)
LATE: Final = Answer(OK, delay=1.0)
NOTHING: Final[dict[str, int]] = {}
#: What is sent, what the origin answers, and how many copies come to whom.
CASES: Final[dict[str, tuple[bytes, list[Any], dict[str, int]]]] = {
    "the cluster's": (request("cluster"), [BAD, BAD, OK], NOTHING),
    "with a body": (request("cluster", body="hello"), [BAD, BAD, OK], NOTHING),
    "not the route's number": (request("route"), [BAD, BAD, BAD, OK], NOTHING),
    "not the route's conditions": (request("route"), [CONFLICT, OK], NOTHING),
    "not those of the virtual host": (request("host"), [CONFLICT, OK], NOTHING),
    "none at all": (request("empty"), [BAD, OK], NOTHING),
    "none but the request's": (request("empty", "x-envoy-retry-on: 5xx\r\n"), [BAD, OK], NOTHING),
    "the request adds conditions": (
        request("cluster", "x-envoy-retry-on: retriable-4xx\r\n"),
        [CONFLICT, BAD, OK],
        NOTHING,
    ),
    "the request's number": (request("cluster", "x-envoy-max-retries: 4\r\n"), [BAD] * 4 + [OK], NOTHING),
    "the request's time": (
        request("cluster", "x-envoy-upstream-rq-per-try-timeout-ms: 300\r\n"),
        [LATE, OK],
        NOTHING,
    ),
    "the cluster's times count for nothing": (request("timed"), [LATE, OK], NOTHING),
    "nor in place of none": (request("idle"), [LATE, OK], NOTHING),
    "the route's time of a try": (request("route-timed"), [LATE, OK], NOTHING),
    "the route's idle time": (request("route-idle"), [LATE, OK], NOTHING),
    "the route's time without retries": (request("empty-timed"), [LATE, OK], NOTHING),
    "the route's time for another condition": (request("reset-timed"), [LATE, OK], NOTHING),
    "hedging without a time": (request("hedged"), [LATE, OK], NOTHING),
    "the route hedges": (request("route-hedged"), [LATE, OK], NOTHING),
    "requests that are not meant": (request("asked"), [BAD, OK], NOTHING),
    "requests that are meant": (request("asked", "x-again: 1\r\n"), [BAD, OK], NOTHING),
    "not the requests that the route means": (request("route-asked"), [BAD, OK], NOTHING),
    "of one of weighted clusters": (request("weighted"), [CONFLICT, OK], NOTHING),
    "of one that the request names": (request("field", "x-cluster: twice\r\n"), [BAD, OK], NOTHING),
    "of one that has none": (request("field", "x-cluster: origin\r\n"), [BAD, OK], NOTHING),
    "not that of an aggregate's member": (request("of-twice"), [BAD, OK], NOTHING),
    "that of the aggregate": (request("twice-of"), [BAD, OK], {"shadow": 1}),
    "that of the aggregate in vain": (request("twice-of"), [BAD, BAD, OK], {"shadow": 1}),
    "a copy": (request("copied"), [OK], {"shadow": 1}),
    "a copy with a body": (request("copied", body="hello"), [OK], {"shadow": 1}),
    "no copy for the route": (request("route-copied"), [OK], {"shadow": 1}),
    "no copy for the virtual host": (request("host-copied"), [OK], {"shadow": 1}),
    "a copy for nobody": (request("to-nobody"), [OK], NOTHING),
    "a copy by a field": (request("by-field", "x-to: second\r\n"), [OK], {"second": 1}),
    "a copy that knows its route": (request("changed"), [OK], {"shadow": 1}),
    "a copy of what nobody takes": (request("dead"), [OK], {"shadow": 1}),
    "a copy of a copy": (request("copies-on", body="hello"), [OK], {"shadow": 1, "second": 1}),
}
#: What is left for the tries after the first depends on the clock.
LEFT: Final = [f"upstream.origin[{number}].field.x-envoy-expected-rq-timeout-ms" for number in range(1, 6)]
COUNTED: Final = (
    "twice",
    "empty",
    "timed",
    "asked",
    "reset",
    "copied",
    "twice-of",
    "origin",
    "shadow",
    "second",
)
STATS: Final = [
    f"cluster.{name}.{one}"
    for name in COUNTED
    for one in (
        "upstream_rq_total",
        "upstream_rq_completed",
        "upstream_rq_retry",
        "upstream_rq_retry_success",
        "upstream_rq_retry_limit_exceeded",
        "upstream_rq_per_try_timeout",
        "upstream_rq_per_try_idle_timeout",
        "retry.upstream_rq_503",
    )
]


@pytest.mark.parametrize("title", CASES)
@pytest.mark.parametrize("times", [1, 3], ids=["once", "again"])
def test_policies(pair: Pair, title: str, times: int) -> None:
    sent, answers, copies = CASES[title]

    def run(side: Side) -> tuple[Any, dict[str, list[Message]]]:
        for _ in range(times):
            for name, origin in side.origins.items():
                origin.script(answers if name == "origin" else OK)
            reply = exchange(side.proxy.port, sent, timeout=8.0)
            for name, count in copies.items():
                side.origins[name].wait_for_requests(count)
        return reply, {name: origin.requests for name, origin in side.origins.items()}

    with pair.same_stats(*STATS):
        envoy, outrider = pair.both(run)
    pair.check(diff_replies(envoy[0], outrider[0]))
    for name in ORIGINS:
        pair.check(diff_lists(f"upstream.{name}", envoy[1][name], outrider[1][name]), ignore=LEFT)
    pair.same_log()


def test_copies_that_go_round_in_a_circle_end() -> None:
    """Envoy does not survive the first request."""
    clusters = [
        own("one", request_mirror_policies=[to("two")]),
        own("two", "shadow", request_mirror_policies=[to("one")]),
    ]
    side = Side(
        subject(),
        http_proxy(routes=[route("one")], clusters=clusters),
        ["origin", "shadow"],
        ["listener"],
        {},
        (),
        None,
    )
    try:
        assert exchange(side.proxy.port, request("any")).status == 200
        side.origins["shadow"].wait_for_requests(1)
        side.origins["origin"].wait_for_requests(2)
        assert exchange(side.proxy.port, request("any")).status == 200
    finally:
        side.close()
