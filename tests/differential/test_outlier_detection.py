"""Hosts that answer badly are ejected, counted, logged and taken back as in Envoy."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.support.client import exchange
from tests.support.configs import (
    bootstrap,
    cluster,
    connection_manager,
    http2_cluster,
    http_proxy,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side, pair_fixture, same_verdict
from tests.support.envoy import Envoy
from tests.support.http2_frames import Code
from tests.support.http2_origin import Http2Answer, Http2Origin, Http2Script
from tests.support.origin import Answer
from tests.support.outrider import subject
from tests.support.ports import free_port
from tests.support.proxy_process import StartError

_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_DEADLINE = 10.0


def answer(status: int, *fields: str) -> bytes:
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n{lines}\r\n".encode()


STRICT = {
    "interval": "60s",
    "max_ejection_percent": 100,
    "consecutive_5xx": 2,
    "consecutive_gateway_failure": 2,
    "consecutive_local_origin_failure": 2,
}


def judged(name: str, *ports: str, **fields: Any) -> dict[str, Any]:
    """A cluster that may lose all its hosts for two failures in a row; `fields` are of its OutlierDetection."""
    outlier = {**STRICT, **fields}
    return cluster(name, *(f"{{{{{port}_port}}}}" for port in ports or ("good",)), outlier_detection=outlier)


# Each test has a cluster of its own, whose numbers begin at zero.
CLUSTERS = [
    judged("five"),
    judged("mixed", consecutive_5xx=3),
    judged("gateway", enforcing_consecutive_gateway_failure=100, consecutive_5xx=9),
    judged("counted", enforcing_consecutive_5xx=0),
    judged("closed", "closed"),
    judged("split", "closed", split_external_local_origin_errors=True),
    judged("split_status", split_external_local_origin_errors=True),
    judged("broken"),
    judged("split_broken", split_external_local_origin_errors=True),
    judged("slow", enforcing_consecutive_gateway_failure=100),
    judged("slow_try", enforcing_consecutive_gateway_failure=100),
    judged("grpc"),
    judged("by_runtime"),
    judged("full", "good", "other", "closed", max_ejection_percent=40),
    judged("none", "good", "other", max_ejection_percent=10),
    judged("one", "good", "other", max_ejection_percent=10, always_eject_one_host=True),
    judged("idle"),
    judged("leaves", "good", "other"),
    judged("returns", interval="0.3s", base_ejection_time="0.5s"),
    judged(
        "rates",
        "good",
        "other",
        interval="0.2s",
        consecutive_5xx=1000,
        success_rate_minimum_hosts=2,
        success_rate_request_volume=1,
        success_rate_stdev_factor=500,
    ),
    judged("tcp", "closed"),
    judged("tcp_split", "closed", split_external_local_origin_errors=True),
]
ROUTES = {
    "slow": {"timeout": "0.1s"},
    "slow_try": {"retry_policy": {"num_retries": 0, "per_try_timeout": "0.1s"}},
}


def tcp(name: str) -> dict[str, Any]:
    proxy = typed(_TCP_PROXY, stat_prefix=name, cluster=name)
    return listener([{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}], name)


CONFIG = bootstrap(
    [
        listener(
            [
                connection_manager(
                    {
                        "name": "local",
                        "virtual_hosts": [
                            virtual_host(
                                [
                                    route(one["name"], f"/{one['name']}/", **ROUTES.get(one["name"], {}))
                                    for one in CLUSTERS
                                ]
                            )
                        ],
                    }
                )
            ]
        ),
        tcp("tcp"),
        tcp("tcp_split"),
    ],
    CLUSTERS,
    cluster_manager={"outlier_detection": {"event_log_path": "{{dir}}/events"}},
    layered_runtime={"layers": [{"name": "admin", "admin_layer": {}}]},
)

pair = pair_fixture(
    CONFIG,
    origins=("good", "other"),
    listeners=("listener", "tcp", "tcp_split"),
    values={"closed_port": free_port()},
)


http2_pair = pair_fixture(
    http_proxy(
        routes=[route(name, f"/{name}/") for name in ("h2_status", "h2_reset", "h2_grpc", "h2_trailers")],
        clusters=[
            http2_cluster(name, "{{origin_port}}", outlier_detection=STRICT)
            for name in ("h2_status", "h2_reset", "h2_grpc", "h2_trailers")
        ],
        cluster_manager={"outlier_detection": {"event_log_path": "{{dir}}/events"}},
    ),
    origins={"origin": Http2Origin},
)


def get(name: str, *fields: str) -> bytes:
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"GET /{name}/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode()


def flags(side: Side, name: str) -> list[str]:
    """What `/clusters` says of the health of each host, in order of the configuration."""
    _, text = side.proxy.admin("/clusters")
    marker = "::health_flags::"
    return [
        line.partition(marker)[2]
        for line in text.splitlines()
        if line.startswith(name + "::") and marker in line
    ]


def events(side: Side, name: str) -> list[dict[str, Any]]:
    """What the event log says of a cluster, without what differs by nature."""
    lines = side.proxy.access_log(0, path=str(side.proxy.directory / "events"))
    found = [json.loads(line) for line in lines]
    return [
        {key: value for key, value in one.items() if key not in {"timestamp", "upstream_url"}}
        for one in found
        if one["cluster_name"] == name
    ]


def sequence(pair: Pair, name: str, *answers: Any, expect: str, request: bytes | None = None) -> None:
    """One request for each of the answers; the numbers agree, and the hosts end as expected."""
    with pair.same_stats(f"cluster.{name}.outlier_detection."):
        for one in answers:
            pair.run(request or get(name), one)
        pair.same_value("flags", lambda side: sorted(flags(side, name)), settle=_DEADLINE)
        assert until(lambda: set(flags(pair.outrider, name)) == {expect})
    pair.same_value("events", lambda side: events(side, name), settle=_DEADLINE)


def until(condition: Any) -> bool:
    deadline = time.monotonic() + _DEADLINE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


EJECTED = "/failed_outlier_check"


def test_5xx_in_a_row_eject(pair: Pair) -> None:
    sequence(pair, "five", answer(500), answer(200), answer(500), expect="healthy")
    sequence(pair, "five", answer(503), expect=EJECTED)


def test_a_success_of_any_kind_ends_a_row(pair: Pair) -> None:
    sequence(pair, "mixed", answer(500), answer(404), answer(501), answer(302), answer(503), expect="healthy")
    sequence(pair, "mixed", answer(599), answer(500), expect=EJECTED)


def test_gateway_failures_in_a_row_eject(pair: Pair) -> None:
    sequence(pair, "gateway", answer(502), answer(500), answer(504), expect="healthy")
    sequence(pair, "gateway", answer(503), expect=EJECTED)


def test_what_is_not_enforced_is_counted(pair: Pair) -> None:
    sequence(pair, "counted", *[answer(500)] * 5, expect="healthy")


def test_a_closed_port_counts_as_503(pair: Pair) -> None:
    sequence(pair, "closed", b"", b"", expect=EJECTED)


def test_a_closed_port_counts_by_itself_if_told_apart(pair: Pair) -> None:
    sequence(pair, "split", b"", b"", expect=EJECTED)


def test_statuses_count_by_themselves_if_told_apart(pair: Pair) -> None:
    sequence(pair, "split_status", answer(500), answer(503), expect=EJECTED)


@pytest.mark.parametrize(("name", "expect"), [("broken", EJECTED), ("split_broken", "healthy")])
def test_a_connection_that_ends_without_an_answer_counts(pair: Pair, name: str, expect: str) -> None:
    sequence(pair, name, Answer(b"", end="close"), Answer(b"", end="reset"), expect=expect)


def test_an_answer_that_breaks_off_counts_twice(pair: Pair) -> None:
    cut = Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal", end="close")
    with pair.same_stats("cluster.by_runtime.outlier_detection."):
        pair.run(get("by_runtime"), cut)
        pair.run(get("by_runtime"), answer(200))


@pytest.mark.parametrize("name", ["slow", "slow_try"])
def test_no_answer_in_time_is_a_gateway_failure(pair: Pair, name: str) -> None:
    late = Answer(answer(200), delay=1.0)
    sequence(pair, name, late, late, expect=EJECTED)


def test_a_status_of_grpc_counts_where_it_comes_with_the_head(pair: Pair) -> None:
    request = get("grpc", "content-type: application/grpc", "te: trailers")

    def status(number: int) -> bytes:
        return answer(200, "content-type: application/grpc", f"grpc-status: {number}")

    sequence(pair, "grpc", status(14), status(5), status(13), request=request, expect="healthy")
    sequence(pair, "grpc", status(4), status(14), request=request, expect=EJECTED)


def test_the_runtime_changes_what_is_enough(pair: Pair) -> None:
    pair.both(
        lambda side: side.proxy.admin("/runtime_modify?outlier_detection.consecutive_5xx=3", method="POST")
    )
    try:
        sequence(pair, "by_runtime", answer(500), answer(500), expect="healthy")
        sequence(pair, "by_runtime", answer(500), expect=EJECTED)
    finally:
        pair.both(
            lambda side: side.proxy.admin("/runtime_modify?outlier_detection.consecutive_5xx=", method="POST")
        )


def test_connections_of_an_ejected_host_are_used_no_more(pair: Pair) -> None:
    def scenario(side: Side) -> int:
        side.origins["good"].script(answer(500))
        for _ in range(2):
            exchange(side.proxy.ports["listener"], get("idle"))
        assert until(lambda: flags(side, "idle") == [EJECTED])
        stat = "cluster.idle.upstream_cx_active"
        assert until(lambda: side.proxy.stats(stat)[stat] == 0)
        return len(side.origins["good"].requests)

    assert pair.both(scenario) == (2, 2)


_GRPC = (("content-type", "application/grpc"),)


@pytest.mark.parametrize(
    ("name", "script", "expect"),
    [
        ("h2_status", Http2Answer(503), EJECTED),
        ("h2_reset", lambda stream: stream.reset(Code.CANCEL), EJECTED),
        ("h2_grpc", Http2Answer(200, (*_GRPC, ("grpc-status", "14")), None), EJECTED),
        ("h2_trailers", Http2Answer(200, _GRPC, b"", trailers=(("grpc-status", "14"),)), "healthy"),
    ],
)
def test_hosts_of_http2_are_judged_alike(
    http2_pair: Pair, name: str, script: Http2Script, expect: str
) -> None:
    def scenario(side: Side) -> None:
        side.origin.script(script)
        fields = (
            ["content-type: application/grpc", "te: trailers"] if name in {"h2_grpc", "h2_trailers"} else []
        )
        for _ in range(2):
            exchange(side.proxy.ports["listener"], get(name, *fields))

    with http2_pair.same_stats(f"cluster.{name}.outlier_detection."):
        http2_pair.both(scenario)
        http2_pair.same_value("flags", lambda side: flags(side, name), settle=_DEADLINE)
        assert until(lambda: flags(http2_pair.outrider, name) == [expect])
    http2_pair.same_value("events", lambda side: events(side, name), settle=_DEADLINE)


def test_a_file_that_cannot_be_written_is_refused() -> None:
    log = {"outlier_detection": {"event_log_path": "/nowhere/events"}}
    for kind in (Envoy, subject()):
        with pytest.raises(StartError, match="unable to open file '/nowhere/events'"):
            kind(bootstrap([], cluster_manager=log), listeners=())


def fail_all(pair: Pair, name: str, times: int) -> None:
    for _ in range(times):
        pair.run(get(name), answer(500))


@pytest.mark.parametrize(("name", "ejected"), [("full", 1), ("none", 0), ("one", 1)])
def test_no_more_hosts_go_than_may(pair: Pair, name: str, ejected: int) -> None:
    fail_all(pair, name, 8)
    pair.same_value("flags", lambda side: sorted(flags(side, name)), settle=_DEADLINE)
    assert until(lambda: flags(pair.outrider, name).count(EJECTED) == ejected)
    stat = f"cluster.{name}.outlier_detection.ejections_overflow"
    overflows = pair.both(lambda side: side.proxy.stats(stat)[stat])
    assert all(overflows)


def test_an_ejected_host_gets_no_request(pair: Pair) -> None:
    def scenario(side: Side) -> tuple[int, int]:
        side.origins["good"].script(answer(500))
        side.origins["other"].script(answer(200))
        port = side.proxy.ports["listener"]
        assert until(lambda: exchange(port, get("leaves")).status and EJECTED in flags(side, "leaves"))
        before = len(side.origins["good"].requests)
        statuses = {exchange(port, get("leaves")).status for _ in range(6)}
        assert statuses == {200}
        return before > 0, len(side.origins["good"].requests) - before

    assert pair.both(scenario) == ((True, 0), (True, 0))


def test_an_ejection_ends_and_the_next_one_lasts_longer(pair: Pair) -> None:
    total = "cluster.returns.outlier_detection.ejections_enforced_total"

    def scenario(side: Side) -> tuple[list[tuple[str, int, bool]], list[bool]]:
        side.origins["good"].script(answer(500))
        port = side.proxy.ports["listener"]
        began = len(events(side, "returns"))
        first = side.proxy.stats(total)[total]

        def second_ejection() -> bool:
            for _ in range(5):
                exchange(port, get("returns"))
            return side.proxy.stats(total)[total] >= first + 2

        # The time grows only if the host fails again before an interval has passed.
        assert until(second_ejection)
        assert until(lambda: len(events(side, "returns")) >= began + 4)
        found = events(side, "returns")[began:]
        lasted = [int(found[at]["secs_since_last_action"]) for at in (1, 3)]
        base = found[0]["num_ejections"]
        told = [(one["action"], one["num_ejections"] - base, one["enforced"]) for one in found[:4]]
        return told, [seconds >= least for seconds, least in zip(lasted, (0, 1), strict=True)]

    envoy, outrider = pair.both(scenario)
    assert envoy == outrider
    assert outrider == (
        [("EJECT", 0, True), ("UNEJECT", 0, False), ("EJECT", 1, True), ("UNEJECT", 1, False)],
        [True, True],
    )


def test_a_host_below_the_others_is_ejected(pair: Pair) -> None:
    def scenario(side: Side) -> list[str]:
        side.origins["good"].script(answer(500))
        side.origins["other"].script(answer(200))
        port = side.proxy.ports["listener"]

        def once() -> bool:
            for _ in range(4):
                exchange(port, get("rates"))
            return EJECTED in flags(side, "rates")

        assert until(once)
        return flags(side, "rates")

    assert pair.both(scenario) == ([EJECTED, "healthy"], [EJECTED, "healthy"])
    first = pair.both(lambda side: events(side, "rates")[0] if until(lambda: events(side, "rates")) else None)
    assert first[0] == first[1]


@pytest.mark.parametrize("name", ["tcp", "tcp_split"])
def test_a_tcp_proxy_that_cannot_connect_counts(pair: Pair, name: str) -> None:
    with pair.same_stats(f"cluster.{name}.outlier_detection."):
        for _ in range(2):
            pair.run(b"", listener=name)
        pair.same_value("flags", lambda side: flags(side, name), settle=_DEADLINE)
        assert until(lambda: flags(pair.outrider, name) == [EJECTED])
    pair.same_value("events", lambda side: events(side, name), settle=_DEADLINE)


def test_clusters_tell_success_rates(pair: Pair) -> None:
    def named(side: Side) -> list[str]:
        _, text = side.proxy.admin("/clusters")
        lines = [line for line in text.splitlines() if line.startswith("five::")]
        return [
            line for line in lines if "outlier" in line or "success_rate" in line.rpartition("::")[0][-24:]
        ]

    pair.same_value(
        "clusters", lambda side: [line.rpartition("::")[0].split("::")[-1] for line in named(side)]
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"max_ejection_time": "10s"},
        {"max_ejection_time": "10s", "base_ejection_time": "20s"},
        {"interval": "0s"},
        {"enforcing_consecutive_5xx": 101},
        {"max_ejection_percent": 0, "base_ejection_time": "600s"},
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, Any]) -> None:
    same_verdict(bootstrap([], [cluster("one", 1, outlier_detection=fields)]))


#: Rows of failures count for nothing; what is left judges by shares.
SHARES = {
    "interval": "1s",
    "max_ejection_percent": 100,
    "consecutive_5xx": 1000,
    "consecutive_gateway_failure": 1000,
    "consecutive_local_origin_failure": 1000,
}
PERCENTAGE = {
    "failure_percentage_minimum_hosts": 2,
    "failure_percentage_request_volume": 3,
    "failure_percentage_threshold": 50,
    "enforcing_success_rate": 0,
    "enforcing_local_origin_success_rate": 0,
}
RATE = {
    "success_rate_minimum_hosts": 2,
    "success_rate_request_volume": 3,
    "success_rate_stdev_factor": 500,
}
APART = {"split_external_local_origin_errors": True}
#: The second host, and what judges it.
JUDGES: dict[str, tuple[str, dict[str, Any]]] = {
    "percentage": ("other", {**PERCENTAGE, "enforcing_failure_percentage": 100}),
    "percentage_by_default": ("other", PERCENTAGE),
    "too_few_hosts": (
        "other",
        {**PERCENTAGE, "enforcing_failure_percentage": 100, "failure_percentage_minimum_hosts": 3},
    ),
    "too_few_requests": (
        "other",
        {**PERCENTAGE, "enforcing_failure_percentage": 100, "failure_percentage_request_volume": 50},
    ),
    "local_percentage": (
        "closed",
        {**PERCENTAGE, **APART, "enforcing_failure_percentage_local_origin": 100},
    ),
    "local_percentage_by_default": ("closed", {**PERCENTAGE, **APART}),
    "rate": ("other", RATE),
    "rate_not_enforced": ("other", {**RATE, "enforcing_success_rate": 0}),
    "local_rate": ("closed", {**RATE, **APART}),
    "local_rate_not_enforced": ("closed", {**RATE, **APART, "enforcing_local_origin_success_rate": 0}),
    "local_row": ("closed", {**APART, "consecutive_local_origin_failure": 2}),
    "local_row_not_enforced": (
        "closed",
        {
            **APART,
            "consecutive_local_origin_failure": 2,
            "enforcing_consecutive_local_origin_failure": 0,
        },
    ),
    "checked": ("other", {"interval": "60s", "consecutive_5xx": 2}),
    "checked_in_vain": (
        "other",
        {"interval": "60s", "consecutive_5xx": 2, "successful_active_health_check_uneject_host": False},
    ),
}


def judge(name: str) -> dict[str, Any]:
    port, fields = JUDGES[name]
    made = judged(name, "good", port, **{**SHARES, "consecutive_gateway_failure": 1000, **fields})
    if name.startswith("checked"):
        check = {"timeout": "1s", "interval": "0.3s", "unhealthy_threshold": 1, "healthy_threshold": 1}
        made["health_checks"] = [{**check, "http_health_check": {"path": "/check"}}]
    return made


judging_pair = pair_fixture(
    http_proxy(
        routes=[route(name, f"/{name}/") for name in JUDGES],
        clusters=[judge(name) for name in JUDGES],
        cluster_manager={"outlier_detection": {"event_log_path": "{{dir}}/events"}},
    ),
    origins=("good", "other"),
    values={"closed_port": free_port()},
)


@pytest.mark.parametrize("name", JUDGES)
def test_a_host_is_judged_by_what_is_enforced(judging_pair: Pair, name: str) -> None:
    def fail(request: Any, connection: Any) -> bytes:
        del connection
        return answer(200 if request.start.startswith("GET /check HTTP") else 500)

    def play(side: Side) -> list[list[str]]:
        side.origins["good"].script(answer(200))
        side.origins["other"].script(fail)
        for _ in range(24):
            exchange(side.proxy.port, get(name))
        seen: list[list[str]] = []
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            now = sorted(flags(side, name))
            if not seen or now != seen[-1]:
                seen.append(now)
            time.sleep(0.05)
        return seen

    stats = f"cluster.{name}.outlier_detection."
    with judging_pair.same_stats(stats):
        envoy, outrider = judging_pair.both(play)
    assert outrider[-1] == envoy[-1]
    judging_pair.same_value("events", lambda side: events(side, name), settle=_DEADLINE)
