from __future__ import annotations

import pytest

from proxy.formatter.compile import compile_format
from proxy.formatter.upstream_operators import without_port
from tests.support.streams import cluster, context, host, stream

TEXT = "%UPSTREAM_HOST% %UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT% %UPSTREAM_HOSTS_ATTEMPTED%"


def render(text: str, **facts: object) -> str:
    return compile_format(text, "p", context()).render(stream(**facts))  # type: ignore[arg-type]


def test_a_host_without_a_name_is_called_by_its_address() -> None:
    assert render(TEXT, upstream_host=host("10.0.0.1", 80)) == "10.0.0.1:80 10.0.0.1:80 10.0.0.1 10.0.0.1:80"


def test_a_host_with_a_name() -> None:
    shown = render(TEXT, upstream_host=host("10.0.0.1", 80, "svc:80"))
    assert shown == "10.0.0.1:80 svc:80 svc 10.0.0.1:80"


def test_every_attempt_is_listed() -> None:
    tried = (host("10.0.0.1", 80), host("10.0.0.2", 80))
    shown = render(
        "%UPSTREAM_HOSTS_ATTEMPTED% %UPSTREAM_CONNECTION_IDS_ATTEMPTED% %UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        attempted_hosts=tried,
        attempted_connection_ids=(3, 4),
        attempt_count=2,
    )
    assert shown == "10.0.0.1:80,10.0.0.2:80 3,4 2"


def test_a_cluster_goes_by_its_alternative_name() -> None:
    shown = render("%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%", upstream_cluster=cluster("c", "alt"))
    assert shown == "alt c"


def test_nothing_was_sent_upstream() -> None:
    text = TEXT.replace(" ", "") + "%UPSTREAM_CLUSTER%%UPSTREAM_PROTOCOL%%UPSTREAM_DETECTED_CLOSE_TYPE%"
    assert render(text + "%UPSTREAM_TRANSPORT_FAILURE_REASON%") == "--------"
    assert render("%UPSTREAM_CONNECTION_ID% %UPSTREAM_WIRE_BYTES_SENT%") == "0 0"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("::1", "::1"), ("/sock", "/sock"), ("a:b", "a:b")],
)
def test_ports_are_cut_off(name: str, expected: str) -> None:
    assert without_port(name) == expected
