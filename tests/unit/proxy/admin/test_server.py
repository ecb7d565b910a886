from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import h11
import pytest

from proxy.admin import connection as connection_module
from proxy.admin import server as server_module
from proxy.admin.server import AdminServer
from proxy.base.stats import StatRegistry, ZeroGroup, collect
from proxy.base.stream_info import StreamInfo
from tests.support.admin_state import FakeAdminState


class _Writer:
    """Keeps what the server writes; `stuck` never drains."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.sent = b""
        self.closed = False
        self._stuck = stuck

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 5 if name == "peername" else 6)

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None:
        await asyncio.sleep(1000 if self._stuck else 0)

    def close(self) -> None:
        self.closed = True

    async def wait_closed(self) -> None:
        return


def _talk(server: AdminServer, *requests: bytes, eof: bool = True, stuck: bool = False) -> bytes:
    """What the server sends for these bytes until it closes."""

    async def run() -> bytes:
        reader, writer = asyncio.StreamReader(), _Writer(stuck=stuck)
        for data in requests:
            reader.feed_data(data)
        if eof:
            reader.feed_eof()
        await asyncio.create_task(server._accepted(reader, writer))  # type: ignore[arg-type]
        assert writer.closed
        return writer.sent

    return asyncio.run(run())


def _answers(data: bytes, *methods: str) -> list[tuple[int, dict[str, str], bytes]]:
    """The responses in `data`, read by h11 as a client."""
    result = []
    client = h11.Connection(h11.CLIENT)
    client.receive_data(data)
    for method in methods:
        client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        body = b""
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
        headers = {name.decode(): value.decode() for name, value in head.headers}
        result.append((head.status_code, headers, body))
        if client.our_state is h11.DONE and client.their_state is h11.DONE:
            client.start_next_cycle()
    return result


_READY = b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_connection_is_kept_for_the_next_request() -> None:
    data = _talk(AdminServer(FakeAdminState()), _READY + _READY)
    first, second = _answers(data, "GET", "GET")
    assert first[0] == 200
    assert first[2] == b"LIVE\n"
    assert first[1]["cache-control"] == "no-cache, max-age=0"
    assert first[1]["x-content-type-options"] == "nosniff"
    assert second == first or second[2] == first[2]


def test_head_has_the_headers_without_the_body() -> None:
    data = _talk(AdminServer(FakeAdminState()), b"HEAD /clusters HTTP/1.1\r\nHost: a\r\n\r\n" + _READY)
    head, ready = _answers(data, "HEAD", "GET")
    assert (head[0], head[2]) == (200, b"")
    assert ready[2] == b"LIVE\n"


def test_http_1_0_gets_the_body_up_to_the_close() -> None:
    data = _talk(AdminServer(FakeAdminState()), b"GET /clusters HTTP/1.0\r\n\r\n", eof=False)
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert body.startswith(b"dead::observability_name::dead\n")


def test_a_form_is_read_from_the_body() -> None:
    state = FakeAdminState()
    _talk(
        AdminServer(state),
        b"POST /runtime_modify HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 3\r\n\r\n",
        b"a=1",
    )
    assert state.calls == [("modify_runtime", {"a": "1"})]


def test_a_client_that_waits_for_100_gets_it() -> None:
    data = _talk(
        AdminServer(FakeAdminState()),
        b"POST /healthcheck/ok HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    )
    assert data.startswith(b"HTTP/1.1 100 \r\n\r\n")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /ready HTTP/1.1\r\n\r\n", b"400"),
        (b"rubbish\r\n\r\n", b"400"),
        (b"GET /ready HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"GET /ready HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000, b"431"),
        (b"GET /ready HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
    ],
)
def test_a_request_that_is_no_http_is_refused_and_closed(request_bytes: bytes, status: bytes) -> None:
    data = _talk(AdminServer(FakeAdminState()), request_bytes, eof=False)
    assert data.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in data.lower()


def test_a_body_over_the_limit_is_refused_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_BODY_BYTES", 10)
    state = FakeAdminState()
    server = AdminServer(state)
    data = _talk(
        server, b"POST /quitquitquit HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n" + b"x" * 60, eof=False
    )
    assert data.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in data.lower()
    assert state.calls == []
    assert server.http_stats.downstream_rq_too_large == 1


@pytest.mark.parametrize(
    "request_bytes", [b"", b"GET /ready HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"]
)
def test_a_silent_client_is_cut_off(monkeypatch: pytest.MonkeyPatch, request_bytes: bytes) -> None:
    monkeypatch.setattr(connection_module, "IDLE_TIMEOUT", 0.01)
    monkeypatch.setattr(connection_module, "REQUEST_TIMEOUT", 0.01)
    assert _talk(AdminServer(FakeAdminState()), request_bytes, eof=False) == b""


def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "WRITE_TIMEOUT", 0.01)
    server = AdminServer(FakeAdminState())
    _talk(server, _READY, eof=False, stuck=True)
    assert server.http_stats.downstream_cx_active == 0
    assert server.http_stats.downstream_rq_active == 0


def test_connections_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 0)
    server = AdminServer(FakeAdminState())
    assert _talk(server, _READY, eof=False) == b""
    assert server.listener_stats.downstream_cx_overflow == 1


def test_an_error_in_a_handler_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeAdminState):
        def log_levels(self) -> dict[str, str]:
            raise ZeroDivisionError

        def zero_groups(self) -> list[ZeroGroup]:
            raise ZeroDivisionError

        def modify_runtime(self, values: Mapping[str, str]) -> None:
            raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, "proxy.admin"):
        data = _talk(AdminServer(Broken()), b"GET /stats HTTP/1.1\r\nHost: a\r\n\r\n" + _READY)
    broken, ready = _answers(data, "GET", "GET")
    assert (broken[0], broken[2]) == (500, b"internal error; see the log\n")
    assert ready[0] == 200
    assert "admin request GET /stats failed" in caplog.text


def test_each_request_is_given_to_the_access_log() -> None:
    entries: list[StreamInfo] = []
    _talk(
        AdminServer(FakeAdminState(), access_log=entries.append),
        _READY + b"GET /x?a=1 HTTP/1.1\r\nHost: h\r\n\r\n",
    )
    first, second = entries
    assert (first.response_code, first.bytes_sent, first.protocol) == (200, 5, "HTTP/1.1")
    assert first.connection.remote_address.text == "127.0.0.1:5"
    assert first.response is not None
    assert first.response.field("content-type") == "text/plain; charset=UTF-8"
    assert second.request is not None
    assert (second.request.path, second.request.authority, second.response_code) == ("/x?a=1", "h", 404)


def test_connections_and_requests_are_counted() -> None:
    registry = StatRegistry()
    _talk(AdminServer(FakeAdminState(), registry=registry), _READY + _READY)
    dump = collect(registry)
    assert dump["counters"]["http.admin.downstream_rq_2xx"] == 2
    assert dump["counters"]["http.admin.downstream_cx_destroy"] == 1
    assert dump["counters"]["listener.admin.downstream_cx_total"] == 1
    assert dump["gauges"]["http.admin.downstream_cx_active"] == 0
    assert sum(dump["histograms"]["http.admin.downstream_rq_time"].values()) == 2
