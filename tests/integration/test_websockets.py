"""A real WebSocket client and server, through one proxy and through two that speak HTTP/2 to each other."""

from __future__ import annotations

import http
import os
import threading
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve

from tests.support.configs import (
    Json,
    bootstrap,
    cluster,
    connection_manager,
    http2_cluster,
    listener,
    route,
    virtual_host,
)
from tests.support.envoy import Envoy
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess


def _listener(name: str, upstream: str) -> Json:
    table = {"name": name, "virtual_hosts": [virtual_host([route(upstream, timeout="0s")])]}
    manager = connection_manager(
        table,
        upgrade_configs=[{"upgrade_type": "websocket"}],
        http2_protocol_options={"allow_connect": True},
        delayed_close_timeout="0.05s",
    )
    return listener([manager], name)


def _config() -> Json:
    inner = http2_cluster("inner", "{{inner_port}}", http2={"allow_connect": True})
    return bootstrap(
        [_listener("plain", "origin"), _listener("edge", "inner"), _listener("inner", "origin")],
        [inner, cluster("origin", "{{origin_port}}")],
    )


def _echo(connection: ServerConnection) -> None:
    for message in connection:
        if message == "leave":
            connection.close(4001, "as asked")
            return
        if message == "vanish":
            connection.socket.shutdown(2)
            return
        connection.send(message)


def _check(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == "/refused":
        return connection.respond(http.HTTPStatus.FORBIDDEN, "not you")
    return None


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(_echo, "127.0.0.1", 0, process_request=_check, max_size=1 << 22) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(5)


@pytest.fixture(scope="module", params=["envoy", "outrider"])
def proxy(request: pytest.FixtureRequest, server: Server) -> Iterator[ProxyProcess]:
    kind = Envoy if request.param == "envoy" else subject()
    port = server.socket.getsockname()[1]
    started = kind(_config(), listeners=["plain", "edge", "inner"], values={"origin_port": port})
    yield started
    started.close()


@pytest.fixture(params=["plain", "edge"])
def url(request: pytest.FixtureRequest, proxy: ProxyProcess) -> str:
    return f"ws://127.0.0.1:{proxy.ports[request.param]}"


def _connect(url: str) -> ClientConnection:
    return connect(url, max_size=1 << 22, open_timeout=5, close_timeout=5, proxy=None)


def test_messages_come_back(url: str) -> None:
    with _connect(url) as client:
        for message in ("text", b"bytes", "", "x" * 100_000, os.urandom(2_000_000)):
            client.send(message)
            assert client.recv(10) == message
        client.send(["in ", "three ", "pieces"])
        assert client.recv(5) == "in three pieces"
        assert client.ping().wait(5)


def test_many_at_once(url: str) -> None:
    clients = [_connect(url) for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(str(number))
    assert [client.recv(5) for client in clients] == [str(number) for number in range(20)]
    for client in clients:
        client.close()


def test_the_server_says_why_it_closes(url: str) -> None:
    with _connect(url) as client:
        client.send("leave")
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(5)
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "as asked")


def test_a_server_that_vanishes_is_no_good_bye(url: str) -> None:
    with _connect(url) as client:
        client.send("vanish")
        with pytest.raises(ConnectionClosedError) as caught:
            client.recv(5)
    assert caught.value.rcvd is None


def test_a_refusal_reaches_the_client(url: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        _connect(f"{url}/refused")
    assert caught.value.response.status_code == 403
    assert caught.value.response.body == b"not you"
