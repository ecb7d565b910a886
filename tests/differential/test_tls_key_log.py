"""Secrets of TLS connections in files: of whose connections they are written."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest

from tests.support.certs import Authority
from tests.support.configs import (
    Json,
    bootstrap,
    cluster,
    connection_manager,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side
from tests.support.managers import get
from tests.support.origin import Origin

DOWNSTREAM = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
UPSTREAM = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
PATIENCE = 5.0


def ranges(*prefixes: str) -> list[Json]:
    return [{"address_prefix": one, "prefix_len": 32} for one in prefixes]


LOGS: dict[str, Json] = {
    "everybody": {},
    "the_client": {"remote_address_range": ranges("127.0.0.2", "127.0.0.3")},
    "another_client": {"remote_address_range": ranges("127.0.0.3")},
    "the_server": {"local_address_range": ranges("127.0.0.1")},
    "another_server": {"local_address_range": ranges("127.0.0.4")},
    "both": {"local_address_range": ranges("127.0.0.1"), "remote_address_range": ranges("127.0.0.2")},
    "one_of_both": {"local_address_range": ranges("127.0.0.1"), "remote_address_range": ranges("127.0.0.3")},
}
#: Of the connection to an origin, whose client is the proxy.
UPSTREAM_LOGS: dict[str, Json] = {
    "the_origin": {"remote_address_range": ranges("127.0.0.1")},
    "another_origin": {"remote_address_range": ranges("127.0.0.5")},
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Iterator[Pair]:
    issued = authority.issue("server.test")
    pem = {
        "certificate_chain": {"filename": str(issued.certificate)},
        "private_key": {"filename": str(issued.key)},
    }
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    listeners = []
    for name, log in LOGS.items():
        made = listener([connection_manager({"name": "r", "virtual_hosts": [virtual_host([answer])]})], name)
        key_log = {"path": f"{{{{dir}}}}/{name}", **log}
        config = typed(DOWNSTREAM, common_tls_context={"tls_certificates": [pem], "key_log": key_log})
        made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": config}
        listeners.append(made)
    clusters = []
    for name, log in UPSTREAM_LOGS.items():
        config = typed(UPSTREAM, common_tls_context={"key_log": {"path": f"{{{{dir}}}}/{name}", **log}})
        clusters.append(
            cluster(name, "{{origin_port}}", transport_socket={"name": "tls", "typed_config": config})
        )
    routes = [route(name, f"/{name}") for name in UPSTREAM_LOGS]
    manager = connection_manager({"name": "r", "virtual_hosts": [virtual_host(routes)]})
    listeners.append(listener([manager], "plain"))
    origins = {"origin": lambda: Origin(tls=issued.server_context())}
    with Pair(bootstrap(listeners, clusters), listeners=(*LOGS, "plain"), origins=origins) as started:
        yield started


def labels(side: Side, name: str) -> list[str]:
    """The first words of the lines that were written."""
    file = side.proxy.directory / name
    lines = file.read_text().splitlines() if file.exists() else []
    return sorted(line.split()[0] for line in lines if not line.startswith("#"))


def written(name: str) -> bool:
    return name in ("everybody", "the_client", "the_server", "both", "the_origin")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", LOGS)
def test_clients(pair: Pair, authority: Authority, name: str, version: ssl.TLSVersion) -> None:
    context = authority.client_context()
    context.maximum_version = version

    def visit(side: Side) -> bytes:
        port = side.proxy.ports[name]
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE, ("127.0.0.2", 0)) as raw,
            context.wrap_socket(raw, server_hostname="server.test") as secured,
        ):
            secured.sendall(get("/"))
            return secured.recv(100)[9:12]

    assert pair.same_value("status", visit, settle=0) == b"200"
    assert bool(pair.same_value("lines", lambda side: labels(side, name), settle=12)) is written(name)


@pytest.mark.parametrize("name", UPSTREAM_LOGS)
def test_origins(pair: Pair, name: str) -> None:
    pair.same(get(f"/{name}"), listener="plain")
    assert bool(pair.same_value("lines", lambda side: labels(side, name), settle=12)) is written(name)
