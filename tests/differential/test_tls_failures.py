"""Handshakes that fail, or nearly: what the log tells of them."""

from __future__ import annotations

import datetime
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.connection import openssl
from tests.support.certs import Authority, Issued
from tests.support.configs import (
    Json,
    bootstrap,
    connection_manager,
    file_log,
    listener,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side

TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
LOG = (
    "%DOWNSTREAM_TRANSPORT_FAILURE_REASON% %DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% "
    "%DOWNSTREAM_LOCAL_SUBJECT% %DOWNSTREAM_PEER_CHAIN_SERIALS%"
)
PATIENCE = 5.0
OLD, NEW = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
#: What is said instead of a hello.
WORDS = {
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "connect": b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    "zeroes": bytes(50),
    "sslv2": b"\x80\x2e\x01\x03\x01" + bytes(50),
    "large_record": b"\x16\x03\x01\xff\xff" + bytes(100),
    "cipher_change": b"\x14\x03\x01\x00\x01\x01",
    "data": b"\x17\x03\x03\x00\x05hello",
}


class Clients:
    """Certificates, and what is said with them."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        (directory / "deep").mkdir()
        intermediate = Authority(directory / "deep", "intermediate", self.authority)
        self.servers = [self.authority.issue("a.test"), self.authority.issue("a.test", rsa_key=True)]
        self.good = self.authority.issue("client.good")
        self.deep = intermediate.issue("client.deep")
        self.expired = self.authority.issue("client.old", starts_in=datetime.timedelta(days=-3))
        self.never_signing = self.authority.issue("client.mute", rsa_key=True, signs=False)

    def visit(
        self,
        version: ssl.TLSVersion,
        issued: Issued | None = None,
        *,
        signatures: str = "",
        ciphers: str = "",
    ) -> Callable[[int], str]:
        def run(port: int) -> str:
            context = self.authority.client_context(issued)
            context.check_hostname = False
            context.minimum_version = context.maximum_version = version
            if signatures:
                assert openssl.set_signature_algorithms(context, [signatures])
            if ciphers:
                context.set_ciphers(ciphers)
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as raw:
                try:
                    with context.wrap_socket(raw, server_hostname="a.test") as secured:
                        secured.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                        return secured.recv(4096)[9:12].decode()
                except (ssl.SSLError, ConnectionError):
                    return ""

        return run


def say(words: bytes) -> Callable[[int], str]:
    def run(port: int) -> str:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as raw:
            raw.sendall(words)
            try:
                while raw.recv(4096):
                    pass
            except ConnectionError:
                pass
        return ""

    return run


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    return Clients(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def pair(clients: Clients) -> Iterator[Pair]:
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    certificates: list[Json] = [
        {"certificate_chain": {"filename": str(one.certificate)}, "private_key": {"filename": str(one.key)}}
        for one in clients.servers
    ]
    validation = {"trusted_ca": {"filename": str(clients.authority.certificate)}}
    listeners = []
    for name, fields in {"open": {}, "mutual": {"validation_context": validation}}.items():
        manager = connection_manager({"name": "r", "virtual_hosts": [virtual_host([answer])]})
        made = listener([manager], name, access_log=[file_log(LOG)])
        config = typed(
            TLS,
            common_tls_context={"tls_certificates": certificates, **fields},
            require_client_certificate=name == "mutual",
        )
        made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": config}
        listeners.append(made)
    with Pair(bootstrap(listeners), listeners=("open", "mutual"), origins=()) as started:
        yield started


def cases(clients: Clients) -> dict[str, tuple[str, Callable[[int], str]]]:
    made: dict[str, tuple[str, Callable[[int], str]]] = {
        name: ("open", say(words)) for name, words in WORDS.items()
    }
    for version in (OLD, NEW):
        for signatures in ("ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256", "ed25519"):
            visit = clients.visit(version, signatures=signatures)
            made[f"{version.name} {signatures}"] = ("open", visit)
        for name in ("good", "deep", "expired", "never_signing"):
            made[f"{version.name} {name}"] = ("mutual", clients.visit(version, getattr(clients, name)))
    made["no_cipher"] = ("open", clients.visit(OLD, ciphers="AES128-SHA"))
    return made


def seen(line: str) -> str:
    """A line of the log without what OpenSSL does not tell: who showed a certificate that was not believed."""
    reason, *facts, chain = line.split(" ")
    reason = re.sub("_at_depth_[0-9]", "", reason)
    return " ".join([reason, *facts, chain if reason == "-" else ""])


def test_handshakes_are_logged_alike(pair: Pair, clients: Clients) -> None:
    for name, (where, visit) in cases(clients).items():

        def run(side: Side, where: str = where, visit: Callable[[int], str] = visit) -> tuple[str, str]:
            before = len(side.proxy.access_log(0))
            status = visit(side.proxy.ports[where])
            (line,) = side.proxy.access_log(before + 1)[before:]
            return status, seen(line)

        with pair.same_stats(f"listener.{where}.ssl.handshake", f"listener.{where}.ssl.connection_error"):
            envoy, outrider = pair.both(run)
        assert (name, outrider) == (name, envoy)
