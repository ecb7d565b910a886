from __future__ import annotations

from typing import Any

import pytest

from proxy.router.connect_config import ConnectConfig
from tests.unit.proxy.router.tables import one, problems_of, request
from tests.unit.proxy.router.test_cluster_choice import action_of


def test_defaults_are_those_of_envoy() -> None:
    action = action_of({"cluster": "c"})
    assert action.timeout == 15.0
    assert action.idle_timeout is None
    assert action.max_stream_duration is None
    assert not action.max_stream_duration_set
    assert action.priority == 0
    assert action.cluster_not_found_code == 503
    assert action.hash_policy is None
    assert action.internal_redirect is None
    assert action.upgrades is None
    assert action.retry_policy is None
    assert not action.rewrites


def test_times_are_in_seconds_and_zero_is_not_unset() -> None:
    action = action_of(
        {
            "cluster": "c",
            "timeout": "0s",
            "idle_timeout": "1.5s",
            "flush_timeout": "2s",
            "max_stream_duration": {
                "max_stream_duration": "3s",
                "grpc_timeout_header_max": "0s",
                "grpc_timeout_header_offset": "0.1s",
            },
        }
    )
    assert (action.timeout, action.idle_timeout, action.flush_timeout) == (0.0, 1.5, 2.0)
    assert action.max_stream_duration_set
    assert (action.max_stream_duration, action.grpc_timeout_header_max) == (3.0, 0.0)
    assert action.grpc_timeout_header_offset == 0.1


@pytest.mark.parametrize(
    ("code", "status"), [("SERVICE_UNAVAILABLE", 503), ("NOT_FOUND", 404), ("INTERNAL_SERVER_ERROR", 500)]
)
def test_the_status_for_an_unknown_cluster(code: str, status: int) -> None:
    assert (
        action_of({"cluster": "c", "cluster_not_found_response_code": code}).cluster_not_found_code == status
    )


def test_upgrades_are_known_by_lower_case_type() -> None:
    action = action_of(
        {
            "cluster": "c",
            "priority": "HIGH",
            "upgrade_configs": [
                {"upgrade_type": "WebSocket"},
                {"upgrade_type": "CONNECT", "connect_config": {"allow_post": True}},
                {"upgrade_type": "foo", "enabled": False},
            ],
        }
    )
    assert action.upgrades == {"websocket": True, "connect": True, "foo": False}
    assert action.connect_config == ConnectConfig(allow_post=True)
    assert action.priority == 1


@pytest.mark.parametrize(
    ("route", "path"),
    [
        ({"timeout": "-1s"}, "timeout"),
        (
            {"max_stream_duration": {"max_stream_duration": "-0.5s"}},
            "max_stream_duration.max_stream_duration",
        ),
    ],
)
def test_negative_times_are_refused(route: dict[str, Any], path: str) -> None:
    found = problems_of(one({"prefix": "/"}, route={"cluster": "c", **route}))
    assert found == [(f"virtual_hosts[0].routes[0].route.{path}", "must not be negative")]


@pytest.mark.parametrize(
    ("upgrades", "path"),
    [
        ([{"upgrade_type": "websocket"}, {"upgrade_type": "WebSocket"}], "upgrade_configs[1].upgrade_type"),
        ([{"upgrade_type": "websocket", "connect_config": {}}], "upgrade_configs[0].connect_config"),
        ([{"upgrade_type": "CONNECT-UDP", "connect_config": {}}], "upgrade_configs[0].connect_config"),
    ],
)
def test_refused_upgrades(upgrades: list[dict[str, Any]], path: str) -> None:
    found = problems_of(one({"prefix": "/"}, route={"cluster": "c", "upgrade_configs": upgrades}))
    assert [problem for problem, _ in found] == [f"virtual_hosts[0].routes[0].route.{path}"]


def test_the_name_of_the_endpoint_may_become_the_host() -> None:
    action = action_of({"cluster": "c", "auto_host_rewrite": True, "append_x_forwarded_host": True})
    assert action.auto_host_rewrite
    head = request()
    action.rewrite_to_host(head, "")
    assert head.authority == "h"
    action.rewrite_to_host(head, "endpoint")
    assert (head.authority, head.headers["x-forwarded-host"]) == ("endpoint", "h")
