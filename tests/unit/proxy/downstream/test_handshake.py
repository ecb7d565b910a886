"""Handshakes of accepted connections, in memory: the standard loop's TLS on one side, a client on the other."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from proxy.base.address import Address
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.downstream.handshake import DownstreamTls
from proxy.filters.api import ListenerFacts
from tests.support.certs import Authority
from tests.support.listeners import numbers, services
from tests.support.memory_transport import MemoryTransport
from tests.support.tls_configs import certificate, downstream


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    for exchange in Exchange.of.pop(made, []):
        exchange.end()
    made.close()


class _Application(asyncio.Protocol):
    def __init__(self, connection: ConnectionInfo) -> None:
        self.connection = connection
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.connection.on_closed()


class Exchange:
    """One server handshake, and the client that drives it."""

    of: ClassVar[dict[asyncio.AbstractEventLoop, list[Exchange]]] = {}

    def __init__(
        self, loop: asyncio.AbstractEventLoop, message: dict[str, Any], *, timeout: float = 0.0
    ) -> None:
        config, problems = downstream(message)
        assert not problems
        self.loop = loop
        self.of.setdefault(loop, []).append(self)
        self.services: WorkerServices = services(loop=loop)
        self.connection = ConnectionInfo(
            1, Address("192.0.2.1", 1), Address("10.0.0.1", 2), 0.0, DrainState()
        )
        self.applications: list[_Application] = []
        self.timeouts: list[None] = []
        self.closed: list[None] = []
        self.connection.on_close.append(lambda: self.closed.append(None))
        self.transport = MemoryTransport()
        tls = DownstreamTls(config, timeout, self.services, ListenerFacts("l", "a", "listener.l."))
        tls.start(self.transport, self.connection, self._create, lambda: self.timeouts.append(None))

    def _create(self, connection: ConnectionInfo) -> asyncio.Protocol:
        self.applications.append(_Application(connection))
        return self.applications[-1]

    def end(self) -> None:
        if not self.closed:
            self.transport.lose()
            self.settle()

    def settle(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        if self.transport.is_closing() and not self.closed:
            self.transport.lose()
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def handshake(self, context: ssl.SSLContext, name: str | None = "server.test") -> ssl.SSLObject:
        """Run a client until it is done; raises what the client sees."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname=name)
        for _ in range(10):
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                self._carry(incoming, outgoing)
            else:
                self._carry(incoming, outgoing)
                return client
        raise AssertionError("the handshake does not end")

    def _carry(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        if outgoing.pending:
            self.transport.feed(outgoing.read())
        self.settle()
        incoming.write(bytes(self.transport.written))
        self.transport.written.clear()
        if self.transport.is_closing():
            incoming.write_eof()

    def ssl_stats(self) -> dict[str, int]:
        return {name.removeprefix("listener.l.ssl."): count for name, count in numbers(self.services).items()}


def test_a_finished_handshake_reaches_the_filter_with_its_facts(
    loop: asyncio.AbstractEventLoop, authority: Authority
) -> None:
    leaf = authority.issue("server.test")
    exchange = Exchange(
        loop,
        {
            "common_tls_context": {
                "tls_certificates": [certificate(leaf)],
                "alpn_protocols": ["h2", "http/1.1"],
            }
        },
    )
    exchange.handshake(authority.client_context(alpn=("foo", "http/1.1")), "Server.Test")
    assert len(exchange.applications) == 1
    info = exchange.connection.tls
    assert info is not None
    assert (info.version, info.alpn, info.sni) == ("TLSv1.3", "http/1.1", "server.test")
    assert info.cipher.startswith("TLS_")
    assert ssl.DER_cert_to_PEM_cert(info.local_certificate_der) == leaf.certificate.read_text()
    assert exchange.ssl_stats() == {
        "handshake": 1,
        "no_certificate": 1,
        f"ciphers.{info.cipher}": 1,
        "versions.TLSv1.3": 1,
    }


def test_a_client_certificate_is_asked_for_and_known(
    loop: asyncio.AbstractEventLoop, authority: Authority
) -> None:
    client = authority.issue("spiffe://cluster/ns/a", "client.test")
    exchange = Exchange(
        loop, mutual(authority, {"san_type": "URI", "matcher": {"prefix": "spiffe://cluster/"}})
    )
    exchange.handshake(authority.client_context(client))
    assert exchange.connection.tls is not None
    assert (
        ssl.DER_cert_to_PEM_cert(exchange.connection.tls.peer_certificate_der)
        == client.certificate.read_text()
    )
    assert "no_certificate" not in exchange.ssl_stats()


def mutual(authority: Authority, *names: dict[str, Any]) -> dict[str, Any]:
    return {
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificates": [certificate(authority.issue("server.test"))],
            "validation_context": {
                "trusted_ca": {"filename": str(authority.certificate)},
                "match_typed_subject_alt_names": list(names),
            },
        },
    }


def test_no_client_certificate_is_refused_with_an_alert(
    loop: asyncio.AbstractEventLoop, authority: Authority
) -> None:
    exchange = Exchange(loop, mutual(authority))
    client = exchange.handshake(authority.client_context())
    with pytest.raises(ssl.SSLError, match="ALERT_CERTIFICATE_REQUIRED"):
        client.read()
    assert exchange.connection.transport_failure_reason == (
        "TLS_error:|268435648:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:"
        "peer did not provide required client certificate:TLS_error_end"
    )
    assert exchange.ssl_stats() == {"fail_verify_no_cert": 1}
    assert not exchange.applications
    assert exchange.closed == [None]


def test_a_certificate_of_another_name_is_refused(
    loop: asyncio.AbstractEventLoop, authority: Authority
) -> None:
    exchange = Exchange(loop, mutual(authority, {"san_type": "DNS", "matcher": {"exact": "wanted.test"}}))
    exchange.handshake(authority.client_context(authority.issue("other.test", "10.1.1.1")))
    assert exchange.connection.transport_failure_reason == (
        "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:"
        "verify cert failed: SAN matcher, certificate SANs are [other.test, 10.1.1.1]:TLS_error_end"
    )
    assert exchange.ssl_stats() == {"fail_verify_san": 1}
    assert not exchange.applications
    assert exchange.closed == [None]


def test_a_certificate_of_a_stranger_is_refused(
    loop: asyncio.AbstractEventLoop, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("client.test")
    exchange = Exchange(loop, mutual(authority))
    client = exchange.handshake(authority.client_context(stranger))
    with pytest.raises(ssl.SSLError, match="ALERT_UNKNOWN_CA"):
        client.read()
    assert exchange.ssl_stats() == {"fail_verify_error": 1}
    assert "unable to get local issuer certificate" in (exchange.connection.transport_failure_reason or "")


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "268435612:SSL routines:OPENSSL_internal:HTTP_REQUEST"),
        (b"\x01\x02 garbage ...", "268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER"),
    ],
)
def test_garbage_counts_as_an_error(
    loop: asyncio.AbstractEventLoop, authority: Authority, garbage: bytes, reason: str
) -> None:
    exchange = Exchange(
        loop, {"common_tls_context": {"tls_certificates": [certificate(authority.issue("a.b"))]}}
    )
    exchange.transport.feed(garbage)
    exchange.settle()
    assert exchange.connection.transport_failure_reason == f"TLS_error:|{reason}:TLS_error_end"
    assert exchange.ssl_stats() == {"connection_error": 1}
    assert exchange.closed == [None]


def test_a_client_that_goes_away_is_no_error(loop: asyncio.AbstractEventLoop, authority: Authority) -> None:
    exchange = Exchange(
        loop, {"common_tls_context": {"tls_certificates": [certificate(authority.issue("a.b"))]}}
    )
    exchange.transport.lose()
    exchange.settle()
    assert exchange.connection.transport_failure_reason is None
    assert exchange.ssl_stats() == {}
    assert exchange.closed == [None]


def test_a_client_that_says_nothing_runs_into_the_bound(
    loop: asyncio.AbstractEventLoop, authority: Authority
) -> None:
    exchange = Exchange(
        loop,
        {"common_tls_context": {"tls_certificates": [certificate(authority.issue("a.b"))]}},
        timeout=0.001,
    )
    while not exchange.transport.aborted:
        loop.run_until_complete(asyncio.sleep(0.001))
    exchange.transport.lose(ConnectionAbortedError("handshake"))
    exchange.settle()
    assert exchange.connection.termination_details == "transport socket timeout was reached"
    assert exchange.timeouts == [None]
    assert exchange.ssl_stats() == {}


def test_a_client_without_a_name_is_refused_if_one_is_required(
    loop: asyncio.AbstractEventLoop, authority: Authority
) -> None:
    message = {
        "require_sni": True,
        "common_tls_context": {"tls_certificates": [certificate(authority.issue("server.test"))]},
    }
    context = authority.client_context()
    context.check_hostname = False
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        Exchange(loop, message).handshake(context, None)
    Exchange(loop, message).handshake(context)
