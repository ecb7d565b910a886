"""Which version of HTTP a client of a TLS listener gets, by ALPN, by its first bytes and as configured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import http2_frames as h2
from tests.support.certs import Authority
from tests.support.configs import (
    Json,
    cluster,
    connection_manager,
    file_log,
    listener,
    route,
    typed,
    virtual_host,
)
from tests.support.configs import bootstrap as make_bootstrap
from tests.support.differential import Pair, Side
from tests.support.http2_client import Http2Client
from tests.support.origin import HELLO

TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
LOG = "%RESPONSE_CODE% %PROTOCOL% %REQ(:SCHEME)% %REQ(X-FORWARDED-PROTO)% %RESPONSE_CODE_DETAILS%"
#: codec_type and what the listener offers by ALPN.
LISTENERS: dict[str, tuple[str, list[str]]] = {
    "both": ("AUTO", ["h2", "http/1.1"]),
    "silent": ("AUTO", []),
    "only_http1": ("HTTP1", ["h2"]),
    "only_http2": ("HTTP2", ["http/1.1"]),
}


def secured(name: str, context: Json) -> Json:
    codec_type, alpn = LISTENERS[name]
    table = {"name": "local", "virtual_hosts": [virtual_host([route()])]}
    manager = connection_manager(
        table,
        codec_type=codec_type,
        stat_prefix=name,
        access_log=[file_log(LOG)],
        delayed_close_timeout="0.1s",
    )
    made = listener([manager], name)
    common = {**context, "alpn_protocols": alpn}
    made["filter_chains"][0]["transport_socket"] = {
        "name": "tls",
        "typed_config": typed(TLS, common_tls_context=common),
    }
    return made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Iterator[Pair]:
    issued = authority.issue("server.test")
    certificate = {
        "certificate_chain": {"filename": str(issued.certificate)},
        "private_key": {"filename": str(issued.key)},
    }
    listeners = [secured(name, {"tls_certificates": [certificate]}) for name in LISTENERS]
    with Pair(make_bootstrap(listeners, [cluster()]), listeners=list(LISTENERS)) as started:
        yield started


@pytest.mark.parametrize("name", LISTENERS)
@pytest.mark.parametrize("alpn", [(), ("h2",), ("http/1.1",), ("http/1.1", "h2"), ("other",)])
@pytest.mark.parametrize("speaks", ["HTTP/1.1", "HTTP/2"])
def test_versions(pair: Pair, authority: Authority, name: str, alpn: tuple[str, ...], speaks: str) -> None:
    context = authority.client_context(alpn=alpn)

    def talk(side: Side) -> Any:
        side.origin.script(HELLO)
        port = side.proxy.ports[name]
        with Http2Client(port, start=False, tls=context, server_name="server.test", timeout=1.0) as client:
            if speaks == "HTTP/2":
                client.send(h2.PREFACE + h2.settings() + h2.request(1, scheme="https"))
            else:
                client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            client.receive(time.monotonic() + 1.0)
            line = bytes(client._reader.rest[:12])
            if not line.startswith(b"HTTP/"):
                client.read(1, timeout=0.3)
            view = client.streams.get(1)
            return line, view and view.status, client.socket.selected_alpn_protocol()  # type: ignore[attr-defined]

    pair.same_value("answer", talk, settle=0)
