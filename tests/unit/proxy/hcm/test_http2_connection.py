"""Downstream HTTP/2 connections: requests, replies, back-pressure, deadlines, ends."""

from __future__ import annotations

import pytest

from proxy.base.stream_info import TlsInfo
from proxy.hcm.http1_connection import Http1ServerConnection
from proxy.hcm.http2_connection import Http2ServerConnection
from tests.support import http2_frames as h2
from tests.support.configs import route, virtual_host
from tests.support.http2_manager import Http2Manager, response

END = h2.END_STREAM | h2.END_HEADERS
TEN = [h2.request(number, "/", fields=[("a", "b")]) for number in range(1, 20, 2)]


@pytest.fixture
def of():
    return Http2Manager()


def names(client):
    return [(frame.name, frame.stream_id) for frame in client.frames()]


def test_a_request_and_its_response(of):
    client = of.connect()
    client.send(h2.request(1, "/path", fields=[("a", "b")]))
    (upstream,) = of.upstream.requests
    assert upstream.ended
    assert upstream.head.startswith(b"GET /path HTTP/1.1\r\nhost: a\r\n")
    upstream.respond(b"hello")
    assert client.kinds() == [("HEADERS", 1, h2.END_HEADERS), ("DATA", 1, h2.END_STREAM)]
    assert of.stats.downstream_rq_http2_total == 1
    assert of.stats.downstream_rq_active == 0
    assert of.stats.by_class[2] == 1


def test_many_answers_leave_in_one_write(of):
    client = of.connect()
    client.send(*TEN)
    before = client.writes
    for upstream in of.upstream.requests:
        upstream.respond(b"x")
    assert client.writes == before
    of.settle()
    assert client.writes == before + 1
    assert len(client.frames()) == 20


def test_answers_at_once_leave_with_the_read(of):
    of.upstream.answer = response()
    client = of.connect()
    before = client.writes
    client.send(*TEN)
    assert client.writes == before + 1


def test_equal_requests_share_their_plan_across_connections(of):
    of.upstream.answer = response()
    for _ in range(4):
        of.connect().send(h2.request(1, "/", fields=[("a", "b")]))
    known = list(of.manager.http2_parser._known.values())
    (request,) = [one for fields in known for one in fields.requests.values()]
    (plan,) = request.plans.values()
    assert plan.repeated


def ids_of(of):
    return [
        line.removeprefix(b"x-request-id: ")
        for upstream in of.upstream.requests
        for line in upstream.head.split(b"\r\n")
        if line.startswith(b"x-request-id")
    ]


@pytest.mark.parametrize("fields", [{}, {"via": "x"}])
def test_the_client_s_request_ids_go_on(fields):
    of = Http2Manager(**fields)
    client = of.connect()
    for number in range(5):
        client.send(h2.request(2 * number + 1, f"/{number % 2}", fields=[("x-request-id", f"id-{number}")]))
    assert ids_of(of) == [f"id-{number}".encode() for number in range(5)]


def test_the_edge_replaces_request_ids():
    of = Http2Manager(use_remote_address=True)
    client = of.connect()
    for number in range(5):
        client.send(h2.request(2 * number + 1, fields=[("x-request-id", f"id-{number}")]))
    assert len(set(ids_of(of))) == 5
    assert all(len(found) == 36 for found in ids_of(of))


def test_routes_that_match_on_request_ids_see_them():
    match = {"prefix": "/", "headers": [{"name": "X-Request-Id", "string_match": {"exact": "id-3"}}]}
    odd = {"match": match, "direct_response": {"status": 403}}
    table = {"virtual_hosts": [virtual_host([odd, route()])]}
    of = Http2Manager(route_config=table)
    client = of.connect()
    for number in range(5):
        client.send(h2.request(2 * number + 1, fields=[("x-request-id", f"id-{number}")]))
    assert ids_of(of) == [b"id-0", b"id-1", b"id-2", b"id-4"]


def test_a_body_and_trailers(of):
    client = of.connect()
    client.send(h2.request(1, method="POST", end=False), h2.data(1, b"one"))
    (upstream,) = of.upstream.requests
    assert not upstream.ended
    client.send(h2.data(1, b"two"), h2.headers(1, [("t", "v")], end=True))
    assert upstream.body == b"onetwo"
    assert dict(upstream.trailers) == {"t": "v"}


@pytest.mark.parametrize(
    ("declared", "length", "fits"),
    [([], "5", True), ([], "4", False), ([("content-length", "5")], "5", False)],
)
def test_a_length_in_trailers_is_held_against_the_body(of, declared, length, fits):
    client = of.connect()
    client.send(h2.request(1, method="POST", fields=declared, end=False), h2.data(1, b"hello"))
    client.send(h2.headers(1, [("content-length", length)], end=True))
    (upstream,) = of.upstream.requests
    assert (upstream.trailers is not None) is fits
    assert upstream.abandoned is not fits


def test_response_trailers(of):
    from proxy.base.headers import HeaderMap

    client = of.connect()
    client.send(h2.request(1))
    (upstream,) = of.upstream.requests
    upstream.respond(b"x", end=False)
    upstream.request.on_response_trailers(HeaderMap([("t", "v")]))
    assert client.kinds()[-1] == ("HEADERS", 1, END)


def test_an_early_answer_asks_the_client_to_stop(of):
    client = of.connect()
    client.send(h2.request(1, method="POST", end=False))
    of.upstream.requests[0].respond(b"no")
    assert client.kinds()[-2:] == [("DATA", 1, h2.END_STREAM), ("RST_STREAM", 1, 0)]
    assert not client.connection.streams


def test_the_upstream_breaks_off(of):
    from proxy.upstream.pool.api import ResetReason

    client = of.connect()
    client.send(h2.request(1))
    (upstream,) = of.upstream.requests
    upstream.respond(b"x", end=False)
    upstream.request.on_reset(ResetReason.CONNECTION_TERMINATION, "")
    last = client.frames()[-1]
    assert (last.name, last.payload) == ("RST_STREAM", h2.Code.INTERNAL_ERROR.to_bytes(4, "big"))


def test_the_client_gives_up(of):
    client = of.connect()
    client.send(h2.request(1))
    client.send(h2.rst_stream(1))
    assert of.upstream.requests[0].abandoned
    assert client.frames() == []
    assert of.stats.downstream_rq_rx_reset == 1


def test_the_client_disconnects(of):
    client = of.connect()
    client.send(*TEN)
    client.transport.lose()
    assert all(upstream.abandoned for upstream in of.upstream.requests)
    assert of.stats.downstream_cx_destroy_remote_active_rq == 1
    assert of.stats.downstream_cx_http2_active == 0
    assert of.stats.downstream_rq_active == 0


def test_a_malformed_request_ends_the_connection_after_a_pause(of):
    client = of.connect()
    client.send(h2.request(1), h2.request(3, fields=[("Upper", "x")]))
    assert client.frames() == []
    assert of.upstream.requests[0].abandoned
    assert of.stats.downstream_cx_protocol_error == 1
    assert not client.transport.closed
    client.send(h2.request(5))
    assert len(of.upstream.requests) == 1
    of.advance(1.1)
    assert client.transport.closed
    assert of.stats.downstream_cx_delayed_close_timeout == 1
    client.transport.lose()
    assert of.stats.downstream_cx_destroy_local == 1


def test_a_malformed_frame_is_told_by_goaway(of):
    client = of.connect()
    client.send(h2.frame(h2.PING, payload=b"short"))
    assert names(client) == [("GOAWAY", 0)]


def test_no_pause_before_the_close():
    of = Http2Manager(delayed_close_timeout="0s")
    client = of.connect()
    client.send(h2.frame(h2.PING, payload=b"short"))
    assert client.transport.closed
    assert names(client) == [("GOAWAY", 0)]


def test_too_many_premature_resets_abort_the_connection(of):
    client = of.connect()
    for number in range(1, 2 * 249, 2):
        client.send(h2.request(number), h2.rst_stream(number))
    assert not client.transport.aborted
    client.send(h2.request(501), h2.rst_stream(501))
    assert client.transport.aborted
    assert of.stats.downstream_rq_too_many_premature_resets == 1


# -- back-pressure


def test_a_client_that_does_not_take_its_response_pauses_the_upstream():
    of = Http2Manager(buffer_limit=1000)
    client = of.connect()
    client.send(h2.settings({h2.INITIAL_WINDOW_SIZE: 10}))
    client.send(h2.request(1))
    (upstream,) = of.upstream.requests
    upstream.respond(b"x" * 500, end=False)
    assert upstream.paused == 0
    upstream.request.on_response_data(b"x" * 600, False)
    assert upstream.paused == 1
    assert of.stats.downstream_flow_control_paused_reading_total == 1
    client.send(h2.window_update(1, 5000))
    assert upstream.paused == 0
    assert of.stats.downstream_flow_control_resumed_reading_total == 1


def test_a_full_transport_pauses_the_upstream(of):
    client = of.connect()
    client.send(h2.request(1))
    (upstream,) = of.upstream.requests
    client.connection.pause_writing()
    upstream.respond(b"x", end=False)
    assert upstream.paused == 1
    client.connection.resume_writing()
    of.settle()
    assert upstream.paused == 0
    assert ("DATA", 1) in names(client)


def test_an_upstream_that_does_not_read_holds_the_window_back(of):
    client = of.connect()
    client.send(h2.request(1, method="POST", end=False))
    (upstream,) = of.upstream.requests
    upstream.request.on_write_paused()
    for _ in range(600):
        client.send(h2.data(1, b"x" * 16384))
    assert ("WINDOW_UPDATE", 1) not in names(client)
    upstream.request.on_write_resumed()
    assert ("WINDOW_UPDATE", 1) in names(client)


def test_a_response_that_the_client_never_takes_is_given_up():
    of = Http2Manager(stream_idle_timeout="1s")
    client = of.connect()
    client.send(h2.settings({h2.INITIAL_WINDOW_SIZE: 0}))
    client.send(h2.request(1))
    of.upstream.requests[0].respond(b"x")
    client.frames()
    of.advance(20)
    assert names(client) == [("RST_STREAM", 1)]
    assert of.manager.http2_stats.tx_flush_timeout == 1


# -- deadlines


def test_the_route_s_timeout(of):
    client = of.connect()
    client.send(h2.request(1))
    of.advance(14.9)
    assert client.frames() == []
    of.advance(0.2)
    assert names(client) == [("HEADERS", 1), ("DATA", 1)]


def test_one_wake_up_serves_all_streams():
    of = Http2Manager(stream_idle_timeout="2s")
    client = of.connect()
    for number in range(1, 101, 2):
        client.send(h2.request(number))
    # The sweep over all connections and the connection's own.
    assert len(of.clock._timers) == 2
    of.advance(2.1)
    assert len(names(client)) == 100


def test_a_head_that_does_not_come():
    of = Http2Manager(request_headers_timeout="1s")
    client = of.connect()
    client.send(h2.headers(1, [(":method", "GET")], end_headers=False))
    of.advance(1.1)
    assert ("HEADERS", 1) in names(client)
    assert of.stats.downstream_rq_header_timeout == 1


def test_a_request_that_does_not_end():
    of = Http2Manager(request_timeout="1s")
    client = of.connect()
    client.send(h2.request(1, method="POST", end=False))
    client.send(h2.headers(3, [(":method", "GET")], end_headers=False))
    of.advance(1.1)
    assert {stream for _, stream in names(client)} == {1, 3}
    assert of.stats.downstream_rq_timeout == 2


def goaways(client):
    return [int.from_bytes(frame.payload[:4], "big") for frame in client.frames() if frame.name == "GOAWAY"]


def test_an_idle_connection_is_drained():
    of = Http2Manager(common_http_protocol_options={"idle_timeout": "60s"}, drain_timeout="5s")
    of.upstream.answer = response()
    client = of.connect()
    of.advance(30)
    client.send(h2.request(1))
    of.advance(59)
    assert goaways(client) == []
    of.advance(2)
    assert goaways(client) == [2**31 - 1]
    of.advance(5)
    assert goaways(client) == [1]
    of.advance(1.1)
    assert client.transport.closed
    assert of.stats.downstream_cx_idle_timeout == 1


def test_a_silent_connection_is_closed_at_once():
    of = Http2Manager(codec_type="HTTP2", common_http_protocol_options={"idle_timeout": "60s"})
    client = of.connect(start=False)
    of.advance(61)
    assert client.transport.closed
    assert client.frames() == []
    assert of.stats.downstream_cx_http2_total == 0


def test_an_old_connection_finishes_what_is_under_way():
    of = Http2Manager(common_http_protocol_options={"max_connection_duration": "8s"}, drain_timeout="2s")
    client = of.connect()
    client.send(h2.request(1))
    of.advance(8.1)
    client.send(h2.request(3))
    of.advance(2.1)
    client.send(h2.request(5))
    assert goaways(client) == [2**31 - 1, 3]
    assert len(of.upstream.requests) == 2
    for upstream in of.upstream.requests:
        upstream.respond()
    of.advance(1.1)
    assert client.transport.closed
    assert of.stats.downstream_cx_max_duration_reached == 1


def test_a_limit_of_requests():
    of = Http2Manager(common_http_protocol_options={"max_requests_per_connection": 2}, drain_timeout="2s")
    of.upstream.answer = response()
    client = of.connect()
    client.send(h2.request(1))
    assert goaways(client) == []
    client.send(h2.request(3), h2.request(5))
    assert goaways(client) == [2**31 - 1]
    assert of.stats.downstream_cx_max_requests_reached == 2
    of.advance(3.5)
    assert client.transport.closed


def test_a_listener_that_drains(of):
    client = of.connect()
    client.send(h2.request(1))
    client.info.drain.draining = True
    of.upstream.requests[0].respond()
    assert goaways(client) == [2**31 - 1]
    assert of.stats.downstream_cx_drain_close == 1
    client.send(h2.request(3))
    of.upstream.requests[1].respond()
    assert goaways(client) == []


def test_connections_that_close_when_idle(of):
    idle, busy = of.connect(), of.connect()
    busy.send(h2.request(1))
    for client in (idle, busy):
        client.connection.close_if_idle(of.clock.now)
    assert idle.transport.closed
    assert goaways(idle) == [0]
    assert goaways(busy) == [2**31 - 1]


KEEPALIVE = {"connection_keepalive": {"interval": "10s", "timeout": "2s", "interval_jitter": {"value": 0}}}


def test_keepalive():
    of = Http2Manager(http2_protocol_options=KEEPALIVE)
    client = of.connect()
    of.advance(10)
    (ping,) = client.frames()
    assert ping.name == "PING"
    of.advance(1.9)
    client.send(h2.ping(ping.payload, ack=True))
    of.advance(9.9)
    assert client.frames() == []
    of.advance(0.2)
    assert names(client) == [("PING", 0)]
    of.advance(1.5)
    # Any frame shows that the client lives.
    client.send(h2.window_update(0, 1))
    of.advance(1.9)
    assert not client.transport.aborted
    of.advance(0.2)
    assert client.transport.aborted
    assert of.manager.http2_stats.keepalive_timeout == 1


def test_a_connection_that_is_gone_is_not_woken():
    of = Http2Manager(http2_protocol_options=KEEPALIVE)
    client = of.connect()
    client.transport.lose()
    of.advance(30)
    assert client.frames() == []


# -- which version


def test_the_version_follows_from_the_first_read(of):
    client = of.connect(start=False)
    assert isinstance(client.connection, Http1ServerConnection)
    client.send(h2.PREFACE[:12])
    assert isinstance(client.connection, Http2ServerConnection)
    client.send(h2.PREFACE[12:], h2.settings())
    assert [name for name, _ in names(client)] == ["SETTINGS", "WINDOW_UPDATE", "SETTINGS"]
    assert of.stats.downstream_cx_total == 1
    assert of.stats.downstream_cx_http2_active == 1
    assert of.stats.downstream_cx_rx_bytes_total == len(h2.PREFACE + h2.settings())


def test_a_preface_in_small_pieces_is_taken_for_http1(of):
    client = of.connect(start=False)
    client.send(h2.PREFACE[:11])
    client.send(h2.PREFACE[11:])
    assert isinstance(client.connection, Http1ServerConnection)
    assert client.transport.written.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("codec_type", "alpn", "kind"),
    [
        ("AUTO", "h2", Http2ServerConnection),
        ("AUTO", "http/1.1", Http1ServerConnection),
        ("HTTP1", "h2", Http1ServerConnection),
        ("HTTP2", "", Http2ServerConnection),
    ],
)
def test_the_version_follows_from_alpn(codec_type, alpn, kind):
    of = Http2Manager(codec_type=codec_type)
    tls = TlsInfo()
    tls.alpn = alpn
    client = of.connect(start=False, tls=tls)
    client.send(h2.PREFACE)
    assert isinstance(client.connection, kind)


def test_configured_settings_are_told(of):
    options = {"max_concurrent_streams": 7, "initial_stream_window_size": 70000, "allow_connect": True}
    client = Http2Manager(http2_protocol_options=options).connect(start=False)
    client.send(h2.PREFACE)
    payload = client.frames()[0].payload
    values = {payload[at : at + 2]: payload[at + 2 : at + 6] for at in range(0, len(payload), 6)}
    told = {int.from_bytes(key, "big"): int.from_bytes(value, "big") for key, value in values.items()}
    assert told[h2.MAX_CONCURRENT_STREAMS] == 7
    assert told[h2.INITIAL_WINDOW_SIZE] == 70000
    assert told[h2.ENABLE_CONNECT_PROTOCOL] == 1
