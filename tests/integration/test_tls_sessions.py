"""Sessions of TLS clients are resumed whichever worker they come to, as long as the configuration lets them."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certs import Authority, Issued
from tests.support.configs import Json, bootstrap, connection_manager, listener, typed, virtual_host
from tests.support.outrider import Outrider
from tests.support.proxy_process import ProxyProcess

SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"
TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
KEYS = [bytes([number]) * 80 for number in range(1, 4)]
#: Enough for both workers to be met: one in 2^11 runs would see only one.
CONNECTIONS = 12
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
PATIENCE = 20.0


class TwoWorkers(Outrider):
    """A proxy in which a connection comes to either of two workers."""

    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["--concurrency", "2", "-l", "info"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Issued:
    return authority.issue("server.test")


@contextlib.contextmanager
def running(server: Issued, **fields: object) -> Iterator[ProxyProcess]:
    certificate = {
        "certificate_chain": {"filename": str(server.certificate)},
        "private_key": {"filename": str(server.key)},
    }
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    made = listener([connection_manager({"name": "r", "virtual_hosts": [virtual_host([answer])]})])
    made["filter_chains"][0]["transport_socket"] = {
        "name": "tls",
        "typed_config": typed(TLS, common_tls_context={"tls_certificates": [certificate]}, **fields),
    }
    node = {"id": "a", "cluster": "b"}
    with TwoWorkers(bootstrap([made], node=node)) as proxy:
        yield proxy


def client(authority: Authority, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = authority.client_context()
    context.minimum_version = context.maximum_version = version
    return context


def connect(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[bool, ssl.SSLSession | None]:
    """Whether the session was resumed, and the session to go on with."""
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="server.test", session=session) as secured,
    ):
        secured.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        while secured.recv(4096):
            pass
        return bool(secured.session_reused), secured.session


def resumed(port: int, context: ssl.SSLContext) -> list[bool]:
    _, session = connect(port, context)
    found = []
    for _ in range(CONNECTIONS):
        reused, session = connect(port, context, session)
        found.append(reused)
    return found


def inline(*keys: bytes) -> Json:
    return {"keys": [{"inline_bytes": b64encode(key).decode()} for key in keys]}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_is_good_in_every_worker(
    authority: Authority, server: Issued, version: ssl.TLSVersion
) -> None:
    with running(server) as proxy:
        assert all(resumed(proxy.port, client(authority, version)))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_outlives_the_process_and_the_first_place_of_its_key(
    authority: Authority, server: Issued, version: ssl.TLSVersion
) -> None:
    context = client(authority, version)
    with running(server, session_ticket_keys=inline(KEYS[0])) as proxy:
        _, session = connect(proxy.port, context)
    with running(server, session_ticket_keys=inline(KEYS[1], KEYS[0])) as proxy:
        reused, session = connect(proxy.port, context, session)
        assert reused
        assert all(resumed(proxy.port, context))
    with running(server, session_ticket_keys=inline(KEYS[2])) as proxy:
        assert not connect(proxy.port, context, session)[0]


def test_keys_from_a_file_of_secrets(authority: Authority, server: Issued, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    (tmp_path / "key").write_bytes(KEYS[0])
    keys = {"keys": [{"filename": str(tmp_path / "key")}]}
    file.write_text(json.dumps({"resources": [{**typed(SECRET, name="keys"), "session_ticket_keys": keys}]}))
    source = {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"}
    named = {"name": "keys", "sds_config": source}
    context = client(authority, ssl.TLSVersion.TLSv1_3)
    with running(server, session_ticket_keys=inline(KEYS[0])) as proxy:
        _, session = connect(proxy.port, context)
    with running(server, session_ticket_keys_sds_secret_config=named) as proxy:
        assert connect(proxy.port, context, session)[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_resumed_where_both_ways_are_off(
    authority: Authority, server: Issued, version: ssl.TLSVersion
) -> None:
    off = {"disable_stateless_session_resumption": True, "disable_stateful_session_resumption": True}
    with running(server, **off) as proxy:
        assert not any(resumed(proxy.port, client(authority, version)))


def test_a_session_ends_after_its_time(authority: Authority, server: Issued) -> None:
    context = client(authority, ssl.TLSVersion.TLSv1_2)
    with running(server, session_timeout="60s") as proxy:
        _, session = connect(proxy.port, context)
    assert session is not None
    assert session.ticket_lifetime_hint == 60
