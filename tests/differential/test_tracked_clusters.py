"""What clusters record when they are told to, beside Envoy: sizes, shares of timeouts, numbers of hosts."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

import pytest

from tests.support.client import Client, exchange
from tests.support.configs import ROUTER, Json, address, cluster, file_log, http_proxy, route, typed
from tests.support.differential import Pair, Side, pair_fixture
from tests.support.origin import Answer
from tests.support.stories import TRUST

FAST: Final = {"base_interval": "0.001s", "max_interval": "0.002s"}
ALL: Final = {"timeout_budgets": True, "request_response_sizes": True, "per_endpoint_stats": True}
#: How often the sums are renewed, with some room.
SETTLE: Final = 15.0


def reply(status: int, fields: str = "", body: str = "x") -> bytes:
    return f"HTTP/1.1 {status} Some\r\ncontent-length: {len(body)}\r\n{fields}\r\n{body}".encode()


class Case(NamedTuple):
    """A request to a cluster of its own. `body` is that of the request, None for GET."""

    answers: list[Any]
    body: str | None = None
    action: Json = {}  # noqa: RUF012 - nobody changes it
    cluster: Json = {"track_cluster_stats": ALL}  # noqa: RUF012
    fields: str = ""
    times: int = 1


def retries(**fields: Any) -> Json:
    return {"retry_policy": {"retry_on": "5xx", "retry_back_off": FAST, **fields}}


OK: Final = reply(200)
BAD: Final = reply(503)
LATE: Final = Answer(OK, delay=3.0)
CHUNKED: Final = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
DEAD: Final = {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": address("{{dead_port}}")}}]}]}
CASES: Final[dict[str, Case]] = {
    "GET": Case([OK], times=3),
    "POST": Case([reply(200, "connection: keep-alive\r\n", "hello")], "12345"),
    "a chunked response": Case([CHUNKED], "12345"),
    "a large response": Case([reply(200, body="x" * 123456)]),
    "many fields": Case(
        [reply(200, "set-cookie: a=1\r\nset-cookie: b=2\r\n")], fields="cookie: a=1\r\nx: y\r\n"
    ),
    "no timeout": Case([OK], action={"timeout": "0s"}),
    "half of the timeout": Case([Answer(OK, delay=1.03)], action={"timeout": "2s"}),
    "too late": Case([LATE], action={"timeout": "1s"}),
    "tried again": Case([BAD, OK], action={"timeout": "9s", **retries(per_try_timeout="4s")}),
    "tried again with a body": Case([BAD, OK], "12345", action=retries()),
    "a try too late": Case([LATE, OK], action={"timeout": "39s", **retries(per_try_timeout="2.02s")}),
    "a reset": Case([Answer(b"", end="reset")]),
    "a response that breaks off": Case(
        [Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", end="reset")]
    ),
    "nobody there": Case([OK], cluster={"track_cluster_stats": ALL, "load_assignment": DEAD}),
    "nobody there twice": Case(
        [OK], "123", retries(), cluster={"track_cluster_stats": ALL, "load_assignment": DEAD}
    ),
    "no room": Case(
        [OK],
        cluster={
            "track_cluster_stats": ALL,
            "circuit_breakers": {"thresholds": [{"max_pending_requests": 0}]},
        },
    ),
    "no request allowed": Case(
        [OK],
        cluster={"track_cluster_stats": ALL, "circuit_breakers": {"thresholds": [{"max_requests": 0}]}},
    ),
    "no hosts": Case([OK], cluster={"track_cluster_stats": ALL, "load_assignment": {}}),
    "budgets": Case([OK], cluster={"track_cluster_stats": {"timeout_budgets": True}}),
    "the older field": Case([OK], cluster={"track_timeout_budgets": True}),
    "both fields": Case([OK], cluster={"track_timeout_budgets": True, "track_cluster_stats": {}}),
    "sizes": Case([OK], cluster={"track_cluster_stats": {"request_response_sizes": True}}),
    "hosts": Case([OK, BAD], cluster={"track_cluster_stats": {"per_endpoint_stats": True}}, times=2),
    "nothing": Case([OK], cluster={"track_cluster_stats": {}}),
}
NAMES: Final = {title: f"case{number}" for number, title in enumerate(CASES)}


def made(title: str) -> Json:
    fields = dict(CASES[title].cluster)
    if "load_assignment" in fields:
        fields["load_assignment"] = {"cluster_name": "any", **fields["load_assignment"]}
    return cluster(NAMES[title], "{{origin_port}}", **fields)


HOSTS: Final = {
    "name": "hosts",
    "alt_stat_name": "of.hosts",
    "type": "STATIC",
    "connect_timeout": "1s",
    "track_cluster_stats": {"per_endpoint_stats": True},
    "load_assignment": {
        "cluster_name": "hosts",
        "endpoints": [
            {
                "lb_endpoints": [
                    {"endpoint": {"address": address(1)}},
                    {"endpoint": {"address": address(2, "::1")}},
                    {"endpoint": {"address": {"pipe": {"path": "/tmp/a.b/x_1.sock"}}}},
                    {"endpoint": {"address": address(3)}, "health_status": "UNHEALTHY"},
                    {"endpoint": {"address": address(4)}, "health_status": "DEGRADED"},
                ]
            }
        ],
    },
}
LOGGING: Final = typed(ROUTER, upstream_log=[file_log("%BYTES_SENT%")])
pair = pair_fixture(
    http_proxy(
        routes=[
            *(route(name, f"/{name}/", **CASES[title].action) for title, name in NAMES.items()),
            route("left", "/left/"),
            route("copied", "/copied/", request_mirror_policies=[{"cluster": "copy"}]),
        ],
        clusters=[
            cluster(),
            *(made(title) for title in CASES),
            HOSTS,
            *(
                cluster(name, "{{origin_port}}", track_cluster_stats=ALL)
                for name in ("left", "copied", "copy")
            ),
        ],
        # What is logged of a try must not get into the way of what is recorded.
        hcm={**TRUST, "http_filters": [{"name": "router", "typed_config": LOGGING}]},
        stats_flush_interval="1s",
    ),
    values={"dead_port": 1},
)


def histograms(side: Side, name: str) -> dict[str, str]:
    """The bins of each of a cluster's histograms that are about single requests."""
    wanted = rf"^cluster\.{name}\.upstream_r[qs]_(body|headers|timeout_budget)"
    lines = side.proxy.admin(f"/stats?filter={wanted}&histogram_buckets=detailed")[1].splitlines()
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith("cluster."):
            last, _, found_none = line.partition(":")
            found[last] = found_none.strip()
        elif "totals=" in line:
            # Envoy's timers may be a little early.
            found[last] = line.strip().replace("99,1:", "100,10:")
    return found


def numbers_of_hosts(side: Side, name: str) -> dict[str, int]:
    """By name, with a mark for the port; those of connections are up to each proxy."""
    _, text = side.proxy.admin(rf"/stats?filter=^cluster\.{name}\.endpoint&format=json")
    return {
        re.sub(r"_\d+\.", "_PORT.", one["name"]): one["value"]
        for one in json.loads(text)["stats"]
        if ".cx_" not in one["name"]
    }


@pytest.mark.parametrize("title", CASES)
def test_what_is_recorded(pair: Pair, title: str) -> None:
    name, case = NAMES[title], CASES[title]
    start = f"GET /{name}/ HTTP/1.1" if case.body is None else f"POST /{name}/ HTTP/1.1"
    length = "" if case.body is None else f"content-length: {len(case.body)}\r\n"
    sent = f"{start}\r\nhost: abc.test\r\n{length}{case.fields}\r\n{case.body or ''}".encode()

    def run(side: Side) -> list[int]:
        before = histograms(side, name)
        if any("totals" in one for one in before.values()):
            return []  # run again after a failure: what is there is to be compared
        side.origin.script(case.answers)
        return [exchange(side.proxy.port, sent, timeout=5.0).status for _ in range(case.times)]

    pair.same_value("statuses", run, settle=0)
    pair.same_value("histograms", lambda side: histograms(side, name), settle=SETTLE)
    if title not in {"a reset", "a response that breaks off"}:
        pair.same_value("hosts", lambda side: numbers_of_hosts(side, name), settle=SETTLE)


def test_a_client_that_leaves(pair: Pair) -> None:
    def run(side: Side) -> None:
        side.origin.script(LATE)
        with Client(side.proxy.port) as client:
            client.send(b"GET /left/ HTTP/1.1\r\nhost: abc.test\r\n\r\n")
            side.origin.wait_for_requests(1)

    pair.both(run)
    pair.same_value("histograms", lambda side: histograms(side, "left"), settle=SETTLE)


def test_copies_of_requests(pair: Pair) -> None:
    def run(side: Side) -> None:
        side.origin.script(OK)
        exchange(side.proxy.port, b"GET /copied/ HTTP/1.1\r\nhost: abc.test\r\n\r\n")
        side.origin.wait_for_requests(2)

    pair.both(run)
    for name in ("copied", "copy"):
        pair.same_value("histograms", lambda side, name=name: histograms(side, name), settle=SETTLE)


@pytest.mark.parametrize(
    "path", ["/stats?filter=of.hosts.endpoint", "/stats/prometheus?filter=of.hosts.endpoint"]
)
def test_hosts_of_all_kinds(pair: Pair, path: str) -> None:
    pair.same_value("lines", lambda side: sorted(side.proxy.admin(path)[1].splitlines()))
