"""Active health checks beside Envoy: transitions of scripted hosts, flags, numbers, events, who gets requests."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.client import exchange
from tests.support.configs import Json, cluster, http2_cluster, http_proxy, route, typed
from tests.support.differential import Pair, Side, pair_fixture, same_verdict
from tests.support.http2_origin import Http2Answer, Http2Origin, OriginStream
from tests.support.origin import HELLO, Origin, OriginConnection

_SERVING = b"\0\0\0\0\2\x08\1"
_SETTLE = 10.0
SINK = "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"


def _check(**fields: Any) -> Json:
    return {
        "timeout": "1s",
        "interval": "0.05s",
        "no_traffic_interval": "0.05s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 2,
        **fields,
    }


def _answer(status: int, **fields: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} x\r\ncontent-length: 0\r\n{lines}\r\n".encode()


def _play_grpc(stream: OriginStream) -> None:
    stream.wait_end()
    code = _GRPC_CODE[0]
    answer = Http2Answer(
        200, [("content-type", "application/grpc")], _SERVING, trailers=[("grpc-status", code)]
    )
    stream.answer(answer)


_GRPC_CODE = ["0"]
_TCP_WORD = [b"pong"]


def _play_tcp(connection: OriginConnection) -> None:
    while connection.receive():
        connection.send(_TCP_WORD[0])


def _config() -> Json:
    log = typed(SINK, event_log_path="{{dir}}/events.log")
    http = _check(
        event_logger=[{"name": "file", "typed_config": log}],
        http_health_check={
            "path": "/hc?a=b",
            "host": "checked",
            "expected_statuses": [{"start": 200, "end": 202}],
            "retriable_statuses": [{"start": 500, "end": 501}],
            "request_headers_to_add": [{"header": {"key": "x-added", "value": "yes"}}],
        },
    )
    calm = {"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}
    return http_proxy(
        routes=[
            route("single", "/single"),
            route("grpc", "/grpc"),
            route("tcp", "/tcp"),
            route("panic", "/panic"),
            route("off", "/off"),
            route("told", "/told"),
            route("both", "/"),
        ],
        clusters=[
            cluster("both", "{{first_port}}", "{{second_port}}", health_checks=[http], **calm),
            cluster(
                "single",
                "{{second_port}}",
                health_checks=[_check(http_health_check={"path": "/", "receive": [{"text": "6f6b"}]})],
                **calm,
            ),
            cluster(
                "panic",
                "{{second_port}}",
                health_checks=[_check(http_health_check={"path": "/", "receive": [{"text": "6f6b"}]})],
            ),
            http2_cluster(
                "grpc",
                "{{grpc_port}}",
                health_checks=[_check(grpc_health_check={"service_name": "a.B"})],
                **calm,
            ),
            cluster(
                "tcp",
                "{{tcp_port}}",
                health_checks=[
                    _check(tcp_health_check={"send": {"text": "70696e67"}, "receive": [{"text": "706f6e67"}]})
                ],
                **calm,
            ),
            cluster(
                "told",
                "{{told_port}}",
                health_checks=[_check(tcp_health_check={}, interval="3600s", no_traffic_interval="3600s")],
                **calm,
            ),
            cluster(
                "off",
                1,
                health_checks=[_check(tcp_health_check={})],
                load_assignment={
                    "cluster_name": "off",
                    "endpoints": [
                        {
                            "lb_endpoints": [
                                {
                                    "endpoint": {
                                        "address": {
                                            "socket_address": {"address": "127.0.0.1", "port_value": 1}
                                        },
                                        "health_check_config": {"disable_active_health_check": True},
                                    }
                                },
                                {
                                    "endpoint": {
                                        "address": {
                                            "socket_address": {"address": "127.0.0.1", "port_value": 2}
                                        },
                                        "health_check_config": {"port_value": "{{first_port}}"},
                                    }
                                },
                            ]
                        }
                    ],
                },
                **calm,
            ),
        ],
    )


def _origins() -> dict[str, Callable[[], Any]]:
    return {
        "first": Origin,
        "second": Origin,
        "grpc": lambda: Http2Origin(_play_grpc),
        "told": lambda: Origin(_answer(200, x_envoy_immediate_health_check_fail="true")),
        "tcp": lambda: Origin(take_over=_play_tcp),
    }


pair = pair_fixture(_config(), origins=_origins())


def _flags(side: Side, name: str) -> list[str]:
    text = side.proxy.admin(f"/clusters?filter={name}")[1]
    text = text if isinstance(text, str) else text.decode()
    return re.findall(rf"^{name}::[^:]+:\d+::health_flags::(.*)$", text, re.MULTILINE)


def _until(pair: Pair, name: str, wanted: list[str]) -> None:
    """Both sides come to show these flags, in order of the hosts."""
    deadline = time.monotonic() + _SETTLE
    while True:
        seen = pair.both(lambda side: _flags(side, name))
        if seen == (wanted, wanted):
            return
        assert time.monotonic() < deadline, f"flags of {name}: Envoy {seen[0]}, Outrider {seen[1]}"
        time.sleep(0.02)


def _answers(pair: Pair, origin: str, script: Any) -> None:
    pair.both(lambda side: side.origins[origin].script(script))


def _events(side: Side) -> list[Any]:
    lines = (side.proxy.directory / "events.log").read_text().splitlines()
    port = side.origins["first"].port
    return [json.loads(line) for line in lines if f'"port_value":{port},' in line]


def _numbers(side: Side, name: str) -> dict[str, int]:
    stats = side.proxy.stats()
    wanted = ("membership_total", "membership_healthy", "membership_degraded", "membership_excluded")
    return {key: stats.get(f"cluster.{name}.{key}", 0) for key in (*wanted, "health_check.healthy")}


@pytest.fixture(autouse=True)
def _well(pair: Pair) -> None:
    _GRPC_CODE[0] = "0"
    _TCP_WORD[0] = b"pong"
    for origin in ("first", "second"):
        _answers(pair, origin, HELLO)
    _until(pair, "both", ["healthy", "healthy"])


def test_the_request_of_a_check_is_the_same(pair: Pair) -> None:
    def first(side: Side) -> bytes:
        return bytes(side.origins["first"].wait_for_requests(1)[0].raw)

    assert b"GET /hc?a=b HTTP/1.1\r\nhost: checked\r\n" in pair.same_value("check", first, settle=0)


def test_transitions_flags_and_events_are_the_same(pair: Pair) -> None:
    before = pair.both(lambda side: len(_events(side)))
    script = [
        (
            _answer(503, x_envoy_immediate_health_check_fail="true"),
            "/failed_active_hc/excluded_via_immediate_hc_fail",
        ),
        (HELLO, "healthy"),
        (_answer(500), "/failed_active_hc"),
        (_answer(201), "healthy"),
        (_answer(200, x_envoy_degraded="1"), "/degraded_active_hc"),
        (HELLO, "healthy"),
        (_answer(404), "/failed_active_hc"),
    ]
    for answer, flags in script:
        _answers(pair, "first", answer)
        _until(pair, "both", [flags, "healthy"])
        pair.same_value(f"numbers after {flags}", lambda side: _numbers(side, "both"))

    def events(side: Side) -> list[Any]:
        seen = _events(side)[before[side is not pair.envoy] :]
        for event in seen:
            del event["timestamp"], event["host"]["socket_address"]["port_value"]
        return seen

    assert len(pair.same_value("events", events)) == 7


def _status(side: Side, path: str) -> int:
    return exchange(side.proxy.port, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).status


def test_only_hosts_that_are_well_get_requests(pair: Pair) -> None:
    _answers(pair, "second", _answer(404))
    _until(pair, "both", ["healthy", "/failed_active_hc"])
    assert pair.same_value("four requests", lambda side: [_status(side, "/x") for _ in range(4)]) == [200] * 4
    _answers(pair, "first", _answer(404))
    _until(pair, "both", ["/failed_active_hc"] * 2)
    assert pair.same_value("nobody is left", lambda side: _status(side, "/x"), settle=5) == 503
    pair.same_value("numbers of both", lambda side: _numbers(side, "both"))


def test_without_panic_nobody_is_asked_and_with_it_everybody(pair: Pair) -> None:
    _until(pair, "single", ["/failed_active_hc"])
    _until(pair, "panic", ["/failed_active_hc"])
    assert pair.same_value("single", lambda side: _status(side, "/single"), settle=5) == 503
    with pair.same_stats("cluster.panic.lb_healthy_panic"):
        assert pair.same_value("panic", lambda side: _status(side, "/panic"), settle=5) == 200
    _answers(pair, "second", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    _until(pair, "single", ["healthy"])
    _until(pair, "panic", ["healthy"])


def test_a_host_that_says_it_would_fail_is_out_at_once(pair: Pair) -> None:
    def ask(side: Side) -> Any:
        reply = exchange(side.proxy.port, b"GET /told HTTP/1.1\r\nHost: a\r\n\r\n")
        fields = dict(reply.response.fields)
        return reply.status, fields.get("x-envoy-immediate-health-check-fail")

    pair.same_value("what the client sees", ask)
    _until(pair, "told", ["/failed_active_hc/excluded_via_immediate_hc_fail"])
    assert pair.same_value("nobody is left", lambda side: _status(side, "/told")) == 503
    pair.same_value("numbers", lambda side: _numbers(side, "told"))
    names = ("failure", "passive_failure", "network_failure", "attempt")
    pair.same_value(
        "kinds of failures",
        lambda side: {name: side.proxy.stats().get(f"cluster.told.health_check.{name}", 0) for name in names},
    )


def test_grpc_checks_want_serving_and_ok(pair: Pair) -> None:
    _until(pair, "grpc", ["healthy"])

    def asked(side: Side) -> list[tuple[str, str]]:
        return sorted(side.origins["grpc"].wait_for_requests(1)[0].view.fields)

    fields = pair.same_value("gRPC check", asked, settle=0)
    assert ("grpc-timeout", "1000m") in fields
    _GRPC_CODE[0] = "13"
    _until(pair, "grpc", ["/failed_active_hc"])
    _GRPC_CODE[0] = "0"
    _until(pair, "grpc", ["healthy"])
    pair.same_value("numbers of grpc", lambda side: _numbers(side, "grpc"))


def test_tcp_checks_want_their_bytes(pair: Pair) -> None:
    _until(pair, "tcp", ["healthy"])
    _TCP_WORD[0] = b"pang"
    _until(pair, "tcp", ["/failed_active_hc/active_hc_timeout"])
    _TCP_WORD[0] = b"pong"
    _until(pair, "tcp", ["healthy"])


def test_endpoints_say_whether_and_where_they_are_checked(pair: Pair) -> None:
    _until(pair, "off", ["healthy", "healthy"])


def _verdict(*names: str) -> tuple[bool, str]:
    checks = [_check(tcp_health_check={}, **({"name": name} if name else {})) for name in names]
    return same_verdict({"static_resources": {"clusters": [cluster("a", 1, health_checks=checks)]}})


@pytest.mark.parametrize("names", [("", ""), ("", "", ""), ("a", ""), ("a", "a")])
def test_checks_that_no_name_tells_apart(names: tuple[str, ...]) -> None:
    accepted, text = _verdict(*names)
    assert not accepted
    assert "health_checks[1]" in text


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_named_checks(names: tuple[str, ...]) -> None:
    accepted, text = _verdict(*names)
    assert not accepted
    assert "health_checks[0].name" in text
