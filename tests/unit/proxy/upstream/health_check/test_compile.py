"""Which health checks are accepted, and what becomes of their fields."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.upstream.health_check.config import HealthCheckConfig
from tests.support.cluster_messages import compiled, endpoint, problems

TIMES = {"timeout": "1s", "interval": "2s", "unhealthy_threshold": 3, "healthy_threshold": 4}


def check(**fields: Any) -> HealthCheckConfig:
    config = compiled(endpoint(), health_checks=[{**TIMES, **fields}])
    (one,) = config.health_checks
    assert isinstance(one, HealthCheckConfig)
    return one


def test_unset_intervals_follow_others() -> None:
    one = check(tcp_health_check={}, unhealthy_interval="5s")
    assert (one.timeout, one.interval, one.unhealthy_threshold, one.healthy_threshold) == (1, 2, 3, 4)
    assert (one.unhealthy_interval, one.unhealthy_edge_interval, one.healthy_edge_interval) == (5, 5, 2)
    assert (one.no_traffic_interval, one.no_traffic_healthy_interval) == (60, 60)
    assert one.reuse_connection


def test_an_http_check_has_every_field() -> None:
    one = check(
        http_health_check={
            "path": "/hc",
            "host": "h",
            "method": "POST",
            "codec_client_type": "HTTP2",
            "send": {"text": "0aff"},
            "receive": [{"text": "41"}, {"binary": "Qg=="}],
            "expected_statuses": [{"start": 200, "end": 300}],
            "retriable_statuses": [{"start": 500, "end": 501}],
            "service_name_matcher": {"prefix": "me"},
            "request_headers_to_add": [{"header": {"key": "x-a", "value": "b"}}],
        },
        event_log_path="/tmp/a",
        transport_socket_match_criteria={"plain": True},
        tls_options={"alpn_protocols": ["x"]},
    )
    probe: Any = one.probe
    assert (probe.path, probe.host, probe.method, probe.http2) == ("/hc", "h", "POST", True)
    assert (probe.send, probe.receive) == (b"\n\xff", (b"A", b"B"))
    assert (probe.expected, probe.retriable) == (((200, 300),), ((500, 501),))
    assert probe.service_name("me-too")
    assert probe.header_ops is not None
    assert (one.event_logs, one.alpn) == (("/tmp/a",), ("x",))
    assert one.criteria.filter_metadata["envoy.transport_socket_match"]["plain"] is True


@pytest.mark.parametrize(
    ("fields", "place", "reason"),
    [
        ({"http_health_check": {"path": "/", "codec_client_type": "HTTP3"}}, "codec_client_type", "HTTP/3"),
        ({"http_health_check": {"path": "/", "send": {"text": "00"}}}, "send", "method 'GET'"),
        ({"http_health_check": {"path": "/", "receive": [{"text": "zz"}]}}, "receive[0]", "hex string 'zz'"),
        (
            {"http_health_check": {"path": "/", "receive": [{"text": "0000"}], "response_buffer_size": 1}},
            "response_buffer_size",
            "'2' is over",
        ),
        (
            {"http_health_check": {"path": "/", "expected_statuses": [{"start": 300, "end": 200}]}},
            "expected_statuses[0]",
            "start=300 and end=200",
        ),
        (
            {"http_health_check": {"path": "/", "retriable_statuses": [{"start": 99, "end": 200}]}},
            "retriable_statuses[0]",
            "start >= 100",
        ),
        (
            {"http_health_check": {"path": "/", "retriable_statuses": [{"start": 500, "end": 601}]}},
            "retriable_statuses[0]",
            "end <= 600",
        ),
        ({"tcp_health_check": {"send": {"text": "0 0"}}}, "send[0]", "hex string '0 0'"),
        ({"grpc_health_check": {}}, "health_checks[0]", "must support HTTP/2"),
        ({"custom_health_check": {"name": "envoy.health_checkers.redis"}}, "custom_health_check", "redis"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, Any], place: str, reason: str) -> None:
    ((path, text),) = problems(endpoint(), health_checks=[{**TIMES, **fields}])
    assert path.endswith(place)
    assert reason in text


def test_a_second_check_is_refused() -> None:
    one = {**TIMES, "tcp_health_check": {}}
    ((path, _reason),) = problems(endpoint(), health_checks=[one, one])
    assert path == "c.health_checks[1]"


def test_an_endpoint_says_where_it_is_checked() -> None:
    settings = {"port_value": 9, "hostname": "h", "disable_active_health_check": True}
    entry = endpoint()
    entry["endpoint"]["health_check_config"] = settings
    (one,) = compiled(entry).endpoints
    assert str(one.check.address(one.address)) == "127.0.0.1:9"
    assert (one.check.hostname, one.check.disabled) == ("h", True)
    settings["address"] = {"socket_address": {"address": "10.0.0.9", "port_value": 1}}
    (one,) = compiled(entry).endpoints
    assert str(one.check.address(one.address)) == "10.0.0.9:9"
