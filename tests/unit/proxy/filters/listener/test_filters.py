"""The listener filters one by one: what they write on a connection and count."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf import json_format

from proxy.base.address import Address, InternalAddress
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.config.context import CompileContext
from proxy.config.extensions import message_class
from proxy.filters.api import ListenerFacts
from proxy.filters.listener.api import DONE, REJECT, Decision, Inspection, ListenerFilter
from proxy.filters.listener.proxy_protocol import FILTER_STATE
from proxy.filters.registry import listener_filter
from tests.support.client_hellos import BROWSER, message, records
from tests.support.listeners import numbers, services

PACKAGE = "envoy.extensions.filters.listener"


class Case:
    """A filter, a connection, and the worker's services."""

    def __init__(self, kind: str, runtime: dict[str, str] | None = None, **fields: Any) -> None:
        self.services = services(runtime)
        type_name = f"{PACKAGE}.{kind}"
        factory = listener_filter(type_name)
        assert factory is not None
        ctx = CompileContext()
        config = factory.compile(json_format.ParseDict(fields, message_class(type_name)()), "filter", ctx)
        self.problems = [str(one) for one in ctx.problems]
        self.filter: ListenerFilter = factory.create(
            config, self.services, ListenerFacts("l", "a", "listener.l.")
        )
        self.connection = ConnectionInfo(
            1, Address("192.0.2.1", 1), Address("10.0.0.1", 2), 0.0, DrainState()
        )

    def accept(self, **extra: Any) -> Inspection | Decision:
        transport = SimpleNamespace(get_extra_info=extra.get)
        return self.filter.accept(self.connection, cast("asyncio.BaseTransport", transport))

    def feed(self, data: bytes) -> int:
        inspection = self.accept()
        assert not isinstance(inspection, Decision)
        self.consumed = inspection
        return inspection.feed(data)

    def counted(self) -> dict[str, int]:
        return numbers(self.services)


TLS = "tls_inspector.v3.TlsInspector"


def test_a_hello_is_written_on_the_connection() -> None:
    case = Case(TLS, enableJa3Fingerprinting=True, enableJa4Fingerprinting=True)
    assert case.feed(records(BROWSER)) == DONE
    connection = case.connection
    assert connection.transport_protocol == "tls"
    assert connection.requested_server_name == "www.example.com"
    assert connection.requested_application_protocols == ("h2", "http/1.1")
    assert len(connection.ja3_fingerprint) == 32
    assert connection.ja4_fingerprint.startswith("t13d")
    assert case.counted() == {
        "tls_inspector.tls_found": 1,
        "tls_inspector.sni_found": 1,
        "tls_inspector.alpn_found": 1,
    }
    histogram = case.services.stats.groups()[0].histograms()["tls_inspector.bytes_processed"]
    assert sum(histogram.counts.values()) == 1


def test_a_bare_hello_is_counted() -> None:
    case = Case(TLS)
    assert case.feed(records(message())) == DONE
    assert case.connection.ja3_fingerprint == ""
    assert case.counted() == {
        "tls_inspector.tls_found": 1,
        "tls_inspector.sni_not_found": 1,
        "tls_inspector.alpn_not_found": 1,
    }


@pytest.mark.parametrize("version", [0x0300, 0x0305])
def test_a_hello_of_another_version_is_refused(version: int) -> None:
    case = Case(TLS)
    assert case.feed(records(message(version=version))) == REJECT
    assert case.counted() == {"tls_inspector.tls_not_found": 1, "tls_inspector.sni_not_found": 1}


def test_plain_text_goes_on() -> None:
    case = Case(TLS)
    assert case.feed(b"SSH-2.0-x") == DONE
    assert case.connection.transport_protocol == "raw_buffer"
    assert case.connection.dynamic_metadata == {
        "envoy.filters.listener.tls_inspector": {"failure_reason": "ClientHelloNotDetected"}
    }
    assert case.counted() == {"tls_inspector.tls_not_found": 1}


def test_plain_text_may_be_refused() -> None:
    case = Case(TLS, closeConnectionOnClientHelloParsingErrors=True)
    assert case.feed(b"SSH-2.0-x") == REJECT
    assert case.counted() == {"tls_inspector.tls_not_found": 1}


def test_a_hello_over_the_limit_is_refused() -> None:
    case = Case(TLS, maxClientHelloSize=100)
    data = records(BROWSER)
    assert case.feed(data[:99]) == 100
    assert case.feed(data) == REJECT
    assert case.counted() == {"tls_inspector.client_hello_too_large": 1}
    assert Case(TLS, maxClientHelloSize=16385).problems


HTTP = "http_inspector.v3.HttpInspector"


@pytest.mark.parametrize(
    ("data", "protocols", "counter"),
    [
        (b"GET / HTTP/1.1\r\n", ("http/1.1",), "http11_found"),
        (b"GET / HTTP/1.0\n", ("http/1.0",), "http10_found"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ("h2c",), "http2_found"),
        (b"GET /\r\n", ("http/1.0",), "http10_found"),
        (b"G(T / HTTP/1.1\r\n", (), "http_not_found"),
        (b"hello\r\n", (), "http_not_found"),
        (b"\r\n", (), "http_not_found"),
    ],
)
def test_http_is_told_by_its_first_line(data: bytes, protocols: tuple[str, ...], counter: str) -> None:
    case = Case(HTTP)
    assert case.feed(data) == DONE
    assert case.connection.requested_application_protocols == protocols
    assert case.counted() == {f"http_inspector.{counter}": 1}


def test_a_line_that_is_not_complete_waits() -> None:
    assert Case(HTTP).feed(b"GET / HT") == 9
    assert Case(HTTP).feed(b"PRI * HTTP/2.0\r\n") == 24


def test_a_line_without_end_is_refused() -> None:
    case = Case(HTTP)
    assert case.feed(b"G" * 65536) == REJECT
    assert case.counted() == {"http_inspector.read_error": 1}


def test_http_is_not_looked_for_in_tls() -> None:
    case = Case(HTTP)
    case.connection.transport_protocol = "tls"
    assert case.accept() is Decision.CONTINUE


PROXY = "proxy_protocol.v3.ProxyProtocol"
HEADER = b"PROXY TCP4 1.2.3.4 5.6.7.8 4096 80\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\1\2\3\4\5\6\7\x08\x10\0\0\x50" + b"\x01\0\1h\xea\0\0"


def test_addresses_are_those_of_the_header() -> None:
    case = Case(PROXY)
    assert case.feed(HEADER + b"rest") == DONE
    assert case.consumed.consumed == len(HEADER)
    connection = case.connection
    assert str(connection.remote_address) == "1.2.3.4:4096"
    assert str(connection.local_address) == "5.6.7.8:80"
    assert connection.local_address_restored
    assert str(connection.direct_remote_address) == "192.0.2.1:1"
    assert case.counted() == {"proxy_proto.versions.v1.found": 1}
    assert str(connection.filter_state[FILTER_STATE].remote) == "1.2.3.4:4096"


def test_a_header_about_the_same_place_restores_nothing() -> None:
    case = Case(PROXY)
    assert case.feed(b"PROXY TCP4 1.2.3.4 10.0.0.1 9 2\r\n") == DONE
    assert not case.connection.local_address_restored


def test_the_sender_may_speak_for_itself() -> None:
    case = Case(PROXY)
    assert case.feed(b"PROXY UNKNOWN\r\n") == DONE
    assert str(case.connection.remote_address) == "192.0.2.1:1"


def test_tlvs_become_metadata_and_may_be_passed_on() -> None:
    rules = [
        {"tlvType": 1, "onTlvPresent": {"key": "alpn"}},
        {"tlvType": 0xEA, "onTlvPresent": {"key": "aws", "metadataNamespace": "own"}},
    ]
    case = Case(PROXY, rules=rules, passThroughTlvs={"matchType": "INCLUDE", "tlvType": [1]})
    assert case.feed(V2) == DONE
    assert case.connection.dynamic_metadata == {
        "envoy.filters.listener.proxy_protocol": {"alpn": "h"},
        "own": {"aws": ""},
    }
    assert case.connection.filter_state[FILTER_STATE].tlvs == ((1, b"h"),)


def test_all_tlvs_may_be_passed_on() -> None:
    case = Case(PROXY, passThroughTlvs={"matchType": "INCLUDE_ALL"})
    case.feed(V2)
    assert case.connection.filter_state[FILTER_STATE].tlvs == ((1, b"h"), (0xEA, b""))


def test_a_malformed_header_is_refused() -> None:
    case = Case(PROXY, statPrefix="p")
    assert case.feed(b"PROXY TCP4 x\r\n") == REJECT
    assert case.feed(b"x" * 16) == REJECT
    assert case.counted() == {
        "proxy_proto.p.versions.v1.error": 1,
        "proxy_proto.p.not_found_disallowed": 1,
        "downstream_cx_proxy_proto_error": 2,
    }


def test_the_header_may_be_optional() -> None:
    case = Case(PROXY, allowRequestsWithoutProxyProtocol=True)
    assert case.feed(b"G") == DONE
    assert case.feed(b"PROX") == 5
    assert case.feed(b"PROXx") == DONE
    assert case.feed(b"\r\n\r") == 4
    assert case.counted() == {"proxy_proto.not_found_allowed": 2}


def test_a_version_may_be_disallowed() -> None:
    case = Case(PROXY, disallowedVersions=["V1"])
    assert case.feed(HEADER) == REJECT
    assert case.feed(V2) == DONE
    assert case.counted() == {
        "proxy_proto.versions.v1.found": 1,
        "proxy_proto.versions.v1.disallowed": 1,
        "proxy_proto.versions.v2.found": 1,
    }
    assert Case(PROXY, disallowedVersions=["V1", "V2"]).problems


def test_a_disallowed_version_is_plain_text_where_the_header_is_optional() -> None:
    case = Case(PROXY, disallowedVersions=["V1"], allowRequestsWithoutProxyProtocol=True)
    assert case.feed(HEADER) == DONE
    assert case.counted() == {"proxy_proto.not_found_allowed": 1}


def test_tlvs_in_filter_state_are_refused() -> None:
    assert "tlv_location" in Case(PROXY, tlvLocation="FILTER_STATE").problems[0]


class _Redirected:
    """A socket that netfilter has redirected."""

    def __init__(self, answer: bytes | None, transparent: int = 0) -> None:
        self.answer = answer
        self.transparent = transparent

    def getsockopt(self, level: int, name: int, length: int = 0) -> Any:
        del level
        if name == 80:
            if self.answer is None:
                raise OSError
            return self.answer[:length]
        return self.transparent


ORIGINAL = "original_dst.v3.OriginalDst"


def test_the_original_destination_is_restored() -> None:
    case = Case(ORIGINAL)
    answer = b"\2\0\0\x50\x0a\x09\x08\x07" + bytes(8)
    assert case.accept(socket=_Redirected(answer)) is Decision.CONTINUE
    assert str(case.connection.local_address) == "10.9.8.7:80"
    assert case.connection.local_address_restored
    assert str(case.connection.direct_local_address) == "10.0.0.1:2"


def test_of_ipv6_too() -> None:
    case = Case(ORIGINAL)
    case.connection.direct_local_address = Address("::1", 15001)
    answer = b"\x0a\0\0\x50" + bytes(4) + b"\x20\x01\x0d\xb8" + bytes(11) + b"\1" + bytes(4)
    case.accept(socket=_Redirected(answer))
    assert str(case.connection.local_address) == "[2001:db8::1]:80"


def test_a_transparent_socket_has_its_own_address() -> None:
    case = Case(ORIGINAL)
    case.accept(socket=_Redirected(None, transparent=1))
    assert case.connection.local_address_restored
    assert str(case.connection.local_address) == "10.0.0.1:2"


def test_a_connection_that_came_directly_is_left_alone() -> None:
    case = Case(ORIGINAL)
    assert case.accept(socket=_Redirected(None)) is Decision.CONTINUE
    assert not case.connection.local_address_restored


RATE = "local_ratelimit.v3.LocalRateLimit"
BUCKET = {"maxTokens": 2, "tokensPerFill": 1, "fillInterval": "1s"}


def test_connections_over_the_rate_are_refused() -> None:
    case = Case(RATE, statPrefix="rl", tokenBucket=BUCKET)
    asked = [case.accept() for _ in range(3)]
    assert asked == [Decision.CONTINUE, Decision.CONTINUE, Decision.REJECT]
    case.services.timers.advance(1.0)  # type: ignore[attr-defined]
    assert case.accept() is Decision.CONTINUE
    assert case.counted() == {"listener_local_ratelimit.rl.rate_limited": 1}


def test_the_rate_limit_may_be_off() -> None:
    gate = {"runtimeKey": "on", "defaultValue": False}
    for runtime, last in (({}, Decision.CONTINUE), ({"on": "true"}, Decision.REJECT)):
        case = Case(RATE, runtime, statPrefix="rl", tokenBucket=BUCKET, runtimeEnabled=gate)
        assert [case.accept() for _ in range(3)][-1] is last


def test_an_interval_that_is_too_short() -> None:
    assert Case(RATE, statPrefix="rl", tokenBucket={**BUCKET, "fillInterval": "0.01s"}).problems


@pytest.mark.parametrize(
    ("metadata", "state", "local"),
    [
        ({"local": "1.2.3.4:5"}, {}, "1.2.3.4:5"),
        ({"local": "1.2.3.4:5"}, {"local_ip": Address("5.6.7.8", 9)}, "1.2.3.4:5"),
        ({}, {"local_ip": Address("5.6.7.8", 9)}, "5.6.7.8:9"),
        ({"local": "nonsense"}, {}, "envoy://inner/"),
        ({"local": 3}, {}, "envoy://inner/"),
    ],
)
def test_a_connection_to_an_internal_listener_was_told_its_destination(
    metadata: dict[str, Any], state: dict[str, Any], local: str
) -> None:
    case = Case(ORIGINAL)
    connection = case.connection
    connection.local_address = connection.direct_local_address = InternalAddress("inner")
    connection.dynamic_metadata = {"envoy.filters.listener.original_dst": metadata}
    source = Address("9.9.9.9", 1)
    state = {**state, "remote_ip": source}
    connection.filter_state = {
        f"envoy.filters.listener.original_dst.{name}": value for name, value in state.items()
    }
    assert case.accept() is Decision.CONTINUE
    assert connection.local_address.text == local
    assert connection.local_address_restored is not local.startswith("envoy:")
    assert connection.remote_address is source
