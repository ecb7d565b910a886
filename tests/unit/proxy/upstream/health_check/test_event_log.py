"""Lines as Envoy 1.40 wrote them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.base.address import Address
from proxy.upstream.health_check.config import HealthCheckConfig, HttpCheck
from proxy.upstream.health_check.event_log import change_in_words, event_line
from proxy.upstream.health_check.verdict import Event, Failure
from proxy.upstream.host import NO_LOCALITY, Locality

CHECK = HealthCheckConfig(
    HttpCheck("/"),
    timeout=1,
    interval=10,
    unhealthy_threshold=2,
    healthy_threshold=3,
    unhealthy_interval=10,
    unhealthy_edge_interval=10,
    healthy_edge_interval=10,
)
HOST = Address("127.0.0.1", 80)
START = (
    '{"health_checker_type":"HTTP","host":{"socket_address":{"protocol":"TCP","address":"127.0.0.1","port_value":80,'
    '"resolver_name":"","ipv4_compat":false,"network_namespace_filepath":""}},"cluster_name":"c",'
)
PLACE = '"locality":{"region":"","zone":"","sub_zone":""}'


def line(event: Event, **facts: object) -> str:
    return event_line(event, "HTTP", "c", HOST, 1_700_000_000.25, NO_LOCALITY, **facts)  # type: ignore[arg-type]


def test_each_event_has_its_place_in_the_line() -> None:
    at = '"timestamp":"2023-11-14T22:13:20.250Z",'
    assert line(Event.EJECT, failure=Failure.ACTIVE, status=503) == (
        f'{START}"eject_unhealthy_event":{{"failure_type":"ACTIVE","http_status_code":503}},{at}{PLACE}}}\n'
    )
    assert line(Event.ADD, first=True) == f'{START}"add_healthy_event":{{"first_check":true}},{at}{PLACE}}}\n'
    assert line(Event.FAILURE, failure=Failure.NETWORK_TIMEOUT) == (
        f'{START}{at}"health_check_failure_event":{{"failure_type":"NETWORK_TIMEOUT","first_check":false,'
        f'"http_status_code":0}},{PLACE}}}\n'
    )
    assert line(Event.SUCCESS) == f'{START}{at}{PLACE},"successful_health_check_event":{{}}}}\n'
    assert line(Event.DEGRADED) == f'{START}{at}"degraded_healthy_host":{{}},{PLACE}}}\n'


def test_a_pipe_and_a_locality_are_told() -> None:
    text = event_line(Event.ADD, "TCP", "c", Address(path="/run/x"), 5.0, Locality("r", "z", "s"))
    assert '"host":{"pipe":{"path":"/run/x","mode":0}}' in text
    assert '"timestamp":"1970-01-01T00:00:05Z","locality":{"region":"r","zone":"z","sub_zone":"s"}' in text


@pytest.mark.parametrize(
    ("event", "told", "words"),
    [
        (
            Event.EJECT,
            {"status": 500},
            ("health_check_failed", "its answer has status 500; unhealthy_threshold is 2"),
        ),
        (
            Event.EJECT,
            {"failure": Failure.NETWORK_TIMEOUT},
            ("health_check_failed", "no answer within 1 s; unhealthy_threshold is 2"),
        ),
        (
            Event.FAILURE,
            {"failure": Failure.NETWORK, "first": True},
            ("health_check_failed", "no connection, or it ended before the answer; at the first check"),
        ),
        (Event.FAILURE, {"status": 500}, None),
        (Event.ADD, {"first": True}, None),
        (
            Event.ADD,
            {},
            ("health_check_passed", "healthy_threshold is 3, so many checks went well"),
        ),
        (Event.SUCCESS, {}, None),
    ],
)
def test_changes_of_health_in_words(
    event: Event, told: dict[str, Any], words: tuple[str, str] | None
) -> None:
    assert change_in_words(event, CHECK, **told) == words
