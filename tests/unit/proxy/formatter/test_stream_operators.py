from __future__ import annotations

import re

import pytest

from proxy.base.response_flags import ResponseFlag
from proxy.formatter.compile import compile_format
from tests.support.streams import START, connection, context, stream


def render(text: str, **facts: object) -> str:
    return compile_format(text, "p", context()).render(stream(**facts))  # type: ignore[arg-type]


TIMES = {
    "request_complete": START + 0.00105,
    "upstream_last_byte_sent": START + 0.0011,
    "upstream_first_byte_received": START + 0.002,
    "upstream_connect_start": START + 0.0002,
    "upstream_connect_complete": START + 0.00025,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%DURATION%", "3"),
        ("%REQUEST_DURATION%", "1"),
        ("%REQUEST_TX_DURATION%", "1"),
        ("%RESPONSE_DURATION%", "2"),
        ("%RESPONSE_TX_DURATION%", "1"),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END)%", "3"),
        ("%COMMON_DURATION(DS_TX_END:DS_RX_BEG:us)%", "-"),
        ("%COMMON_DURATION(DS_RX_BEG:NOPE)%", "-"),
        ("%COMMON_DURATION(DS_CX_BEG:DS_CX_END:us)%", "-"),
        ("%COMMON_DURATION(US_CX_BEG:US_HS_END:us)%", "-"),
        ("%ROUNDTRIP_DURATION%%DOWNSTREAM_HANDSHAKE_DURATION%", "--"),
    ],
)
def test_durations_are_whole_and_absent_without_both_ends(text: str, expected: str) -> None:
    assert render(text, **TIMES) == expected


def test_durations_that_never_came_are_absent() -> None:
    text = "%REQUEST_DURATION%%REQUEST_TX_DURATION%%RESPONSE_DURATION%%RESPONSE_TX_DURATION%"
    assert render(text + "%UPSTREAM_CONNECTION_POOL_READY_DURATION%") == "-----"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%", "- -"),
        ("%CUSTOM_FLAGS%%LOCAL_REPLY_BODY%", ""),
        ("%CONNECTION_TERMINATION_DETAILS%%ROUTE_NAME%%VIRTUAL_CLUSTER_NAME%%STREAM_ID%%TRACE_ID%", "-----"),
        ("%ACCESS_LOG_TYPE%", "NotSet"),
        ("%DOWNSTREAM_DETECTED_CLOSE_TYPE% %DOWNSTREAM_LOCAL_CLOSE_REASON%", "Normal -"),
        ("%BYTES_RECEIVED% %BYTES_RETRANSMITTED%", "0 0"),
        ("%CONNECTION_ID% %PROTOCOL%", "7 HTTP/1.1"),
        ("%ENVIRONMENT(OUTRIDER_NOT_SET)%", "-"),
    ],
)
def test_facts_that_nothing_set(text: str, expected: str) -> None:
    assert render(text) == expected


def test_facts_that_were_set() -> None:
    flags = ResponseFlag.UPSTREAM_CONNECTION_FAILURE | ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED
    assert render("%RESPONSE_FLAGS%", flags=flags) == "UF,URX"
    assert render("%ROUTE_NAME% %STREAM_ID%", route_name="r", request_id="id") == "r id"
    info = {"connection": connection(filter_chain_name="fc", listener_name="l", termination_details="bye")}
    assert (
        render("%FILTER_CHAIN_NAME% %LISTENER_NAME% %CONNECTION_TERMINATION_DETAILS%", **info) == "fc l bye"
    )


def test_spaces_in_details_become_underscores_unless_allowed() -> None:
    text = "%RESPONSE_CODE_DETAILS% %RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%"
    assert render(text, response_code_details="a b\tc") == "a_b_c a b\tc"
    failed = connection(transport_failure_reason="TLS error: x")
    assert render("%DOWNSTREAM_TRANSPORT_FAILURE_REASON%", connection=failed) == "TLS_error:_x"


@pytest.mark.parametrize(
    ("argument", "sni", "expected"),
    [
        ("", "", "-"),
        ("", "a.example", "a.example"),
        ("", "r_example.com", "r_example.com"),
        ("", "r example_com", "invalid:r_example_com"),
        ("(SNI_FIRST)", "", "ex.com"),
        ("(SNI_FIRST)", "a.example", "a.example"),
        ("(HOST_FIRST)", "a.example", "ex.com"),
        ("(HOST_FIRST:ORIG)", "a.example", "a.example"),
        ("(HOST_FIRST:ORIG)", "", "-"),
    ],
)
def test_server_names(argument: str, sni: str, expected: str) -> None:
    connected = connection(requested_server_name=sni)
    assert render(f"%REQUESTED_SERVER_NAME{argument}%", connection=connected) == expected


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_TEST", "value")
    compiled = compile_format("%ENVIRONMENT(OUTRIDER_TEST)% %ENVIRONMENT(OUTRIDER_TEST):2%", "p", context())
    monkeypatch.delenv("OUTRIDER_TEST")
    assert compiled.render(stream()) == "value va"


def test_unique_ids_differ() -> None:
    first, second = render("%UNIQUE_ID% %UNIQUE_ID%").split()
    assert first != second
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", first)
