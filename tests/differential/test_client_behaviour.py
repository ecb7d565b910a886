"""What clients such as curl see in corners of HTTP/1.1 that ordinary traffic meets, and how they are counted."""

from __future__ import annotations

import time

import pytest

from tests.support.configs import (
    Json,
    bootstrap,
    cluster,
    connection_manager,
    file_log,
    listener,
    route,
    virtual_host,
)
from tests.support.differential import Pair, Side, pair_fixture
from tests.support.origin import Answer

TABLE = {"name": "local", "virtual_hosts": [virtual_host([route()])]}
UPGRADES: Json = {"upgrade_configs": [{"upgrade_type": "websocket"}], "delayed_close_timeout": "0.1s"}
LOG = file_log("%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_SENT%")
CONFIG = bootstrap(
    [
        listener([connection_manager(TABLE, access_log=[LOG], **UPGRADES)]),
        listener([connection_manager(TABLE)], name="other"),
    ],
    [cluster()],
)
pair = pair_fixture(CONFIG, listeners=("listener", "other"))

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
CHUNKED = b"HTTP/1.1 416 Range Not Satisfiable\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"0\r\nx-trailer: 1\r\n\r\n", b"1\r\na\r\n0\r\n\r\n"])
def test_an_empty_chunked_body_stays_chunked(pair: Pair, body: bytes) -> None:
    assert pair.same(GET, CHUNKED + body).status == 416


def test_managers_with_one_stat_prefix_count_together(pair: Pair) -> None:
    with pair.same_stats("http.ingress."):
        pair.same(GET)
        pair.same(GET, listener="other")
        pair.same(b"GET / HTTP/1.1\r\n\r\n", listener="other")


def _upgrade(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".encode()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nX-A: 1\r\n\r\nhello",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
def test_an_origin_that_refuses_a_websocket_is_heard(pair: Pair, answer: bytes) -> None:
    path = f"/refused/{answer[9:12].decode()}"
    pair.same(_upgrade(path), answer, until="close")
    _same_line(pair, path)


def test_the_end_of_a_websocket_is_logged_and_counted(pair: Pair) -> None:
    with pair.same_stats("http.ingress.", "cluster.origin."):
        pair.same(_upgrade("/ended"), Answer(SWITCHING + b"bye", end="close"), until="close")
    assert " UC " in _same_line(pair, "/ended")


def test_a_client_that_leaves_is_logged_and_counted(pair: Pair) -> None:
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"
    with pair.same_stats("cluster.origin."):
        pair.run(GET.replace(b"/", b"/left", 1), begun, timeout=0.5)
    assert " DC downstream_remote_disconnect " in _same_line(pair, "/left")


def _same_line(pair: Pair, path: str) -> str:
    """The line of the one request for `path` in the access log."""

    def line_of(side: Side) -> str:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for line in side.proxy.access_log():
                if line.startswith(f"{path} "):
                    return line
            time.sleep(0.02)
        raise AssertionError(f"no line for {path}")

    line: str = pair.same_value("access_log", line_of)
    return line
